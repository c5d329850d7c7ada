# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""SHA-256 of files in bounded memory, and a cache that spares reading again what has not changed."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Union

from ..core.errors import InputError
from .layout import Status

# Bytes read at once: large enough that hashing, not reading, bounds the speed.
BLOCK_SIZE = 1 << 20
# A file changed this recently may change again without a new time stamp (ticks of 4 ms, on some network file systems 1 s and more).
RACY_NS = 2_000_000_000
MAX_ENTRIES = 200_000
_FORMAT = 1

_Entry = tuple[int, int, int, str]
# Annotations only are lazy in Python 3.9; a type alias is evaluated.
AnyPath = Union[str, "os.PathLike[str]"]


def digest(path: AnyPath) -> str:
    """SHA-256 of a file's content in lower-case hex. Raises InputError when the file cannot be read."""
    return _digest(path)[0]


def _digest(path: AnyPath) -> tuple[str, os.stat_result]:
    """The digest and the status of the very file that was read, taken after the read."""
    hasher = hashlib.sha256()
    block = memoryview(bytearray(BLOCK_SIZE))
    try:
        with open(path, "rb", buffering=0) as file:
            while count := file.readinto(block):
                hasher.update(block[:count])
            return hasher.hexdigest(), os.fstat(file.fileno())
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=os.fspath(path), remedy="Check the file's owner and mode.") from error


class DigestCache:
    """Digests of files, remembered by device, inode, size, mtime and ctime, so that an unchanged file is not read again.

    path: the file that keeps the digests between runs; None keeps them in memory. A missing, damaged or foreign file counts as empty.
    Safe to share among threads. now_ns: the clock, in nanoseconds since the epoch.
    """

    def __init__(self, path: AnyPath | None = None, *, now_ns: Callable[[], int] = time.time_ns) -> None:
        self._path = None if path is None else Path(path)
        self._now_ns = now_ns
        self._old = _load(self._path) if self._path else {}
        self._used: dict[str, _Entry] = {}
        self._stored = False
        self.hits = 0
        self.misses = 0

    def digest(self, path: AnyPath, stat: os.stat_result | Status | None = None) -> str:
        """SHA-256 of a file in hex. stat: the file's status where the caller has it already. Raises InputError when unreadable."""
        status = _stat(path) if stat is None else stat
        key, stamp = _key(status), _stamp(status)
        entry = self._used.get(key) or self._old.get(key)
        if entry is not None and entry[:3] == stamp:
            self.hits += 1
            self._used[key] = entry
            return entry[3]
        self.misses += 1
        started = self._now_ns()
        value, after = _digest(path)
        # A file that changed while it was read, or just before, is not remembered: its next change could go unseen.
        if _key(after) == key and _stamp(after) == stamp and max(after.st_mtime_ns, after.st_ctime_ns) < started - RACY_NS:
            self._used[key] = (*stamp, value)
            self._stored = True
        return value

    def save(self) -> bool:
        """Writes the cache to its file, atomically and readable by its owner alone.

        Returns whether the file is up to date. It is a cache: a read-only or full disk is no error.
        """
        if self._path is None or not self._stored:
            return self._path is not None
        merged = {**self._old, **self._used}
        # Those used in this run come last, so that the cut drops the others first.
        kept = sorted(merged.items(), key=lambda item: item[0] in self._used)[-MAX_ENTRIES:]
        try:
            _write(self._path, json.dumps({"format": _FORMAT, "files": dict(kept)}, separators=(",", ":")))
        except OSError:
            return False
        self._stored = False
        return True


def _stat(path: AnyPath) -> os.stat_result:
    try:
        return os.stat(path)
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=os.fspath(path), remedy="Check the file's owner and mode.") from error


def _key(status: os.stat_result | Status) -> str:
    return f"{status.st_dev}:{status.st_ino}"


def _stamp(status: os.stat_result | Status) -> tuple[int, int, int]:
    return (status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _load(path: Path) -> dict[str, _Entry]:
    try:
        document = json.loads(path.read_bytes())
        if document["format"] != _FORMAT:
            return {}
        files: dict[str, _Entry] = document["files"]
        # In its place: two copies of many entries would be the most memory that a run takes.
        for key, values in files.items():
            files[key] = _entry(*values)
        return files
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _entry(size: int, mtime_ns: int, ctime_ns: int, value: str) -> _Entry:
    if not (isinstance(value, str) and len(value) == hashlib.sha256().digest_size * 2):
        raise ValueError(value)
    return (size, mtime_ns, ctime_ns, value)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(name, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise
