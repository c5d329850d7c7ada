# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What names, labels and amounts may look like."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .errors import Cause
from .schemas import quantity

LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
LABEL_1035 = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
QUALIFIED = re.compile(r"([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
_LETTERS = "bcdfghjklmnpqrstvwxz2456789"


def random_suffix(length: int = 5) -> str:
    return "".join(random.choices(_LETTERS, k=length))


def check_labels(values: Mapping[str, Any], path: str) -> Iterator[Cause]:
    for key, value in values.items():
        if not QUALIFIED.fullmatch(key):
            yield Cause(path, f'Invalid value: "{key}": name part must consist of alphanumeric characters')
        if not _LABEL_VALUE.fullmatch(str(value)):
            yield Cause(path, f'Invalid value: "{value}": a valid label must be an empty string or consist of alphanumeric characters')


def duplicates(values: Sequence[Any]) -> Iterator[tuple[int, Any]]:
    for place, value in enumerate(values):
        if value in values[:place]:
            yield place, value


def one_of(value: Any, path: str, *allowed: str) -> Iterator[Cause]:
    """A word that the schema takes for any text."""
    if value is not None and value not in allowed:
        told = f'Unsupported value: "{value}": supported values: {", ".join(f"{each!r}" for each in sorted(allowed))}'
        yield Cause(path, told.replace("'", '"'), "FieldValueNotSupported")


def required(path: str, why: str = "") -> Cause:
    return Cause(path, f"Required value: {why}" if why else "Required value", "FieldValueRequired")


def is_amount(value: Any) -> bool:
    try:
        return quantity(value) >= 0
    except ValueError:
        return False
