# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Reading an object as a stream that goes on where it broke."""

from __future__ import annotations

import os
from collections.abc import Callable

from ...core.errors import TransientError
from ..bucket import Moved
from ..posix.files import explained
from .client import Client, Request
from .connection import Answer
from .errors import RefusedError


class Fetch:
    """take: gets the content block by block, from `position` on. moved: counts the bytes."""

    def __init__(
        self, client: Client, key: str, take: Callable[[memoryview], object], position: int = 0, moved: Moved | None = None
    ) -> None:
        self._client, self._key, self._take, self._moved = client, key, take, moved
        self._position, self._skip, self._stamp = position, 0, ""
        self._answer: Answer | None = None

    def run(self) -> None:
        """Reads to the end. Raises PreconditionError when the object is replaced meanwhile."""
        failed = 0
        while True:
            before = self._position
            try:
                return self._once()
            except TransientError:
                # What advances is not given up: a large object may meet many resets.
                failed = 1 if self._position > before else failed + 1
                if failed >= self._client.attempts:
                    raise
                self._client.rest(failed)

    def _once(self) -> None:
        headers = {"range": f"bytes={self._position}-"} if self._position else {}
        if self._stamp:
            headers["if-match"] = self._stamp
        try:
            self._client.call(Request("GET", self._key, headers=headers, sink=self._block))
        except RefusedError as error:
            # Nothing lies behind what is there already.
            if error.status != 416 or not self._position:
                raise

    def _block(self, answer: Answer, block: memoryview) -> None:
        if answer is not self._answer:
            self._answer = answer
            self._stamp = answer.headers.get("etag", "")
            # A server that does not know ranges sends all again.
            self._skip = self._position if answer.status == 200 else 0
        if self._skip:
            skipped = min(self._skip, len(block))
            self._skip -= skipped
            block = block[skipped:]
        if block:
            self._take(block)
            self._position += len(block)
            if self._moved is not None:
                self._moved(0, len(block))


def download(client: Client, key: str, path: str, moved: Moved) -> None:
    """Writes an object to a file, after what the file holds of it already."""
    handle = _explained(path, lambda: os.open(path, os.O_RDWR | os.O_CREAT, 0o666))
    try:
        there = _explained(path, lambda: os.lseek(handle, 0, os.SEEK_END))
        size = _size(client, key) if there else 0
        if there > size:
            # It holds something else.
            _explained(path, lambda: os.ftruncate(handle, 0))
            there = _explained(path, lambda: os.lseek(handle, 0, os.SEEK_SET))
        if not there or there < size:
            Fetch(client, key, lambda block: _explained(path, lambda: _write(handle, block)), there, moved).run()
        _explained(path, lambda: os.fsync(handle))
    finally:
        os.close(handle)
    moved(1, 0)


def _size(client: Client, key: str) -> int:
    length = client.call(Request("HEAD", key)).headers.get("content-length", "0")
    return int(length) if length.isdecimal() else 0


def _write(handle: int, block: memoryview) -> int:
    # A raw write may be short: on a nearly full disk, or when a signal comes.
    while block:
        block = block[os.write(handle, block) :]
    return 0


def _explained(path: str, call: Callable[[], int | None]) -> int:
    # Around each call by itself: a failure of the network is an OSError too.
    with explained(path):
        return call() or 0
