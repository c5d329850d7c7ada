# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A store in memory with an object store's manners: single keys, no folders, no rename. Dies on demand."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from ansible_collections.serving.triton.plugins.module_utils.core.progress import Progress, Transfer
from ansible_collections.serving.triton.plugins.module_utils.repository.layout import MANIFEST_FILE
from ansible_collections.serving.triton.plugins.module_utils.repository.manifest import Manifest, ModelTree
from ansible_collections.serving.triton.plugins.module_utils.repository.publish import Entry, ModelChange, SourceFile
from ansible_collections.serving.triton.plugins.module_utils.repository.publish_steps import Step, upload_order

# What stands for an empty version folder.
KEEP = ".keep"


class DiedError(Exception):
    """The publisher ended here."""


class MemoryStore:
    """objects: key → content. fuse: writes left before it dies; None for ever. replaces: whether it can replace whole models at once."""

    url = "memory://"
    appears_whole = True
    notes = ()

    def __init__(self, contents: Mapping[str, bytes], *, replaces: bool = False) -> None:
        # Digest → content: source files here have no place on a disk.
        self.contents = contents
        self.objects: dict[str, bytes] = {}
        self.stamps: dict[str, int] = {}
        self.fuse: int | None = None
        self.replaces = replaces
        self.writes = 0
        self.reads: list[str] = []

    def _touch(self) -> None:
        if self.fuse is not None:
            self.fuse -= 1
            if self.fuse < 0:
                raise DiedError
        self.writes += 1

    def put(self, key: str, content: bytes) -> None:
        self._touch()
        self.objects[key] = content
        self.stamps[key] = self.writes

    def delete(self, key: str) -> None:
        self._touch()
        self.objects.pop(key, None)

    def read_manifest(self) -> bytes | None:
        return self.objects.get(MANIFEST_FILE)

    def names(self, recorded: Manifest) -> frozenset[str]:
        return frozenset(key.split("/", 1)[0] for key in self.objects if "/" in key)

    def tree(self, model: str) -> ModelTree[Entry]:
        files: dict[str, Entry] = {}
        versions: dict[int, dict[str, Entry]] = {}
        for key, content in self.objects.items():
            if key.startswith(f"{model}/"):
                first, _unused, rest = key.split("/", 1)[1].partition("/")
                entry = Entry(len(content), str(self.stamps[key]))
                if not (rest and first.isdecimal()):
                    files[f"{first}/{rest}" if rest else first] = entry
                elif rest == KEEP:
                    versions.setdefault(int(first), {})
                else:
                    versions.setdefault(int(first), {})[rest] = entry
        return ModelTree(files, versions)

    def digest(self, key: str) -> str:
        self.reads.append(key)
        return hashlib.sha256(self.objects[key]).hexdigest()

    def read_text(self, key: str) -> str | None:
        content = self.objects.get(key)
        return None if content is None else content.decode()

    def holder(self) -> Mapping[str, Any] | None:
        return None

    def leftovers(self) -> tuple[str, ...]:
        return ()

    @contextmanager
    def publishing(self) -> Iterator[bool]:
        yield False

    def keep_lock(self) -> None:
        """Nobody else is there."""

    def stage(self, uploads: Mapping[str, SourceFile], progress: Progress) -> None:
        progress(Transfer(0, len(uploads), 0, sum(each.size for each in uploads.values())))

    def replace_model(self, change: ModelChange) -> bool:
        if not self.replaces:
            return False
        self._touch()
        gone = [f"{change.name}/{each}/" for each in (*change.removed_versions, *change.replaced)]
        gone += [f"{change.name}/{path}" for path in change.removed_files]
        self.objects = {key: each for key, each in self.objects.items() if not any(key.startswith(prefix) for prefix in gone)}
        for number in (*change.added, *change.replaced):
            self._quietly(f"{change.name}/{number}/{KEEP}", b"")
        for key, each in change.uploads().items():
            self._quietly(key, self.contents[each.sha256])
        return True

    def _quietly(self, key: str, content: bytes) -> None:
        self.objects[key] = content
        self.stamps[key] = self.writes

    def run(self, groups: Sequence[Sequence[Step]]) -> None:
        for group in groups:
            for step in group:
                self._run(step)

    def _run(self, step: Step) -> None:
        if step.op == "put_text":
            self.put(step.target, step.text)
        elif step.op == "drop_file":
            self.delete(step.target)
        else:
            if step.op in ("drop_tree", "replace_tree"):
                for key in sorted(key for key in self.objects if key.startswith(f"{step.target}/")):
                    self.delete(key)
            for folder in step.folders:
                self.put(f"{folder}/{KEEP}", b"")
            for key, each in upload_order(step.files or {}):
                self.put(key, self.contents[each.sha256])

    def set_attributes(self, keys: Iterable[str]) -> None:
        raise AssertionError("an object store has no owners")

    def write_manifest(self, data: bytes | None) -> None:
        if data is None:
            self.delete(MANIFEST_FILE)
        else:
            self.put(MANIFEST_FILE, data)

    def remove_root(self) -> None:
        """There is no folder."""
