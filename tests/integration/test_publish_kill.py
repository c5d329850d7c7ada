# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""SIGKILL of the publishing module at random points while a real server polls the repository, a folder: see support/publish_kill.py."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.publish_kill import LOCK, MANIFEST, KilledPublisher, Phases, check, kill_under_a_polling_server, tree
from support.tritonserver import TritonServer

# Seeds of independent publishers, each with a repository of its own, and the kills of each.
PUBLISHERS = (11, 12, 13)
KILLS = 12


@dataclass
class FolderPublisher(KilledPublisher):
    """inside: the workspace cannot be beside the repository."""

    inside: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self.repository = self.home / "models"
        if self.inside:
            # A plain file where the workspace would be: as if the parent could not be written.
            (self.home / ".models.serving-triton").touch()

    def where(self) -> dict[str, Any]:
        return {"repository": str(self.repository)}

    def phases(self) -> Phases:
        return {
            "staging": ((self.repository / LOCK).exists, 0.005),
            "pinning": (self._pinning(), 0.002),
            "switching": ((self.repository / self.name / str(self.version)).exists, 0.001),
        }

    def _pinning(self) -> Callable[[], bool]:
        """Whether the manifest was written since now, with what is pending."""
        before = (self.repository / MANIFEST).stat().st_mtime_ns
        return lambda: (self.repository / MANIFEST).stat().st_mtime_ns != before

    def state(self) -> str:
        pending = bool(json.loads((self.repository / MANIFEST).read_bytes())["pending"])
        there = (self.repository / self.name / str(self.version)).exists()
        return f"{'pending' if pending else 'quiet'} {'new' if there else 'old'}"

    def published(self) -> dict[str, str]:
        return tree(self.repository)

    def is_clean(self) -> bool:
        rest = {path.name for path in self.repository.iterdir() if path.name.startswith(".")}
        beside = {path.name for path in self.home.iterdir() if path.is_dir()}
        return rest == {MANIFEST} and beside == {"source", "models"}


@pytest.fixture
def home() -> Iterator[Path]:
    # In memory where possible: each publish waits for its file system's disk, which other tests keep busy.
    shared = "/dev/shm"
    folder = Path(tempfile.mkdtemp(prefix="publish-kill-", dir=shared if os.access(shared, os.W_OK) else None))
    yield folder
    shutil.rmtree(folder)


def test_a_polling_server_never_meets_half_a_version(home: Path) -> None:
    publishers = [FolderPublisher(home / str(seed), seed, inside=seed == PUBLISHERS[-1]) for seed in PUBLISHERS]
    for each in publishers:
        each.finish()
    with TritonServer([each.repository for each in publishers], mode="poll") as server:
        outcome = kill_under_a_polling_server(publishers, server, lambda each, _watch: each.run(KILLS))
    check(outcome, publishers, KILLS)
