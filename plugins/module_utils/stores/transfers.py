# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What providers of object stores share: source files read and checked, uploads side by side, and why a connection failed."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from ..core.errors import InputError, ServingError, TransientError, UnavailableError
from ..core.wait import Clock, RetryPolicy, retry
from ..repository.publish import SourceFile
from .bucket import Moved, Upload
from .gate import Gate

T = TypeVar("T")
R = TypeVar("R")
# Requests at once where the user names no number: small ones wait for answers most of the time.
WORKERS = 16
# What says that there are too many.
_BUSY = (429, 503)
# Large files at once where the user names no number.
SLOTS = 4


class Transfers:
    """How one bucket's calls are made. workers: requests at once, at most. slots: large files at once, each of which holds some blocks in
    memory. gate: lets fewer requests through for a while when the service asks to slow down.
    """

    def __init__(self, concurrency: int, attempts: int, clock: Clock | None = None) -> None:
        self.workers = concurrency or WORKERS
        self.gate = Gate(self.workers)
        self._inside = threading.local()
        self.slots = threading.BoundedSemaphore(concurrency or SLOTS)
        self._policy = RetryPolicy(attempts=attempts)
        self._clock = clock or Clock()

    def retry(self, call: Callable[[], T]) -> T:
        """Calls until it succeeds; the last failure says how often that was tried."""

        def once() -> T:
            with self.turn():
                return call()

        try:
            return retry(once, self._policy, self._clock)
        except TransientError as error:
            remedy = f"Tried {self._policy.attempts} times. {error.remedy}" if self._policy.attempts > 1 else error.remedy
            raise UnavailableError(error.what, where=error.where, remedy=remedy, **error.details) from error

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Around each request: waits until there is room for one more. What a request asks for on its way is part of it."""
        if getattr(self._inside, "held", False):
            yield
            return
        self.gate.enter()
        self._inside.held, busy = True, False
        try:
            yield
        except TransientError as error:
            busy = error.details.get("status") in _BUSY
            raise
        finally:
            self._inside.held = False
            self.gate.leave(busy)

    def each(self, call: Callable[[T], R], items: Sequence[T]) -> list[R]:
        """Calls for each item, side by side. Results keep the order; the first failure stops what has not begun and is raised."""
        if len(items) <= 1:
            return [call(item) for item in items]
        # Imported here: a run that transfers nothing does not pay for it.
        from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait

        with ThreadPoolExecutor(min(self.workers, len(items))) as pool:
            futures = [pool.submit(call, item) for item in items]
            try:
                wait(futures, return_when=FIRST_EXCEPTION)
                broken = next((each for each in futures if each.done() and each.exception()), None)
            finally:
                # Also what an interrupt leaves: a user who stops a publish does not wait for all of it.
                pool.shutdown(wait=False, cancel_futures=True)
            return [each.result() for each in ([broken] if broken else futures)]

    def run(self, chains: Sequence[Sequence[Upload]], write: Callable[[Upload, Moved], str], moved: Moved) -> dict[str, str]:
        """Writes all chains. Returns key → stamp."""
        stop = threading.Event()
        report = _one_at_a_time(moved)

        def follow(chain: Sequence[Upload]) -> list[tuple[str, str]]:
            stamps: list[tuple[str, str]] = []
            for each in chain:
                if stop.is_set():
                    break
                done = False
                try:
                    stamps.append((each.key, write(each, report)))
                    report(1, 0)
                    done = True
                finally:
                    if not done:
                        stop.set()
            return stamps

        return dict(pair for stamps in self.each(follow, chains) for pair in stamps)


def _one_at_a_time(moved: Moved) -> Moved:
    mutex = threading.Lock()

    def report(files: int, size: int) -> None:
        with mutex:
            moved(files, size)

    return report


def content(upload: Upload) -> bytes:
    """All of a small upload. Raises InputError when the file is not the planned one any more."""
    if upload.source is None:
        return upload.data
    return b"".join(data for _unused, data in blocks(upload.source, max(1, upload.source.size)))


def blocks(source: SourceFile, size: int) -> Iterator[tuple[int, bytes]]:
    """A file's content, block by block with its offset. The last one comes only when the whole content is what was planned."""
    try:
        with open(source.path, "rb", buffering=0) as reader:
            yield from _checked(source, reader, size)
    except OSError as error:
        # Only what reads the file is in here: an error of whoever takes the blocks does not come this way.
        remedy = "Check the source file's owner and mode, or run this again when nobody changes the source."
        raise InputError(f"cannot be read: {error.strerror}", where=source.path, remedy=remedy) from error


def _checked(source: SourceFile, reader: io.FileIO, size: int) -> Iterator[tuple[int, bytes]]:
    hasher = hashlib.sha256()
    offset = 0
    while offset < source.size:
        block = _full(reader.read, min(size, source.size - offset))
        hasher.update(block)
        if not block or offset + len(block) == source.size:
            _check(source, hasher.hexdigest(), grown=bool(reader.read(1)))
        offset += len(block)
        yield offset - len(block), block
        # Else it would be held while the next one is read.
        del block
    if not source.size:
        _check(source, hasher.hexdigest(), grown=bool(reader.read(1)))


def _full(read: Callable[[int], bytes | None], size: int) -> bytes:
    # A raw read may be short.
    parts = []
    while size and (part := read(size)):
        parts.append(part)
        size -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _check(source: SourceFile, digest: str, *, grown: bool) -> None:
    if grown or digest != source.sha256:
        remedy = "Run this again when nobody writes the source."
        raise InputError("the file changed while it was published", where=source.path, remedy=remedy)


def ranges(start: int, end: int, step: int) -> Iterator[tuple[int, int]]:
    """(first, behind the last) of the pieces from start to end."""
    return ((first, min(first + step, end)) for first in range(start, end, step))


def held_part(path: str, size: int) -> int:
    """How many bytes of a download are there already; a file that is too long is none of it and is emptied."""
    try:
        held = os.path.getsize(path)
    except OSError:
        return 0
    if held > size:
        os.truncate(path, 0)
        return 0
    return held


def cuts(splits: Sequence[str], page: int, most: int) -> list[str]:
    """Some of the keys, at least a page apart, at which a listing is cut into at most `most` parallel ones."""
    step = max(page, -(-len(splits) // most))
    return list(splits[step::step])


# --- why a connection failed

_REFUSED = {
    errno.ECONNREFUSED: "nothing listens there",
    errno.ECONNRESET: "the connection was reset",
    errno.EPIPE: "the connection was closed",
    errno.EHOSTUNREACH: "the host cannot be reached",
    errno.ENETUNREACH: "the network cannot be reached",
    errno.ETIMEDOUT: "the connection timed out",
}


def connection_error(error: BaseException, where: str, endpoint: str) -> ServingError:
    """What to tell of a failure below HTTP. Never the SDK's own text: that holds the URL, and a URL may hold a signature."""
    chain = list(_chain(error))
    for each in chain:
        if isinstance(each, ssl.SSLCertVerificationError):
            remedy = "Give the certificate of its authority as ca_path, or correct the endpoint."
            return UnavailableError(f"the certificate of {endpoint} is refused: {each.verify_message}", where=where, remedy=remedy)
    reason = next((text for text in map(_reason, chain) if text), "the connection broke")
    remedy = f"Check the network between this machine and {endpoint}, and the endpoint."
    return TransientError(f"{endpoint} does not answer: {reason}", where=where, remedy=remedy)


def _reason(error: BaseException) -> str:
    if isinstance(error, socket.gaierror):
        return "its name is unknown"
    if isinstance(error, OSError) and error.errno in _REFUSED:
        return _REFUSED[error.errno]
    if isinstance(error, ConnectionResetError):
        return "the connection was closed"
    if isinstance(error, TimeoutError) or "Timeout" in type(error).__name__:
        return "it took too long"
    if isinstance(error, ssl.SSLError):
        return "it does not speak TLS as expected"
    return "it sent less than it announced" if "IncompleteRead" in type(error).__name__ else ""


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error, and what caused it: libraries chain errors, or carry them as an argument or as `reason`."""
    seen: set[int] = set()
    waiting: list[object] = [error]
    while waiting:
        each = waiting.pop(0)
        if isinstance(each, BaseException) and id(each) not in seen:
            seen.add(id(each))
            yield each
            waiting += [each.__cause__, each.__context__, getattr(each, "reason", None), *each.args]
