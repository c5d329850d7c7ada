# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Releases of models: what served before each, and what going back to it means for the repository. Pure.

The manifest knows of a release before anything of it is published: a run that dies is finished, or undone, by the next. A release is

    begun      what served before is kept here, and the new may be published; not yet proved
    done       proved
    withdrawn  the repository is switched back; servers may still hold what was withdrawn
    cleared    what was withdrawn is taken away
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ..core.errors import InputError
from .layout import CONFIG_FILE
from .manifest import FileRecord, ModelTree, Release, Withdrawn
from .publish import Entry
from .publish_steps import Step, served_versions, specify_versions
from .withdrawn import content

BEGUN, DONE, WITHDRAWN, CLEARED = "begun", "done", "withdrawn", "cleared"
OPEN = (BEGUN, WITHDRAWN)


@dataclass(frozen=True)
class Published:
    """A model in the repository now. record: as the manifest has it. config: its text, None where there is none.

    unfinished: versions that a publish brought without coming to its end. lost: recorded ones that are not whole any more.
    """

    name: str
    record: ModelTree[FileRecord]
    config: str | None = None
    unfinished: tuple[int, ...] = ()
    lost: tuple[int, ...] = ()

    @property
    def serves(self) -> tuple[int, ...]:
        """The versions that a server loads by the configuration; all where that cannot be told."""
        versions = sorted({*self.record.versions, *self.unfinished})
        found = served_versions(self.config or "", versions)
        return tuple(versions) if found is None else found


@dataclass(frozen=True)
class Retreat:
    """What takes one model back. steps: switches in order. record: what the manifest holds then. mark: what must not come back."""

    entry: Release
    steps: tuple[Step, ...] = ()
    record: ModelTree[FileRecord] | None = None
    mark: Withdrawn | None = None


def stopped(there: Published, tree: ModelTree[Entry], files: Mapping[str, FileRecord]) -> Published:
    """A model of which a publish did not come to its end. tree: what lies there. files: ours outside of versions, as they are now."""
    recorded = there.record.versions
    whole = {number for number, each in recorded.items() if number in tree.versions and each.keys() <= tree.versions[number].keys()}
    unfinished = tuple(sorted(tree.versions.keys() - recorded.keys()))
    return replace(there, record=ModelTree(files, recorded), unfinished=unfinished, lost=tuple(sorted(recorded.keys() - whole)))


def begin(there: Published | None, serving: Sequence[int], files: Mapping[str, str]) -> Release:
    """The entry of a release that begins. serving: versions that are ready on the servers now, empty where unknown."""
    if there is None:
        return Release(BEGUN)
    ready = tuple(sorted(set(serving) & set(there.record.versions)))
    return Release(BEGUN, ready or there.serves, tuple(sorted(there.record.versions)), dict(files))


def retreat(entry: Release | None, there: Published | None, to: int | None, why: str) -> Retreat:
    """Back to what served before the release, or to version `to`.

    Raises InputError where there is no such version, or where nobody knows what served before.
    """
    if there is None:
        # A new model of which nothing was published, or that somebody took away meanwhile.
        return Retreat(Release(CLEARED, why=why))
    begun = entry is not None and entry.state == BEGUN
    target = (to,) if to is not None else _target(entry, there)
    if not target:
        return _forget(there, why)
    whole = there.record.versions.keys() - set(there.lost)
    lacking = sorted(set(target) - whole)
    if lacking:
        published = ", ".join(map(str, sorted(whole))) or "none"
        raise InputError(f"version {lacking[0]} is not published (published: {published})", where=there.name, remedy="Choose one that is.")
    if entry is not None and not begun and there.serves == target and not there.unfinished:
        return Retreat(entry)
    came = {*there.serves, *there.unfinished, *(set(there.record.versions) - set(entry.versions) if begun and entry else ())}
    return _switch(there, target, tuple(sorted(came - set(target))), _before(entry, target), why)


def _before(entry: Release | None, target: tuple[int, ...]) -> Mapping[str, str] | None:
    """The files that belong to the versions gone back to; None where that is not known: then they stay as they are."""
    if entry is None or not entry.versions or entry.state not in (BEGUN, DONE):
        return None
    return entry.files if entry.state == BEGUN or target == entry.served else None


def _target(entry: Release | None, there: Published) -> tuple[int, ...]:
    if entry is not None and (entry.state == BEGUN or there.serves == (entry.released if entry.state == DONE else entry.served)):
        return entry.served
    older = [number for number in there.record.versions if number < min(there.serves, default=0)]
    if not older:
        what = f"nothing is known to have served before version {', '.join(map(str, there.serves))}"
        raise InputError(what, where=there.name, remedy="Name the version to go back to in rollback_to.")
    return (max(older),)


def _forget(there: Published, why: str) -> Retreat:
    """A new model: servers unload it, then it goes."""
    bad = tuple(sorted({*there.record.versions, *there.unfinished}))
    return Retreat(Release(WITHDRAWN, bad=bad, why=why), record=there.record, mark=_mark(there, bad, why))


def _mark(there: Published, bad: Sequence[int], why: str) -> Withdrawn:
    # What was not finished has no content that could be compared.
    digests = {number: content(there.record.versions[number]) if number in there.record.versions else "" for number in bad}
    return Withdrawn(digests, "" if bad else content(there.record.files), why)


def _switch(there: Published, target: tuple[int, ...], bad: tuple[int, ...], before: Mapping[str, str] | None, why: str) -> Retreat:
    name, have = there.name, {path: each.sha256 for path, each in there.record.files.items()}
    same = before is None or {path: digest(text) for path, text in before.items()} == have
    entry = Release(WITHDRAWN if bad else CLEARED, target, tuple(sorted(there.record.versions)), bad=bad, why=why)
    if same and there.serves == target and not bad:
        # Nothing of the release arrived.
        return Retreat(entry, record=there.record)
    config = there.config if before is None else before.get(CONFIG_FILE)
    pinned = specify_versions(config or "", target)
    if pinned is None:
        raise InputError("its configuration cannot be read", where=f"{name}/{CONFIG_FILE}", remedy="Correct it and publish it again.")
    texts = {**(before or {}), CONFIG_FILE: pinned}
    gone = sorted(have.keys() - texts.keys()) if before is not None else []
    steps = [
        Step("put_text", f"{name}/{path}", text=_bytes(text)) for path, text in sorted(texts.items()) if have.get(path) != digest(text)
    ]
    # The configuration comes last: it is the switch, and on some stores servers notice nothing else.
    switch = [step for step in steps if step.target == f"{name}/{CONFIG_FILE}"]
    rest = [step for step in steps if step not in switch] + [Step("drop_file", f"{name}/{path}") for path in gone]
    files = {path: each for path, each in there.record.files.items() if path not in gone}
    files.update({path: FileRecord(len(_bytes(text)), digest(text)) for path, text in texts.items()})
    # A publish that died may have left the very pin that is wanted: that is no configuration to withdraw.
    mark = _mark(there, bad, why) if bad or rest or switch else None
    return Retreat(entry, (*rest, *switch), ModelTree(files, there.record.versions), mark)


def _bytes(text: str) -> bytes:
    return text.encode(errors="surrogateescape")


def digest(text: str) -> str:
    return hashlib.sha256(_bytes(text)).hexdigest()
