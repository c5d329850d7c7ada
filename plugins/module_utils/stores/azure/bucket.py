# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Azure Blob Storage. An object's stamp is its ETag: each write gives a new one, lists tell it, and conditions are made of it.

The URL is Triton's: as://account/container/prefix, where the account may be written as account.blob.core.windows.net.

Accounts with a hierarchical namespace have real folders, and Triton takes an empty one with a number as a version. So folders are listed,
as keys that end in a slash, and go with what was in them. In other accounts the same keys stand for the markers that Hadoop's tools leave.
"""

from __future__ import annotations

import hashlib
import urllib.parse
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timezone
from typing import Any

from ...core.errors import ConflictError, InputError, ServingError
from ..base import StoreOptions
from ..bucket import Content, Listed, Moved, Upload
from ..posix.files import explained
from ..transfers import Transfers, content, held_part, ranges
from .client import BLOCK, AzureClient
from .credentials import SUFFIX
from .upload import BlockUpload

PAGE = 5000
# Azure takes that many deletions in a request.
BATCH = 256
# Up to this size a file goes in one request, held in memory.
SMALL = 4 << 20


def open_bucket(rest: str, options: StoreOptions) -> AzureBucket:
    """rest: account/container/prefix."""
    host, _slash, path = rest.partition("/")
    container, _slash, prefix = path.partition("/")
    if not host or not container:
        remedy = "Give as://account/container or as://account/container/prefix."
        raise InputError("an account and a container are needed", where=f"as://{rest}", remedy=remedy)
    return AzureBucket(host, container, prefix.strip("/"), options)


class AzureBucket:
    """See `bucket.Bucket`."""

    compares_stamps = True

    def __init__(self, host: str, container: str, prefix: str, options: StoreOptions) -> None:
        account = host[: -len(SUFFIX)] if host.endswith(SUFFIX) else host
        self._tier = options.providers.get("azure", {}).get("access_tier")
        self._prefix = f"{prefix}/" if prefix else ""
        self._url = f"as://{host}/{container}/{prefix}".rstrip("/")
        self._transfers = Transfers(options.concurrency, options.attempts)
        self._azure = AzureClient(account, container, options, self._transfers)
        self._container = self._azure.container
        # Keys of folders → the names that the service has for them.
        self._folders: dict[str, str] = {}

    @property
    def url(self) -> str:
        return self._url

    def _where(self, key: str) -> str:
        return f"{self._url}/{key}"

    def _blob(self, key: str) -> Any:
        return self._container.get_blob_client(self._folders.get(key, self._prefix + key))

    # --- reading

    def list(self, prefix: str = "", splits: Sequence[str] = ()) -> list[Listed]:  # noqa: ARG002 - the service lists from no key on
        pages = self._pages(lambda token: self._list_page(self._prefix + prefix, token))
        return sorted((each for page in pages for each in page if each.key), key=lambda each: each.key)

    def _list_page(self, start: str, token: str | None) -> tuple[Any, str | None]:
        """One page, from the answer's XML: of what the SDK makes of each blob, a fifth of a millisecond, three fields are needed."""
        from azure.core.pipeline.policies import ContentDecodePolicy

        answers: list[Any] = []
        # The names are a list without that; the answer is whole.
        names = self._container.list_blob_names(
            name_starts_with=start, results_per_page=PAGE, include=["metadata"], raw_response_hook=answers.append
        )
        pages = names.by_page(continuation_token=token)
        next(pages)
        # Parsed behind the hook, so not before now.
        root = answers[-1].context[ContentDecodePolicy.CONTEXT_NAME]
        return [self._listed(each) for each in root.iter("Blob")], pages.continuation_token or None

    def _listed(self, blob: Any) -> Listed:
        element = blob.find("Name")
        name = urllib.parse.unquote(element.text) if element.get("Encoded") == "true" else element.text
        size, etag = blob.findtext("Properties/Content-Length"), blob.findtext("Properties/Etag")
        return Listed(self._key(name, blob.find("Metadata")), int(size or 0), _stamp(etag))

    def _key(self, name: str, metadata: Any) -> str:
        key = name[len(self._prefix) :]
        marks = {each.tag.lower(): each.text for each in metadata} if metadata is not None else {}
        if marks.get("hdi_isfolder") != "true" or not key or key.endswith("/"):
            return key
        self._folders[f"{key}/"] = name
        return f"{key}/"

    def folders(self) -> frozenset[str]:
        found: set[str] = set()
        for page in self._pages(self._folders_page):
            found.update(each.name for each in page if each.name.endswith("/"))
        return frozenset(each[len(self._prefix) :].rstrip("/") for each in found)

    def _folders_page(self, token: str | None) -> tuple[Any, str | None]:
        names = self._container.walk_blobs(name_starts_with=self._prefix, results_per_page=PAGE, delimiter="/")
        pages = names.by_page(continuation_token=token)
        return list(next(pages)), pages.continuation_token or None

    def _pages(self, ask: Callable[[str | None], tuple[Any, str | None]]) -> Iterator[Any]:
        token = None
        while True:
            page, token = self._azure.call(lambda token=token: ask(token), self._url)  # type: ignore[misc]
            yield page
            if not token:
                return

    def read(self, key: str) -> Content | None:
        return self._azure.call(lambda: self._read(key), self._where(key))

    def _read(self, key: str) -> Content | None:
        from azure.core.exceptions import ResourceNotFoundError

        moments: list[str] = []
        try:
            found = self._blob(key).download_blob(raw_response_hook=lambda answer: moments.append(answer.http_response.headers["Date"]))
            data = found.readall()
        except ResourceNotFoundError as error:
            if error.response is not None and error.response.headers.get("x-ms-error-code") == "ContainerNotFound":
                raise
            return None
        now = datetime.strptime(moments[-1], "%a, %d %b %Y %H:%M:%S GMT").replace(tzinfo=timezone.utc)
        age = (now - found.properties.last_modified).total_seconds()
        return Content(data, _stamp(found.properties.etag), max(0.0, age))

    def digest(self, key: str) -> str:
        hasher = hashlib.sha256()
        for data in self._content(key, self._properties(key), 0):
            hasher.update(data)
        return hasher.hexdigest()

    def download(self, key: str, path: str, moved: Moved) -> None:
        there = self._properties(key)
        with explained(path):
            held = held_part(path, there.size)
            with open(path, "ab") as writer:
                for data in self._content(key, there, held):
                    writer.write(data)
                    moved(0, len(data))
        moved(1, 0)

    def _properties(self, key: str) -> Any:
        return self._azure.call(self._blob(key).get_blob_properties, self._where(key))

    def _content(self, key: str, there: Any, start: int) -> Iterator[bytes]:
        """An object's content from an offset on. All of it is of one ETag, or PreconditionError is raised."""
        from azure.core import MatchConditions

        blob = self._blob(key)
        same = {"etag": there.etag, "match_condition": MatchConditions.IfNotModified}
        for first, end in ranges(start, there.size, BLOCK):
            yield self._azure.call(
                lambda first=first, end=end: blob.download_blob(offset=first, length=end - first, **same).readall(),  # type: ignore[misc]
                self._where(key),
            )

    # --- writing

    def _settings(self) -> dict[str, Any]:
        from azure.storage.blob import StandardBlobTier

        return {"standard_blob_tier": StandardBlobTier(self._tier)} if self._tier else {}

    def put(self, key: str, data: bytes, *, if_absent: bool = False, if_stamp: str = "") -> str:
        from azure.core import MatchConditions

        condition: dict[str, Any] = {}
        if if_absent:
            condition = {"match_condition": MatchConditions.IfMissing}
        elif if_stamp:
            condition = {"etag": f'"{if_stamp}"', "match_condition": MatchConditions.IfNotModified}

        def write() -> str:
            answer = self._blob(key).upload_blob(
                data, length=len(data), overwrite=not if_absent, validate_content=True, **condition, **self._settings()
            )
            return _stamp(answer["etag"])

        return self._azure.call(write, self._where(key))

    def upload(self, chains: Sequence[Sequence[Upload]], moved: Moved) -> dict[str, str]:
        return self._transfers.run(chains, self._write, moved)

    def _write(self, upload: Upload, moved: Moved) -> str:
        if upload.source is None or upload.size <= SMALL:
            stamp = self.put(upload.key, content(upload))
            moved(0, upload.size)
            return stamp
        with self._transfers.slots:
            blocks = BlockUpload(self._azure, self._blob(upload.key), self._where(upload.key), upload.source)
            return _stamp(blocks.run(self._settings(), moved)["etag"])

    def delete(self, keys: Sequence[str]) -> None:
        # Folders go when what was in them is gone, the innermost first.
        folders = sorted((key for key in keys if key in self._folders), key=lambda key: (-key.count("/"), key))
        objects = [key for key in keys if key not in self._folders]
        self._transfers.each(self._delete_batch, [objects[start : start + BATCH] for start in range(0, len(objects), BATCH)])
        for key in folders:
            self._delete_folder(key)

    def _delete_batch(self, keys: Sequence[str]) -> None:
        """Those that the batch did not take are deleted one by one, which also says why one cannot go."""
        left: Sequence[str] = keys
        if len(keys) > 1:
            try:
                left = self._azure.call(lambda: self._batch(keys), self._url)
            except ServingError:
                # A SAS token may allow deletions and no batches.
                left = keys
        self._transfers.each(self._delete, left)

    def _batch(self, keys: Sequence[str]) -> Sequence[str]:
        """What is there still."""
        names = [self._prefix + key for key in keys]
        answers = list(self._container.delete_blobs(*names, delete_snapshots="include", raise_on_any_failure=False))
        if len(answers) != len(names):
            # An answer that some releases of the SDK do not understand.
            return keys
        return [key for key, answer in zip(keys, answers) if answer.status_code not in (202, 404)]

    def _delete(self, key: str) -> None:
        from azure.core.exceptions import ResourceNotFoundError

        try:
            self._azure.call(
                lambda: self._blob(key).delete_blob(delete_snapshots="include"), self._where(key), passing=(ResourceNotFoundError,)
            )
        except ResourceNotFoundError:
            return

    def _delete_folder(self, key: str) -> None:
        try:
            self._delete(key)
        except ConflictError:
            # Somebody put something in there: it stays, and the folder with it.
            return
        self._folders.pop(key, None)


def _stamp(etag: str) -> str:
    return etag.strip('"')
