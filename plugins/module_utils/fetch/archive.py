# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Unpacks archives that somebody else made: nothing leaves the folder, and links and devices are refused."""

from __future__ import annotations

import os
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from ..core.errors import InputError

BLOCK = 1 << 20
_REMEDY = "Get it from somebody you trust, or unpack it yourself and give the folder."


def is_archive(path: str) -> bool:
    """By content, whatever the name."""
    return tarfile.is_tarfile(path) or zipfile.is_zipfile(path)


def unpack(path: str, target: Path) -> None:
    """Writes an archive's files below a folder that is empty. Raises InputError for one that is damaged or reaches out."""
    try:
        for name, source in _tar(path) if tarfile.is_tarfile(path) else _zip(path):
            place = _place(target, name, path)
            place.parent.mkdir(parents=True, exist_ok=True)
            with source, open(place, "xb") as file:
                shutil.copyfileobj(source, file, BLOCK)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, FileExistsError, NotADirectoryError) as error:
        raise InputError(f"the archive is damaged: {error}", where=path, remedy="Fetch it again.") from error
    except OSError as error:
        raise InputError(
            f"the archive cannot be unpacked: {error.strerror or error}", where=path, remedy="Check room and modes."
        ) from error


def _tar(path: str) -> Iterator[tuple[str, IO[bytes]]]:
    with tarfile.open(path) as archive:
        for member in archive:
            if member.isdir():
                continue
            source = archive.extractfile(member) if member.isreg() else None
            if source is None:
                raise InputError(f"the archive holds {member.name}, which is no plain file", where=path, remedy=_REMEDY)
            yield member.name, source


def _zip(path: str) -> Iterator[tuple[str, IO[bytes]]]:
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            kind = stat.S_IFMT(member.external_attr >> 16)
            if member.is_dir():
                continue
            if kind not in (0, stat.S_IFREG):
                raise InputError(f"the archive holds {member.filename}, which is no plain file", where=path, remedy=_REMEDY)
            yield member.filename, archive.open(member)


def _place(target: Path, name: str, path: str) -> Path:
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or ".." in parts or not parts or "\\" in name or "\0" in name or os.path.isabs(name):
        raise InputError(f"the archive holds {name!r}, which leads out of it", where=path, remedy=_REMEDY)
    return target.joinpath(*parts)
