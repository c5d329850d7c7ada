# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a model repository's folder holds: models, their versions and files. Reads names and sizes, never contents."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from ..core.errors import InputError

CONFIG_FILE = "config.pbtxt"
# Triton takes a numeric name that starts with 0 for a version that it cannot load.
VERSION_NAME = re.compile(r"[1-9][0-9]*\Z")
# Other names cannot be loaded from some store, or their changes stay invisible to Triton.
SAFE_NAME = re.compile(r"[0-9A-Za-z._-]+\Z")
# The collection's own files beside the models.
MANIFEST_FILE = ".serving-triton.json"


@dataclass(frozen=True)
class File:
    """path: relative to the repository, with forward slashes. size: bytes. mtime_ns: nanoseconds since the epoch."""

    path: str
    size: int
    mtime_ns: int
    mode: int
    is_link: bool = False

    @property
    def name(self) -> str:
        return self.path.rsplit("/", 1)[-1]


@dataclass(frozen=True)
class Model:
    """One model's folder. versions: number → its files; files: those outside of version folders (config, labels, warm-up)."""

    name: str
    versions: dict[int, tuple[File, ...]] = field(default_factory=dict)
    files: tuple[File, ...] = ()

    @property
    def all_files(self) -> tuple[File, ...]:
        return (*self.files, *(file for number in sorted(self.versions) for file in self.versions[number]))

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.all_files)


@dataclass(frozen=True)
class Repository:
    """root: the folder. models: name → model. strays: files beside the models, which Triton ignores."""

    root: Path
    models: dict[str, Model] = field(default_factory=dict)
    strays: tuple[File, ...] = ()


def scan(root: str | Path) -> Repository:
    """Reads a repository's folder. Raises InputError when it is missing, no folder, or unreadable."""
    path = Path(root)
    if not path.exists():
        raise InputError("the model repository does not exist", where=str(path), remedy="Give the folder that holds one folder per model.")
    if not path.is_dir():
        raise InputError("the model repository is not a folder", where=str(path), remedy="Give the folder that holds one folder per model.")
    models: dict[str, Model] = {}
    strays: list[File] = []
    for entry in _entries(path):
        if entry.is_dir():
            models[entry.name] = _scan_model(entry)
        elif entry.name != MANIFEST_FILE:
            strays.append(_file(entry, entry.name))
    return Repository(path, models, tuple(strays))


def _scan_model(folder: os.DirEntry[str]) -> Model:
    versions: dict[int, tuple[File, ...]] = {}
    files: list[File] = []
    for entry in _entries(folder.path):
        prefix = f"{folder.name}/{entry.name}"
        if entry.is_dir() and VERSION_NAME.match(entry.name):
            versions[int(entry.name)] = tuple(_walk(entry.path, prefix))
        elif entry.is_dir():
            files.extend(_walk(entry.path, prefix))
        else:
            files.append(_file(entry, prefix))
    return Model(folder.name, versions, tuple(files))


def _walk(folder: str, prefix: str, parents: tuple[str, ...] = ()) -> list[File]:
    real = os.path.realpath(folder)
    if real in parents:
        raise InputError("a symbolic link leads back to a folder above it", where=folder, remedy="Remove the link.")
    files: list[File] = []
    for entry in _entries(folder):
        path = f"{prefix}/{entry.name}"
        if entry.is_dir():
            files.extend(_walk(entry.path, path, (*parents, real)))
        else:
            files.append(_file(entry, path))
    return files


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
        raise InputError(f"cannot be read: {error.strerror}", where=entry.path, remedy="Remove the broken link or file.") from error
    return File(path, status.st_size, status.st_mtime_ns, status.st_mode, entry.is_symlink())
