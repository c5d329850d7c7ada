# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Where files wait before they appear in a repository, out of a polling server's sight.

What Triton takes for a model: every folder in the repository, hidden ones too. Plain files there do not exist for it. So:

- Beside the repository, on the same file system, is the best place: no server looks there.
- Where that cannot be (the repository is itself a mount point, or its parent may not be written), contents wait as plain files in the
  repository. A folder exists there for the moment of a switch only, and what is put together lies two levels down in it. Where a
  model has no config.pbtxt, Triton looks for a backend in the file names of its first subfolder and in its own name after a dot. Here it
  finds folders and a name without a dot, logs "Poll failed" and stays ready. Anything else it would try to load, and then report itself
  not ready until its next restart. A config.pbtxt that it cannot read is no help: Triton looks for that file first and into the folders
  later, and both may come in between.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ...repository.layout import MANIFEST_FILE, OWN_PREFIX, WORK_FOLDER, is_own
from .lock import LOCK_FILE

# Hides what is put together from Triton's look into a model's first subfolder.
_SCREEN = "folders"


class Workspace:
    """The workspace of one repository. Its methods raise OSError."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._beside = root.parent / f".{root.name}{OWN_PREFIX}"
        self._inside = root / WORK_FOLDER
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
        return [self.root / name for name in names if is_own(name) and name not in kept]

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
        else:
            shutil.rmtree(path)

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
            (self._inside / _SCREEN).mkdir(parents=True)
        self._users += 1
        try:
            yield self._inside / _SCREEN / f"d{self._count}"
        finally:
            self._users -= 1
            if not self._users:
                with suppress(OSError):
                    self._remove(self._inside)
