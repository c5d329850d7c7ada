# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""One publisher at a time in a bucket: an object that says who holds it, written under a condition where the store checks conditions.

Some stores ignore conditions without a word. So the second write of a lock is one that must fail: where it does not, the lock is a lease,
written, left alone for a moment, and read again. There, of two that begin in the same moment, the one that wrote last goes on. The same
holds where a lock that was left is taken over in a store that knows no condition for that: two may have seen it.
"""

from __future__ import annotations

import json
import os
import threading
import time
from contextlib import suppress
from typing import Any

from ..core.errors import ConflictError, ServingError
from ..core.wait import Clock
from ..repository.layout import OWN_PREFIX
from .bucket import Bucket, PreconditionError
from .holder import REFRESH_SECONDS, held, is_alive, lost, myself

LOCK_KEY = f"{OWN_PREFIX}.lock"
# Longer than the answer to a small write takes, usually.
LEASE_SECONDS = 2.0


class ObjectLock:
    """The lock of one repository. checks_conditions: whether this store honours conditional writes; known once the lock is held."""

    def __init__(self, bucket: Bucket, clock: Clock) -> None:
        self._bucket, self._clock = bucket, clock
        self._token = self._stamp = ""
        self._refreshed = 0.0
        self._mutex = threading.Lock()
        self.checks_conditions = False

    def holder(self) -> dict[str, Any] | None:
        """Who publishes now: user, host, pid, and `alive`; None where there is no lock."""
        found = self._bucket.read(LOCK_KEY)
        if found is None:
            return None
        try:
            owner = dict(json.loads(found.data))
        except (ValueError, TypeError):
            owner = {}
        return {**owner, "alive": is_alive(owner, found.age), "stamp": found.stamp}

    def acquire(self) -> None:
        """Takes the lock, also one that its holder left behind. Raises ConflictError when somebody holds it."""
        self._token = os.urandom(16).hex()
        for _unused in range(3):
            owner = self.holder()
            if owner and owner["alive"]:
                break
            try:
                self._write(if_absent=owner is None, if_stamp=owner["stamp"] if owner else "")
            except PreconditionError:
                continue
            self._prove(taken_over=owner is not None)
            return
        self._token = ""
        raise self._held(self.holder() or {})

    def _held(self, owner: dict[str, Any]) -> ConflictError:
        return held(owner, self._bucket.url, f"{self._bucket.url}/{LOCK_KEY}")

    def _write(self, *, if_absent: bool = False, if_stamp: str = "") -> None:
        data = json.dumps({"token": self._token, "time": int(time.time()), **myself()}).encode()
        try:
            self._stamp = self._bucket.put(LOCK_KEY, data, if_absent=if_absent, if_stamp=if_stamp)
        except PreconditionError:
            # Ours after all, when the answer to a first attempt was lost.
            owner = self.holder() or {}
            if owner.get("token") != self._token:
                raise
            self._stamp = owner["stamp"]
        self._refreshed = time.monotonic()

    def _prove(self, *, taken_over: bool) -> None:
        stamp = self._stamp
        try:
            self._bucket.put(LOCK_KEY, b"a condition that must not hold", if_absent=True)
        except PreconditionError:
            self.checks_conditions, self._stamp = True, stamp
            if taken_over and not self._bucket.compares_stamps:
                self._read_again()
            return
        self.checks_conditions = False
        self._write()
        self._read_again()

    def _read_again(self) -> None:
        """Raises ConflictError where somebody else wrote the lock after us."""
        self._clock.sleep(LEASE_SECONDS)
        owner = self.holder() or {}
        if owner.get("token") != self._token:
            self._token = ""
            raise self._held(owner)

    def refresh(self, *, now: bool = False) -> None:
        """A sign of life, where the last one is old enough or it is to be `now`. Raises ConflictError where somebody took the lock over."""
        with self._mutex:
            if self._token and (now or time.monotonic() - self._refreshed > REFRESH_SECONDS):
                self._write_again()

    def _write_again(self) -> None:
        try:
            if not self.checks_conditions and (self.holder() or {}).get("token") != self._token:
                raise self._lost()
            self._write(if_stamp=self._stamp if self.checks_conditions else "")
        except PreconditionError:
            raise self._lost() from None

    def _lost(self) -> ConflictError:
        return lost(self._bucket.url, f"{self._bucket.url}/{LOCK_KEY}")

    def release(self) -> None:
        """Gives the lock back, if it is still ours."""
        with suppress(ServingError):
            if self._token and (self.holder() or {}).get("token") == self._token:
                self._bucket.delete([LOCK_KEY])
        self._token = ""
