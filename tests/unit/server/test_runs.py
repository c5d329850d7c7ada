# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Many calls: their order, what becomes of them, and their latencies. Sessions are fakes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.serving.triton.plugins.module_utils.core.errors import ServingError
from ansible_collections.serving.triton.plugins.module_utils.core.percentiles import percentile
from ansible_collections.serving.triton.plugins.module_utils.server.errors import ConnectionFailedError, UnknownModelError
from ansible_collections.serving.triton.plugins.module_utils.server.expectations import Mismatch
from ansible_collections.serving.triton.plugins.module_utils.server.requests import Prepared, Stateful
from ansible_collections.serving.triton.plugins.module_utils.server.runs import (
    Run,
    Runner,
    chains,
    latency,
    over_budget,
    plan_calls,
    summarize,
)
from ansible_collections.serving.triton.plugins.module_utils.server.tensors import Tensor

LOST = ConnectionFailedError("away", where="x", remedy="Start it.")


@dataclass
class FakeSession:
    """Answers OUT = [1]; fails: model → error. sent: the models asked, in order."""

    fails: dict[str, ServingError] = field(default_factory=dict)
    sent: list[str] = field(default_factory=list)
    encoded: int = 0
    lock: Any = field(default_factory=Lock)

    def encode(self, request: Prepared) -> str:
        self.encoded += 1
        return f"{request.model}#{request.number}"

    def infer(self, encoded: str) -> tuple[list[Tensor], float]:
        with self.lock:
            self.sent.append(encoded)
        model = encoded.split("#", maxsplit=1)[0]
        if model in self.fails:
            raise self.fails[model]
        return [Tensor("OUT", "INT32", numpy.array([1], dtype="int32"))], float(len(self.sent))


def request(number: int = 0, model: str = "m", protocols: tuple[str, ...] = ("http",), **more: Any) -> Prepared:
    return Prepared(number, model, "", protocols, **more)


def run(requests: list[Prepared], opener: Callable[[str, str], Any], replicas: tuple[str, ...] = ("r",), **how: Any) -> list[Any]:
    calls = plan_calls(requests, replicas)
    Runner(opener, Run(**how)).run(calls)
    return calls


def test_every_request_goes_to_every_replica_over_its_protocols() -> None:
    opened: list[tuple[str, str]] = []

    def opener(replica: str, protocol: str) -> FakeSession:
        opened.append((replica, protocol))
        return FakeSession()

    calls = run([request(protocols=("http", "grpc")), request(1)], opener, ("a", "b"), concurrency=4)
    assert [(call.request.number, call.replica, call.protocol) for call in calls] == [
        (0, "a", "http"), (0, "a", "grpc"), (0, "b", "http"), (0, "b", "grpc"), (1, "a", "http"), (1, "b", "http"),
    ]  # fmt: skip
    assert all(call.ok for call in calls)
    assert sorted(opened) == [("a", "grpc"), ("a", "http"), ("b", "grpc"), ("b", "http")], "one session each"


def test_repetitions_are_measured_and_encoded_once() -> None:
    session = FakeSession()
    (call,) = run([request()], lambda replica, protocol: session, repeat=20, concurrency=1)
    assert len(call.latencies) == len(session.sent) == 20
    assert session.encoded == 1
    assert latency([call])["http"]["count"] == 20


def test_a_mismatch_is_kept_beside_the_answer() -> None:
    (call,) = run([request(expect=({"output": "OUT", "values": [2]},))], lambda replica, protocol: FakeSession())
    assert not call.ok
    assert call.mismatches == [Mismatch("OUT[0]", "2", "1")]
    assert call.outputs[0].name == "OUT"


def test_one_model_s_error_is_its_own() -> None:
    session = FakeSession(fails={"bad": UnknownModelError("no", where="x")})
    good, bad = run([request(model="good"), request(1, "bad")], lambda replica, protocol: session, repeat=3)
    assert good.ok
    assert str(bad.error) == "x: no"
    assert bad.latencies == []


def test_a_lost_server_fails_the_rest_at_once() -> None:
    session = FakeSession(fails={"m": LOST})
    calls = run([request(number) for number in range(50)], lambda replica, protocol: session, concurrency=1)
    assert [call.error for call in calls] == [LOST] * 50
    assert len(session.sent) == 1


def test_a_request_that_cannot_be_sent_is_not() -> None:
    session = FakeSession()
    (call,) = run([request(error=UnknownModelError("no", where="x"))], lambda replica, protocol: session)
    assert not call.ok
    assert session.sent == []


def test_a_session_that_cannot_be_opened_is_an_error_of_the_task() -> None:
    def opener(replica: str, protocol: str) -> FakeSession:
        raise LOST

    with pytest.raises(ConnectionFailedError):
        run([request()], opener)


def test_a_sequence_keeps_its_order_one_protocol_after_the_other() -> None:
    both = ("http", "grpc")
    sequence = {"sequence": Stateful(7)}
    requests = [request(0, "s", both, **sequence), request(1, "other", both), request(2, "s", both, **sequence)]
    ordered = chains(plan_calls(requests, ["a", "b"]), repeat=2)
    kept = [[(call.request.number, call.protocol) for call in chain] for chain in ordered if len(chain) > 1]
    once = [(0, "http"), (2, "http"), (0, "grpc"), (2, "grpc")]
    assert kept == [once * 2, once * 2], "one chain a replica"
    assert sum(len(chain) == 1 for chain in ordered) == 8


def test_sequences_of_different_ids_are_independent() -> None:
    requests = [request(0, "s", sequence=Stateful(1)), request(1, "s", sequence=Stateful("1")), request(2, "s", sequence=Stateful(1))]
    assert [[call.request.number for call in chain] for chain in chains(plan_calls(requests, ["a"]), 1)] == [[0, 2], [1]]


@pytest.mark.parametrize(("percent", "value"), [(50, 50), (95, 95), (99, 99), (100, 100), (1, 1)])
def test_percentiles_by_nearest_rank(percent: float, value: float) -> None:
    assert percentile(list(range(100, 0, -1)), percent) == value


@given(st.lists(st.floats(0.001, 1e6), min_size=1, max_size=200))
def test_percentiles_are_measured_values_in_order(values: list[float]) -> None:
    summary = summarize(values)
    ranks = [summary[name] for name in ("p50", "p95", "p99", "max")]
    assert ranks == sorted(ranks)  # type: ignore[type-var]
    assert all(rank in [round(value, 3) for value in values] for rank in ranks)


def test_nothing_answered_has_no_latency() -> None:
    assert summarize([]) == {"count": 0, "mean": None, "p50": None, "p95": None, "p99": None, "max": None}
    assert over_budget(summarize([]), {"p50": 1}) == []


def test_the_budget_names_what_exceeds_it() -> None:
    summary = summarize([1.0, 2.0, 30.0])
    assert over_budget(summary, {"p50": 2, "p99": 20}) == [Mismatch("latency p99", "at most 20 ms", "30 ms")]
