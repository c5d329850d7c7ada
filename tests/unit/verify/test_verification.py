# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which requests prove a server's models, and what their answers come to."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.serving.triton.plugins.module_utils.core.percentiles import percentile
from ansible_collections.serving.triton.plugins.module_utils.server.verification import (
    MAX_ELEMENTS,
    SEQUENCE,
    plan_requests,
    summarize,
)


def model(name: str, version: str = "1", state: str = "READY", **config: Any) -> dict[str, Any]:
    inputs = [{"name": "A", "data_type": "TYPE_FP32", "dims": [-1, 2]}]
    return {"name": name, "version": version, "state": state, "config": {"input": inputs, **config}}


def case(name: str, **more: Any) -> dict[str, Any]:
    return {"model": name, "inputs": [{"name": "A", "datatype": "FP32", "shape": [1, 2], "values": [1, 2]}], **more}


def test_golden_cases_are_asked_and_the_rest_gets_zeros() -> None:
    plan = plan_requests([model("b"), model("a")], {"a": [case("a"), case("a", protocol="grpc")], "absent": [case("absent")]})
    assert plan["requests"] == [
        case("a"),
        case("a", protocol="grpc"),
        {"model": "b", "synthetic": True},
    ]
    assert plan["how"] == {"a": "compared", "b": "answered"}
    assert plan["left_out"] == {}


@pytest.mark.parametrize("state", ["LOADING", "UNLOADING", "UNAVAILABLE", ""])
def test_what_is_not_ready_is_not_asked(state: str) -> None:
    assert plan_requests([model("a", state=state)], {"a": [case("a")]}) == {"requests": [], "files": [], "how": {}, "left_out": {}}


def test_the_files_that_are_needed_are_named() -> None:
    inputs = [{"npy": "b.npy"}, {"image": {"path": "c.png"}}, {"image": {"path": ["d.png", "a.png"]}}, {"values": [1]}]
    golden = {"a": [{"model": "a", "inputs": inputs}, {"model": "a", "synthetic": True}], "absent": [{"inputs": [{"npy": "e.npy"}]}]}
    assert plan_requests([model("a")], golden)["files"] == ["a.png", "b.npy", "c.png", "d.png"]


def test_every_other_version_is_asked_too() -> None:
    models = [model("a", "9"), model("a", "10"), model("a", "2")]
    versions = [each.get("version") for each in plan_requests(models, {})["requests"]]
    assert versions == [None, "9", "2"]
    with_cases = plan_requests(models, {"a": [case("a"), case("a", version="2")]})
    assert [each.get("version") for each in with_cases["requests"]] == [None, "2", "9"]
    assert with_cases["how"] == {"a": "compared"}


def test_stateful_models_get_a_sequence_of_one_request() -> None:
    [request] = plan_requests([model("a", sequence_batching={})], {})["requests"]
    assert request["sequence"] == SEQUENCE
    assert request["sequence"]["start"] is True
    assert request["sequence"]["end"] is True


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (model("a", model_transaction_policy={"decoupled": True}), "stream"),
        (model("a", input=[]), "names no inputs"),
        (model("a", input=[{"name": "A", "dims": [-1, MAX_ELEMENTS + 1]}]), "elements"),
    ],
)
def test_what_cannot_be_asked_is_told(given: dict[str, Any], reason: str) -> None:
    plan = plan_requests([given], {})
    assert plan["requests"] == []
    assert reason in plan["left_out"]["a"]
    assert plan_requests([given], {"a": [case("a")]})["how"] == {"a": "compared"}, "a golden case can always be asked"


def test_a_server_without_configurations_is_asked_all_the_same() -> None:
    assert plan_requests([{**model("a"), "config": None}], {})["requests"] == [{"model": "a", "synthetic": True}]


def test_the_summary_has_one_line_a_model() -> None:
    models = [model("a", "1"), model("a", "2"), model("b"), model("c", input=[]), model("d", state="UNAVAILABLE")]
    plan = plan_requests(models, {"a": [case("a")]})
    results = [
        {"model": "a", "protocol": "http", "ok": True, "latencies_ms": [2.0]},
        {"model": "a", "protocol": "http", "ok": True, "latencies_ms": [4.0]},
        {"model": "a", "protocol": "grpc", "ok": True, "latencies_ms": [1.0, 3.0]},
        {"model": "b", "protocol": "grpc", "ok": False, "latencies_ms": []},
    ]
    assert summarize(plan, models, results) == [
        {
            "name": "a",
            "versions": ["1", "2"],
            "state": "READY",
            "verified": "compared",
            "grpc": {"requests": 2, "p50": 1.0, "p99": 3.0, "latencies": [1.0, 3.0]},
            "http": {"requests": 2, "p50": 2.0, "p99": 4.0},
        },
        {"name": "b", "versions": ["1"], "state": "READY", "verified": "answered"},
        {"name": "c", "versions": ["1"], "state": "READY", "verified": "not verified: its configuration names no inputs"},
    ]


@pytest.mark.parametrize(("percent", "expected"), [(0, 1), (50, 50), (95, 95), (99, 99), (100, 100)])
def test_percentiles_are_of_the_nearest_rank(percent: float, expected: float) -> None:
    assert percentile([float(value) for value in range(100, 0, -1)], percent) == expected
    assert percentile([7.0], percent) == 7.0
