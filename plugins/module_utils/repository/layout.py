# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a model repository's folder holds: models, their versions and files. Reads names and sizes, never contents."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from ..core.errors import InputError

CONFIG_FILE = "config.pbtxt"
# Triton ignores a numeric name that starts with 0, except for "0" itself, which it loads.
VERSION_NAME = re.compile(r"(0|[1-9][0-9]*)\Z")
# Other names cannot be loaded from some store, or their changes stay invisible to Triton.
SAFE_NAME = re.compile(r"[0-9A-Za-z._-]+\Z")
# The collection's own files beside the models begin so; no scan shows them.
OWN_PREFIX = ".serving-triton"
MANIFEST_FILE = f"{OWN_PREFIX}.json"
# Where folders are put together in a repository, for want of a better place. Without a dot: in a folder "a.b" that has no config.pbtxt,
# Triton sees a model of a backend "b" and tries to load it (AutoCompleteBackendFields in its model_config_utils.cc).
WORK_FOLDER = "serving-triton-publishing"


class Status(NamedTuple):
    """What tells whether a file is another than before. A whole os.stat_result takes four times the memory, with 100,000 files 40 MiB."""

    st_dev: int
    st_ino: int
    st_size: int
    st_mtime_ns: int
    st_ctime_ns: int


@dataclass(frozen=True)
class File:
    """path: relative to the repository, with forward slashes. size: bytes. mtime_ns: nanoseconds since the epoch."""

    path: str
    size: int
    mtime_ns: int
    mode: int
    is_link: bool = False
    status: Status | None = field(default=None, compare=False, repr=False)

    @property
    def name(self) -> str:
        return self.path.rsplit("/", 1)[-1]


@dataclass(frozen=True)
class Link:
    """A symbolic link to a file or a folder. target: as the link has it. escapes: it leads out of the repository.

    broken: why it cannot be followed, else empty; such a link is in no list of files.
    """

    path: str
    target: str
    escapes: bool = False
    broken: str = ""


@dataclass(frozen=True)
class Model:
    """One model's folder. versions: number → its files; files: those outside of version folders (config, labels, warm-up).

    folders: every folder below the model's, empty ones too, relative to the repository. links: symbolic links, the model's folder included.
    """

    name: str
    versions: dict[int, tuple[File, ...]] = field(default_factory=dict)
    files: tuple[File, ...] = ()
    folders: tuple[str, ...] = ()
    links: tuple[Link, ...] = ()

    @property
    def all_files(self) -> tuple[File, ...]:
        return (*self.files, *(file for number in sorted(self.versions) for file in self.versions[number]))

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.all_files)


@dataclass(frozen=True)
class Repository:
    """root: the folder. models: name → model. strays: files beside the models, which Triton ignores. links: those beside the models."""

    root: Path
    models: Mapping[str, Model] = field(default_factory=dict)
    strays: tuple[File, ...] = ()
    links: tuple[Link, ...] = ()


def is_own(name: str) -> bool:
    """Whether a name at the top of a repository is the collection's own rather than a model's."""
    return name.startswith(OWN_PREFIX) or name == WORK_FOLDER


def scan(root: str | Path, *, strict: bool = True) -> Repository:
    """Reads a repository's folder. Raises InputError when it, or something in it, is missing, no folder, or unreadable.

    strict: False lists a link that cannot be followed in `links` instead of raising InputError.
    """
    found = glance(root, strict=strict)
    return replace(found, models=dict(found.models))


def glance(root: str | Path, *, strict: bool = True) -> Repository:
    """The same, with each model's folder read when it is asked for: one model may be all that is looked at."""
    path = Path(root)
    if not path.exists():
        raise InputError("the model repository does not exist", where=str(path), remedy="Give the folder that holds one folder per model.")
    if not path.is_dir():
        raise InputError("the model repository is not a folder", where=str(path), remedy="Give the folder that holds one folder per model.")
    scanner = _Scanner(os.path.realpath(path), strict)
    folders: dict[str, tuple[os.DirEntry[str], _Scanner]] = {}
    strays: list[File] = []
    for entry in _entries(path):
        if is_own(entry.name) or not scanner.follow(entry, entry.name):
            continue
        if entry.is_dir():
            folders[entry.name] = (entry, scanner.for_model(entry))
        else:
            strays.append(_file(entry, entry.name))
    return Repository(path, _Models(folders), tuple(strays), tuple(scanner.links))


class _Models(Mapping[str, Model]):
    """Reads a model's folder once, when it is asked for."""

    def __init__(self, folders: Mapping[str, tuple[os.DirEntry[str], _Scanner]]) -> None:
        self._folders = folders
        self._read: dict[str, Model] = {}

    def __getitem__(self, name: str) -> Model:
        if name not in self._read:
            self._read[name] = _scan_model(*self._folders[name])
        return self._read[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._folders)

    def __len__(self) -> int:
        return len(self._folders)


class _Scanner:
    """Collects the links and folders met on one walk. root: the repository's real path."""

    def __init__(self, root: str, strict: bool) -> None:
        self.root = root
        self.strict = strict
        self.links: list[Link] = []
        self.folders: list[str] = []

    def for_model(self, folder: os.DirEntry[str]) -> _Scanner:
        """A scanner for one model's folder; a link that is the folder itself moves to it."""
        inner = _Scanner(self.root, self.strict)
        if self.links and self.links[-1].path == folder.name:
            inner.links.append(self.links.pop())
        return inner

    def follow(self, entry: os.DirEntry[str], path: str, parents: tuple[str, ...] = ()) -> bool:
        """Whether an entry can be read on; notes it when it is a link. Raises InputError for a link that cannot, when strict.

        parents: the folders above it.
        """
        if not entry.is_symlink():
            return True
        real = os.path.realpath(entry.path)
        broken = ""
        if not os.path.exists(real):
            broken = "it leads nowhere"
        elif real in (*map(os.path.realpath, parents), self.root):
            broken = "it leads back to a folder above it"
        if broken and self.strict:
            raise InputError(f"the symbolic link cannot be followed: {broken}", where=entry.path, remedy="Remove the link.")
        escapes = not (real + os.sep).startswith(self.root.rstrip(os.sep) + os.sep)
        self.links.append(Link(path, os.readlink(entry.path), escapes, broken))
        return not broken

    def walk(self, folder: str, prefix: str, parents: tuple[str, ...]) -> list[File]:
        """Every file below a folder. parents: the folders above it."""
        above = (*parents, folder)
        files: list[File] = []
        self.folders.append(prefix)
        for entry in _entries(folder):
            path = f"{prefix}/{entry.name}"
            if not self.follow(entry, path, above):
                continue
            if entry.is_dir():
                files.extend(self.walk(entry.path, path, above))
            else:
                files.append(_file(entry, path))
        return files


def _scan_model(folder: os.DirEntry[str], scanner: _Scanner) -> Model:
    versions: dict[int, tuple[File, ...]] = {}
    files: list[File] = []
    above = (folder.path,)
    for entry in _entries(folder.path):
        path = f"{folder.name}/{entry.name}"
        if not scanner.follow(entry, path, above):
            continue
        if not entry.is_dir():
            files.append(_file(entry, path))
        elif VERSION_NAME.match(entry.name):
            versions[int(entry.name)] = tuple(scanner.walk(entry.path, path, above))
        else:
            files.extend(scanner.walk(entry.path, path, above))
    return Model(folder.name, versions, tuple(files), tuple(scanner.folders), tuple(scanner.links))


def _entries(folder: str | Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=str(folder), remedy="Check the folder's owner and mode.") from error


def _file(entry: os.DirEntry[str], path: str) -> File:
    try:
        status = entry.stat()
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=entry.path, remedy="Check the file's owner and mode.") from error
    kept = Status(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    return File(path, status.st_size, status.st_mtime_ns, status.st_mode, entry.is_symlink(), kept)
