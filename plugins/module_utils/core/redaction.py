# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Keeps secrets out of results, diffs, messages and reports."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

MASK = "********"
# Shorter values would mask parts of ordinary words.
MIN_SECRET_LENGTH = 4
_SECRET_KEY = re.compile(
    r"(?i)(authorization|cookie|passw|secret|token|credential|access.?key|api.?key|private.?key|session.?key|signature)"
)


def is_secret_key(key: str) -> bool:
    """Whether a value stored under this name is taken for a secret."""
    return bool(_SECRET_KEY.search(key))


class Redactor:
    """Masks known secret values wherever they occur; with `by_key`, also whatever stands under a secret's name.

    Leave `by_key` off for what a model answers: a tensor may well be called "tokens".
    """

    def __init__(self, secrets: Iterable[object] = (), *, by_key: bool = False) -> None:
        values = {str(secret) for secret in secrets if secret}
        # Longest first: a secret that contains another one must be masked whole.
        self._secrets = sorted((value for value in values if len(value) >= MIN_SECRET_LENGTH), key=len, reverse=True)
        self._by_key = by_key

    def text(self, value: str) -> str:
        """The text with every known secret masked."""
        for secret in self._secrets:
            value = value.replace(secret, MASK)
        return value

    def value(self, value: Any, key: str = "") -> Any:
        """A copy of a plain value (mappings, lists, scalars) with secrets masked at any depth."""
        if isinstance(value, dict):
            return {name: self.value(item, str(name)) for name, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.value(item, key) for item in value]
        if self._by_key and value and not isinstance(value, bool) and is_secret_key(key):
            return MASK
        return self.text(value) if isinstance(value, str) else value
