# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The table of NVIDIA's figures, read once, for the filters and actions that answer from it."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import yaml

from ..module_utils.gpu.compatibility import Table

PATH = Path(__file__).with_name("triton_compatibility.yml")


@cache
def document() -> dict[str, Any]:
    """The data file."""
    content: dict[str, Any] = yaml.safe_load(PATH.read_text(encoding="utf-8"))
    return content


@cache
def table() -> Table:
    return Table.from_mapping(document())
