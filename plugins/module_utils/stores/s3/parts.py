# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A large file goes in parts: summed in order, sent side by side, put together at the end, and taken up again after a break."""

from __future__ import annotations

import threading
from base64 import b64decode
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from ...core.errors import ServingError, TransientError
from .client import Client, Request
from .connection import FileRange
from .content import Reader, Sums, Terms, data_sums
from .errors import RefusedError, may_pass
from .unfinished import Unfinished
from .xml import dump_parts, parse, read_error, stamp_of, text

# From here on in parts. A part is sent again as a whole when its connection breaks.
PART_SIZE = 16 << 20
MAX_PARTS = 10_000
PARTS_AT_ONCE = 8

_Done = tuple[str, str]


@dataclass(frozen=True)
class Desk:
    """What all large files share. sent: called with the bytes of each part, from any thread."""

    client: Client
    how: Terms
    unfinished: Unfinished
    sent: Callable[[int], None]


class LargeFile:
    """key: with the prefix."""

    def __init__(self, desk: Desk, key: str, size: int, reader: Reader) -> None:
        self._desk, self._client, self._how = desk, desk.client, desk.how
        self._key, self._size, self._reader = key, size, reader
        self._part_size = max(PART_SIZE, -(-size // MAX_PARTS))
        self._upload = ""
        self._kept: dict[int, str] = {}

    def send(self, pool: ThreadPoolExecutor) -> str:
        """Returns the stamp. After a failure that may pass the parts stay, for the next run, where it can compare them."""
        if self._how.resumable:
            self._upload, self._kept = self._desk.unfinished.take(self._key, self._size, self._part_size)
        else:
            self._desk.unfinished.give_up(self._key)
        if not self._upload:
            return self._send(pool)
        try:
            return self._send(pool)
        except RefusedError as error:
            # It was begun in another way, or is gone by now: once more from the beginning.
            if error.status not in (400, 404):
                raise
            self._upload, self._kept = "", {}
            self._reader.rewind()
            return self._send(pool)

    def _send(self, pool: ThreadPoolExecutor) -> str:
        self._upload = self._upload or self._begin()
        try:
            parts = self._parts(pool)
            self._reader.finish()
            return self._complete(parts)
        except ServingError as error:
            if not (self._how.resumable and isinstance(error, TransientError)):
                self._desk.unfinished.abort(self._key, self._upload)
            raise

    def _begin(self) -> str:
        def begin() -> bytes:
            algorithm = {"x-amz-checksum-algorithm": "CRC32"} if self._how.crc32 else {}
            return self._client.call(Request("POST", self._key, (("uploads", ""),), {**self._how.new, **algorithm})).body

        try:
            body = begin()
        except RefusedError as error:
            if not (self._how.crc32 and self._how.may_change and error.status in (400, 501)):
                raise
            # A server that does not know this checksum.
            self._how.crc32 = False
            body = begin()
        return text(parse(body), "UploadId")

    def _parts(self, pool: ThreadPoolExecutor) -> list[_Done]:
        sent: list[Future[_Done]] = []
        # Summing may not run ahead of sending: what was summed is sent while it is in the page cache.
        slots = threading.Semaphore(PARTS_AT_ONCE)
        try:
            for number, offset in enumerate(range(0, self._size, self._part_size), 1):
                slots.acquire()
                _raise_first(sent)
                known = self._kept.get(number, "")
                # The server checks the signed SHA-256 or the CRC32; MD5 where neither is sent, or to compare.
                md5 = bool(known) or self._how.md5 or not (self._how.crc32 or self._how.sign_body)
                content, sums = self._reader.next(offset, min(self._part_size, self._size - offset), self._how, md5=md5)
                future = pool.submit(self._part, number, content, sums, known)
                future.add_done_callback(lambda _future: slots.release())
                sent.append(future)
            return [each.result() for each in sent]
        finally:
            for each in sent:
                each.cancel()
            for each in sent:
                if not each.cancelled():
                    each.exception()

    def _part(self, number: int, content: FileRange, sums: Sums, known: str) -> _Done:
        if known and known == b64decode(sums.md5).hex():
            stamp = known
        else:
            query = (("partNumber", str(number)), ("uploadId", self._upload))
            checks = Sums(sums.sha256, "" if sums.crc32 else sums.md5, sums.crc32)
            request = Request("PUT", self._key, query, checks.headers(), content, sums.sha256)
            stamp = stamp_of(self._client.call(request).headers.get("etag", ""))
        self._desk.sent(content.size)
        return stamp, sums.crc32

    def _complete(self, parts: list[_Done]) -> str:
        body = dump_parts(parts)
        request = Request("POST", self._key, (("uploadId", self._upload),), {}, body, data_sums(body, self._how).sha256)
        code = ""
        for attempt in range(1, self._client.attempts + 1):
            answer = self._client.call(request, allow=(404,))
            code, message, _region = read_error(answer.body)
            if not code and answer.status == 200:
                return stamp_of(text(parse(answer.body), "ETag"))
            if answer.status == 404:
                # An attempt whose answer was lost has done it, or somebody has aborted it.
                return self._completed(len(parts))
            if not may_pass(code):
                what = f"the parts could not be put together ({code} {message})"
                raise RefusedError(what, where=self._client.where(self._key), remedy="Run this again.", status=400, code=code)
            # S3 may answer 200 before it knows, and tell of its failure in the body.
            self._client.rest(attempt)
        what = f"the parts could not be put together ({code})"
        remedy = "Run this again: the parts are kept." if self._how.resumable else "Run this again."
        raise TransientError(what, where=self._client.where(self._key), remedy=remedy)

    def _completed(self, count: int) -> str:
        answer = self._client.call(Request("HEAD", self._key), allow=(404,))
        stamp = stamp_of(answer.headers.get("etag", ""))
        if answer.status == 404 or answer.headers.get("content-length") != str(self._size) or not stamp.endswith(f"-{count}"):
            where = self._client.where(self._key)
            raise RefusedError("the unfinished upload is gone", where=where, remedy="Run this again.", status=404)
        return stamp


def _raise_first(sent: list[Future[_Done]]) -> None:
    for each in sent:
        if each.done():
            each.result()
