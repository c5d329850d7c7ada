# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Who holds a repository's lock, and whether that publisher still lives."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..core.errors import ConflictError

# Seconds without a sign of life after which a lock counts as left behind, where its holder's process cannot be looked up. Much longer
# than clocks of two machines differ.
STALE_SECONDS = 900.0
REFRESH_SECONDS = 30.0


def myself() -> dict[str, Any]:
    """What a lock says of the publisher that runs this."""
    return {"user": os.geteuid(), "host": socket.gethostname(), "pid": os.getpid(), "boot": _boot(), "started": _started(os.getpid())}


def is_alive(owner: Mapping[str, Any], age: float) -> bool:
    """Whether the holder still works. age: seconds since its last sign of life."""
    if owner.get("host") == socket.gethostname() and owner.get("boot") and owner.get("boot") == _boot():
        started = _started(int(owner.get("pid", 0)))
        return bool(started) and started == owner.get("started")
    return age < STALE_SECONDS


def held(owner: Mapping[str, Any], repository: str, lock: str) -> ConflictError:
    """The error that says who publishes."""
    known = [f"{key} {owner[key]}" for key in ("user", "host", "pid") if key in owner]
    return ConflictError(
        f"somebody else publishes to this repository{' (' + ', '.join(known) + ')' if known else ''}",
        where=repository,
        remedy=f"Wait until it is done. If that publisher is gone for good, remove {lock}.",
        lock=lock,
    )


def lost(repository: str, lock: str) -> ConflictError:
    """The error of a publisher whose lock is not its own any more."""
    remedy = "Run this again when nobody else publishes: it finishes what was begun."
    return ConflictError("somebody took the lock over, or removed it, while this published", where=repository, remedy=remedy, lock=lock)


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
