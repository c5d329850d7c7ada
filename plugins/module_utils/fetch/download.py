# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Downloads over HTTP into a cache of files named by their SHA-256. What broke off goes on where it was."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit, urlunsplit

from ..core.errors import InputError, ServingError, TransientError, UnavailableError
from ..core.progress import Progress, Transfer
from ..core.wait import Clock, RetryPolicy
from ..repository.digest import digest
from .alone import alone

BLOCK = 1 << 20
# Seconds to wait for another run that downloads the same.
PATIENCE = 1800.0
_BUSY = (408, 425, 429, 500, 502, 503, 504)


@dataclass(frozen=True)
class Manners:
    """timeout: seconds for each answer. attempts: in a row without a byte more. headers: sent to the URL's own server alone."""

    timeout: float = 60.0
    attempts: int = 6
    validate_certs: bool = True
    ca_path: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    progress: Progress = lambda _state: None
    clock: Clock = field(default_factory=Clock)


def shown(url: str) -> str:
    """A URL without what may be secret in it: user, password and query."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def download(url: str, sha256: str, cache: Path, manners: Manners) -> Path:
    """The file of the cache that holds this content. Raises a ServingError, for another content with both digests."""
    place = cache / sha256
    try:
        if _is_cached(place, sha256):
            return place
        cache.mkdir(mode=0o700, parents=True, exist_ok=True)
        part = cache / f"{sha256}.part"
        with alone(part, PATIENCE, manners.clock):
            if _is_cached(place, sha256):
                # By another run, while this one waited.
                part.unlink()
                return place
            try:
                _bring(url, sha256, part, manners)
                os.replace(part, place)
            finally:
                if part.exists() and not part.stat().st_size:
                    part.unlink()
    except OSError as error:
        raise UnavailableError(f"cannot be kept: {error.strerror or error}", where=str(cache), remedy="Give another cache.") from error
    return place


def _is_cached(place: Path, sha256: str) -> bool:
    return place.exists() and digest(place) == sha256


def _bring(url: str, sha256: str, part: Path, manners: Manners) -> None:
    """The whole content into `part`, which stays the same file: other runs wait at it."""
    resumed = part.stat().st_size > 0
    _Download(url, part, manners).run()
    found = digest(part)
    if found != sha256 and resumed:
        # The first part may be of another file than the rest.
        os.truncate(part, 0)
        _Download(url, part, manners).run()
        found = digest(part)
    if found != sha256:
        os.truncate(part, 0)
        remedy = "Look whether the URL serves another file now; where you trust it, give its digest."
        what = f"its SHA-256 is {found}, expected {sha256}"
        raise UnavailableError(what, where=shown(url), remedy=remedy, expected=sha256, found=found)


class _Download:
    def __init__(self, url: str, part: Path, manners: Manners) -> None:
        self._url, self._part, self._manners = url, part, manners
        self._where = shown(url)

    def run(self) -> None:
        """Until the file is whole; a try that brought something does not count."""
        policy = RetryPolicy(attempts=self._manners.attempts)
        failed = 0
        while True:
            before = self._size()
            try:
                self._go_on()
                return
            except TransientError as error:
                failed = 1 if self._size() > before else failed + 1
                if failed >= policy.attempts:
                    remedy = f"Tried {failed} times. Run this again: it goes on where it is. {error.remedy}".rstrip()
                    raise UnavailableError(error.what, where=self._where, remedy=remedy) from error
                self._manners.clock.sleep(policy.pause(failed))

    def _size(self) -> int:
        return self._part.stat().st_size if self._part.exists() else 0

    def _go_on(self) -> None:
        start = self._size()
        with self._explained(lambda: self._open(start)) as answer:
            status = answer.status if hasattr(answer, "status") else answer.getcode()
            if status == 416:
                return
            if status != 206:
                start = 0
            self._copy(answer, start, _whole(answer.headers, start))

    def _open(self, start: int) -> Any:
        # Here and below: a run that finds all in place starts without an HTTP client.
        from urllib.error import HTTPError

        from ansible.module_utils.urls import open_url

        manners = self._manners
        ranged = {"Range": f"bytes={start}-"} if start else {}
        try:
            return open_url(
                self._url,
                headers={"Accept-Encoding": "identity", **manners.headers, **ranged},
                unredirected_headers=list(manners.headers),
                timeout=manners.timeout,
                validate_certs=manners.validate_certs,
                ca_path=manners.ca_path,
                follow_redirects="safe",
                use_netrc=False,
            )
        except HTTPError as error:
            # The whole file is there already, or the server has another one now.
            if error.code == 416 and start:
                return error
            raise

    def _copy(self, answer: IO[bytes], start: int, whole: int) -> None:
        done = start
        with open(self._part, "r+b" if self._part.exists() else "wb") as file:
            file.truncate(start)
            file.seek(start)
            while block := self._explained(lambda: answer.read(BLOCK)):
                file.write(block)
                done += len(block)
                self._manners.progress(Transfer(0, 1, done, whole))
        if whole and done < whole:
            raise TransientError(f"the connection ended after {done:,} of {whole:,} bytes", where=self._where)

    def _explained(self, call: Callable[[], Any]) -> Any:
        import socket
        from http.client import HTTPException
        from ssl import SSLCertVerificationError, SSLError
        from urllib.error import HTTPError, URLError

        try:
            return call()
        except HTTPError as error:
            with suppress(OSError):
                error.close()
            raise self._refused(error.code) from error
        # Before Python 3.10, the timeout of a socket is none of the built-in ones.
        except (URLError, HTTPException, TimeoutError, socket.timeout, ConnectionError, SSLError) as error:
            reason = (getattr(error, "reason", None) if isinstance(error, URLError) else None) or error
            if isinstance(reason, SSLCertVerificationError):
                remedy = "Give the authority's file as ca_path."
                raise UnavailableError(
                    f"its certificate is not trusted: {reason.verify_message}", where=self._where, remedy=remedy
                ) from error
            raise TransientError(f"cannot be reached: {reason}", where=self._where, remedy="Check the URL and the proxy.") from error
        except ValueError as error:
            raise InputError(f"is no URL to fetch from: {error}", where=self._where, remedy="Give an http or https URL.") from error

    def _refused(self, status: int) -> ServingError:
        what = f"the server answers with status {status}"
        if status in _BUSY:
            return TransientError(what, where=self._where)
        hint = "Give a token in headers." if status in (401, 403) else "Check the URL."
        return UnavailableError(what, where=self._where, remedy=hint, status=status)


def _whole(headers: Mapping[str, str], start: int) -> int:
    """The file's size, 0 where the server does not tell it."""
    length = headers.get("Content-Length") or ""
    return start + int(length) if length.isdecimal() else 0
