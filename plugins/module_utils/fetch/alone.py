# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""One run at a time on this machine: a file that is locked while it is worked on."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..core.errors import ConflictError
from ..core.wait import Clock

_PAUSE = 1.0
# Some network file systems know no locks: there, it is up to the user.
_UNKNOWN = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL)


@contextmanager
def alone(path: Path, seconds: float, clock: Clock) -> Iterator[None]:
    """Holds a file, which is made where it is missing and which its holder may remove.

    Raises ConflictError where it is not free after so many seconds, and OSError.
    """
    handle = _locked(path, seconds, clock)
    try:
        yield
    finally:
        os.close(handle)


def _locked(path: Path, seconds: float, clock: Clock) -> int:
    end = clock.now() + seconds
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if _lock(handle) and _is_there(path, handle):
            return handle
        os.close(handle)
        if clock.now() >= end:
            what = f"another run works on it, for more than {seconds:.0f} seconds"
            raise ConflictError(what, where=str(path), remedy="Run this again when that one is done.", lock=str(path))
        clock.sleep(_PAUSE)


def _lock(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        return error.errno in _UNKNOWN
    return True


def _is_there(path: Path, handle: int) -> bool:
    """Whether it is still the file of this name: the one who held it may have moved or removed it."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(handle))
    except FileNotFoundError:
        return False
