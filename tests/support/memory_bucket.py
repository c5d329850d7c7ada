# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A bucket in memory. Dies on demand, and tells what happened in which order."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ansible_collections.serving.triton.plugins.module_utils.stores.bucket import Content, Listed, Moved, PreconditionError, Upload
from support.memory_store import DiedError


class MemoryBucket:
    """objects: key → content. log: what was written ("put KEY", "delete KEY"), wave by wave as the store asked. fuse: writes left before
    it dies; None for ever. conditional: whether it checks conditions. compares_stamps: see `bucket.Bucket`. watch: called after writes.
    """

    url = "memory://bucket"

    def __init__(self, contents: Mapping[str, bytes] | None = None, *, conditional: bool = True) -> None:
        # Digest → content: source files here may have no place on a disk.
        self.contents = dict(contents or {})
        self.objects: dict[str, bytes] = {}
        self.ages: dict[str, float] = {}
        self.log: list[str] = []
        self.requests: list[str] = []
        self.fuse: int | None = None
        self.conditional = conditional
        self.compares_stamps = True
        self.watch: Callable[[], None] = lambda: None

    def _write(self, key: str, data: bytes | None) -> str:
        if self.fuse is not None:
            self.fuse -= 1
            if self.fuse < 0:
                raise DiedError
        self.log.append(f"{'delete' if data is None else 'put'} {key}")
        if data is None:
            self.objects.pop(key, None)
        else:
            self.objects[key] = data
            self.ages[key] = 0
        self.watch()
        return "" if data is None else self._stamp(key)

    def _stamp(self, key: str) -> str:
        return hashlib.md5(self.objects[key], usedforsecurity=False).hexdigest()

    def list(self, prefix: str = "", splits: Sequence[str] = ()) -> list[Listed]:
        self.requests.append(f"list {prefix}")
        assert list(splits) == sorted(splits)
        return [Listed(key, len(data), self._stamp(key)) for key, data in sorted(self.objects.items()) if key.startswith(prefix)]

    def folders(self) -> frozenset[str]:
        self.requests.append("folders")
        return frozenset(key.split("/", 1)[0] for key in self.objects if "/" in key)

    def read(self, key: str) -> Content | None:
        self.requests.append(f"read {key}")
        return Content(self.objects[key], self._stamp(key), self.ages[key]) if key in self.objects else None

    def digest(self, key: str) -> str:
        self.requests.append(f"digest {key}")
        return hashlib.sha256(self.objects[key]).hexdigest()

    def download(self, key: str, path: str, moved: Moved) -> None:
        Path(path).write_bytes(self.objects[key])
        moved(1, len(self.objects[key]))

    def put(self, key: str, data: bytes, *, if_absent: bool = False, if_stamp: str = "") -> str:
        stamp = self._stamp(key) if key in self.objects else ""
        if self.conditional and ((if_absent and stamp) or (if_stamp and if_stamp != stamp)):
            raise PreconditionError("the object is not as expected", where=key)
        return self._write(key, data)

    def upload(self, chains: Sequence[Sequence[Upload]], moved: Moved) -> dict[str, str]:
        stamps = {}
        for chain in chains:
            for each in chain:
                stamps[each.key] = self._write(each.key, self._content(each))
                moved(1, each.size)
        return stamps

    def _content(self, upload: Upload) -> bytes:
        if upload.source is None:
            return upload.data
        if upload.source.sha256 in self.contents:
            return self.contents[upload.source.sha256]
        return Path(upload.source.path).read_bytes()

    def delete(self, keys: Sequence[str]) -> None:
        for key in keys:
            self._write(key, None)
