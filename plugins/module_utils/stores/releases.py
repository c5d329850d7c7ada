# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What module `release` runs: what the manifest knows of releases, and the way back in the repository of any store."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from typing import Any, cast

from ..core.errors import ConflictError, InputError, conflict
from ..core.plan import Action, Plan
from ..core.wait import Clock
from ..repository.layout import CONFIG_FILE
from ..repository.manifest import FileRecord, Manifest, ModelTree, Release, Withdrawn, dump, parse
from ..repository.publish import Entry, revision, strangers
from ..repository.publish_steps import SETTLE_SECONDS, Step
from ..repository.release import (
    BEGUN,
    CLEARED,
    DONE,
    OPEN,
    WITHDRAWN,
    Published,
    begin,
    retreat,
    stopped,
)
from .base import Store


@dataclass(frozen=True)
class Wish:
    """state: begun, done, withdrawn or cleared. models: which; those of open releases where empty. to: model → version to go back to.

    serving: model → versions that are ready now. again: models whose withdrawn versions may be published once more.
    """

    state: str
    models: tuple[str, ...] = ()
    to: Mapping[str, int] = field(default_factory=dict)
    serving: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    again: tuple[str, ...] = ()
    why: str = ""


@dataclass(frozen=True)
class Seen:
    """The manifest and its bytes. trees: what lies there, of models that a publish left unfinished or of which something goes."""

    manifest: Manifest
    raw: bytes | None
    trees: Mapping[str, ModelTree[Entry]] = field(default_factory=dict)


@dataclass(frozen=True)
class Releasing(Plan):
    """steps: the switches of each model. manifest: what it is afterwards."""

    steps: Mapping[str, tuple[Step, ...]] = field(default_factory=dict)
    manifest: Manifest = field(default_factory=Manifest)


class Releases:
    """See `module.PlannedService`. publisher: told in the manifest, for people."""

    def __init__(self, store: Store, wish: Wish, publisher: str = "", clock: Clock | None = None) -> None:
        self._store, self._wish, self._publisher, self._clock = store, wish, publisher, clock or Clock()
        self._seen = Seen(Manifest(), None)

    def observe(self) -> Seen:
        raw = self._store.read_manifest()
        self._seen = Seen(parse(raw)[0] or Manifest(), raw)
        self._seen = replace(self._seen, trees=self._trees(self._seen))
        return self._seen

    def _trees(self, seen: Seen) -> dict[str, ModelTree[Entry]]:
        leaving = {name for name, entry in seen.manifest.releases.items() if entry.state == WITHDRAWN}
        names = {WITHDRAWN: set(seen.manifest.pending), CLEARED: leaving}.get(self._wish.state, set()) & set(self._names(seen))
        there = self._store.names(seen.manifest) if names else frozenset()
        known = there | seen.manifest.models.keys()
        return {name: self._store.tree(name) if name in there else ModelTree() for name in names & known}

    def plan(self, actual: Seen) -> Releasing:
        make: Mapping[str, Callable[[Seen], Releasing]] = {
            BEGUN: self._begun,
            DONE: self._done,
            WITHDRAWN: self._withdrawn,
            CLEARED: self._cleared,
        }
        plan = make[self._wish.state](actual)
        return replace(plan, before=_shown(actual.manifest), after=_shown(plan.manifest))

    def apply(self, plan: Plan) -> None:
        """As a publish does it: the manifest says what is about to change, the switches follow, the manifest is the commit."""
        plan = cast(Releasing, plan)
        seen = self._seen.manifest
        with self._store.publishing() as created:
            if self._store.read_manifest() != self._seen.raw:
                raise ConflictError("somebody else published in the meantime", where=self._store.url, remedy="Run this again.")
            there = self._store.names(seen) if plan.steps else ()
            present = {name: self._store.tree(name) for name in plan.steps if name in there}
            groups = [_possible(steps, present[name].versions) for name, steps in plan.steps.items() if name in present]
            if any(groups):
                withdrawn = plan.manifest.withdrawn
                self._write(replace(seen, pending=tuple(sorted({*seen.pending, *plan.steps})), withdrawn=withdrawn))
                # A second change within the second of the first is not seen in every store.
                self._clock.sleep(SETTLE_SECONDS)
                self._store.run([group for group in groups if group])
            self._write(self._stamped(plan, present, created))

    def result(self, actual: Seen, plan: Plan, _applied: bool) -> dict[str, Any]:
        plan = cast(Releasing, plan)
        releases = {name: each for name, each in plan.manifest.releases.items() if name in self._names(actual) or each.state in OPEN}
        leaving = [name for name, each in releases.items() if each.state == WITHDRAWN and not each.served]
        models = {name: tree for name, tree in plan.manifest.models.items() if name not in leaving}
        serving = [f"{name}:{number}" for name in sorted(models.keys() & releases) for number in self._published(name, models[name]).serves]
        return {
            "releases": {name: _described(each) for name, each in sorted(releases.items())},
            "open": sorted(name for name, each in releases.items() if each.state in OPEN),
            "serving": serving,
            "leaving": [f"{name}:{number}" for name, each in sorted(releases.items()) if each.state == WITHDRAWN for number in each.bad],
            "revisions": {name: revision(tree) for name, tree in sorted(models.items())},
        }

    # --- one plan a state

    def _names(self, seen: Seen) -> list[str]:
        return sorted({*self._wish.models, *self._wish.to} or (name for name, each in seen.manifest.releases.items() if each.state in OPEN))

    def _begun(self, seen: Seen) -> Releasing:
        journal, actions = dict(seen.manifest.releases), []
        for name in self._wish.models:
            entry = journal.get(name)
            if entry is None or entry.state not in OPEN:
                journal[name] = self._entry(name, seen.manifest)
                actions.append(Action("begin", f"release of {name} ({_serves(journal[name])} before)"))
        marks = {
            name: tuple(replace(mark, again=True) for mark in each) if name in self._wish.again else each
            for name, each in seen.manifest.withdrawn.items()
        }
        actions += [Action("allow", f"{name} again") for name, each in marks.items() if each != seen.manifest.withdrawn[name]]
        return Releasing(tuple(actions), manifest=replace(seen.manifest, withdrawn=marks, releases=journal))

    def _entry(self, name: str, manifest: Manifest) -> Release:
        if name not in manifest.models:
            return begin(None, (), {})
        record = manifest.models[name]
        texts = {path: self._store.read_text(f"{name}/{path}") for path in record.files}
        files = {path: text for path, text in texts.items() if text is not None}
        return begin(Published(name, record, files.get(CONFIG_FILE)), self._wish.serving.get(name, ()), files)

    def _done(self, seen: Seen) -> Releasing:
        journal, actions = dict(seen.manifest.releases), []
        for name in self._names(seen):
            entry = journal.get(name)
            if entry is not None and entry.state == BEGUN and name in seen.manifest.models:
                serves = self._published(name, seen.manifest.models[name]).serves
                journal[name] = replace(entry, state=DONE, released=serves)
                actions.append(Action("record", f"release of {name} ({_serves(entry)} before)"))
        return Releasing(tuple(actions), manifest=replace(seen.manifest, releases=journal))

    def _withdrawn(self, seen: Seen) -> Releasing:
        journal, actions, steps = dict(seen.manifest.releases), [], {}
        models, marks, pending = dict(seen.manifest.models), dict(seen.manifest.withdrawn), set(seen.manifest.pending)
        for name in self._names(seen):
            entry, record = journal.get(name), models.get(name)
            if entry is None and record is None:
                raise InputError(f"the model {name} is not published", where=self._store.url, remedy="Correct the model's name.")
            if entry is not None and entry.state == WITHDRAWN:
                continue
            there = self._there(name, seen)
            back = retreat(entry, there, self._wish.to.get(name), self._wish.why)
            if record is not None and back.record is not None:
                models[name], steps[name] = back.record, back.steps
            # Until it is cleared, what was not finished is ours by this alone.
            if there is None or not (there.unfinished or record is None):
                pending.discard(name)
            if back.entry != entry:
                journal[name] = back.entry
                actions.append(Action("take back", f"{name} ({_serves(back.entry)} again)"))
            if back.mark is not None and back.mark not in marks.get(name, ()):
                marks[name] = (*marks.get(name, ()), back.mark)
        left = replace(seen.manifest, models=models, pending=tuple(sorted(pending)), withdrawn=marks, releases=journal)
        return Releasing(tuple(actions), steps=steps, manifest=left)

    def _there(self, name: str, seen: Seen) -> Published | None:
        """A model as it is now, also where a publish did not come to its end."""
        record, entry, tree = seen.manifest.models.get(name), seen.manifest.releases.get(name), seen.trees.get(name)
        if tree is None:
            return None if record is None else self._published(name, record)
        if record is None and not (entry and entry.state == BEGUN):
            return None
        record = record or ModelTree()
        there = Published(name, record, self._store.read_text(f"{name}/{CONFIG_FILE}"))
        # What else lies there may be somebody else's, and stays.
        kept = {CONFIG_FILE, *record.files, *(entry.files if entry else ())}
        files = {path: each for path, each in tree.files.items() if path in kept and each.size >= 0}
        digests = {path: self._store.digest(f"{name}/{path}") for path in files}
        return stopped(there, tree, {path: FileRecord(each.size, digests[path], each.stamp) for path, each in files.items()})

    def _cleared(self, seen: Seen) -> Releasing:
        journal, actions, steps = dict(seen.manifest.releases), [], {}
        models = dict(seen.manifest.models)
        strange: list[tuple[str, str]] = []
        for name in self._names(seen):
            entry = journal.get(name)
            if entry is None or entry.state != WITHDRAWN:
                continue
            strange += _strange(name, entry, seen)
            journal[name] = replace(entry, state=CLEARED)
            actions.append(Action("remove", f"{name} {', '.join(map(str, entry.bad))}"))
            record = models.get(name, ModelTree())
            if entry.served:
                models[name] = replace(
                    record, versions={number: each for number, each in record.versions.items() if number not in entry.bad}
                )
                steps[name] = tuple(Step("drop_tree", f"{name}/{number}") for number in entry.bad)
            else:
                models.pop(name, None)
                steps[name] = (Step("drop_tree", name),)
        if strange:
            raise conflict(strange, "Move it out of what is taken away, then run this again.", where=self._store.url)
        pending = tuple(name for name in seen.manifest.pending if name not in steps)
        return Releasing(tuple(actions), steps=steps, manifest=replace(seen.manifest, models=models, pending=pending, releases=journal))

    def _published(self, name: str, record: ModelTree[FileRecord]) -> Published:
        text = self._store.read_text(f"{name}/{CONFIG_FILE}") if CONFIG_FILE in record.files else None
        return Published(name, record, text)

    # --- the repository

    def _write(self, manifest: Manifest) -> None:
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        self._store.write_manifest(dump(replace(manifest, publisher=self._publisher, time=now)))

    def _stamped(self, plan: Releasing, present: Mapping[str, object], created: bool) -> Manifest:
        """With the stamps of what was written. Other files keep theirs: they were not looked at."""
        models = dict(plan.manifest.models)
        for name in present.keys() & models.keys():
            files = dict(models[name].files)
            stamps = {path: each.stamp for path, each in self._store.tree(name).items()}
            for path in files.keys() & {step.target.partition("/")[2] for step in plan.steps[name]}:
                files[path] = replace(files[path], stamp=stamps.get(path, ""))
            models[name] = replace(models[name], files=files)
        return replace(plan.manifest, models=models, created_root=plan.manifest.created_root or created)


def _strange(name: str, entry: Release, seen: Seen) -> list[tuple[str, str]]:
    """What somebody else put into what goes. What a publish that was not finished left there cannot be told from it, and is ours."""
    if name in seen.manifest.pending:
        return []
    tree = seen.trees.get(name, ModelTree())
    bad = ModelTree({}, {number: files for number, files in tree.versions.items() if number in entry.bad})
    return strangers(name, bad if entry.served else tree, seen.manifest.models.get(name, ModelTree()))


def _possible(steps: Sequence[Step], versions: Mapping[int, object]) -> list[Step]:
    """Without the removal of versions that are gone already: a run died after it."""
    there = {str(number) for number in versions}
    return [step for step in steps if step.op != "drop_tree" or "/" not in step.target or step.target.rsplit("/", 1)[1] in there]


def _serves(entry: Release) -> str:
    return f"version {', '.join(map(str, entry.served))}" if entry.served else "nothing"


def _described(entry: Release) -> dict[str, Any]:
    return {
        "state": entry.state,
        "served": list(entry.served),
        "released": list(entry.released),
        "withdrawn": list(entry.bad),
        "reason": entry.why,
    }


def _shown(manifest: Manifest) -> dict[str, Any]:
    """For the diff: without the texts that are kept."""
    journal = manifest.releases
    marks: Mapping[str, tuple[Withdrawn, ...]] = manifest.withdrawn
    return {
        "releases": {name: _described(each) for name, each in sorted(journal.items())},
        "published": {name: sorted(manifest.models[name].versions) for name in sorted(manifest.models.keys() & journal.keys())},
        "withdrawn": {name: sorted({number for mark in each for number in mark.versions}) for name, each in sorted(marks.items())},
    }
