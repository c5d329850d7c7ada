# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Fetches a model into a folder of models: observe, plan, apply. Nothing appears there before all of it is there and checked."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..core.errors import InputError, UnavailableError
from ..core.plan import Plan
from ..core.wait import Clock
from ..repository.digest import DigestCache, digest
from ..repository.layout import VERSION_NAME
from .alone import alone
from .plan import (
    RECORD_FILE,
    Fetched,
    Origin,
    Seen,
    check_replaced,
    key_of,
    keys_of,
    plan_absent,
    plan_present,
    read_record,
    write_record,
)
from .sources import Source, digests_of

LOCK_FILE = ".serving-triton-fetch.lock"
# Seconds to wait for another run that changes the folder: that takes no longer than some renames.
PATIENCE = 120.0


@dataclass(frozen=True)
class Wish:
    """root: the folder of models. version: None for all. force: what was not fetched may be replaced."""

    root: str
    name: str
    version: int | None
    force: bool = False


class Fetcher:
    """See `module.PlannedService`. source: None to remove the model, or one version of it."""

    def __init__(self, wish: Wish, source: Source | None, digests: DigestCache) -> None:
        self._root, self._name, self._version, self._force = Path(wish.root), wish.name, wish.version, wish.force
        self._source, self._digests = source, digests
        self._origin = Origin("", "")

    @property
    def _model(self) -> Path:
        return self._root / self._name

    def observe(self) -> Seen:
        with self._explained():
            record = self._root / RECORD_FILE
            recorded = read_record(record.read_text()) if record.exists() else {}
            return Seen(digests_of(self._model, self._digests), recorded)

    def plan(self, actual: Seen) -> Plan:
        if self._source is None:
            return plan_absent(self._name, self._version, actual)
        self._origin = self._source.origin()
        return plan_present(self._name, self._version, self._origin, actual, force=self._force)

    def apply(self, plan: Plan) -> None:  # noqa: ARG002 - what it says is known
        with self._explained():
            if self._source is None:
                self._remove()
            else:
                self._root.mkdir(parents=True, exist_ok=True)
                with self._work() as work:
                    self._fetch(self._source, work)

    def result(self, actual: Seen, plan: Plan, applied: bool) -> dict[str, Any]:  # noqa: ARG002 - the protocol's
        files = digests_of(self._model, self._digests)
        self._digests.save()
        versions = {int(path.split("/", 1)[0]) for path in files if "/" in path and VERSION_NAME.match(path.split("/", 1)[0])}
        return {"model": str(self._model), "versions": sorted(versions), "files": dict(sorted(files.items()))}

    @contextmanager
    def _work(self) -> Iterator[Path]:
        """On the same file system, and out of sight: folders with a leading dot are never published."""
        work = Path(tempfile.mkdtemp(prefix=".serving-triton-fetch-", dir=self._root))
        try:
            yield work
        finally:
            shutil.rmtree(work, ignore_errors=True)

    def _fetch(self, source: Source, work: Path) -> None:
        (work / "from").mkdir()
        brought = source.bring(work / "from")
        new = work / "model"
        for target, path in brought.items():
            place = new / target
            place.parent.mkdir(parents=True, exist_ok=True)
            if work in path.parents:
                os.rename(path, place)
            else:
                shutil.copyfile(path, place)
            place.chmod(0o644)
        fetched = Fetched(self._origin.identity, {target: digest(new / target) for target in brought})
        with self._alone():
            seen = self.observe()
            if not self._force:
                check_replaced(self._name, fetched.files, seen)
            key = key_of(self._name, self._version)
            # A run that dies in between knows its own files again.
            begun = replace(seen.recorded.get(key, Fetched()), coming=fetched.files)
            self._write_record({**seen.recorded, key: begun}, work)
            self._switch(new, work / "old")
            self._write_record({**seen.recorded, key: fetched}, work)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Other runs that fetch into the folder wait while this one changes it; a download is none of that."""
        lock = self._root / LOCK_FILE
        with alone(lock, PATIENCE, Clock()):
            try:
                yield
            finally:
                lock.unlink(missing_ok=True)

    def _switch(self, new: Path, old: Path) -> None:
        """A model that is new appears whole; of another one, each version and each other file is exchanged."""
        if not self._model.exists():
            os.rename(new, self._model)
            return
        old.mkdir()
        for entry in sorted(new.iterdir()):
            target = self._model / entry.name
            if entry.is_dir() and target.exists():
                os.rename(target, old / entry.name)
            os.replace(entry, target)

    def _remove(self) -> None:
        with self._work() as work, self._alone():
            target = self._model if self._version is None else self._model / str(self._version)
            with suppress(FileNotFoundError):
                os.rename(target, work / "gone")
            recorded = self.observe().recorded
            gone = keys_of(self._name, self._version, recorded)
            self._write_record({key: each for key, each in recorded.items() if key not in gone}, work)

    def _write_record(self, recorded: Mapping[str, Fetched], work: Path) -> None:
        if recorded:
            (work / "record").write_text(write_record(recorded))
            os.replace(work / "record", self._root / RECORD_FILE)
        else:
            (self._root / RECORD_FILE).unlink(missing_ok=True)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except NotADirectoryError as error:
            raise InputError("a part of the path is no folder", where=str(self._root), remedy="Correct dest.") from error
        except OSError as error:
            what = f"cannot be written: {error.strerror or error}"
            raise UnavailableError(what, where=str(error.filename or self._root), remedy="Check room, owner and mode.") from error
