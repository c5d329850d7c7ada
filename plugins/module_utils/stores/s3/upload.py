# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Uploads: small files in one request each, large ones in parts, side by side, in bounded memory."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from ..bucket import Moved, Upload
from .client import Client, Request
from .connection import FileRange
from .content import Reader, Sums, Terms, data_sums
from .parts import PART_SIZE, PARTS_AT_ONCE, Desk, LargeFile
from .unfinished import Unfinished
from .workers import Crew
from .xml import stamp_of

# Up to here a file is read once and kept in memory until it is sent; above it is read twice, to be summed and to be sent.
IN_MEMORY = 256 << 10


class Uploader:
    """prefix: of the bucket's keys, with its slash."""

    def __init__(self, client: Client, how: Terms, prefix: str, most: int) -> None:
        self._client, self._how, self._prefix, self._most = client, how, prefix, most
        self._desk = Desk(client, how, Unfinished(client, prefix), lambda size: self._add(0, size))
        self._count = threading.Lock()
        self._files = self._bytes = 0

    def run(self, chains: Sequence[Sequence[Upload]], moved: Moved) -> dict[str, str]:
        stamps: dict[str, str] = {}
        # Few in number and long: they begin first.
        ordered = sorted(chains, key=lambda chain: -max((each.size for each in chain), default=0) // PART_SIZE)

        def tick() -> None:
            # Counted here, in one thread and in one call for many: that costs the senders nothing.
            with self._count:
                files, size = self._files, self._bytes
                self._files = self._bytes = 0
            if files or size:
                moved(files, size)

        with ThreadPoolExecutor(min(PARTS_AT_ONCE, self._most)) as pool:

            def work(chain: Sequence[Upload]) -> None:
                for each in chain:
                    stamps[each.key] = self._one(each, pool)
                    self._add(1, 0)

            Crew(work, ordered, self._most).run(tick)
        return stamps

    def _add(self, files: int, size: int) -> None:
        with self._count:
            self._files += files
            self._bytes += size

    def _one(self, each: Upload, pool: ThreadPoolExecutor) -> str:
        key = self._prefix + each.key
        if each.source is None:
            stamp = self.put(key, each.data, {})
            self._add(0, len(each.data))
            return stamp
        with Reader(each.source) as reader:
            if each.size > PART_SIZE:
                return LargeFile(self._desk, key, each.size, reader).send(pool)
            if each.size <= IN_MEMORY:
                data = reader.small()
                sums = data_sums(data, self._how)
                answer = self._client.call(self._put(key, data, sums))
            else:
                crc32 = self._how.whole_crc32
                content, sums = reader.next(0, each.size, self._how, md5=not crc32)
                reader.finish()
                answer = self._client.call(self._put(key, content, Sums(sums.sha256, sums.md5, sums.crc32 if crc32 else "")))
        self._add(0, each.size)
        return stamp_of(answer.headers.get("etag", ""))

    def put(self, key: str, data: bytes, conditions: dict[str, str]) -> str:
        """Writes a text under conditions. key: with the prefix."""
        answer = self._client.call(self._put(key, data, data_sums(data, self._how), conditions))
        return stamp_of(answer.headers.get("etag", ""))

    def _put(self, key: str, body: bytes | FileRange, sums: Sums, conditions: dict[str, str] | None = None) -> Request:
        headers = {**self._how.new, **sums.headers(), **(conditions or {})}
        return Request("PUT", key, headers=headers, body=body, sha256=sums.sha256)
