# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A finding of the doctor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

OK, WARN, FAIL = "ok", "warn", "fail"


@dataclass(frozen=True)
class Finding:
    """check: what was looked at. status: ok, warn or fail. remedy: what to do, empty when ok."""

    check: str
    status: str
    detail: str
    remedy: str = ""


def first_line(answer: Mapping[str, Any]) -> str:
    """The first line of a failed module's message."""
    return (str(answer.get("msg") or "no answer").splitlines() or ["no answer"])[0]
