# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""One publisher at a time in a folder, also over a network file system: a lock file that says who holds it."""

from __future__ import annotations

import errno
import json
import os
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..core.errors import ConflictError
from ..repository.layout import OWN_PREFIX

LOCK_FILE = f"{OWN_PREFIX}.lock"
# Seconds without a sign of life after which a lock counts as left behind, where its holder's process cannot be looked up. Much longer
# than clocks of two machines differ.
STALE_SECONDS = 900.0
REFRESH_SECONDS = 30.0


class Lock:
    """The lock of one repository."""

    def __init__(self, root: Path) -> None:
        self.path = root / LOCK_FILE
        self._token = ""

    def holder(self) -> dict[str, Any] | None:
        """Who publishes now: user, host, pid, and `alive`; None where there is no lock."""
        try:
            status = self.path.stat()
            text = self.path.read_text(errors="replace")
        except OSError:
            return None
        try:
            owner = dict(json.loads(text))
        except (ValueError, TypeError):
            # Made where there are no hard links: its holder is just writing it, or died then.
            owner = {}
        return {**owner, "alive": _alive(owner, status.st_mtime)}

    def acquire(self) -> None:
        """Takes the lock, also one that its holder left behind. Raises ConflictError when somebody holds it; OSError otherwise."""
        for _unused in range(3):
            if self._create():
                return
            owner = self.holder()
            if owner is None:
                continue
            if owner["alive"]:
                raise self._conflict(owner)
            self._discard(str(owner.get("token", "")))
        raise self._conflict(self.holder() or {})

    def refresh(self) -> None:
        """A sign of life."""
        with suppress(OSError):
            os.utime(self.path)

    def release(self) -> None:
        """Gives the lock back, if it is still ours."""
        if self._token and (self.holder() or {}).get("token") == self._token:
            with suppress(OSError):
                self.path.unlink()
        self._token = ""

    def _create(self) -> bool:
        """Whether the lock is ours now. It appears with its content, so that a holder that dies at once can be told."""
        token = os.urandom(16).hex()
        draft = self.path.with_name(f"{LOCK_FILE}.{token}")
        try:
            draft.write_text(json.dumps({"token": token, **_myself()}))
            self._appear(draft)
        except (FileExistsError, FileNotFoundError):
            # Held; or the one who holds it cleared our draft away.
            return False
        finally:
            with suppress(OSError):
                draft.unlink()
        self._token = token
        return True

    def _appear(self, draft: Path) -> None:
        try:
            os.link(draft, self.path)
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK):
                raise
            # No hard links here.
            with open(self.path, "x") as file:
                file.write(draft.read_text())

    def _discard(self, token: str) -> None:
        # Renamed first: of two that find the same dead lock, one gets it, and neither can remove the other's new one unseen.
        aside = self.path.with_name(f"{OWN_PREFIX}.lock.{os.urandom(16).hex()}")
        try:
            os.rename(self.path, aside)
        except FileNotFoundError:
            return
        try:
            mine = json.loads(aside.read_text()).get("token", "")
        except (ValueError, AttributeError):
            mine = ""
        if mine != token:
            with suppress(OSError):
                os.link(aside, self.path)
        aside.unlink()

    def _conflict(self, owner: dict[str, Any]) -> ConflictError:
        known = [f"{key} {owner[key]}" for key in ("user", "host", "pid") if key in owner]
        return ConflictError(
            f"somebody else publishes to this repository{' (' + ', '.join(known) + ')' if known else ''}",
            where=str(self.path.parent),
            remedy=f"Wait until it is done. If that publisher is gone for good, remove {self.path}.",
            lock=str(self.path),
        )


def _myself() -> dict[str, Any]:
    return {"user": os.geteuid(), "host": socket.gethostname(), "pid": os.getpid(), "boot": _boot(), "started": _started(os.getpid())}


def _boot() -> str:
    """Tells two boots of a machine, and two containers of one host name, apart."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _started(pid: int) -> str:
    """When a process started, in ticks since boot: tells it from a later one of the same number. Empty where it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except (OSError, IndexError):
        return ""
    # A zombie ended already.
    return "" if fields[0] in "ZX" else fields[19]


def _alive(owner: dict[str, Any], touched: float) -> bool:
    if owner.get("host") == socket.gethostname() and owner.get("boot") and owner.get("boot") == _boot():
        started = _started(int(owner.get("pid", 0)))
        return bool(started) and started == owner.get("started")
    return time.time() - touched < STALE_SECONDS
