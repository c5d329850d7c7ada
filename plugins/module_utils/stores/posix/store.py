# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A repository in a folder: a local disk, NFS, CephFS, a mounted volume. Everything appears by rename."""

from __future__ import annotations

import os
import shutil
import stat
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ...core.errors import InputError
from ...core.progress import Meter, Progress
from ...repository.digest import digest
from ...repository.layout import CONFIG_FILE, MANIFEST_FILE, VERSION_NAME, is_own
from ...repository.manifest import Manifest, ModelTree
from ...repository.publish import Entry, ModelChange, SourceFile
from ...repository.publish_steps import Step
from ..base import StoreOptions
from ..holder import REFRESH_SECONDS
from .files import (
    DIRECTORY_MODE,
    FILE_MODE,
    Attributes,
    check_space,
    check_way,
    copy_checked,
    exchange,
    explained,
    group_id,
    link_tree,
    make_folders,
    opened,
    read_file,
    sync_file_system,
    sync_folder,
    user_id,
    write_new,
)
from .lock import Lock
from .workspace import Workspace

# Python and NFS leave these beside a model's files.
_LEFT_BY_SERVERS = ("__pycache__", ".nfs")


class PosixStore:
    """See `base.Store`. path: absolute; it need not exist yet."""

    appears_whole = True
    notes = ()

    def __init__(self, path: str, options: StoreOptions) -> None:
        expanded = os.path.expanduser(path)
        if not os.path.isabs(expanded):
            raise InputError("the repository's path is not absolute", where=path or "repository", remedy="Give a path that begins with /.")
        self.root = Path(os.path.realpath(expanded))
        if self.root.exists() and not self.root.is_dir():
            raise InputError("the repository's path is not a folder", where=str(self.root), remedy="Give a folder, or a path that is free.")
        self._attributes = Attributes(
            user_id(options.owner),
            group_id(options.group),
            FILE_MODE if options.file_mode is None else options.file_mode,
            DIRECTORY_MODE if options.directory_mode is None else options.directory_mode,
            options.file_mode is not None,
        )
        self._concurrency = options.concurrency
        self._lock = Lock(self.root)
        self._workspace = Workspace(self.root)
        self._staged: dict[str, Path] = {}

    @property
    def url(self) -> str:
        return str(self.root)

    # --- reading

    def read_manifest(self) -> bytes | None:
        with explained(self.root):
            return read_file(self.root, MANIFEST_FILE)

    def names(self, recorded: Manifest) -> frozenset[str]:  # noqa: ARG002 - the protocol's
        with explained(self.root):
            try:
                with os.scandir(self.root) as entries:
                    return frozenset(entry.name for entry in entries if not is_own(entry.name) and entry.is_dir())
            except FileNotFoundError:
                return frozenset()

    def tree(self, model: str) -> ModelTree[Entry]:
        files: dict[str, Entry] = {}
        versions: dict[int, Mapping[str, Entry]] = {}
        with explained(self.root / model):
            for entry in self._entries(self.root / model):
                if not entry.is_dir():
                    files[entry.name] = self._entry(entry)
                elif VERSION_NAME.match(entry.name):
                    versions[int(entry.name)] = dict(self._walk(Path(entry.path), ""))
                else:
                    files.update(self._walk(Path(entry.path), f"{entry.name}/"))
        return ModelTree(files, versions)

    def _walk(self, folder: Path, prefix: str) -> Iterator[tuple[str, Entry]]:
        for entry in self._entries(folder):
            if entry.is_dir(follow_symlinks=False):
                yield from self._walk(Path(entry.path), f"{prefix}{entry.name}/")
            else:
                yield f"{prefix}{entry.name}", self._entry(entry)

    def _entries(self, folder: Path) -> list[os.DirEntry[str]]:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if not entry.name.startswith(_LEFT_BY_SERVERS)]

    def _entry(self, entry: os.DirEntry[str]) -> Entry:
        status = entry.stat(follow_symlinks=False)
        # A link in the place of a file is a change, whatever it points to.
        size = -1 if entry.is_symlink() else status.st_size
        return Entry(size, str(status.st_mtime_ns), self._attributes.fit(status))

    def digest(self, key: str) -> str:
        with explained(self.root / key):
            check_way(self.root, key)
            return digest(self.root / key)

    def read_text(self, key: str) -> str | None:
        with explained(self.root / key):
            data = read_file(self.root, key)
        return None if data is None else data.decode(errors="surrogateescape")

    def holder(self) -> Mapping[str, Any] | None:
        owner = self._lock.holder()
        return owner if owner and owner["alive"] else None

    def leftovers(self) -> tuple[str, ...]:
        owner = self._lock.holder()
        if owner and owner["alive"]:
            return ()
        with explained(self.root):
            return (*self._workspace.leftovers(), *([self._lock.path.name] if owner else []))

    # --- publishing

    @contextmanager
    def publishing(self) -> Iterator[bool]:
        created = not self.root.exists()
        with explained(self.root):
            make_folders(self.root, self._attributes)
            self._lock.acquire()
            try:
                self._workspace.open()
                yield created
            finally:
                self._staged.clear()
                # Else it is the workspace of whoever took the lock over.
                if self._lock.is_ours():
                    with suppress(OSError):
                        self._workspace.close()
                self._lock.release()
                if created:
                    # Only where nothing came of it: a folder that holds something stays.
                    self.remove_root()

    def keep_lock(self) -> None:
        self._lock.refresh()

    def stage(self, uploads: Mapping[str, SourceFile], progress: Progress) -> None:
        total = sum(each.size for each in uploads.values())
        meter = Meter(len(uploads), total, progress)
        tick = _Heartbeat(meter, self._lock).tick
        with explained(self.root):
            check_space(self.root, total, len(uploads))
            self._staged = {key: self._workspace.slot() for key in uploads}
            # Closing the pool waits for its threads: nobody writes after the workspace is gone.
            # Imported here: most runs change nothing, and it costs as much start-up time as the rest of this package.
            from concurrent.futures import ThreadPoolExecutor

            with ThreadPoolExecutor(self._concurrency) as pool:
                jobs = [pool.submit(copy_checked, each, self._staged[key], self._attributes, tick) for key, each in uploads.items()]
                try:
                    for job in jobs:
                        job.result()
                finally:
                    for job in jobs:
                        job.cancel()
            sync_file_system(self.root)

    def replace_model(self, change: ModelChange) -> bool:
        """Puts the new folder together from staged files and hard links of what stays, then exchanges the two."""
        root = self.root / change.name
        gone = {*change.removed_files, *(str(number) for number in (*change.removed_versions, *change.replaced))}
        puts = {key.split("/", 1)[1]: key for key in change.uploads()}
        with explained(root):
            check_way(self.root, f"{change.name}/{CONFIG_FILE}")
        with explained(root), self._workspace.folder() as folder:
            try:
                self._assemble(folder, [f"{change.name}/{number}" for number in change.changed_versions], puts.values(), change.name)
                link_tree(root, folder, lambda path: path in gone or path in puts, self._attributes)
                done = exchange(folder, root)
            except OSError:
                # No hard links here: give the staged files back to the other way.
                done = False
            if not done:
                self._give_back(folder, puts)
            shutil.rmtree(folder)
            return done

    def _give_back(self, folder: Path, puts: Mapping[str, str]) -> None:
        for path, key in puts.items():
            if (folder / path).exists() and not self._staged[key].exists():
                os.rename(folder / path, self._staged[key])

    def run(self, groups: Sequence[Sequence[Step]]) -> None:
        for group in groups:
            for step in group:
                self._run(step)

    def _run(self, step: Step) -> None:
        target = self.root / step.target
        with explained(target):
            check_way(self.root, step.target)
            if step.op == "put_file":
                self._make_parents(target)
                os.rename(self._staged[step.target], target)
            elif step.op == "put_text":
                slot = self._workspace.slot()
                write_new(slot, step.text, self._attributes)
                os.rename(slot, target)
            elif step.op == "drop_file":
                target.unlink(missing_ok=True)
                self._drop_empty(target.parent)
            elif step.op == "drop_tree":
                self._vanish(target)
            else:
                self._put_tree(step, target)

    def _put_tree(self, step: Step, target: Path) -> None:
        with self._workspace.folder() as folder:
            self._assemble(folder, step.folders, step.files or (), step.target)
            if step.op == "put_tree":
                # A folder that came in the meantime is not overwritten: a rename replaces empty ones only.
                os.rename(folder, target)
            elif exchange(folder, target):
                shutil.rmtree(folder)
            else:
                self._vanish(target)
                os.rename(folder, target)

    def _assemble(self, folder: Path, folders: Iterable[str], keys: Iterable[str], prefix: str) -> None:
        """Makes a folder of staged files and empty folders; their keys begin with `prefix`."""
        made = {folder}
        folder.mkdir()
        self._attributes.give(folder, folder=True)
        for key in folders:
            self._make_folder(folder / key[len(prefix) :].lstrip("/"), made)
        for key in keys:
            place = folder / key[len(prefix) + 1 :]
            self._make_folder(place.parent, made)
            os.rename(self._staged[key], place)

    def _make_folder(self, folder: Path, made: set[Path]) -> None:
        if folder not in made:
            self._make_folder(folder.parent, made)
            folder.mkdir()
            self._attributes.give(folder, folder=True)
            made.add(folder)

    def _make_parents(self, target: Path) -> None:
        with explained(target):
            make_folders(target.parent, self._attributes)

    def _drop_empty(self, folder: Path) -> None:
        while folder.parent != self.root:
            try:
                folder.rmdir()
            except OSError:
                return
            folder = folder.parent

    def _vanish(self, target: Path) -> None:
        with self._workspace.folder() as folder:
            os.rename(target, folder)
            # A model's folder may be a link that somebody made: the link goes, not what it points to.
            if folder.is_symlink():
                folder.unlink()
            else:
                shutil.rmtree(folder)

    def set_attributes(self, keys: Iterable[str]) -> None:
        with explained(self.root):
            for key in keys:
                # A link in the place of a file has no attributes of ours.
                if stat.S_ISREG((self.root / key).lstat().st_mode):
                    self._set_attributes(key)

    def _set_attributes(self, key: str) -> None:
        with opened(self.root, key) as handle:
            if not self._attributes.fit(os.fstat(handle)):
                self._attributes.give(handle)

    def write_manifest(self, data: bytes | None) -> None:
        target = self.root / MANIFEST_FILE
        with explained(target):
            # Renames before it must not be overtaken by it when the power fails.
            sync_file_system(self.root)
            if data is None:
                target.unlink(missing_ok=True)
            else:
                slot = self._workspace.slot()
                write_new(slot, data, self._attributes)
                os.rename(slot, target)
            sync_folder(self.root)

    def remove_root(self) -> None:
        with suppress(OSError):
            self.root.rmdir()


class _Heartbeat:
    """Counts what was copied, and keeps the lock fresh."""

    def __init__(self, meter: Meter, lock: Lock) -> None:
        self._meter, self._lock = meter, lock
        self._mutex = threading.Lock()
        self._refreshed = time.monotonic()

    def tick(self, files: int, size: int) -> None:
        self._meter.moved(files, size)
        with self._mutex:
            if time.monotonic() - self._refreshed > REFRESH_SECONDS:
                self._refreshed = time.monotonic()
                self._lock.refresh()
