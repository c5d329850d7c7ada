# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The publish plan. Pure: source, options and what the repository holds go in, ordered changes come out.

Versions are immutable, a model's other files are not. What the manifest does not list is somebody else's and stays.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..core.errors import ConflictError, InputError, conflict
from ..core.plan import Action, Plan
from .layout import CONFIG_FILE, MANIFEST_FILE
from .manifest import FileRecord, Manifest, ModelTree
from .withdrawn import Selection, select

_NOT_OURS = "we did not publish this"


@dataclass(frozen=True)
class SourceFile:
    """path: where to read it on the publisher's machine. size: bytes. sha256: hex."""

    # There may be 100,000 of them: without a dictionary each, that is 5 MiB less.
    __slots__ = ("path", "sha256", "size")

    path: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Entry:
    """A file as the store lists it. stamp: changes when the content may have; attributes_ok: owner, group and mode are the wanted ones."""

    size: int
    stamp: str
    attributes_ok: bool = True


@dataclass(frozen=True)
class Options:
    """models: which models (all where empty). version: that one alone. keep_versions: the newest so many (0: all).

    allow_empty: prune may take away the last model. served: model → the versions that its new configuration names; they are never pruned.
    """

    models: tuple[str, ...] = ()
    version: int | None = None
    keep_versions: int = 0
    prune: bool = False
    force: bool = False
    adopt: bool = False
    verify: str = "list"
    allow_empty: bool = False
    served: Mapping[str, frozenset[int]] = field(default_factory=dict)


@dataclass(frozen=True)
class Observed:
    """What the repository holds. raw: the manifest's bytes. names: its model folders. trees: model → listing, of those listed.

    digests: "model/path" → SHA-256 of the files that were read. leftovers: what a killed publish left.
    """

    manifest: Manifest | None = None
    note: str = ""
    raw: bytes | None = None
    names: frozenset[str] = frozenset()
    trees: Mapping[str, ModelTree[Entry]] = field(default_factory=dict)
    digests: Mapping[str, str] = field(default_factory=dict)
    leftovers: tuple[str, ...] = ()

    @property
    def committed(self) -> Manifest:
        return self.manifest or Manifest()

    def is_ours(self, name: str) -> bool:
        return name in self.committed.models or name in self.committed.pending

    def actual(self, name: str) -> ModelTree[str]:
        """The model's content as SHA-256, "" where it is unknown. A model that was not listed is taken to be as recorded."""
        record = self.committed.models.get(name, ModelTree())
        tree = self.trees.get(name)
        if tree is None:
            return _digests(record) if name in self.names else ModelTree()
        recorded = record.flat()

        def content(path: str, entry: Entry) -> str:
            known = recorded.get(path)
            assumed = known.sha256 if known and known.size == entry.size else ""
            return self.digests.get(f"{name}/{path}", assumed)

        files = {path: content(path, entry) for path, entry in tree.files.items()}
        versions = {v: {path: content(f"{v}/{path}", entry) for path, entry in each.items()} for v, each in tree.versions.items()}
        return ModelTree(files, versions)


@dataclass(frozen=True)
class ModelChange:
    """What happens to one model. added, replaced: version → files to put; files: to put outside of versions; the rest: to take away.

    state: new, changed, unchanged or removed. versions: those that we have published there afterwards.
    held: why it is left as it is, though the source may hold something else.
    """

    name: str
    state: str
    added: Mapping[int, Mapping[str, SourceFile]] = field(default_factory=dict)
    replaced: Mapping[int, Mapping[str, SourceFile]] = field(default_factory=dict)
    files: Mapping[str, SourceFile] = field(default_factory=dict)
    removed_files: tuple[str, ...] = ()
    removed_versions: tuple[int, ...] = ()
    set_attributes: bool = False
    versions: tuple[int, ...] = ()
    held: str = ""

    def uploads(self) -> dict[str, SourceFile]:
        """What is transferred: "model/path" → file."""
        puts = {f"{self.name}/{path}": each for path, each in self.files.items()}
        for group in (self.added, self.replaced):
            puts.update({f"{self.name}/{number}/{path}": each for number in group for path, each in group[number].items()})
        return puts

    @property
    def bytes(self) -> int:
        return sum(each.size for each in self.uploads().values())

    @property
    def changed_versions(self) -> list[int]:
        return sorted({*self.added, *self.replaced})

    @property
    def must_load(self) -> bool:
        """Whether a server has to load it (again)."""
        return bool(self.added or self.replaced or self.files or self.removed_files or self.removed_versions)

    def action(self) -> Action:
        verb = {"new": "create", "removed": "remove"}.get(self.state, "update")
        parts = [f"version {number} added" for number in sorted(self.added)]
        parts += [f"version {number} replaced" for number in sorted(self.replaced)]
        parts += [f"{path} written" for path in sorted(self.files)]
        parts += [f"{path} removed" for path in self.removed_files]
        parts += [f"version {number} removed" for number in self.removed_versions]
        parts += ["owner and mode set"] if self.set_attributes else []
        return Action(verb, f"model {self.name}" + (f" ({', '.join(parts)})" if parts else ""), {"change": self})


@dataclass(frozen=True)
class Publication(Plan):
    """A plan that also carries the manifest it leads to (None: the manifest goes) and what each model comes to."""

    manifest: Manifest | None = None
    models: tuple[ModelChange, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def changes(self) -> list[ModelChange]:
        return [action.data["change"] for action in self.actions if "change" in action.data]


def to_list(desired: Mapping[str, ModelTree[SourceFile]], observed: Observed, options: Options, *, absent: bool = False) -> set[str]:
    """The models of the repository whose files must be listed before a plan can be made."""
    committed = observed.committed
    ours = {*committed.models, *committed.pending}
    if absent:
        return ours & observed.names if not options.models else set(options.models) & observed.names
    wanted = set(desired)
    listed = set(committed.pending) if options.verify == "manifest" else ours
    # Whatever is trusted: what is about to go may hold what is not ours, and so may the number of a version that is about to come.
    listed |= set(_pruned(wanted, observed, options))
    listed |= {name for name in wanted & committed.models.keys() if _adds(name, desired[name], observed, options)}
    return (listed | (wanted if options.adopt or options.force else set())) & observed.names


def to_digest(desired: Mapping[str, ModelTree[SourceFile]], observed: Observed, options: Options) -> list[str]:
    """The listed files ("model/path") whose content the listing does not tell."""
    keys: list[str] = []
    for name, tree in sorted(observed.trees.items()):
        if name in observed.committed.pending and name not in desired:
            # Another source's, who looks at it when it goes on.
            continue
        record = observed.committed.models.get(name, ModelTree()).flat()
        wanted = desired[name].flat() if name in desired else {}
        every = options.verify == "digest" or name in observed.committed.pending
        for path, entry in tree.items():
            known = record.get(path)
            if known is None:
                # Unrecorded: worth reading only where it could be just what the source holds.
                reading = path in wanted and wanted[path].size == entry.size
            else:
                reading = known.size == entry.size and (every or known.stamp != entry.stamp)
            if reading:
                keys.append(f"{name}/{path}")
    return keys


def plan_present(desired: Mapping[str, ModelTree[SourceFile]], observed: Observed, options: Options) -> Publication:
    """Takes the repository to hold `desired`. Raises ConflictError, naming everything that stands against it."""
    chosen = select(desired, observed.committed.withdrawn, force=options.force)
    planners = [_ModelPlan(name, chosen.trees[name], observed, options) for name in sorted(chosen.trees)]
    conflicts = [conflict for planner in planners for conflict in planner.conflicts]
    gone = _pruned(desired, observed, options)
    conflicts += [text for name in gone for text in _foreign(name, observed, options)]
    if conflicts:
        raise _conflict(conflicts)
    models = {**observed.committed.models, **{planner.name: planner.record for planner in planners}}
    for name in gone:
        models.pop(name, None)
    if gone and not models and not options.allow_empty:
        remedy = "Look whether the source is the right one; set allow_empty if that is what you want."
        raise InputError(f"prune would take away every model: {', '.join(gone)}", where="prune", remedy=remedy)
    changes = [planner.change for planner in planners] + [_removal(name) for name in gone if name in observed.names]
    notes = chosen.notes + tuple(note for planner in planners for note in planner.notes)
    # What is held, or another source's, is not touched: what was begun there stays begun.
    pending = tuple(name for name in observed.committed.pending if name not in chosen.trees and name not in gone)
    left = replace(observed.committed, models=models, pending=pending, withdrawn=chosen.left)
    return _publication(changes + _held(chosen, observed), left, observed, notes)


def _held(chosen: Selection[SourceFile], observed: Observed) -> list[ModelChange]:
    records = observed.committed.models
    versions = {name: tuple(sorted(records[name].versions)) if name in records else () for name in chosen.held}
    return [ModelChange(name, "unchanged", versions=versions[name], held=why) for name, why in chosen.held.items()]


def plan_absent(observed: Observed, options: Options) -> Publication:
    """Takes away models, one version of models, or (no models named) everything that we published."""
    committed = observed.committed
    if options.version is not None:
        changes = [_without_version(name, options.version, observed, options) for name in options.models]
        models = {**committed.models, **{each.name: _left(each, committed) for each in changes if each.name in committed.models}}
        return _publication(changes, replace(committed, models=models), observed)
    names = options.models or tuple(sorted({*committed.models, *committed.pending}))
    conflicts = [text for name in names for text in _foreign(name, observed, options)]
    if conflicts:
        raise _conflict(conflicts)
    changes = [_removal(name) for name in names if name in observed.names]
    models = {name: tree for name, tree in committed.models.items() if name not in names}
    withdrawn = {name: marks for name, marks in committed.withdrawn.items() if name not in names}
    releases = {name: each for name, each in committed.releases.items() if name not in names}
    pending = tuple(name for name in committed.pending if name not in names)
    left = replace(committed, models=models, pending=pending, withdrawn=withdrawn, releases=releases)
    return _publication(changes, left if options.models and observed.manifest else None, observed)


class _ModelPlan:
    """The plan for one model of the source: the change, its new record, and what stands against it."""

    def __init__(self, name: str, want: ModelTree[SourceFile], observed: Observed, options: Options) -> None:
        self.name, self.want, self.options = name, want, options
        self.old = observed.committed.models.get(name, ModelTree())
        self.actual = observed.actual(name)
        # What a killed publish left of this model was never committed: it may be overwritten.
        self.uncommitted = name in observed.committed.pending
        self.conflicts: list[tuple[str, str]] = []
        self.notes: list[str] = []
        self.exists = name in observed.names
        if self.exists and not observed.is_ours(name) and not (options.adopt or options.force):
            self.conflicts.append((name, "there is a model of this name that we did not publish"))
        self.change = self._change(observed.trees.get(name))
        self.record = self._record()

    def _change(self, tree: ModelTree[Entry] | None) -> ModelChange:
        wanted, dropped = self._select()
        kinds = {number: self._version(number) for number in wanted}
        files = {path: each for path, each in self.want.files.items() if self.actual.files.get(path) != each.sha256}
        # A publish that was killed may have left the pin of a model that has no configuration.
        ours = {*self.old.files, CONFIG_FILE} if self.uncommitted else set(self.old.files)
        gone = tuple(sorted(path for path in ours if path not in self.want.files and path in self.actual.files))
        self._note_damage(wanted, dropped)
        change = ModelChange(
            self.name,
            "new" if not self.exists else "changed",
            added={number: self.want.versions[number] for number, kind in kinds.items() if kind == "added"},
            replaced={number: self.want.versions[number] for number, kind in kinds.items() if kind == "replaced"},
            files=files,
            removed_files=gone,
            removed_versions=tuple(number for number in dropped if number in self.actual.versions),
            set_attributes=tree is not None and not self._attributes_ok(tree),
            versions=tuple(sorted({*wanted, *(set(self.old.versions) - set(dropped))})),
        )
        idle = self.exists and not change.must_load and not change.set_attributes
        return ModelChange(self.name, "unchanged", versions=change.versions) if idle else change

    def _select(self) -> tuple[list[int], list[int]]:
        """The versions to have from the source, and those of ours to take away."""
        options, published = self.options, set(self.old.versions)
        source = {number for number in self.want.versions if options.version in (None, number)}
        # What is pruned anyway must not push out what is to stay.
        candidates = source if options.prune and options.version is None else source | published
        keep = set(sorted(candidates)[-options.keep_versions :]) | options.served.get(self.name, frozenset())
        return sorted(source & keep), sorted(published - keep)

    def _version(self, number: int) -> str:
        """added, replaced, or "" where the version is as it should be."""
        want = {path: each.sha256 for path, each in self.want.versions[number].items()}
        there = self.actual.versions.get(number)
        same = there is not None and all(there.get(path) == digest for path, digest in want.items())
        recorded = self.old.versions.get(number)
        if recorded is not None:
            have = {path: each.sha256 for path, each in recorded.items()}
            changed = sorted(path for path in {*have, *want} if have.get(path) != want.get(path))
            if changed and not self.options.force:
                self._immutable(number, changed)
            same = same and not changed
        elif there is not None and not self._may_take(same):
            self.conflicts.append((f"{self.name}/{number}", "there is a version of this number that we did not publish"))
        if there is None:
            return "added"
        return "" if same else "replaced"

    def _may_take(self, same: bool) -> bool:
        return self.uncommitted or self.options.force or (same and self.options.adopt)

    def _immutable(self, number: int, paths: Sequence[str]) -> None:
        following = max(*self.want.versions, *self.old.versions, *self.actual.versions, 0) + 1
        what = f"version {number} is published and its files differ: {', '.join(paths)}; publish them as version {following}"
        self.conflicts.append((f"{self.name}/{number}", what))

    def _note_damage(self, wanted: Sequence[int], dropped: Sequence[int]) -> None:
        for number in sorted(set(self.old.versions) - set(wanted) - set(dropped)):
            have = {path: each.sha256 for path, each in self.old.versions[number].items()}
            there = self.actual.versions.get(number, {})
            damaged = sorted(path for path, digest in have.items() if there.get(path) != digest)
            if damaged or number not in self.actual.versions:
                what = ", ".join(damaged) or "missing"
                self.notes.append(f"{self.name}/{number} is damaged ({what}) and this run has nothing to repair it with")

    def _attributes_ok(self, tree: ModelTree[Entry]) -> bool:
        wrong = [path for path, entry in tree.flat().items() if not entry.attributes_ok]
        return not wrong or not {*self.old.flat(), *self.want.flat()} & set(wrong)

    def _record(self) -> ModelTree[FileRecord]:
        versions: dict[int, Mapping[str, FileRecord]] = {}
        for number in self.change.versions:
            from_source = number in self.want.versions and self.options.version in (None, number)
            versions[number] = _records(self.want.versions[number]) if from_source else self.old.versions[number]
        record = ModelTree(_records(self.want.files), versions)
        # Equal records differ in stamps at most: keep those that we have.
        return self.old if record == self.old else record


def _adds(name: str, want: ModelTree[SourceFile], observed: Observed, options: Options) -> bool:
    """Whether a model of ours gets a version that its record lacks."""
    if want.versions.keys() <= observed.committed.models[name].versions.keys():
        return False
    return bool(_ModelPlan(name, want, observed, options).change.added)


def _records(files: Mapping[str, SourceFile]) -> dict[str, FileRecord]:
    return {path: FileRecord(each.size, each.sha256) for path, each in files.items()}


def _digests(record: ModelTree[FileRecord]) -> ModelTree[str]:
    files = {path: each.sha256 for path, each in record.files.items()}
    return ModelTree(files, {number: {path: each.sha256 for path, each in group.items()} for number, group in record.versions.items()})


def _pruned(desired: Iterable[str], observed: Observed, options: Options) -> list[str]:
    if not options.prune:
        return []
    ours = {*observed.committed.models, *observed.committed.pending} - set(desired)
    return sorted(ours & set(options.models) if options.models else ours)


def _removal(name: str) -> ModelChange:
    return ModelChange(name, "removed")


def _foreign(name: str, observed: Observed, options: Options) -> list[tuple[str, str]]:
    """What forbids to remove this model: it, or a version in it, is not ours."""
    if options.force or name not in observed.names:
        return []
    if not observed.is_ours(name):
        return [(name, f"{_NOT_OURS} model")]
    if name in observed.committed.pending:
        return []
    return strangers(name, observed.trees[name], observed.committed.models[name])


def strangers(name: str, tree: ModelTree[Entry], record: ModelTree[FileRecord]) -> list[tuple[str, str]]:
    """What lies in a model of ours that we did not publish, as (path, why it may not go)."""
    versions = [(f"{name}/{number}", f"{_NOT_OURS} version") for number in sorted(tree.versions.keys() - record.versions.keys())]
    ours = ModelTree(tree.files, {number: each for number, each in tree.versions.items() if number in record.versions})
    # Some tools for buckets make an object for a folder.
    files = sorted(path for path in ours.flat().keys() - record.flat().keys() if not path.endswith("/"))
    return versions + [(f"{name}/{path}", f"{_NOT_OURS} file") for path in files]


def _without_version(name: str, number: int, observed: Observed, options: Options) -> ModelChange:
    record = observed.committed.models.get(name, ModelTree())
    there = name in observed.names and number in observed.actual(name).versions
    left = tuple(sorted(set(record.versions) - {number}))
    if there and not (options.force or name in observed.committed.pending):
        alone = ModelTree({}, {number: observed.trees[name].versions[number]})
        if conflicts := strangers(name, alone, record):
            raise _conflict(conflicts)
    if there and not set(observed.actual(name).versions) - {number}:
        raise InputError(
            "it is the model's only version, and a model without one cannot load",
            where=f"{name}/{number}",
            remedy="Remove the whole model: leave out version.",
        )
    return ModelChange(name, "changed" if there else "unchanged", removed_versions=(number,) if there else (), versions=left)


def _left(change: ModelChange, committed: Manifest) -> ModelTree[FileRecord]:
    old = committed.models[change.name]
    return ModelTree(old.files, {number: old.versions[number] for number in change.versions})


def _conflict(conflicts: Sequence[tuple[str, str]]) -> ConflictError:
    remedy = "Choose another name or repository, set adopt to take over what is the same, or force to overwrite or remove it."
    if all(what.startswith("version ") for _unused, what in conflicts):
        remedy = "Give the changed files a new version folder, or set force to overwrite what may be serving."
    elif all(what.startswith(_NOT_OURS) for _unused, what in conflicts):
        remedy = "Move it to another place, or set force to remove it too."
    return conflict(conflicts, remedy)


def _publication(changes: Sequence[ModelChange], left: Manifest | None, observed: Observed, notes: tuple[str, ...] = ()) -> Publication:
    acting = [change for change in changes if change.state != "unchanged"]
    # Removals come last: what replaces a model is there before it goes.
    actions = [change.action() for change in sorted(acting, key=lambda change: (change.state == "removed", change.name))]
    if observed.leftovers:
        actions.append(Action("clean up", f"what a broken publish left ({', '.join(observed.leftovers)})"))
    if actions[: len(acting)] or left != observed.manifest:
        actions.append(Action("remove" if left is None else "write", MANIFEST_FILE))
    notes = ((observed.note,) if observed.note else ()) + notes
    before, after = _texts(acting, left or Manifest(), observed)
    return Publication(tuple(actions), before, after, left, tuple(changes), notes)


def _texts(acting: Sequence[ModelChange], left: Manifest, observed: Observed) -> tuple[str, str]:
    """The files of the models that change, before and after."""
    before: list[str] = []
    after: list[str] = []
    for change in acting:
        wanted = left.models.get(change.name, ModelTree()).flat()
        recorded = observed.committed.models.get(change.name, ModelTree()).flat()
        actual = observed.actual(change.name).flat()
        # Files that are neither recorded nor wanted are not ours to show.
        ours = {path: digest for path, digest in actual.items() if path in wanted or path in recorded or change.state == "removed"}
        before += [_line(f"{change.name}/{path}", digest) for path, digest in sorted(ours.items())]
        after += [_line(f"{change.name}/{path}", each.sha256) for path, each in sorted(wanted.items())]
    return "".join(before), "".join(after)


def _line(path: str, digest: str) -> str:
    return f"{path}  {'sha256:' + digest[:16] if digest else 'content unknown'}\n"


def report(publication: Publication) -> dict[str, Any]:
    """The module's return values that tell models and versions."""
    changes = publication.changes
    manifest = publication.manifest or Manifest()
    return {
        "models": [
            {"name": each.name, "versions": list(each.versions), "changed_versions": each.changed_versions, "state": each.state}
            for each in sorted(publication.models, key=lambda each: each.name)
        ],
        "changed_models": sorted(each.name for each in changes if each.must_load and each.state != "removed"),
        "removed_models": sorted(each.name for each in changes if each.state == "removed"),
        "held_models": {each.name: each.held for each in publication.models if each.held},
        "revisions": {name: revision(tree) for name, tree in sorted(manifest.models.items())},
        "bytes": sum(each.bytes for each in changes),
        "notes": list(publication.notes),
    }


def revision(tree: ModelTree[FileRecord]) -> str:
    """A text that changes with any file or version of a published model: by it a server knows what it has not loaded yet."""
    lines = [f"{number}/" for number in sorted(tree.versions)] + [f"{path} {each.sha256}" for path, each in tree.items()]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
