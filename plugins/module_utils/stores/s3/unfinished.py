# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Uploads in parts that a broken run has left, so that the next one goes on where it ended."""

from __future__ import annotations

import threading

from ...core.errors import ServingError
from .client import Client, Request
from .errors import RefusedError
from .xml import Part, parse, read_parts, read_uploads, text


class Unfinished:
    """prefix: only uploads below it are looked at; uploads elsewhere in the bucket are none of ours."""

    def __init__(self, client: Client, prefix: str) -> None:
        self._client, self._prefix = client, prefix
        self._found: dict[str, list[str]] | None = None
        self._mutex = threading.Lock()

    def take(self, key: str, size: int, part_size: int) -> tuple[str, dict[int, str]]:
        """The newest unfinished upload of a key and the MD5 of its parts; others of the key are aborted. "" where none fits."""
        uploads = self._of(key)
        for stale in uploads[:-1]:
            self.abort(key, stale)
        if not uploads:
            return "", {}
        parts = self._parts(key, uploads[-1])
        if parts is None or not all(_fits(part, size, part_size) for part in parts):
            self.abort(key, uploads[-1])
            return "", {}
        return uploads[-1], {part.number: part.stamp for part in parts}

    def give_up(self, key: str) -> None:
        """Aborts every unfinished upload of a key."""
        for stale in self._of(key):
            self.abort(key, stale)

    def _of(self, key: str) -> list[str]:
        with self._mutex:
            if self._found is None:
                self._found = self._list()
            return self._found.pop(key, [])

    def abort(self, key: str, upload: str) -> None:
        """Frees what the parts occupy. That it fails is no reason to fail: they hinder nobody."""
        try:
            self._client.call(Request("DELETE", key, (("uploadId", upload),)), allow=(404,))
        except ServingError:
            self._client.notes.append(f"an unfinished upload of {key} could not be aborted; a lifecycle rule of the bucket can remove such")

    def _list(self) -> dict[str, list[str]]:
        """Asked for once, for all files."""
        found: dict[str, list[str]] = {}
        marker: tuple[tuple[str, str], ...] = ()
        while True:
            query = (("uploads", ""), ("prefix", self._prefix), *marker)
            try:
                body = self._client.call(Request("GET", query=query)).body
            except RefusedError as error:
                if error.status in (403, 404, 405, 501) and error.code != "NoSuchBucket":
                    # Not allowed, or not known: then every upload begins anew.
                    return found
                raise
            for key, upload in read_uploads(body):
                found.setdefault(key, []).append(upload)
            root = parse(body)
            if text(root, "IsTruncated") != "true":
                return found
            marker = (("key-marker", text(root, "NextKeyMarker")), ("upload-id-marker", text(root, "NextUploadIdMarker")))

    def _parts(self, key: str, upload: str) -> list[Part] | None:
        parts: list[Part] = []
        marker = ""
        while True:
            query = (("uploadId", upload), *((("part-number-marker", marker),) if marker else ()))
            try:
                found, marker = read_parts(self._client.call(Request("GET", key, query)).body)
            except RefusedError:
                return None
            parts += found
            if not marker:
                return parts


def _fits(part: Part, size: int, part_size: int) -> bool:
    begin = (part.number - 1) * part_size
    return begin < size and part.size == min(part_size, size - begin)
