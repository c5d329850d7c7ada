# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Where files wait before they appear in a repository, out of a polling server's sight.

What Triton takes for a model: every folder in the repository, hidden ones too. Plain files there do not exist for it. So:

- Beside the repository, on the same file system, is the best place: no server looks there.
- Where that cannot be (the repository is itself a mount point, or its parent may not be written), contents wait as plain files in the
  repository. A folder exists there for the moment of a switch only, guarded by a config.pbtxt that Triton cannot read: it then logs
  "Poll failed" and stays ready. Without the guard the server would report itself not ready until its next restart.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..repository.layout import CONFIG_FILE, MANIFEST_FILE, OWN_PREFIX
from .posix_lock import LOCK_FILE

_GUARD = "serving.triton is publishing: this folder is not a model\n"


class Workspace:
    """The workspace of one repository. Its methods raise OSError."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._beside = root.parent / f".{root.name}{OWN_PREFIX}"
        self._inside = root / OWN_PREFIX
        self.is_beside = True
        self._count = 0
        self._users = 0

    def leftovers(self) -> tuple[str, ...]:
        """What a publish that was killed left here."""
        inside = [path.name for path in self._own_entries()]
        return (*sorted(inside), *([self._beside.name] if self._beside.is_dir() else []))

    def _own_entries(self) -> list[Path]:
        try:
            names = os.listdir(self.root)
        except (FileNotFoundError, NotADirectoryError):
            return []
        kept = (MANIFEST_FILE, LOCK_FILE)
        return [self.root / name for name in names if name.startswith(OWN_PREFIX) and name not in kept]

    def open(self) -> None:
        """Clears leftovers away and chooses the place. Call it with the lock held."""
        self.close()
        self.is_beside = self._can_stay_beside()

    def _can_stay_beside(self) -> bool:
        probe = f"{OWN_PREFIX}.probe"
        try:
            self._beside.mkdir(mode=0o700)
            (self._beside / probe).touch()
            # Equal device numbers would not tell: a bind mount of the same device refuses the rename too.
            os.rename(self._beside / probe, self.root / probe)
            (self.root / probe).unlink()
        except OSError:
            shutil.rmtree(self._beside, ignore_errors=True)
            return False
        return True

    def close(self) -> None:
        """Removes everything of ours but manifest and lock."""
        if self._beside.is_dir() and not self._beside.is_symlink():
            shutil.rmtree(self._beside)
        for path in self._own_entries():
            self._remove(path)

    def _remove(self, path: Path) -> None:
        if path.is_symlink() or not path.is_dir():
            path.unlink()
            return
        # The guard goes last: without it, what is left would look like a model.
        for child in path.iterdir():
            if child.name != CONFIG_FILE:
                shutil.rmtree(child) if child.is_dir() else child.unlink()
        (path / CONFIG_FILE).unlink(missing_ok=True)
        path.rmdir()

    def slot(self) -> Path:
        """A path for a file that waits; nothing is there yet."""
        self._count += 1
        return self._beside / f"f{self._count}" if self.is_beside else self.root / f"{OWN_PREFIX}.{self._count}"

    @contextmanager
    def folder(self) -> Iterator[Path]:
        """A path for a folder that is put together or taken apart; nothing is there yet."""
        self._count += 1
        if self.is_beside:
            yield self._beside / f"d{self._count}"
            return
        if not self._users:
            if self._inside.exists():
                self._remove(self._inside)
            self._inside.mkdir()
            # Whole at once: Triton reads an empty config.pbtxt as a valid one.
            draft = self.slot()
            draft.write_text(_GUARD)
            os.rename(draft, self._inside / CONFIG_FILE)
        self._users += 1
        try:
            yield self._inside / f"d{self._count}"
        finally:
            self._users -= 1
            if not self._users:
                with suppress(OSError):
                    self._remove(self._inside)
