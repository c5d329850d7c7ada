# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Large files to Google Cloud Storage: a resumable session that a later run takes up where this one was broken off.

A session's URL lets whoever has it write that one object for a week. It is kept for the user alone, in the cache folder, and only while
the upload lasts; who has no such folder uploads from the beginning.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Any, Callable

from ...core.errors import TransientError, UnavailableError
from ...repository.publish import SourceFile
from ..bucket import Moved
from ..transfers import blocks
from .client import GcsClient

# What a session accepts in between comes in multiples of 256 KiB.
BLOCK = 8 << 20
_GONE = (404, 410)
_SESSIONS = 3


class _SessionLostError(Exception):
    """The session cannot be finished: it is a week old, was cancelled, or holds damaged content."""


class SessionFile:
    """Where a session's URL waits for the next run."""

    def __init__(self, url: str, source: SourceFile) -> None:
        home = os.environ.get("XDG_CACHE_HOME")
        folder = (Path(home) if home else Path.home() / ".cache") / "serving.triton" / "uploads"
        self._path = folder / hashlib.sha256(f"{url}\n{source.sha256}\n{source.size}".encode()).hexdigest()

    def read(self) -> str:
        try:
            return self._path.read_text(encoding="utf-8")
        except (OSError, ValueError):
            return ""

    def write(self, session: str) -> None:
        with suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with open(os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as writer:
                writer.write(session)

    def remove(self) -> None:
        with suppress(OSError):
            self._path.unlink()


class ResumableUpload:
    """One file. begin: asks for a new session and returns its URL."""

    def __init__(self, client: GcsClient, url: str, source: SourceFile, begin: Callable[[], str]) -> None:
        self._client, self._url, self._source, self._begin = client, url, source, begin
        self._file = SessionFile(url, source)
        self._session = ""

    def run(self, moved: Moved) -> str:
        """Returns the object's generation."""
        self._session = self._file.read()
        for _unused in range(_SESSIONS):
            sent = 0

            def note(files: int, size: int) -> None:
                nonlocal sent
                sent += size
                moved(files, size)

            try:
                generation = self._send(note)
            except _SessionLostError:
                self._file.remove()
                self._session = ""
                moved(0, -sent)
            else:
                self._file.remove()
                return generation
        remedy = "Run this again; if it stays, look for what changes content between this machine and the service."
        raise UnavailableError(f"{_SESSIONS} upload sessions in a row were lost or held damaged content", where=self._url, remedy=remedy)

    def _send(self, moved: Moved) -> str:
        import google_crc32c

        done = self._taken_up()
        if not self._session:
            self._session = self._begin()
            self._file.write(self._session)
        checksum = google_crc32c.Checksum()
        answer: dict[str, Any] = {}
        for offset, block in blocks(self._source, BLOCK):
            checksum.update(block)
            end = offset + len(block)
            if end <= done:
                continue
            header = _hash_header(checksum.digest()) if end == self._source.size else {}
            answer = self._send_block(block, offset, max(done, offset), header)
            moved(0, end - max(done, offset))
            done = end
            # Else it would be held while the next one is read.
            del block
        self._compare(answer, base64.b64encode(checksum.digest()).decode())
        return str(answer["generation"])

    def _taken_up(self) -> int:
        """How much the session of an earlier run holds. One that is complete already made an object that somebody may have replaced."""
        if not self._session:
            return 0
        done, answer = self._client.call(self._state, self._url)
        if answer:
            raise _SessionLostError
        # Something is sent in any case: the answer to it describes the object.
        return min(done, self._source.size - 1)

    def _send_block(self, block: bytes, offset: int, done: int, header: dict[str, str]) -> dict[str, Any]:
        """Sends a block, what the server has of it already left out. Returns the object's description with the last one, else nothing."""
        end = offset + len(block)
        broken = False

        def once() -> dict[str, Any]:
            nonlocal done, broken
            answer: dict[str, Any] = {}
            with self._client.explained(self._url):
                if broken:
                    done, answer = self._state()
                broken = True
                while not answer and done < end:
                    if done < offset:
                        raise _SessionLostError
                    headers = {"Content-Range": f"bytes {done}-{end - 1}/{self._source.size}", **header}
                    held = done
                    done, answer = self._put(block[done - offset :], headers)
                    if done <= held:
                        raise TransientError("the service keeps nothing of what is sent", where=self._url, remedy="Run this again.")
            return answer

        return self._client.transfers.retry(once)

    def _state(self) -> tuple[int, dict[str, Any]]:
        return self._put(b"", {"Content-Range": f"bytes */{self._source.size}"})

    def _put(self, data: bytes, headers: dict[str, str]) -> tuple[int, dict[str, Any]]:
        """(bytes that the server holds, the object's description once it is complete)."""
        response = self._client.session.put(self._session, data=data, headers=headers, timeout=self._client.timeout, allow_redirects=False)
        if response.status_code in _GONE or self._client.is_damaged(response):
            raise _SessionLostError
        if response.status_code == 308:
            held = re.fullmatch(r"bytes=0-(\d+)", response.headers.get("Range", ""))
            return int(held.group(1)) + 1 if held else 0, {}
        self._client.check(response, self._url)
        answer: dict[str, Any] = response.json()
        return self._source.size, answer

    def _compare(self, answer: dict[str, Any], checksum: str) -> None:
        if answer.get("crc32c", checksum) != checksum or int(answer.get("size", -1)) != self._source.size:
            raise UnavailableError("the service holds other content than was sent", where=self._url, remedy="Run this again with force.")


def _hash_header(digest: bytes) -> dict[str, str]:
    return {"X-Goog-Hash": f"crc32c={base64.b64encode(digest).decode()}"}
