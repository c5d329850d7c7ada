# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A bucket of S3, or of a server that speaks its protocol (MinIO, Ceph RGW, OCI), below a prefix.

What only some runs need is imported by them: the usual one lists, reads the manifest, and finds everything in place.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...core.errors import TransientError
from ...core.wait import Clock
from ..base import StoreOptions
from ..bucket import Content, Listed, Moved, PreconditionError, Upload
from .client import Client, Manners, Request
from .connection import Answer, Links
from .content import always, terms
from .errors import RefusedError
from .place import Place, parse_place
from .session import Session
from .workers import gather
from .xml import Page, read_page, stamp_of

if TYPE_CHECKING:
    from .upload import Uploader

# Requests at once where the user names no number: what a server 20 ms away needs to be kept busy.
MOST = 64
LISTS_AT_ONCE = 16
PAGE = 1000
# A name of its own: in the class, `list` is the method.
_Found = list[Listed]
# One less than a page: an object that nobody expects in a range does not cost it a second request.
RANGE = PAGE - 1


def open_bucket(rest: str, options: StoreOptions, clock: Clock | None = None) -> S3Bucket:
    """rest: what follows `s3://`."""
    return S3Bucket(parse_place(rest), options, clock)


class S3Bucket:
    """See `bucket.Bucket`."""

    compares_stamps = True

    def __init__(self, place: Place, options: StoreOptions, clock: Clock | None = None) -> None:
        given = options.providers.get("s3") or {}
        self._place, self._most = place, options.concurrency or MOST
        self._prefix = f"{place.prefix}/" if place.prefix else ""
        links = Links(options.timeout, options.validate_certs, options.ca_path)
        manners = Manners(options.attempts, self._most, given.get("addressing_style") or "auto", always(given))
        self._client = Client(place, Session(given, options.timeout), links, manners, clock)
        endpoint = self._client.endpoint
        self._how = terms(given, secure=endpoint.secure, aws=endpoint.aws)

    @property
    def url(self) -> str:
        return self._place.url

    @property
    def notes(self) -> list[str]:
        """What the user should know of the transfers, such as a clock that is wrong."""
        return self._client.notes

    # --- listing

    def list(self, prefix: str = "", splits: Sequence[str] = ()) -> list[Listed]:
        begins = ["", *splits[RANGE - 1 :: RANGE]]
        # A range that would begin with the last key that is expected holds nothing.
        ranges = list(zip(begins, [*begins[1:], ""]))
        lists = gather(lambda each: self._range(prefix, *each), ranges, min(LISTS_AT_ONCE, self._most))
        return [each for part in lists for each in part]

    def _range(self, prefix: str, after: str, last: str) -> _Found:
        """What lies behind `after`, up to `last` (empty: to the end)."""
        found: _Found = []
        begin = len(self._prefix)
        page, position = Page([], [], True, ""), self._prefix + after if after else ""
        while page.truncated:
            query = [("list-type", "2"), ("prefix", self._prefix + prefix), ("encoding-type", "url")]
            # By the key, not by the token: the range may end before the page does.
            query += [("start-after", position)] if position else []
            page = self._page(query)
            found += [Listed(each.key[begin:], each.size, each.stamp) for each in page.objects] if begin else page.objects
            if not page.objects or (last and found[-1].key >= last):
                break
            position = page.objects[-1].key
        if last and found and found[-1].key > last:
            found = [each for each in found if each.key <= last]
        return found

    def _page(self, query: Sequence[tuple[str, str]]) -> Page:
        request = Request("GET", query=tuple(query))
        for attempt in range(1, self._client.attempts):
            try:
                return read_page(self._client.call(request).body)
            except TransientError as error:
                if error.where:
                    raise
                # It came whole, and is no listing: what a proxy says while the server is away.
                self._client.rest(attempt)
        return read_page(self._client.call(request).body)

    def folders(self) -> frozenset[str]:
        names: set[str] = set()
        page = Page([], [], True, "")
        more: Sequence[tuple[str, str]] = ()
        while page.truncated:
            query = [("list-type", "2"), ("prefix", self._prefix), ("delimiter", "/"), ("encoding-type", "url"), *more]
            page = self._page(query)
            names.update(each[len(self._prefix) :].rstrip("/") for each in page.folders)
            if not page.token:
                break
            more = [("continuation-token", page.token)]
        return frozenset(names)

    # --- reading

    def read(self, key: str) -> Content | None:
        try:
            answer = self._client.call(Request("GET", self._prefix + key))
        except RefusedError as error:
            if error.code == "NoSuchKey" or (error.status == 404 and error.code != "NoSuchBucket"):
                return None
            raise
        return Content(answer.body, stamp_of(answer.headers.get("etag", "")), _age(answer))

    def digest(self, key: str) -> str:
        from .fetch import Fetch

        hasher = hashlib.sha256()
        Fetch(self._client, self._prefix + key, hasher.update).run()
        return hasher.hexdigest()

    def download(self, key: str, path: str, moved: Moved) -> None:
        from .fetch import download

        download(self._client, self._prefix + key, path, moved)

    def put(self, key: str, data: bytes, *, if_absent: bool = False, if_stamp: str = "") -> str:
        conditions = {"if-none-match": "*"} if if_absent else {"if-match": f'"{if_stamp}"'} if if_stamp else {}
        try:
            return self._put(key, data, conditions)
        except PreconditionError as error:
            return self._settle(key, data, if_stamp, error)
        except RefusedError as error:
            if if_stamp and error.status == 404 and error.code != "NoSuchBucket":
                raise PreconditionError("the object is gone", where=error.where, remedy="Run this again.") from error
            if not (conditions and error.status == 501):
                raise
            # A server without conditions: the caller knows what to do then.
            return self._put(key, data, {})

    def _settle(self, key: str, data: bytes, if_stamp: str, error: PreconditionError) -> str:
        """What a refused condition really means."""
        there = self.read(key)
        if there is not None and error.details.get("unsure") and there.data == data:
            # An attempt whose answer was lost had done it.
            return there.stamp
        if there is None or not if_stamp or there.stamp != if_stamp:
            raise error
        # Ceph RGW compares with the quotes.
        return self._put(key, data, {"if-match": if_stamp})

    # --- writing

    def _put(self, key: str, data: bytes, conditions: dict[str, str]) -> str:
        return self._uploader().put(self._prefix + key, data, conditions)

    def upload(self, chains: Sequence[Sequence[Upload]], moved: Moved) -> dict[str, str]:
        return self._uploader().run(chains, moved)

    def _uploader(self) -> Uploader:
        from .upload import Uploader

        return Uploader(self._client, self._how, self._prefix, self._most)

    def delete(self, keys: Sequence[str]) -> None:
        from .delete import delete_all

        for begin in range(0, len(keys), PAGE):
            delete_all(self._client, [self._prefix + key for key in keys[begin : begin + PAGE]])


def _age(answer: Answer) -> float:
    """By the server's clock alone."""
    from email.utils import parsedate_to_datetime

    try:
        written, now = (parsedate_to_datetime(answer.headers[name]) for name in ("last-modified", "date"))
        return max(0.0, (now - written).total_seconds())
    except (KeyError, TypeError, ValueError):
        return 0.0
