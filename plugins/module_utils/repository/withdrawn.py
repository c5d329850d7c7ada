# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a release went back from is not published again by whoever publishes next. Pure.

A withdrawn version's number stays taken: it may come back with the same content only, and only when a release asks for it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from ..core.errors import ConflictError
from .manifest import ModelTree, Withdrawn


class Digested(Protocol):
    """A file with its SHA-256 in hex."""

    @property
    def sha256(self) -> str:
        """Hex."""


F = TypeVar("F", bound=Digested)


def content(files: Mapping[str, Digested]) -> str:
    """A text that changes with any of the files."""
    return hashlib.sha256("\n".join(f"{path} {each.sha256}" for path, each in sorted(files.items())).encode()).hexdigest()


@dataclass(frozen=True)
class Selection(Generic[F]):
    """trees: what may be published. held: model that stays as it is → why. left: what stays withdrawn. notes: for people."""

    trees: Mapping[str, ModelTree[F]]
    held: Mapping[str, str]
    left: Mapping[str, tuple[Withdrawn, ...]]
    notes: tuple[str, ...]


def select(desired: Mapping[str, ModelTree[F]], withdrawn: Mapping[str, tuple[Withdrawn, ...]], *, force: bool = False) -> Selection[F]:
    """Parts what may be published from what was withdrawn.

    A model whose newest version (or, without one, whose other files) were withdrawn is held: its configuration belongs to what must not
    come back. Withdrawn versions below its newest are left out. Raises ConflictError for other content under a withdrawn number.
    """
    trees = dict(desired)
    held: dict[str, str] = {}
    left = dict(withdrawn)
    notes: list[str] = []
    for name in sorted(withdrawn.keys() & desired.keys()):
        marks = withdrawn[name]
        closed = () if force else tuple(mark for mark in marks if not _returns(name, mark, desired[name]))
        left[name] = closed
        numbers = {number: mark for mark in closed for number in mark.versions}
        why = _held(desired[name], closed, numbers)
        if why:
            held[name] = why
            del trees[name]
            notes.append(f"{name} stays as it is: {why}")
        elif out := sorted(numbers.keys() & desired[name].versions.keys()):
            rest = {number: files for number, files in desired[name].versions.items() if number not in numbers}
            trees[name] = ModelTree(desired[name].files, rest)
            notes += [f"{name}/{number} is left out, it was withdrawn: {numbers[number].why}" for number in out]
    return Selection(trees, held, {name: marks for name, marks in left.items() if marks}, tuple(notes))


def _held(tree: ModelTree[F], closed: tuple[Withdrawn, ...], numbers: Mapping[int, Withdrawn]) -> str:
    newest = max(tree.versions, default=-1)
    if newest in numbers:
        return f"version {newest} was withdrawn ({numbers[newest].why})"
    files = content(tree.files)
    return next((f"its configuration was withdrawn ({mark.why})" for mark in closed if not mark.versions and mark.files == files), "")


def _returns(name: str, mark: Withdrawn, tree: ModelTree[F]) -> bool:
    """Whether a mark is lifted by this source."""
    if not mark.again or not mark.versions:
        return mark.again
    there = {number: content(tree.versions[number]) for number in mark.versions if number in tree.versions}
    changed = sorted(number for number, digest in there.items() if mark.versions[number] not in ("", digest))
    if changed:
        following = max(*tree.versions, *mark.versions) + 1
        what = f"version {changed[0]} was published with other content and withdrawn; publish this as version {following}"
        raise ConflictError(what, where=f"{name}/{changed[0]}", remedy="Give the changed files a new version folder.")
    return bool(there)
