# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Publishes to any store: observe, plan, apply. What the module hands to `module.run_plan`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any, cast

from ..core.errors import ConflictError
from ..core.plan import Plan
from ..core.progress import Progress
from ..core.wait import Clock
from ..repository.layout import CONFIG_FILE, MANIFEST_FILE
from ..repository.manifest import FileRecord, Manifest, ModelTree, dump, parse
from ..repository.publish import (
    ModelChange,
    Observed,
    Options,
    Publication,
    SourceFile,
    plan_absent,
    plan_present,
    report,
    to_digest,
    to_list,
)
from ..repository.publish_steps import SETTLE_SECONDS, Step, is_compound, needs_pin, pin, served_versions, steps, unpin
from .base import Store
from .holder import REFRESH_SECONDS

# What a poll (every 15 seconds by Triton's default) and the load after it may take.
LOAD_SECONDS = 30.0


@dataclasses.dataclass(frozen=True)
class Manners:
    """publisher: told in the manifest, for people. removal_delay: seconds between what is put and what is taken away; None: where
    a load may be disturbed.

    check: called with the models that are to be put, before anything is; raises what forbids it.
    """

    publisher: str = ""
    removal_delay: float | None = None
    check: Callable[[Sequence[str]], None] = lambda _models: None
    progress: Progress = lambda _state: None
    clock: Clock = dataclasses.field(default_factory=Clock)


class Publisher:
    """desired: model → its files, None to take away what `options` names."""

    def __init__(
        self,
        store: Store,
        desired: Mapping[str, ModelTree[SourceFile]] | None,
        options: Options,
        manners: Manners | None = None,
    ) -> None:
        self._store, self._desired, self._options = store, desired, options
        self._manners = manners or Manners()
        self._observed = Observed()

    def observe(self) -> Observed:
        raw = self._store.read_manifest()
        manifest, note = parse(raw)
        seen = Observed(manifest, note, raw, self._store.names(manifest or Manifest()), leftovers=self._store.leftovers())
        absent = self._desired is None
        trees = {name: self._store.tree(name) for name in to_list(self._desired or {}, seen, self._options, absent=absent)}
        seen = dataclasses.replace(seen, trees=trees)
        keys = [] if absent else to_digest(self._desired or {}, seen, self._options)
        self._observed = dataclasses.replace(seen, digests={key: self._store.digest(key) for key in keys})
        return self._observed

    def plan(self, actual: Observed) -> Publication:
        if self._desired is None:
            return plan_absent(actual, self._options)
        plan = plan_present(self._desired, actual, self._options)
        # What is published already was checked then: an idle run stays cheap.
        if put := [change.name for change in plan.changes if change.must_load and change.state != "removed"]:
            self._manners.check(put)
        return plan

    def apply(self, plan: Plan) -> None:
        """Carries a Publication out. Nothing in the repository changes before all content is staged."""
        plan = cast(Publication, plan)
        created_root = self._observed.committed.created_root
        with self._store.publishing() as created:
            if self._store.read_manifest() != self._observed.raw:
                raise ConflictError("somebody else published in the meantime", where=self._store.url, remedy="Run this again.")
            created_root = created_root or created
            changes = plan.changes
            uploads = {key: each for change in changes for key, each in change.uploads().items()}
            if uploads:
                self._store.stage(uploads, self._manners.progress)
            if any(MANIFEST_FILE in action.target for action in plan):
                self._commit(plan, changes, created_root)
        if plan.manifest is None and created_root:
            self._store.remove_root()

    def _commit(self, plan: Publication, changes: list[ModelChange], created_root: bool) -> None:
        if changes:
            self._write(self._pending(changes, created_root))
        first, last = self._removals(changes)
        if first:
            self._store.run(first)
        self._switch(changes, self._pin(changes))
        self._set_attributes(changes, plan.manifest or Manifest())
        self._rest(self._delay(changes, last))
        if last:
            self._store.run(last)
        self._write(plan.manifest and self._stamped(plan, changes, created_root))

    def _pending(self, changes: list[ModelChange], created_root: bool) -> Manifest:
        """What is there now, and which models are about to change: a publish that dies is found and finished by the next."""
        old = self._observed.committed
        pending = sorted({*old.pending, *(change.name for change in changes)})
        return dataclasses.replace(old, pending=tuple(pending), created_root=created_root)

    def _pin(self, changes: list[ModelChange]) -> dict[str, list[Step]]:
        """Holds models at the versions that they serve, where a new one comes in. Returns what lets go of them, by model."""
        pins: list[list[Step]] = []
        unpins: dict[str, list[Step]] = {}
        for change in changes:
            if needs_pin(change, whole=self._store.appears_whole):
                old = self._store.read_text(f"{change.name}/{CONFIG_FILE}")
                present = self._store.tree(change.name).versions
                if step := pin(change, old, present, whole=self._store.appears_whole):
                    pins.append([step])
                    unpins[change.name] = unpin(change, old)
        if pins:
            self._store.run(pins)
            self._manners.clock.sleep(SETTLE_SECONDS)
        return unpins

    def _removals(self, changes: list[ModelChange]) -> tuple[list[list[Step]], list[list[Step]]]:
        """What goes before anything new comes, and what goes at the end, model by model.

        A load from an object store downloads every version of a model, and fails when one goes meanwhile. So a version that no server takes
        goes while there is nothing to load.
        """
        first: list[list[Step]] = []
        last: list[list[Step]] = []
        for change in changes:
            drops = [step for step in steps(change) if step.op == "drop_tree"]
            unserved = self._unserved(change)
            first.append([step for step in drops if step.target in unserved])
            last.append([step for step in drops if step.target not in unserved])
        return [group for group in first if group], [group for group in last if group]

    def _unserved(self, change: ModelChange) -> frozenset[str]:
        """Of the versions that go, those that no server takes by the configuration that is there. In a folder none: loads read no other."""
        if self._store.appears_whole or not change.removed_versions:
            return frozenset()
        config = self._store.read_text(f"{change.name}/{CONFIG_FILE}") or ""
        served = served_versions(config, self._store.tree(change.name).versions)
        return frozenset(f"{change.name}/{number}" for number in change.removed_versions if served is not None and number not in served)

    def _delay(self, changes: list[ModelChange], removals: list[list[Step]]) -> float:
        """Seconds between what came and what goes."""
        given = self._manners.removal_delay
        if given is not None:
            return given if removals and any(change.state != "removed" for change in changes) else 0
        loading = {change.name for change in changes if change.state != "removed" and change.uploads()}
        disturbed = any(step.target.partition("/")[0] in loading for group in removals for step in group)
        return LOAD_SECONDS if disturbed and not self._store.appears_whole else 0

    def _rest(self, seconds: float) -> None:
        """Sleeps with signs of life: a lock without one is taken over."""
        while seconds > 0:
            nap = min(seconds, REFRESH_SECONDS)
            self._manners.clock.sleep(nap)
            seconds -= nap
            self._store.keep_lock()

    def _switch(self, changes: list[ModelChange], unpins: Mapping[str, list[Step]]) -> None:
        """Makes what is new visible."""
        puts: list[list[Step]] = []
        for change in changes:
            ordered = steps(change)
            staying = dataclasses.replace(change, removed_versions=())
            if not (is_compound(staying) and self._store.replace_model(staying)):
                puts.append([*(step for step in ordered if step.op != "drop_tree"), *unpins.get(change.name, ())])
        if puts := [group for group in puts if group]:
            self._store.run(puts)

    def _set_attributes(self, changes: list[ModelChange], manifest: Manifest) -> None:
        """Of what is ours: whatever else lies there keeps its own."""
        for change in changes:
            if change.set_attributes:
                ours = self._store.tree(change.name).flat().keys() & manifest.models[change.name].flat().keys()
                self._store.set_attributes(f"{change.name}/{path}" for path in sorted(ours))

    def _stamped(self, plan: Publication, changes: list[ModelChange], created_root: bool) -> Manifest:
        """The manifest with the stamps that the store now gives to what changed, so that the next run need not read it."""
        manifest = plan.manifest or Manifest()
        old = self._observed.committed.models
        changed = {change.name for change in changes}
        models = dict(manifest.models)
        for name, record in manifest.models.items():
            if record is not old.get(name) or name in changed:
                listed = {path: entry.stamp for path, entry in self._store.tree(name).items()}
                models[name] = _with_stamps(record, listed)
        return dataclasses.replace(manifest, models=models, created_root=created_root)

    def _write(self, manifest: Manifest | None) -> None:
        if manifest is not None:
            now = datetime.now(timezone.utc).isoformat(timespec="seconds")
            manifest = dataclasses.replace(manifest, publisher=self._manners.publisher, time=now)
        self._store.write_manifest(None if manifest is None else dump(manifest))

    def result(self, _actual: Observed, plan: Plan, _applied: bool) -> dict[str, Any]:
        plan = cast(Publication, plan)
        separator = "" if self._store.url.endswith("/") else "/"
        manifest = f"{self._store.url}{separator}{MANIFEST_FILE}"
        told = report(plan)
        told["notes"] += self._store.notes
        return {"repository": self._store.url, "manifest": manifest if plan.manifest is not None else "", **told}


def _with_stamps(tree: ModelTree[FileRecord], listed: Mapping[str, str]) -> ModelTree[FileRecord]:
    def stamp(path: str, record: FileRecord) -> FileRecord:
        return dataclasses.replace(record, stamp=listed.get(path, ""))

    files = {path: stamp(path, each) for path, each in tree.files.items()}
    versions = {number: {path: stamp(f"{number}/{path}", each) for path, each in group.items()} for number, group in tree.versions.items()}
    return ModelTree(files, versions)
