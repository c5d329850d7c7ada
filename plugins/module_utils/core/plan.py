# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A plan: what would change, computed once and used by check mode, by the diff and by apply."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Action:
    """One change. `verb` and `target` are shown to the user; `data` is for the code that applies it."""

    verb: str
    target: str
    data: Mapping[str, Any] = field(default_factory=dict, compare=False)

    def __str__(self) -> str:
        return f"{self.verb} {self.target}"


@dataclass(frozen=True)
class Plan:
    """The ordered actions that take the observed state to the desired one; false when there is nothing to do.

    before, after: what the diff shows, as text or as plain values; they must hold no secret.
    """

    actions: tuple[Action, ...] = ()
    before: Any = ""
    after: Any = ""

    def __bool__(self) -> bool:
        return bool(self.actions)

    def __iter__(self) -> Iterator[Action]:
        return iter(self.actions)

    def describe(self) -> list[str]:
        """Each action as a short sentence, in the order of execution."""
        return [str(action) for action in self.actions]

    def diff(self) -> dict[str, Any]:
        """Ansible's diff structure. Without actions before equals after, so nothing is shown."""
        return {"before": self.before, "after": self.after if self.actions else self.before}
