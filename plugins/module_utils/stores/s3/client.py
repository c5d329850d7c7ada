# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Calls to one bucket: signed, tried again within bounds, followed to the right region, with a clock that is set right once."""

from __future__ import annotations

import random
import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from ...core.errors import InputError, ServingError, TransientError
from ...core.wait import Clock
from ..bucket import PreconditionError
from ..gate import Gate
from .connection import Answer, Body, Connection, FileRange, Links, Pool, Sink
from .errors import LostError, RefusedError, ThrottledError, failure, lost
from .place import Endpoint, Place
from .session import Session
from .signature import EMPTY_SHA256, UNSIGNED, Keys, Signer, encode_path, encode_query
from .xml import read_error

_BASE, _CAP = 0.1, 20.0
# Being asked to slow down is no failure of the call: it gets so many times the attempts.
_PATIENCE = 2
_REGION_CODES = ("PermanentRedirect", "AuthorizationHeaderMalformed", "TemporaryRedirect", "IllegalLocationConstraintException")


@dataclass(frozen=True)
class Request:
    """key: with the prefix, empty for the bucket. query: pairs, not encoded. sha256: of the body in hex, where it must be signed.

    sink: takes a good answer's body block by block; such a call is not made again here, since the caller knows what arrived.
    """

    method: str
    key: str = ""
    query: tuple[tuple[str, str], ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Body = b""
    sha256: str = ""
    sink: Sink | None = None

    @property
    def size(self) -> int:
        return self.body.size if isinstance(self.body, FileRange) else len(self.body)


@dataclass(frozen=True)
class Manners:
    """attempts: of each call. most: requests at once. style: of addressing. always: headers of every request."""

    attempts: int = 6
    most: int = 64
    style: str = "auto"
    always: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Target:
    """Where requests go, and how they are signed."""

    endpoint: Endpoint
    region: str
    base: str
    host: str
    pool: Pool


class Client:
    """Safe to share among threads."""

    def __init__(self, place: Place, session: Session, links: Links, manners: Manners, clock: Clock | None = None) -> None:
        self._place, self._session, self._links, self._manners = place, session, links, manners
        self._attempts, self._clock = max(1, manners.attempts), clock or Clock()
        self._mutex = threading.Lock()
        self._skew: float | None = None
        self._renewed = self._moved = False
        self.gate = Gate(manners.most)
        self.notes: list[str] = []
        self._signer: tuple[Keys, str, Signer] | None = None
        self._target = self._make(session.region())

    @property
    def endpoint(self) -> Endpoint:
        return self._target.endpoint

    def where(self, key: str = "") -> str:
        return f"{self._target.endpoint} bucket {self._place.bucket}" + (f" {key}" if key else "")

    def call(self, request: Request, *, allow: Iterable[int] = ()) -> Answer:
        """A good answer, or one with an allowed status. Raises a ServingError for every other."""
        allowed = frozenset(allow)
        failed, asked = 0, 0
        while True:
            target = self._target
            error = self._once(request, target, allowed)
            if isinstance(error, Answer):
                return error
            if isinstance(error, ThrottledError):
                asked += 1
                if asked >= self._attempts * _PATIENCE or request.sink is not None:
                    raise error
                self._clock.sleep(max(error.after, _pause(asked)))
            elif isinstance(error, TransientError):
                failed += 1
                if failed >= self._attempts or request.sink is not None:
                    raise error
                self.rest(failed)
            elif isinstance(error, PreconditionError) and failed:
                # The attempt whose answer was lost may be what changed the object.
                error.details["unsure"] = True
                raise error
            elif not self._mended(error, target):
                raise error

    @property
    def attempts(self) -> int:
        return self._attempts

    def rest(self, failed: int) -> None:
        """The pause after so many failures."""
        self._clock.sleep(_pause(failed))

    def _once(self, request: Request, target: _Target, allowed: frozenset[int]) -> Answer | ServingError:
        error: ServingError | None = LostError("interrupted")
        self.gate.enter()
        try:
            answer = self._exchange(request, target)
            error = None if answer.status in allowed else failure(answer, self.where(request.key))
            if isinstance(error, RefusedError):
                error = _RefusalError(error, answer)
        except OSError as failed:
            error = lost(failed, self.where(request.key))
        except ValueError as failed:
            error = LostError(f"the answer is not HTTP ({failed})", where=self.where(request.key), remedy="Check the endpoint.")
        finally:
            self.gate.leave(isinstance(error, ThrottledError))
        return error or answer

    def _exchange(self, request: Request, target: _Target) -> Answer:
        head = self._head(request, target)
        while True:
            connection = target.pool.get()
            try:
                answer = connection.exchange(head, request.body, has_body=request.method != "HEAD", sink=request.sink)
            except OSError as error:
                connection.close()
                if not _is_stale(error, connection, request):
                    raise
                # The server closed it while it idled; all others idle as long.
                target.pool.close()
            except (ServingError, ValueError):
                # What the caller's sink says, or a source file that changed: the answer is not read to its end.
                connection.close()
                raise
            else:
                target.pool.put(connection)
                return answer

    def _head(self, request: Request, target: _Target) -> bytes:
        path = f"{target.base}/{encode_path(request.key)}" if request.key else target.base or "/"
        query = encode_query(request.query) if request.query else ""
        # Over TLS the body is protected on its way, and its checksum is a header that is signed.
        sha256 = request.sha256 or (EMPTY_SHA256 if not request.size else UNSIGNED)
        headers = {"host": target.host, **self._manners.always, **request.headers}
        signed = self._sign_for(target.region).sign((request.method, path, query), headers, sha256, time.time() + (self._skew or 0.0))
        lines = "".join([f"{name}: {value}\r\n" for name, value in signed.items()])
        line = f"{request.method} {target.pool.target_prefix}{path}{'?' if query else ''}{query} HTTP/1.1"
        return f"{line}\r\n{lines}{target.pool.proxy_header}content-length: {request.size}\r\n\r\n".encode()

    def _sign_for(self, region: str) -> Signer:
        keys, known = self._session.keys(), self._signer
        if known is not None and known[0] == keys and known[1] == region:
            return known[2]
        signer = Signer(keys, region)
        self._signer = (keys, region, signer)
        return signer

    # --- what can be mended once

    def _mended(self, error: ServingError, target: _Target) -> bool:
        """Whether a refusal was for something that is right now."""
        if not isinstance(error, _RefusalError):
            return False
        with self._mutex:
            if self._target is not target:
                # Another thread has met the same.
                return True
            if error.code in ("ExpiredToken", "ExpiredTokenException", "InvalidToken", "TokenRefreshRequired"):
                return self._renew(target)
            if error.code == "RequestTimeTooSkewed":
                return self._set_clock(error.answer, target)
            return self._move(error, target)

    def _renew(self, target: _Target) -> bool:
        if self._renewed or not self._session.renew():
            return False
        self._renewed = True
        self._target = self._make(target.region, target.endpoint)
        return True

    def _set_clock(self, answer: Answer, target: _Target) -> bool:
        if self._skew is not None:
            return False
        from email.utils import parsedate_to_datetime

        try:
            told = parsedate_to_datetime(answer.headers.get("date", "")).timestamp()
        except (TypeError, ValueError):
            return False
        self._skew = told - time.time()
        self.notes.append(f"this machine's clock differs from {target.endpoint}'s by {-self._skew:.0f} s: set it, for example with chrony")
        self._target = self._make(target.region, target.endpoint)
        return True

    def _move(self, error: _RefusalError, target: _Target) -> bool:
        answer = error.answer
        if self._moved or not (answer.status in (301, 302, 307, 308) or error.code in _REGION_CODES):
            return False
        region = answer.headers.get("x-amz-bucket-region") or read_error(answer.body)[2]
        if not region or region == target.region:
            return False
        self._moved = True
        self._target = self._make(region, None if target.endpoint.aws else target.endpoint)
        return True

    def _make(self, region: str, endpoint: Endpoint | None = None) -> _Target:
        place = self._place
        endpoint = endpoint or self._session.endpoint(place, region)
        virtual = self._manners.style == "virtual" or (self._manners.style == "auto" and endpoint.aws and _is_label(place.bucket))
        if virtual:
            # The certificate and the connection are those of the bucket's own host.
            link = Endpoint(endpoint.secure, f"{place.bucket}.{endpoint.host}", endpoint.port, endpoint.path, endpoint.aws)
            base = endpoint.path
        else:
            link, base = endpoint, f"{endpoint.path}/{encode_path(place.bucket)}"
        try:
            pool = Pool(link, self._links)
        except OSError as error:
            what = f"the certificates of authorities cannot be read ({error.strerror or error})"
            raise InputError(what, where="ca_path", remedy="Give a PEM file or a folder of hashed ones.") from error
        return _Target(endpoint, region, base, link.authority, pool)

    def close(self) -> None:
        self._target.pool.close()


class _RefusalError(RefusedError):
    """A refusal together with its answer."""

    def __init__(self, error: RefusedError, answer: Answer) -> None:
        super().__init__(error.what, where=error.where, remedy=error.remedy, status=error.status, code=error.code)
        self.answer = answer


def _is_stale(error: OSError, connection: Connection, request: Request) -> bool:
    """Whether a connection failed because it had idled, so that the call may be made again at once.

    A call with a condition may not: it must be known whether an attempt was lost.
    """
    conditional = "if-match" in request.headers or "if-none-match" in request.headers
    timed_out = isinstance(error, (TimeoutError, socket.timeout))  # two classes before Python 3.10
    return connection.served and not (connection.answering or conditional or timed_out)


def _pause(attempt: int, jitter: Callable[[], float] = random.random) -> float:
    """Full jitter: many that failed at once do not come back at once."""
    ceiling: float = min(_CAP, _BASE * 2**attempt)
    return ceiling * jitter()


def _is_label(bucket: str) -> bool:
    """Whether a bucket's name fits the certificate for its own host name: dots do not."""
    return all(letter.islower() or letter.isdigit() or letter == "-" for letter in bucket) and bucket.isascii()
