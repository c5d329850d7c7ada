# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A repository in an object store: no folders, no rename, one object after the other. What a real Triton does with it decides the order.

- Of what appears in a model, the model file (`model.*`) and config.pbtxt come last, back to back, when all other files are there.
- A version that comes to a model that is served comes in while the configuration is pinned to the older ones: `publisher.py` does that
  for every store whose versions do not appear whole.
- Triton goes by the newest time of all objects of a model, in whole seconds. So it never notices that something is gone: where that
  changes what it should serve, config.pbtxt is written again, a second later.
- A folder is there where an object is. A version without files (an ensemble's) gets an empty object; folder markers are never written.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from ..core.errors import ConflictError
from ..core.progress import Meter, Progress
from ..core.wait import Clock
from ..repository.layout import CONFIG_FILE, MANIFEST_FILE, VERSION_NAME
from ..repository.manifest import Manifest, ModelTree
from ..repository.publish import Entry, ModelChange, SourceFile
from ..repository.publish_steps import SETTLE_SECONDS, Step, rank, served_versions
from .base import StoreOptions
from .bucket import Bucket, Listed, PreconditionError, Upload
from .object_lock import LOCK_KEY, ObjectLock

# The object of a version without files.
KEEP = ".keep"


@dataclass
class _Batch:
    """What a run of steps comes to. first: side by side; last: model by model, in order; gone: afterwards."""

    first: list[Upload] = field(default_factory=list)
    last: list[list[Upload]] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)


class ObjectStore:
    """See `base.Store`."""

    appears_whole = False

    def __init__(self, bucket: Bucket, options: StoreOptions, clock: Clock | None = None) -> None:
        self._bucket = bucket
        self._clock = clock or Clock()
        self._list_all = options.list_all
        self._lock = ObjectLock(bucket, self._clock)
        self._listing: dict[str, dict[str, Listed]] = {}
        self._manifest_stamp = ""
        self._meter = Meter(0, 0, lambda _state: None)

    @property
    def url(self) -> str:
        return self._bucket.url

    @property
    def notes(self) -> Sequence[str]:
        # Not every provider has something to say.
        return tuple(getattr(self._bucket, "notes", ()))

    # --- reading

    def read_manifest(self) -> bytes | None:
        found = self._bucket.read(MANIFEST_FILE)
        self._manifest_stamp = found.stamp if found else ""
        return found.data if found else None

    def names(self, recorded: Manifest) -> frozenset[str]:
        if not self._list_all:
            return self._bucket.folders()
        keys = sorted(f"{name}/{path}" for name, tree in recorded.models.items() for path in tree.flat())
        self._listing = {}
        for each in self._bucket.list("", keys):
            self._note(each)
        return frozenset(name for name in self._listing if name)

    def _note(self, listed: Listed) -> None:
        model, slash, _rest = listed.key.partition("/")
        self._listing.setdefault(model if slash else "", {})[listed.key] = listed

    def tree(self, model: str) -> ModelTree[Entry]:
        files: dict[str, Entry] = {}
        versions: dict[int, dict[str, Entry]] = {}
        for key, each in self._objects(model).items():
            first, slash, rest = key[len(model) + 1 :].partition("/")
            if not (slash and VERSION_NAME.match(first)):
                files[f"{first}{slash}{rest}"] = Entry(each.size, each.stamp)
            elif rest in ("", KEEP):
                versions.setdefault(int(first), {})
            else:
                versions.setdefault(int(first), {})[rest] = Entry(each.size, each.stamp)
        files.pop("", None)
        return ModelTree(files, versions)

    def _objects(self, model: str) -> dict[str, Listed]:
        if model not in self._listing and not self._list_all:
            self._listing[model] = {each.key: each for each in self._bucket.list(f"{model}/")}
        return self._listing.get(model, {})

    def digest(self, key: str) -> str:
        return self._bucket.digest(key)

    def read_text(self, key: str) -> str | None:
        found = self._bucket.read(key)
        return None if found is None else found.data.decode(errors="surrogateescape")

    def holder(self) -> Mapping[str, Any] | None:
        owner = self._lock.holder()
        return owner if owner and owner["alive"] else None

    def leftovers(self) -> tuple[str, ...]:
        # Looked for where it costs nothing: a lock that was left hinders nobody.
        if LOCK_KEY not in self._listing.get("", {}):
            return ()
        owner = self._lock.holder()
        return () if owner is None or owner["alive"] else (LOCK_KEY,)

    # --- publishing

    @contextmanager
    def publishing(self) -> Iterator[bool]:
        self._lock.acquire()
        try:
            yield False
        finally:
            self._lock.release()

    def keep_lock(self) -> None:
        self._lock.refresh(now=True)

    def stage(self, uploads: Mapping[str, SourceFile], progress: Progress) -> None:
        """There is no place out of sight: `run` transfers, and counts here."""
        self._meter = Meter(len(uploads), sum(each.size for each in uploads.values()), progress)

    def replace_model(self, change: ModelChange) -> bool:  # noqa: ARG002 - the protocol's
        """Never: objects are replaced one by one."""
        return False

    def run(self, groups: Sequence[Sequence[Step]]) -> None:
        batch = _Batch()
        touches = self._touches(groups)
        for group in groups:
            self._add(batch, group)
        self._upload([[each] for each in batch.first])
        self._upload(batch.last)
        self._delete(batch.gone)
        if touches:
            self._clock.sleep(SETTLE_SECONDS)
            self._upload([[each] for each in touches])

    def _add(self, batch: _Batch, group: Sequence[Step]) -> None:
        last: list[Upload] = []
        for step in group:
            uploads = [Upload(f"{folder}/{KEEP}") for folder in step.folders]
            uploads += [Upload(key, each) for key, each in (step.files or {}).items()]
            if step.op == "put_text":
                uploads.append(Upload(step.target, data=step.text))
            batch.first += [each for each in uploads if rank(each.key) == 0]
            last += [each for each in uploads if rank(each.key)]
            batch.gone += self._goes(step, {each.key for each in uploads})
        if last:
            batch.last.append(sorted(last, key=lambda each: (rank(each.key), each.key)))

    def _goes(self, step: Step, staying: Collection[str]) -> list[str]:
        if step.op == "drop_file":
            return [step.target]
        if step.op not in ("drop_tree", "replace_tree"):
            return []
        objects = self._objects(step.target.split("/", 1)[0])
        keys = [key for key in objects if key.startswith(f"{step.target}/") and key not in staying]
        # Without its configuration, what is left is no model for Triton.
        return sorted(keys, key=lambda key: (-rank(key), key))

    def _touches(self, groups: Sequence[Sequence[Step]]) -> list[Upload]:
        """The configurations to write again, so that a server notices what is gone."""
        touches = []
        for group in groups:
            name = group[0].target.split("/", 1)[0]
            if all(step.op.startswith("drop") and step.target != name for step in group) and (text := self._noticed(name, group)):
                touches.append(Upload(f"{name}/{CONFIG_FILE}", data=text.encode(errors="surrogateescape")))
        return touches

    def _noticed(self, name: str, group: Sequence[Step]) -> str | None:
        """The configuration of a model of which something goes, where that changes what a server should hold; else None."""
        gone = {step.target for step in group}
        text = None if f"{name}/{CONFIG_FILE}" in gone else self.read_text(f"{name}/{CONFIG_FILE}")
        present = set(self.tree(name).versions)
        left = {number for number in present if f"{name}/{number}" not in gone}
        files_go = any(step.op == "drop_file" for step in group)
        return text if text and (files_go or served_versions(text, present) != served_versions(text, left)) else None

    def _upload(self, chains: Sequence[Sequence[Upload]]) -> None:
        if not chains:
            return
        sizes = {each.key: each.size for chain in chains for each in chain}
        for key, stamp in self._bucket.upload(chains, self._moved).items():
            self._note(Listed(key, sizes[key], stamp))

    def _moved(self, files: int, size: int) -> None:
        self._meter.moved(files, size)
        self._lock.refresh()

    def _delete(self, keys: Sequence[str]) -> None:
        if keys:
            self._bucket.delete(keys)
        for key in keys:
            model = key.split("/", 1)[0]
            self._listing.get(model, {}).pop(key, None)

    def set_attributes(self, keys: Iterable[str]) -> None:
        """Objects have no owner and no mode of ours."""

    def write_manifest(self, data: bytes | None) -> None:
        if data is None:
            self._bucket.delete([MANIFEST_FILE])
            return
        checked, stamp = self._lock.checks_conditions, self._manifest_stamp
        try:
            self._manifest_stamp = self._bucket.put(MANIFEST_FILE, data, if_absent=checked and not stamp, if_stamp=stamp if checked else "")
        except PreconditionError:
            # Ours after all, when the answer to a first attempt was lost.
            if self.read_manifest() != data:
                remedy = "Run this again: it finishes what was begun."
                raise ConflictError("somebody else published in the meantime", where=self.url, remedy=remedy) from None

    def remove_root(self) -> None:
        """There is no folder."""
