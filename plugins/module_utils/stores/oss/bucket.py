# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A bucket of Alibaba Cloud OSS.

Spoken through alibabacloud-oss-v2, not through oss2: it is oss2's announced successor and gets a release a month (oss2's last one is of
October 2024), signs with V4, is typed, needs three packages instead of ten, none of which has to be compiled, and takes a retry policy, an
HTTP client and credentials from outside. Both bring a module named crcmod, so both together would be a mistake.

OSS knows one condition for a PUT, `x-oss-forbid-overwrite`, which does not hold in a bucket with versions. So where versions are kept, what
was written is looked at again, and taken back where the object was there before; where they are suspended the condition is ignored, which
`object_lock` finds out. There is no If-Match: the stamp is compared before the write, which leaves a moment for another writer.
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from email.utils import parsedate_to_datetime
from typing import Any

from ...core.errors import TransientError, UnavailableError
from ...core.wait import Clock
from ..base import StoreOptions
from ..bucket import Content, Listed, Moved, PreconditionError, Upload
from ..posix.files import explained
from .client import OssClient
from .errors import is_absent
from .place import locate
from .upload import DamagedError, Uploader, once_more, stamp_of

# What OSS answers to a list and takes in a batch of deletions.
PAGE = 1000
_BLOCK = 1 << 20
_Listing = list[Listed]
_GONE = "Run this again: somebody removed it."


class _AbsentError(UnavailableError):
    """There is no such object."""


class _MismatchError(UnavailableError):
    """The checksum of what arrived is another one than OSS's."""


def open_bucket(rest: str, options: StoreOptions) -> OssBucket:
    """rest: "bucket/prefix", or "bucket.endpoint-host/prefix" as EAS writes it. Loads the SDK; asks nothing of the network."""
    given = options.providers.get("oss") or {}
    return OssBucket(OssClient(locate(rest, given), options), options)


class OssBucket:
    """See `bucket.Bucket`."""

    compares_stamps = False

    def __init__(self, client: OssClient, options: StoreOptions, clock: Clock | None = None) -> None:
        self._client, self._place = client, client.place
        self._clock = clock or Clock()
        self._uploader = Uploader(client, options.providers.get("oss") or {})

    @property
    def url(self) -> str:
        return self._place.url

    def _name(self, key: str) -> str:
        return f"{self._place.prefix}{key}"

    def _where(self, key: str) -> str:
        return f"{self.url}/{key}" if key else self.url

    # --- listing

    def list(self, prefix: str = "", splits: Sequence[str] = ()) -> _Listing:
        cuts = [key for key in splits[PAGE - 1 :: PAGE] if key.startswith(prefix)]
        spans = list(zip(["", *cuts], [*cuts, ""]))
        found = self._client.transfers.each(lambda span: self._span(prefix, *span), spans)
        return [each for part in found for each in part]

    def _span(self, prefix: str, after: str, last: str) -> _Listing:
        """Objects with keys above `after` up to `last` ("" for no bound)."""
        found: _Listing = []
        for page in self._pages(prefix, after=after):
            for each in page.contents or []:
                key = each.key[len(self._place.prefix) :]
                if last and key > last:
                    return found
                found.append(Listed(key, int(each.size), stamp_of(each.etag)))
            if last and found and found[-1].key == last:
                return found
        return found

    def _pages(self, prefix: str, *, after: str = "", delimiter: str | None = None) -> Iterator[Any]:
        token = None
        while True:
            request = self._client.models.ListObjectsV2Request(
                bucket=self._place.bucket,
                prefix=self._name(prefix),
                start_after=self._name(after) if after else None,
                delimiter=delimiter,
                continuation_token=token,
                max_keys=PAGE,
            )
            page = self._client.call("list_objects_v2", request, self._where(prefix))
            yield page
            if not page.is_truncated:
                return
            token = page.next_continuation_token

    def folders(self) -> frozenset[str]:
        start = len(self._place.prefix)
        return frozenset(each.prefix[start:].rstrip("/") for page in self._pages("", delimiter="/") for each in page.common_prefixes or [])

    # --- reading

    def read(self, key: str) -> Content | None:
        parts: list[bytes] = []
        try:
            answer = self._stream(key, 0, parts.append)
        except _AbsentError:
            return None
        headers = answer.headers
        written, now = (parsedate_to_datetime(headers[name]) for name in ("Last-Modified", "Date"))
        return Content(b"".join(parts), stamp_of(answer.etag), max(0.0, (now - written).total_seconds()))

    def digest(self, key: str) -> str:
        digest = hashlib.sha256()
        checksum = self._client.crc64()

        def take(block: bytes) -> None:
            digest.update(block)
            checksum.update(block)

        answer = self._stream(key, 0, take)
        self._check(key, answer, checksum.sum64())
        return digest.hexdigest()

    def download(self, key: str, path: str, moved: Moved) -> None:
        found = self._head(key)
        if found is None:
            raise UnavailableError("the object does not exist", where=self._where(key), remedy=_GONE)
        present = os.path.getsize(path) if os.path.exists(path) else 0
        resumed = 0 < present <= found.content_length
        try:
            self._fetch(key, path, moved, found, resumed=resumed)
        except _MismatchError:
            if not resumed:
                raise
            # The first part was of something else.
            self._fetch(key, path, moved, found, resumed=False)
        moved(1, 0)

    def _fetch(self, key: str, path: str, moved: Moved, found: Any, *, resumed: bool) -> None:
        checksum = self._client.crc64()
        with explained(path), open(path, "r+b" if resumed else "wb") as target:
            while resumed and (block := target.read(_BLOCK)):
                checksum.update(block)
            start = target.tell()

            def take(block: bytes) -> None:
                target.write(block)
                checksum.update(block)
                moved(0, len(block))

            if start < found.content_length or not start:
                self._stream(key, start, take, stamp=found.etag)
        self._check(key, found, checksum.sum64())

    def _check(self, key: str, answer: Any, checksum: int) -> None:
        # Objects of long ago have none.
        if answer.hash_crc64 and int(answer.hash_crc64) != checksum:
            raise _MismatchError("what arrived is not what OSS holds, by its CRC64", where=self._where(key), remedy="Run this again.")

    def _head(self, key: str) -> Any:
        """The answer to a HEAD, None where there is no object."""
        request = self._client.models.HeadObjectRequest(bucket=self._place.bucket, key=self._name(key))
        try:
            return self._client.raw("head_object", request)
        except self._client.failures as error:
            if is_absent(error):
                return None
            raise self._client.explained(error, self._where(key)) from error

    def _stream(self, key: str, start: int, take: Callable[[bytes], object], stamp: str | None = None) -> Any:
        """Hands an object's bytes from `start` on to `take`; goes on where a connection broke. Returns the first answer."""
        import requests

        position, first = start, None
        policy = self._client.policy
        for attempt in range(1, policy.attempts + 1):
            answer = self._open(key, position, stamp)
            first = first or answer
            # What follows must be of the same object.
            stamp = answer.etag
            try:
                for block in answer.body.iter_bytes(block_size=_BLOCK):
                    take(block)
                    position += len(block)
                return first
            except (requests.RequestException, ConnectionError) as error:
                if attempt == policy.attempts:
                    remedy = "Check the network, then run this again."
                    raise TransientError("the connection kept breaking", where=self._where(key), remedy=remedy) from error
                self._clock.sleep(policy.pause(attempt))
            finally:
                answer.body.close()
        return first

    def _open(self, key: str, position: int, stamp: str | None) -> Any:
        request = self._client.models.GetObjectRequest(
            bucket=self._place.bucket,
            key=self._name(key),
            range_header=f"bytes={position}-" if position else None,
            if_match=stamp,
        )
        try:
            return self._client.raw("get_object", request)
        except self._client.failures as error:
            if is_absent(error):
                raise _AbsentError(
                    "the object does not exist", where=self._where(key), remedy="Run this again: somebody removed it."
                ) from None
            raise self._client.explained(error, self._where(key)) from error

    # --- writing

    def put(self, key: str, data: bytes, *, if_absent: bool = False, if_stamp: str = "") -> str:
        if if_stamp:
            found = self._head(key)
            if found is None or stamp_of(found.etag) != if_stamp:
                raise PreconditionError("the object has changed", where=self._where(key), remedy="Run this again.")
        return once_more(lambda: self._put(key, data, if_absent=if_absent))

    def _put(self, key: str, data: bytes, *, if_absent: bool) -> str:
        request = self._client.models.PutObjectRequest(
            bucket=self._place.bucket,
            key=self._name(key),
            forbid_overwrite=True if if_absent else None,
            content_md5=base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode(),
            body=data,
            **self._uploader.properties,
        )
        retries = self._client.retries()
        try:
            answer = self._client.call("put_object", request, self._where(key), retries)
        except PreconditionError:
            # An attempt whose answer was lost may have written it.
            found = self.read(key) if retries.tried else None
            if found is None or found.data != data:
                raise
            return found.stamp
        checksum = self._client.crc64()
        checksum.update(data)
        if answer.hash_crc64 and int(answer.hash_crc64) != checksum.sum64():
            raise DamagedError("OSS holds something else than was sent", where=self._where(key), remedy="Run this again.")
        if if_absent and answer.version_id not in (None, "", "null"):
            self._take_back(key, answer.version_id)
        return stamp_of(answer.etag)

    def _take_back(self, key: str, version: str) -> None:
        """Where versions are kept OSS does not look at the condition: removes the new version if the object was there before it."""
        name = self._name(key)
        # Newest first, deletions among them; the SDK would sort the two apart.
        history = [each for each in self._client.versions(name, self._where(key)) if each.findtext("Key") == name]
        ours = next((index for index, each in enumerate(history) if each.findtext("VersionId") == version), len(history))
        if [each.tag for each in history[ours + 1 : ours + 2]] != ["Version"]:
            return
        request = self._client.models.DeleteObjectRequest(bucket=self._place.bucket, key=name, version_id=version)
        self._client.call("delete_object", request, self._where(key))
        raise PreconditionError("the object is there already", where=self._where(key), remedy="Run this again.")

    def upload(self, chains: Sequence[Sequence[Upload]], moved: Moved) -> dict[str, str]:
        return self._uploader.run(chains, moved)

    def delete(self, keys: Sequence[str]) -> None:
        models = self._client.models
        for start in range(0, len(keys), PAGE):
            names = [self._name(key) for key in keys[start : start + PAGE]]
            request = models.DeleteMultipleObjectsRequest(
                bucket=self._place.bucket, objects=[models.DeleteObject(key=name) for name in names], quiet=False
            )
            answer = self._client.call("delete_multiple_objects", request, self.url)
            left = set(names) - {each.key for each in answer.deleted_objects or []}
            if left:
                remedy = "Grant oss:DeleteObject for the prefix, and look whether a retention policy protects it."
                raise UnavailableError(f"OSS did not delete {len(left)} objects, such as {min(left)}", where=self.url, remedy=remedy)
