# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Google Cloud Storage. An object's stamp is its generation: each write gives a new one, lists tell it, and conditions are made of it.

The SDK's own retries are off: they know a deadline, not a number of attempts, and would write again where nobody counts.
"""

from __future__ import annotations

import email.utils
import hashlib
import urllib.parse
from collections.abc import Iterator, Sequence
from typing import Any

from ...core.errors import InputError, TransientError, UnavailableError
from ..base import StoreOptions
from ..bucket import Content, Listed, Moved, Upload
from ..posix.files import explained
from ..transfers import Transfers, content, cuts, held_part, ranges
from .client import GcsClient
from .upload import BLOCK, ResumableUpload

PAGE = 1000
# Up to this size a file goes in one request, held in memory.
SMALL = 4 << 20
_TYPE = "application/octet-stream"


def open_bucket(rest: str, options: StoreOptions) -> GcsBucket:
    """rest: bucket/prefix."""
    name, _slash, prefix = rest.partition("/")
    if not name:
        raise InputError("no bucket is named", where=f"gs://{rest}", remedy="Give gs://bucket or gs://bucket/prefix.")
    return GcsBucket(name, prefix.strip("/"), options, Transfers(options.concurrency, options.attempts))


class GcsBucket:
    """See `bucket.Bucket`."""

    compares_stamps = True

    def __init__(self, name: str, prefix: str, options: StoreOptions, transfers: Transfers) -> None:
        self._given = options.providers.get("gcs", {})
        self._prefix = f"{prefix}/" if prefix else ""
        self._url = f"gs://{name}/{prefix}".rstrip("/")
        self._transfers = transfers
        self._gcs = GcsClient(options, transfers)
        self._bucket = self._gcs.client.bucket(name, user_project=self._given.get("project"))

    @property
    def url(self) -> str:
        return self._url

    def _where(self, key: str) -> str:
        return f"{self._url}/{key}"

    # --- reading

    def list(self, prefix: str = "", splits: Sequence[str] = ()) -> list[Listed]:
        edges = ["", *(each for each in cuts(splits, PAGE, self._transfers.workers) if each.startswith(prefix)), ""]
        spans = list(zip(edges, edges[1:]))
        return [each for part in self._transfers.each(lambda span: self._span(prefix, *span), spans) for each in part]

    def _span(self, prefix: str, start: str, end: str) -> Sequence[Listed]:
        found = []
        for page in self._pages(
            prefix=self._prefix + prefix,
            start_offset=self._prefix + start if start else None,
            end_offset=self._prefix + end if end else None,
            fields="items(name,size,generation),nextPageToken",
        ):
            found += [Listed(each.name[len(self._prefix) :], each.size, str(each.generation)) for each in page]
        # A marker of the prefix itself is nothing in it.
        return [each for each in found if each.key]

    def folders(self) -> frozenset[str]:
        found: set[str] = set()
        for page in self._pages(prefix=self._prefix, delimiter="/", fields="prefixes,nextPageToken"):
            found.update(page.prefixes)
        return frozenset(each[len(self._prefix) :].rstrip("/") for each in found)

    def _pages(self, **query: Any) -> Iterator[Any]:
        token = None
        while True:
            page, token = self._gcs.call(lambda token=token: self._page(token, query), self._url)  # type: ignore[misc]
            yield page
            if not token:
                return

    def _page(self, token: str | None, query: dict[str, Any]) -> tuple[Any, str | None]:
        blobs = self._gcs.client.list_blobs(self._bucket, page_token=token, page_size=PAGE, timeout=self._gcs.timeout, retry=None, **query)
        page = next(blobs.pages)
        page.prefixes = blobs.prefixes
        return page, blobs.next_page_token

    def read(self, key: str) -> Content | None:
        return self._gcs.call(lambda: self._read(key), self._where(key))

    def _read(self, key: str) -> Content | None:
        # The SDK gives either the content or the server's times, and those in two requests.
        path = urllib.parse.quote(self._prefix + key, safe="")
        payer = urllib.parse.urlencode({"userProject": self._given["project"]}) if self._given.get("project") else ""
        url = f"{self._gcs.endpoint}/download/storage/v1/b/{self._bucket.name}/o/{path}?alt=media&{payer}".rstrip("&")
        # Without this, what was stored compressed comes decompressed.
        response = self._gcs.session.get(url, headers={"Accept-Encoding": "gzip"}, timeout=self._gcs.timeout, stream=True)
        with response:
            if response.status_code == 404:
                self._must_exist(response)
                return None
            self._gcs.check(response, self._where(key))
            data = response.raw.read(decode_content=False)
        if len(data) != int(response.headers.get("Content-Length", len(data))):
            raise TransientError("the answer was cut off", where=self._where(key), remedy="Run this again.")
        now, then = (email.utils.parsedate_tz(response.headers.get(name, "")) for name in ("Date", "Last-Modified"))
        age = email.utils.mktime_tz(now) - email.utils.mktime_tz(then) if now and then else 0
        return Content(data, response.headers["X-Goog-Generation"], max(0.0, age))

    def _must_exist(self, response: Any) -> None:
        """A missing bucket is answered as a missing object is; only the text differs."""
        if "bucket does not exist" in response.text:
            self._gcs.check(response, self._url)

    def digest(self, key: str) -> str:
        hasher = hashlib.sha256()
        blob = self._blob_there(key)
        for data in self._content(blob, key, 0):
            hasher.update(data)
        return hasher.hexdigest()

    def download(self, key: str, path: str, moved: Moved) -> None:
        blob = self._blob_there(key)
        with explained(path):
            held = held_part(path, blob.size)
            with open(path, "ab") as writer:
                for data in self._content(blob, key, held):
                    writer.write(data)
                    moved(0, len(data))
        moved(1, 0)

    def _blob_there(self, key: str) -> Any:
        blob = self._gcs.call(lambda: self._bucket.get_blob(self._prefix + key, timeout=self._gcs.timeout, retry=None), self._where(key))
        if blob is None:
            raise UnavailableError("there is no such object", where=self._where(key), remedy="Publish again, or correct the name.")
        return blob

    def _content(self, blob: Any, key: str, start: int) -> Iterator[bytes]:
        """An object's content from an offset on. All of it is of one generation, or PreconditionError is raised."""
        for first, end in ranges(start, blob.size, BLOCK):
            yield self._gcs.call(lambda first=first, end=end: self._piece(blob, key, first, end), self._where(key))  # type: ignore[misc]

    def _piece(self, blob: Any, key: str, first: int, end: int) -> bytes:
        data: bytes = blob.download_as_bytes(
            start=first, end=end - 1, raw_download=True, checksum=None,
            if_generation_match=blob.generation, timeout=self._gcs.timeout, retry=None,
        )  # fmt: skip
        if len(data) != end - first:
            raise TransientError("the answer was cut off", where=self._where(key), remedy="Run this again.")
        return data

    # --- writing

    def _blob(self, key: str) -> Any:
        blob = self._bucket.blob(self._prefix + key, kms_key_name=self._given.get("kms_key_name"))
        if self._given.get("storage_class"):
            blob.storage_class = self._given["storage_class"]
        return blob

    def put(self, key: str, data: bytes, *, if_absent: bool = False, if_stamp: str = "") -> str:
        if if_stamp and not if_stamp.isdecimal():
            raise InputError("the stamp is no generation", where=self._where(key), remedy="Take the stamp that a list or read gave.")
        expected = 0 if if_absent else int(if_stamp) if if_stamp else None

        def write() -> str:
            blob = self._blob(key)
            blob.upload_from_string(
                data, content_type=_TYPE, checksum="crc32c", if_generation_match=expected, timeout=self._gcs.timeout, retry=None
            )
            return str(blob.generation)

        return self._gcs.call(write, self._where(key))

    def upload(self, chains: Sequence[Sequence[Upload]], moved: Moved) -> dict[str, str]:
        return self._transfers.run(chains, self._write, moved)

    def _write(self, upload: Upload, moved: Moved) -> str:
        if upload.source is None or upload.size <= SMALL:
            stamp = self.put(upload.key, content(upload))
            moved(0, upload.size)
            return stamp
        with self._transfers.slots:
            return ResumableUpload(self._gcs, self._where(upload.key), upload.source, lambda: self._session(upload)).run(moved)

    def _session(self, upload: Upload) -> str:
        blob = self._blob(upload.key)

        def begin() -> str:
            return str(
                blob.create_resumable_upload_session(
                    content_type=_TYPE, size=upload.size, timeout=self._gcs.timeout, checksum=None, retry=None
                )
            )

        return self._gcs.call(begin, self._where(upload.key))

    def delete(self, keys: Sequence[str]) -> None:
        self._transfers.each(self._delete, list(keys))

    def _delete(self, key: str) -> None:
        from google.api_core.exceptions import NotFound

        try:
            self._gcs.call(lambda: self._blob(key).delete(timeout=self._gcs.timeout, retry=None), self._where(key), passing=(NotFound,))
        except NotFound:
            return
