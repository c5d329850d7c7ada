# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""One publisher at a time in a folder, also over a network file system: a lock file that says who holds it."""

from __future__ import annotations

import errno
import json
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from ...repository.layout import OWN_PREFIX
from ..holder import held, is_alive, lost, myself

LOCK_FILE = f"{OWN_PREFIX}.lock"


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
        return {**owner, "alive": is_alive(owner, time.time() - status.st_mtime)}

    def acquire(self) -> None:
        """Takes the lock, also one that its holder left behind. Raises ConflictError when somebody holds it; OSError otherwise."""
        for _unused in range(3):
            if self._create():
                return
            owner = self.holder()
            if owner is None:
                continue
            if owner["alive"]:
                raise held(owner, str(self.path.parent), str(self.path))
            self._discard(str(owner.get("token", "")))
        raise held(self.holder() or {}, str(self.path.parent), str(self.path))

    def is_ours(self) -> bool:
        return bool(self._token) and (self.holder() or {}).get("token") == self._token

    def refresh(self) -> None:
        """A sign of life. Raises ConflictError where somebody took the lock over or removed it."""
        try:
            ours = self._token in self.path.read_text(errors="replace")
            if ours:
                os.utime(self.path)
        except FileNotFoundError:
            ours = False
        except OSError:
            # A network file system that fails for a moment: other signs of life follow.
            return
        if not ours:
            raise lost(str(self.path.parent), str(self.path))

    def release(self) -> None:
        """Gives the lock back, if it is still ours."""
        if self.is_ours():
            with suppress(OSError):
                self.path.unlink()
        self._token = ""

    def _create(self) -> bool:
        """Whether the lock is ours now. It appears with its content, so that a holder that dies at once can be told."""
        token = os.urandom(16).hex()
        draft = self.path.with_name(f"{LOCK_FILE}.{token}")
        try:
            draft.write_text(json.dumps({"token": token, **myself()}))
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
