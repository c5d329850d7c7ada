# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The origins of models: a URL, a folder or an archive of this machine, a published repository. Each brings its files."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ..core.errors import InputError, UnavailableError
from ..core.progress import Meter, Progress
from ..repository.digest import DigestCache, digest
from ..repository.layout import MANIFEST_FILE
from ..repository.manifest import FileRecord, parse
from ..stores.base import StoreOptions
from ..stores.registry import BUCKETS, scheme_of
from .download import Manners, download, shown
from .layout import Folder, Request, lay_out
from .plan import Origin, identify

# Part of every identity: a release that lays files out in another way fetches again.
RULES = 1


class Source(Protocol):
    def origin(self) -> Origin:
        """Without transferring content, as far as that goes."""

    def bring(self, work: Path) -> dict[str, Path]:
        """Path in the model's folder → a file that may be moved if it lies in `work`, an empty folder."""


@dataclass(frozen=True)
class UrlSource:
    """A file or an archive that a server has."""

    url: str
    sha256: str
    request: Request
    cache: Path
    manners: Manners

    def origin(self) -> Origin:
        return Origin(shown(self.url), identify(RULES, self.sha256, *vars(self.request).values()))

    def bring(self, work: Path) -> dict[str, Path]:
        path = download(self.url, self.sha256, self.cache, self.manners)
        return _from_file(path, Path(shown(self.url)).name or "model", self.request, work, shown(self.url))


@dataclass(frozen=True)
class LocalSource:
    """A file, an archive or a folder of this machine."""

    path: Path
    request: Request
    digests: DigestCache

    def origin(self) -> Origin:
        if not self.path.exists():
            raise InputError("there is no such file or folder", where=str(self.path), remedy="Correct src.")
        content = {path: self.digests.digest(self.path / path) for path in files_of(self.path)} if self.path.is_dir() else {}
        whole = content or self.digests.digest(self.path)
        laid_out = _from_folder(self.path, self.request, str(self.path)) if content else {}
        files = {target: content[place.relative_to(self.path).as_posix()] for target, place in laid_out.items()}
        return Origin(str(self.path), identify(RULES, whole, *vars(self.request).values()), files)

    def bring(self, work: Path) -> dict[str, Path]:
        if not self.path.is_dir():
            return _from_file(self.path, self.path.name, self.request, work, str(self.path))
        return _from_folder(self.path, self.request, str(self.path))


@dataclass(frozen=True)
class StoreSource:
    """A model of a repository that was published; of the files there, only what its manifest lists."""

    repository: str
    name: str
    version: int | None
    options: StoreOptions
    progress: Progress

    def origin(self) -> Origin:
        files = self._files()
        content = {path: each.sha256 for path, each in files.items()}
        return Origin(f"{self.repository}/{self.name}", identify(RULES, content), content)

    def bring(self, work: Path) -> dict[str, Path]:
        files = self._files()
        fetch = self._fetcher(Meter(len(files), sum(each.size for each in files.values()), self.progress).moved)
        found = {}
        for number, (path, record) in enumerate(sorted(files.items())):
            place = work / str(number)
            fetch(f"{self.name}/{path}", place)
            if (there := digest(place)) != record.sha256:
                where = f"{self.repository}/{self.name}/{path}"
                what = f"its SHA-256 is {there}, the manifest has {record.sha256}"
                raise UnavailableError(what, where=where, remedy="Publish again to mend it.", expected=record.sha256, found=there)
            found[path] = place
        return found

    def _files(self) -> dict[str, FileRecord]:
        manifest, note = parse(self._manifest())
        model = manifest.models.get(self.name) if manifest else None
        if model is None or (manifest and self.name in manifest.pending):
            known = ", ".join(sorted(manifest.models)) if manifest else note or "nothing is published there"
            raise InputError(f"no model {self.name} is published there", where=self.repository, remedy=f"Choose another: {known}.")
        if self.version is None:
            return model.flat()
        if self.version not in model.versions:
            numbers = ", ".join(map(str, sorted(model.versions)))
            raise InputError(f"{self.name} has no version {self.version}", where=self.repository, remedy=f"There are {numbers}.")
        version = {f"{self.version}/{path}": each for path, each in model.versions[self.version].items()}
        return {**model.files, **version}

    def _rest(self) -> tuple[str, str]:
        scheme = scheme_of(self.repository)
        return scheme, self.repository.split("://", 1)[-1]

    def _manifest(self) -> bytes | None:
        scheme, rest = self._rest()
        if scheme != "file":
            found = BUCKETS[scheme](rest, self.options).read(MANIFEST_FILE)
            return found.data if found else None
        path = Path(rest) / MANIFEST_FILE
        return path.read_bytes() if path.exists() else None

    def _fetcher(self, moved: Callable[[int, int], None]) -> Callable[[str, Path], None]:
        scheme, rest = self._rest()
        if scheme != "file":
            bucket = BUCKETS[scheme](rest, self.options)
            return lambda key, place: bucket.download(key, str(place), moved)

        def copy(key: str, place: Path) -> None:
            try:
                shutil.copyfile(f"{rest}/{key}", place)
            except OSError as error:
                raise UnavailableError(f"cannot be read: {error.strerror}", where=f"{rest}/{key}", remedy="Publish again.") from error
            moved(1, place.stat().st_size)

        return copy


def _from_file(path: Path, name: str, request: Request, work: Path, where: str) -> dict[str, Path]:
    # Not at the top: only what is fetched anew is unpacked.
    from .archive import is_archive, unpack

    if is_archive(str(path)):
        unpack(str(path), work)
        return _from_folder(work, request, where)
    found = lay_out(Folder([name], lambda _path: ""), Request(request.name, request.version, name, request.file), where)
    return dict.fromkeys(found, path)


def _from_folder(root: Path, request: Request, where: str) -> dict[str, Path]:
    folder = Folder(files_of(root), lambda path: (root / path).read_text(errors="replace"))
    return {target: root / path for target, path in lay_out(folder, request, where).items()}


def files_of(root: Path) -> list[str]:
    """Every file below a folder, without hidden folders and what Python leaves. A link to a file counts as the file, as in snapshots."""
    found = []
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(each for each in folders if not each.startswith(".") and each != "__pycache__")
        found += [Path(folder, name).relative_to(root).as_posix() for name in sorted(names) if Path(folder, name).is_file()]
    return found


def digests_of(root: Path, cache: DigestCache) -> Mapping[str, str]:
    return {path: cache.digest(root / path) for path in files_of(root)} if root.is_dir() else {}
