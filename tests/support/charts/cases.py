# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is rendered: the chart's examples, which users read, and the cases beside this file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from .render import EXAMPLES, example

CASES: dict[str, dict[str, Any]] = yaml.safe_load(Path(__file__).with_suffix(".yml").read_text(encoding="utf-8"))
VALUES: dict[str, dict[str, Any]] = {**{name: example(name) for name in EXAMPLES}, **CASES}
KEY = "a-key-of-this-test"
OLDEST, NEWEST = "1.27", "1.37"
# The oldest version of Kubernetes that has what a case asks for, where that is not the chart's.
_SINCE = {"mig": "1.31", "everything extra": "1.32"}


def oldest(name: str) -> str:
    return _SINCE.get(name, OLDEST)


def with_key(values: dict[str, Any]) -> dict[str, Any]:
    """The values with a key that two renderings have in common."""
    return {**values, "restrictedApis": {"key": KEY, **values.get("restrictedApis", {})}}
