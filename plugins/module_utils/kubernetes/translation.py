# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Values of one chart on their way to another: what was read, what became of it, and sentences that say so. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

ABSENT: Any = object()


class Translation:
    """old: the other chart's values. new: ours. notes: sentences for the user; they hold names of values, and no secret."""

    def __init__(self, old: Mapping[str, Any]) -> None:
        self.old = old
        self.new: dict[str, Any] = {}
        self.notes: list[str] = []
        self._read: list[str] = []

    def get(self, path: str, default: Any = None) -> Any:
        """An old value by its dotted path, marked as read. null counts as absent."""
        self._read.append(path)
        value: Any = self.old
        for part in path.split("."):
            if not isinstance(value, Mapping) or part not in value:
                return default
            value = value[part]
        return default if value is None else value

    def put(self, path: str, value: Any) -> None:
        """Sets one of our values by its dotted path."""
        *folders, name = path.split(".")
        target = self.new
        for folder in folders:
            target = target.setdefault(folder, {})
        target[name] = value

    def say(self, sentence: str) -> None:
        self.notes.append(sentence)

    def move(self, old: str, new: str, convert: Callable[[Any], Any] | None = None, remark: str = "") -> Any:
        """An old value becomes a new one. Returns the new one, or None where the old is absent."""
        value = self.get(old, ABSENT)
        if value is ABSENT:
            return None
        result = convert(value) if convert else value
        self.put(new, result)
        self.say(f"{old} became {new}{f': {remark}' if remark else ''}." if old != new or remark else f"{old} is the same here.")
        return result

    def fill(self, old: str, new: str, default: Any) -> Any:
        """An old value becomes a new one; where the file leaves it out, it is what that chart's own values.yaml says."""
        moved = self.move(old, new)
        if moved is None:
            self.put(new, default)
            self.say(f"{old} is left out, so {new} is {default}, as that chart has it.")
        return default if moved is None else moved

    def drop(self, old: str, reason: str) -> None:
        """An old value that has no meaning here."""
        if self.get(old, ABSENT) is not ABSENT:
            self.say(f"{old} has no meaning here: {reason}.")

    def rest(self) -> None:
        """Says what nobody read."""
        for path in _leaves(self.old):
            if not any(path == read or path.startswith(f"{read}.") for read in self._read):
                self.say(f"{path} is not known of that chart and was left out.")


def _leaves(value: Mapping[str, Any], where: str = "") -> Iterator[str]:
    for key, inner in value.items():
        path = f"{where}{key}"
        if isinstance(inner, Mapping) and inner:
            yield from _leaves(inner, f"{path}.")
        elif inner is not None and inner not in ({}, []):
            yield path
