# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Inference on real servers of three versions, over both protocols."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy
import pytest
from PIL import Image
from support.ansible_runs import run_module, run_playbook
from support.tritonserver import TritonServer
from support.zoo import write_zoo

ONE_TO_SIXTEEN = list(range(1, 17))


@pytest.fixture(scope="module")
def zoo(triton_version: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    with TritonServer(write_zoo(tmp_path_factory.mktemp("zoo")), triton_version) as server:
        yield server


def infer(server: TritonServer, *requests: dict[str, Any], **options: Any) -> dict[str, Any]:
    return run_module("serving.triton.infer", {"endpoint": server.endpoint, "protocol": "both", "requests": list(requests), **options})


def add_sub(**more: Any) -> dict[str, Any]:
    inputs = [{"name": "INPUT0", "values": ONE_TO_SIXTEEN}, {"name": "INPUT1", "values": [[1] * 16]}]
    return {"model": "add_sub", "inputs": inputs, **more}


def feed(model: str, values: Any, *expect: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"model": model, "inputs": [{"name": "IN", "values": values}], "expect": [{"output": "OUT", **item} for item in expect], **more}


def sequence(number: int | str, values: list[int], sums: list[int]) -> list[dict[str, Any]]:
    last = len(values) - 1
    return [
        feed("accumulator", value, {"values": total}, sequence={"id": number, "start": index == 0, "end": index == last})
        for index, (value, total) in enumerate(zip(values, sums))
    ]


def every_kind() -> list[dict[str, Any]]:
    """One request for each thing that has to come out right; all in one task."""
    scores = [[0.1, 0.7, 0.2, 0.0], [0.0, 0.0, 0.5, 0.25]]
    best = {"top": [[1, 2], [2, 3]], "labels": ["mug", "pot: large"], "values": [0.7, 0.2, 0.5, 0.25]}
    return [
        add_sub(
            expect=[
                {"output": "OUTPUT0", "datatype": "INT32", "shape": [1, 16], "values": [value + 1 for value in ONE_TO_SIXTEEN]},
                {"output": "OUTPUT1", "values": [value - 1 for value in ONE_TO_SIXTEEN]},
            ]
        ),
        add_sub(outputs=["OUTPUT1"], expect=[{"output": "OUTPUT1", "shape": [-1, 16]}]),
        {"model": "add_sub", "synthetic": True, "expect": [{"output": "OUTPUT0", "values": [0] * 16}]},
        feed("text", ["triton", "", "two words", "트리톤 🐟"], {"datatype": "BYTES", "values": ["triton", "", "two words", "트리톤 🐟"]}),
        {"model": "text", "synthetic": True, "expect": [{"output": "OUT", "values": ["0"]}]},
        feed("teller", 0, {"values": 2}),
        feed("teller", 0, {"values": 1}, version="1"),
        feed("classifier", scores, best, classes=2),
        feed("classifier", scores, {"top": [[1, 2], [2, 3]], "labels": [1, 2], "shape": [2, 4]}),
        *sequence(7, [1, 2, 3], [1, 3, 6]),
        *sequence(8, [10, 20], [10, 30]),
    ]


@pytest.mark.parametrize("binary", ["auto", "false"])
def test_every_kind_of_request_over_both_protocols(zoo: TritonServer, binary: str) -> None:
    result = infer(zoo, *every_kind(), binary=binary, concurrency=3)
    assert not result.get("failed"), result["msg"]
    assert len(result["results"]) == 2 * len(every_kind())
    assert all(one["ok"] and one["latency_ms"] > 0 for one in result["results"])
    assert result["latency"]["grpc"]["count"] == result["latency"]["http"]["count"] == len(every_kind())
    assert not result["changed"]


def test_half_floats_go_as_bytes(zoo: TritonServer) -> None:
    request = feed("half", [[0.5, -2]], {"datatype": "FP16", "values": [0.5, -2]})
    assert not infer(zoo, request).get("failed")
    refused = infer(zoo, request, binary="false")
    assert "FP16 has no form in JSON" in refused["msg"]


def test_arrays_and_images_from_files(zoo: TritonServer, tmp_path: Path) -> None:
    numpy.save(tmp_path / "scores.npy", numpy.array([[0, 0, 0, 1]], dtype="float64"))
    Image.new("RGB", (9, 9), (255, 0, 51)).save(tmp_path / "red.png")
    pixels = [1.0] * 4 + [-1.0] * 4 + [-0.6] * 4
    result = infer(
        zoo,
        {"model": "classifier", "inputs": [{"name": "IN", "npy": "scores.npy"}], "expect": [{"output": "OUT", "values": [0, 0, 0, 1]}]},
        {
            "model": "photo",
            "inputs": [{"name": "IN", "image": {"path": ["red.png", "red.png"], "scaling": "inception"}}],
            "expect": [{"output": "OUT", "shape": [2, 3, 2, 2], "values": pixels * 2}],
        },
        base_dir=str(tmp_path),
    )
    assert not result.get("failed"), result["msg"]


def test_a_failure_is_a_table_of_expected_and_got(zoo: TritonServer) -> None:
    wrong = [
        {"output": "OUTPUT0", "values": [0] * 16},
        {"output": "OUTPUT1", "datatype": "FP32", "values": [value - 1 for value in ONE_TO_SIXTEEN]},
    ]
    result = infer(zoo, add_sub(expect=wrong), feed("text", ["a"], {"values": ["a"]}), {"model": "nothing", "synthetic": True})
    assert result["failed"]
    lines = [line.split() for line in result["msg"].splitlines()]
    assert " ".join(lines[0]) == "4 of 6 requests failed:"
    assert lines[1] == ["MODEL", "PROTOCOL", "CHECK", "EXPECTED", "GOT"]
    for protocol in ("http", "grpc"):
        assert ["add_sub", protocol, "OUTPUT0[15],", "the", "worst", "of", "16", "0", "17"] in lines
        assert ["add_sub", protocol, "OUTPUT1", "datatype", "FP32", "INT32"] in lines
        assert any(line[:2] == ["nothing", protocol] and "'nothing' is not found" in " ".join(line) for line in lines)
    assert [one["ok"] for one in result["results"]] == [False, False, True, True, False, False]
    assert result["failed_requests"] == 4


def test_repetitions_are_timed_and_held_to_a_budget(zoo: TritonServer) -> None:
    result = infer(zoo, add_sub(), repeat=20, concurrency=4, latency_budget={"p99": 1e-6})
    assert "latency p99" in result["msg"]
    assert result["requests"] == 40
    assert result["latency"]["all"]["count"] == 40
    assert all(one["ok"] for one in result["results"])


def test_outputs_are_bounded(zoo: TritonServer) -> None:
    result = infer(zoo, add_sub(), max_values=3)
    output = result["results"][0]["outputs"][0]
    assert output == {"name": "OUTPUT0", "datatype": "INT32", "shape": [1, 16], "values": [2, 3, 4], "truncated": True}


def test_what_the_server_refuses_is_told(zoo: TritonServer) -> None:
    result = infer(zoo, feed("half", [[1, 2]], parameters={"x": 1}), {"model": "classifier", "inputs": [
        {"name": "IN", "datatype": "INT32", "shape": [1, 4], "values": [1, 2, 3, 4]}]})  # fmt: skip
    assert [one["ok"] for one in result["results"]] == [True, True, False, False]
    assert "FP32" in result["results"][2]["error"]
    assert "FP32" in result["results"][3]["error"]


def test_an_input_s_mistake_is_told_before_anything_is_sent(zoo: TritonServer) -> None:
    result = infer(zoo, feed("accumulator", 1, sequence={"id": 99, "start": True}), feed("half", [1, 2, 3]))
    assert "requests[1] (half), input 'IN': the shape cannot be told" in result["msg"]
    assert "results" not in result


def test_check_mode_infers_too(zoo: TritonServer) -> None:
    args = {"endpoint": zoo.endpoint, "requests": [add_sub()]}
    assert run_module("serving.triton.infer", args, check=True)["results"][0]["ok"]


def test_every_replica_is_verified(zoo: TritonServer) -> None:
    one = {key: zoo.endpoint[key] for key in ("http", "grpc")}
    endpoint = {"replicas": [{"name": "a", **one}, {"name": "b", **one}]}
    request = feed("teller", 0, {"values": 9}, protocol="grpc")
    result = run_module("serving.triton.infer", {"endpoint": endpoint, "requests": [request]})
    assert [(one["replica"], one["protocol"]) for one in result["results"]] == [("a", "grpc"), ("b", "grpc")]
    assert "REPLICA" in result["msg"].splitlines()[1]


def test_the_modules_of_a_group_in_a_playbook(add_sub_server: TritonServer) -> None:
    """As Ansible packs them: what is imported inside functions travels too, and nothing warns."""
    tasks = [
        {"name": "Read", "serving.triton.server_info": {}},
        {"name": "Read over gRPC", "serving.triton.server_info": {"endpoint": {"grpc": add_sub_server.grpc}}},
        {"name": "Load", "serving.triton.model": {"name": "add_sub"}},
        {"name": "Infer", "serving.triton.infer": {"protocol": "both", "requests": [add_sub()]}},
    ]
    play = {
        "hosts": "localhost",
        "connection": "local",
        "gather_facts": False,
        "vars": {"ansible_python_interpreter": sys.executable, "triton_endpoint": add_sub_server.endpoint},
        "module_defaults": {"group/serving.triton.server": {"endpoint": "{{ triton_endpoint }}"}},
        "tasks": tasks,
    }
    result = run_playbook([play])
    assert result.changed == 0
    assert result.result("Read over gRPC")["live"] is True
    assert [one["ok"] for one in result.result("Infer")["results"]] == [True, True]
