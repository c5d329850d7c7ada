# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A real tritonserver reads s3:// and polls it while publishers are killed at random points: see support/publish_kill.py.

SERVING_TRITON_TEST_KILLS sets the number of kills of all publishers together; 100 take some minutes.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support import s3_server as s3
from support.publish_kill import LOCK, MANIFEST, KilledPublisher, Phases, Watch, check, complaints, kill_under_a_polling_server, wait_for
from support.tritonserver import TritonServer

SEEDS = (21, 22, 23)
# All: a load over s3:// downloads every version, and fails when one goes meanwhile (docs/publishing.md); here one load follows the other.
KEEP = 100
KILLS = int(os.environ.get("SERVING_TRITON_TEST_KILLS", "18"))


@dataclass
class BucketPublisher(KilledPublisher):
    """store: a place of its own in the server."""

    store: s3.S3UnderTest | None = None

    @property
    def place(self) -> s3.S3UnderTest:
        assert self.store is not None
        return self.store

    def where(self) -> dict[str, Any]:
        return {"repository": self.place.url, **self.place.module_options}

    def phases(self) -> Phases:
        # Between a pin and its switch lies the second by which Triton tells changes apart.
        return {
            "locked": (lambda: self.place.get(LOCK) is not None, 0.05),
            "pinned": (self._changes(MANIFEST), 1.1),
            "coming": (lambda: any(key.startswith(f"{self.name}/{self.version}/") for key in self.keys()), 0.05),
            "switching": (self._switches(), 0.01),
        }

    def _changes(self, key: str) -> Callable[[], bool]:
        before = self.place.get(key)
        return lambda: self.place.get(key) != before

    def _switches(self) -> Callable[[], bool]:
        """Whether the configuration of the new version is there."""
        wanted = (self.source / self.name / "config.pbtxt").read_bytes()
        return lambda: self.place.get(f"{self.name}/config.pbtxt") == wanted

    def keys(self) -> set[str]:
        return self.place.keys()

    def state(self) -> str:
        manifest = json.loads(self.place.get(MANIFEST) or b'{"pending": []}')
        there = sum(key.startswith(f"{self.name}/{self.version}/") for key in self.keys())
        return f"{'pending' if manifest['pending'] else 'quiet'} {'old' if not there else 'part' if there < len(self.parts()) else 'new'}"

    def parts(self) -> list[Path]:
        return list((self.source / self.name / str(self.version)).iterdir())

    def published(self) -> dict[str, str]:
        keys = sorted(key for key in self.keys() if not key.startswith("."))
        return {key.removesuffix("/.keep"): (self.place.get(key) or b"").decode() for key in keys}

    def is_clean(self) -> bool:
        return {key for key in self.keys() if key.startswith(".")} == {MANIFEST}


# A model that goes while the server lists it is told as this, and is gone at the next look.
HARMLESS = r"Failed to determine modification time for .*_ensemble[0-9]+': Model directory path is not a directory"


def work(publisher: BucketPublisher, watch: Watch) -> None:
    """Kills publishes.

    A poll reads a model's configuration first and lists its versions when it has gone through all models, which over s3:// takes longer
    than a pin is given. So a configuration that goes by the newest version could meet the next version; one that names its version
    cannot. With the former, a version comes when the one before it is served, as a release has it.
    """
    publisher.run(-(-KILLS // len(SEEDS)), at_once=some, first=lambda: None if publisher.named else served(publisher, watch))


def served(publisher: BucketPublisher, watch: Watch) -> None:
    if not wait_for(watch, publisher):
        publisher.problems.append(f"{publisher.name} version {publisher.version} is not served")


def some(chance: random.Random) -> int:
    """Often one after the other dies."""
    return chance.choice([1, 2, 2, 3])


@pytest.mark.skipif(bool(s3.ENDPOINT), reason="the contract suite uses the real server; this one kills publishers for minutes")
def test_a_server_that_polls_s3_never_meets_half_a_version(tmp_path: Path) -> None:
    kills = -(-KILLS // len(SEEDS))
    with s3.s3_server() as server:
        client = s3.observer(server.endpoint)
        stores = [s3.S3UnderTest(client, server.endpoint, f"models{seed}", server) for seed in SEEDS]
        publishers = [
            BucketPublisher(tmp_path / str(seed), seed, named=seed != SEEDS[-1], keep=KEEP, store=store)
            for seed, store in zip(SEEDS, stores)
        ]
        for each in publishers:
            each.finish()
        # The reader is another account than the publisher, as it should be.
        keys = {"AWS_ACCESS_KEY_ID": s3.OBSERVER[0], "AWS_SECRET_ACCESS_KEY": s3.OBSERVER[1], "AWS_DEFAULT_REGION": s3.REGION}
        with TritonServer([each.place.url for each in publishers], mode="poll", env=keys) as triton:
            outcome = kill_under_a_polling_server(publishers, triton, work)
    check(outcome, publishers, kills, harmless=HARMLESS)


@pytest.mark.skipif(bool(s3.ENDPOINT), reason="the contract suite uses the real server; this one has a polling server read its own")
def test_old_versions_go_while_there_is_nothing_to_load(tmp_path: Path) -> None:
    """A load downloads every version: one that goes meanwhile would make it fail, and the server not ready."""
    with s3.s3_server() as server:
        store = s3.S3UnderTest(s3.observer(server.endpoint), server.endpoint, "models", server)
        publisher = BucketPublisher(tmp_path / "31", 31, keep=2, store=store)
        publisher.finish()
        keys = {"AWS_ACCESS_KEY_ID": s3.OBSERVER[0], "AWS_SECRET_ACCESS_KEY": s3.OBSERVER[1], "AWS_DEFAULT_REGION": s3.REGION}
        with TritonServer([store.url], mode="poll", env=keys) as triton:
            watch = Watch(triton, [publisher.name])
            watch.start()
            for _unused in range(3):
                assert wait_for(watch, publisher), triton.log[-3000:]
                publisher.next_source()
                publisher.finish()
            served = wait_for(watch, publisher)
            watch.stopping.set()
            watch.join()
        assert served, triton.log[-3000:]
        assert {path.split("/")[1] for path in publisher.published() if path.startswith(f"{publisher.name}/")} == {"3", "4", "config.pbtxt"}
    assert not watch.failures, watch.failures[:5]
    assert not complaints(triton.log)
