# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Uploads to OSS: chains side by side, large files in parts that a later run can take up, everything checked by SHA-256 and CRC64.

A file is read first: its SHA-256 says whether it is still the planned one, its CRC64 (of each part) what OSS must come to hold. Parts that
OSS has already count when their CRC64 is that of the file's part, so an upload is taken up by content, whoever began it.
"""

from __future__ import annotations

import base64
import hashlib
import io
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ...core.errors import InputError, ServingError, TransientError
from ...repository.publish import SourceFile
from ..bucket import Moved, Upload
from ..transfers import blocks, content
from .client import OssClient

MULTIPART_SIZE = 16 << 20
# Read whole, so that many at once stay small.
_IN_MEMORY = 1 << 20
_BLOCK = 1 << 20
_MOST_PARTS = 10_000
_CHANGED = "Run this again when nobody writes the source."


class DamagedError(TransientError):
    """What OSS holds is not what was sent."""


def once_more(send: Callable[[], str], source: SourceFile | None = None) -> str:
    """Sends again what was damaged on its way. Other failures have had their attempts."""
    try:
        return send()
    except DamagedError:
        if source:
            # The file may have changed between its check and the transfer.
            for _unused in blocks(source, _BLOCK):
                pass
        return send()


def stamp_of(etag: str | None) -> str:
    """An ETag without its quotes."""
    return (etag or "").strip('"')


def part_size(size: int) -> int:
    """Bytes a part: 8 MiB, more only where there would be too many parts. A later run must come to the same."""
    return max(8 << 20, -(-size // (_MOST_PARTS << 20)) << 20)


class _Slice(io.RawIOBase):
    """A piece of a file as a request's body: it is read as it is sent, again from its start when the request is tried again."""

    def __init__(self, path: str, start: int, size: int) -> None:
        super().__init__()
        self._file = open(path, "rb", buffering=0)  # noqa: SIM115 - closed with this
        self._start, self._size, self._position = start, size, 0

    def __len__(self) -> int:
        return self._size

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = base + offset
        return self._position

    def read(self, size: int = -1) -> bytes:
        left = self._size - self._position
        self._file.seek(self._start + self._position)
        block = self._file.read(left if size is None or size < 0 else min(size, left))
        if left and size and not block:
            raise InputError("the file changed while it was published", where=str(self._file.name), remedy=_CHANGED)
        self._position += len(block)
        return block

    def close(self) -> None:
        self._file.close()
        super().close()


class _Pieces:
    """What a file's content is: MD5 of all, CRC64 of all, and of each part of `size` bytes."""

    def __init__(self, client: OssClient, source: SourceFile, size: int) -> None:
        self.source, self._size = source, size
        self.checksums: list[int] = []
        md5 = hashlib.md5(usedforsecurity=False)
        checksum = client.crc64()
        for offset, block in blocks(source, min(_BLOCK, size)):
            if offset % size == 0:
                checksum = client.crc64()
                self.checksums.append(0)
            checksum.update(block)
            self.checksums[-1] = checksum.sum64()
            if source.size < MULTIPART_SIZE:
                md5.update(block)
        self.md5 = base64.b64encode(md5.digest()).decode()
        self.total = self.checksums[0]
        for number, piece in enumerate(self.checksums[1:], 2):
            self.total = client.combined(self.total, piece, self.length(number))

    def length(self, number: int) -> int:
        """Bytes of a part; parts count from 1."""
        return min(self._size, self.source.size - (number - 1) * self._size)

    def body(self, number: int) -> _Slice:
        return _Slice(self.source.path, (number - 1) * self._size, self.length(number))


class Uploader:
    """given: the options of the store `oss`."""

    def __init__(self, client: OssClient, given: Mapping[str, Any]) -> None:
        self._client, self._place = client, client.place
        named = {
            "storage_class": given.get("storage_class"),
            "server_side_encryption": given.get("encryption"),
            "server_side_encryption_key_id": given.get("kms_key_id"),
        }
        # What every object is written with.
        self.properties = {name: value for name, value in named.items() if value}

    # --- chains

    def run(self, chains: Sequence[Sequence[Upload]], moved: Moved) -> dict[str, str]:
        """See `bucket.Bucket.upload`."""
        stop = threading.Event()
        # Parts have their own threads: those of the chains wait for them.
        with ThreadPoolExecutor(self._client.transfers.workers) as parts:

            def write(upload: Upload, report: Moved) -> str:
                done = False
                try:
                    stamp = self._send(upload, parts, stop, report)
                    done = True
                finally:
                    if not done:
                        stop.set()
                return stamp

            return self._client.transfers.run(chains, write, moved)

    def _send(self, upload: Upload, parts: ThreadPoolExecutor, stop: threading.Event, moved: Moved) -> str:
        """Writes one object and returns its stamp."""
        if upload.source and upload.size >= MULTIPART_SIZE:
            return self._in_parts(upload.key, upload.source, parts, stop, moved)
        stamp = once_more(lambda: self._whole(upload), upload.source)
        moved(0, upload.size)
        return stamp

    # --- one request

    def _whole(self, upload: Upload) -> str:
        source = upload.source
        if source is None or source.size <= _IN_MEMORY:
            data = content(upload)
            checksum = self._client.crc64()
            checksum.update(data)
            md5 = base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()
            return self._put(upload.key, data, md5, checksum.sum64())
        pieces = _Pieces(self._client, source, source.size)
        with pieces.body(1) as body:
            return self._put(upload.key, body, pieces.md5, pieces.total)

    def _put(self, key: str, body: Any, md5: str, checksum: int) -> str:
        name = f"{self._place.prefix}{key}"
        request = self._client.models.PutObjectRequest(bucket=self._place.bucket, key=name, content_md5=md5, body=body, **self.properties)
        answer = self._client.call("put_object", request, self._where(key))
        self._check(key, answer.hash_crc64, checksum)
        return stamp_of(answer.etag)

    def _check(self, key: str, told: str | None, checksum: int) -> None:
        if told and int(told) != checksum:
            raise DamagedError("OSS holds something else than was sent, by its CRC64", where=self._where(key), remedy="Run this again.")

    def _where(self, key: str) -> str:
        return f"{self._place.url}/{key}"

    # --- parts

    def _in_parts(self, key: str, source: SourceFile, pool: ThreadPoolExecutor, stop: threading.Event, moved: Moved) -> str:
        pieces = _Pieces(self._client, source, part_size(source.size))
        count = len(pieces.checksums)
        upload_id, etags = self._begun(key, pieces)
        moved(0, sum(map(pieces.length, etags)))

        def send(number: int) -> None:
            if stop.is_set():
                return
            etags[number] = self._part(key, upload_id, number, pieces)
            moved(0, pieces.length(number))

        missing = [number for number in range(1, count + 1) if number not in etags]
        jobs = [pool.submit(send, number) for number in missing]
        try:
            for job in jobs:
                job.result()
        finally:
            for job in jobs:
                job.cancel()
        if len(etags) < count:
            raise TransientError("the upload was stopped", where=self._where(key), remedy="Run this again: it goes on where it ended.")
        return self._complete(key, upload_id, etags, pieces.total)

    def _part(self, key: str, upload_id: str, number: int, pieces: _Pieces) -> str:
        expected = pieces.checksums[number - 1]

        def attempt() -> str:
            with pieces.body(number) as body:
                request = self._client.models.UploadPartRequest(
                    bucket=self._place.bucket,
                    key=f"{self._place.prefix}{key}",
                    part_number=number,
                    upload_id=upload_id,
                    body=body,
                )
                answer = self._client.call("upload_part", request, self._where(key))
            self._check(key, answer.hash_crc64, expected)
            return str(answer.etag)

        return once_more(attempt, pieces.source)

    def _begun(self, key: str, pieces: _Pieces) -> tuple[str, dict[int, str]]:
        """The upload to go on with and the ETags of its parts that are right. Those of other content are aborted: parts cost money."""
        best: tuple[str, dict[int, str]] = ("", {})
        for upload_id in self._unfinished(key):
            etags = self._right_parts(key, upload_id, pieces)
            worse = upload_id
            if etags is not None and len(etags) >= len(best[1]):
                worse, best = best[0], (upload_id, etags)
            if worse:
                self._abort(key, worse)
        if best[0]:
            return best
        request = self._client.models.InitiateMultipartUploadRequest(
            bucket=self._place.bucket, key=f"{self._place.prefix}{key}", **self.properties
        )
        return str(self._client.call("initiate_multipart_upload", request, self._where(key)).upload_id), {}

    def _unfinished(self, key: str) -> list[str]:
        name = f"{self._place.prefix}{key}"
        request = self._client.models.ListMultipartUploadsRequest(
            bucket=self._place.bucket, prefix=name, max_uploads=100, encoding_type="url"
        )
        found = self._client.call("list_multipart_uploads", request, self._where(key)).uploads or []
        return [str(each.upload_id) for each in found if each.key == name]

    def _right_parts(self, key: str, upload_id: str, pieces: _Pieces) -> dict[int, str] | None:
        """The parts that hold what the file holds; None where one is of other content, or is to be stored in another class."""
        etags: dict[int, str] = {}
        marker = 0
        while True:
            request = self._client.models.ListPartsRequest(
                bucket=self._place.bucket,
                key=f"{self._place.prefix}{key}",
                upload_id=upload_id,
                max_parts=1000,
                part_number_marker=marker,
                encoding_type="url",
            )
            page = self._client.call("list_parts", request, self._where(key))
            if page.storage_class and page.storage_class != self.properties.get("storage_class", page.storage_class):
                return None
            for part in page.parts or []:
                number = int(part.part_number)
                if number > len(pieces.checksums) or str(part.hash_crc64) != str(pieces.checksums[number - 1]):
                    return None
                etags[number] = str(part.etag)
            if not page.is_truncated:
                return etags
            marker = page.next_part_number_marker

    def _abort(self, key: str, upload_id: str) -> None:
        request = self._client.models.AbortMultipartUploadRequest(
            bucket=self._place.bucket, key=f"{self._place.prefix}{key}", upload_id=upload_id
        )
        self._client.call("abort_multipart_upload", request, self._where(key))

    def _complete(self, key: str, upload_id: str, etags: Mapping[int, str], checksum: int) -> str:
        models = self._client.models
        parts = [models.UploadPart(part_number=number, etag=etags[number]) for number in sorted(etags)]
        name = f"{self._place.prefix}{key}"
        request = models.CompleteMultipartUploadRequest(
            bucket=self._place.bucket,
            key=name,
            upload_id=upload_id,
            complete_multipart_upload=models.CompleteMultipartUpload(parts=parts),
        )
        try:
            answer = self._client.call("complete_multipart_upload", request, self._where(key))
        except ServingError as error:
            if error.details.get("code") != "NoSuchUpload":
                raise
            # An attempt whose answer was lost may have completed it.
            answer = self._client.call("head_object", models.HeadObjectRequest(bucket=self._place.bucket, key=name), self._where(key))
            if str(answer.hash_crc64) != str(checksum):
                raise
        self._check(key, answer.hash_crc64, checksum)
        return stamp_of(answer.etag)
