# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Publishes through a network and a store that fail: at least 200 injected faults, nothing lost, nothing broken."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest
from support import s3_server as s3
from support.fault_proxy import FAULTS, FaultPlan, fault_proxy
from support.store_contract import Publishing

from ansible_collections.serving.triton.plugins.module_utils.core.errors import ServingError
from ansible_collections.serving.triton.plugins.module_utils.core.wait import Clock

SEED = 20261121
ENOUGH = 200
ROUNDS = 40
PART = 16 << 20


def next_source(publishing: Publishing, round_: int) -> None:
    """A new version of every model, with a new configuration; a large file now and then; a model that goes."""
    for model in range(4):
        publishing.add(f"model{model}", round_, **{f"part{part}": f"{round_} {model} {part} " * 300 for part in range(6)})
    if round_ % 5 == 1:
        content = random.Random(round_).randbytes(PART + 70_000)
        (publishing.source / "model0" / str(round_) / "weights").write_bytes(content)
    publishing.add(f"passing{round_ % 3}", round_)


@pytest.mark.skipif(bool(s3.ENDPOINT), reason="breaks its own server's requests only: a real one's would be signed for another host")
def test_nothing_is_lost_in_two_hundred_faults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Clock, "sleep", lambda _clock, seconds: time.sleep(min(seconds, 0.05)))
    plan = FaultPlan(SEED, share=0.25, slow_seconds=0.1)
    failures: list[str] = []
    clear = True
    with s3.s3_server() as server, fault_proxy(server.endpoint, plan) as url:
        store = s3.S3UnderTest(s3.observer(server.endpoint), server.endpoint, "models", server)
        broken, whole = Publishing(store.through(url), tmp_path), Publishing(store, tmp_path)
        rounds = 0
        while plan.total < ENOUGH and rounds < ROUNDS:
            rounds += 1
            next_source(broken, rounds)
            for _unused in range(4):
                try:
                    broken.publish(timeout=5, keep_versions=2, verify="digest" if rounds % 4 == 0 else "list")
                    break
                except ServingError as error:
                    failures.append(f"{type(error).__name__}: {error}")
                    clear = clear and bool(error.remedy)
        print(f"{rounds} rounds, {dict(plan.injected)}, {plan.passed} requests passed, failed publishes: {failures}")
        newest = broken.wanted()
        for path in list(newest):
            model, version, *_rest = path.split("/")
            if version.isdecimal() and int(version) not in sorted(int(each.name) for each in (broken.source / model).glob("[0-9]*"))[-2:]:
                newest.pop(path)
        whole.publish(keep_versions=2)
        assert whole.published() == newest
        assert whole.own() == {".serving-triton.json"}
        assert not whole.publish(keep_versions=2, verify="digest")["changed"]
        assert server.state()["uploads"] == []
    assert plan.total >= ENOUGH
    assert set(plan.injected) == {*FAULTS, "throttled"}
    assert clear, failures
    # Retries are for faults like these: a publish that fails for them is the exception.
    assert len(failures) <= rounds // 4, failures
