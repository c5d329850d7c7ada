# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Module server_info against real servers, and against a server of the V2 protocol that offers less."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.ansible_runs import run_module
from support.scripted_http import Step, reply, scripted
from support.tritonserver import TritonServer, free_ports
from support.zoo import write_sleeper


def info(endpoint: TritonServer | dict[str, Any], **options: Any) -> dict[str, Any]:
    where = endpoint.endpoint if isinstance(endpoint, TritonServer) else endpoint
    return run_module("serving.triton.server_info", {"endpoint": where, **options})


def test_http_and_grpc_tell_the_same(add_sub_server: TritonServer, triton_version: str) -> None:
    everything = {"config": True, "metadata": True, "statistics": True}
    http, grpc = (info({protocol: add_sub_server.endpoint[protocol]}, **everything) for protocol in ("http", "grpc"))
    assert http["live"] is grpc["live"] is True
    assert http["server"]["version"] == f"{triton_version}.0"
    assert set(http["server"]["extensions"]) == set(grpc["server"]["extensions"])
    one, other = ({model["name"]: model for model in result["models"]} for result in (http, grpc))
    assert one["add_sub"]["state"] == other["add_sub"]["state"] == "READY"
    assert one["add_sub"]["metadata"] == other["add_sub"]["metadata"]
    assert one["add_sub"]["config"]["max_batch_size"] == other["add_sub"]["config"]["max_batch_size"] == 8
    assert one["add_sub"]["statistics"]["inference_count"] == other["add_sub"]["statistics"]["inference_count"]
    assert (one["broken"]["state"], one["broken"]["version"]) == ("", "")


def test_waiting_for_what_is_there(add_sub_server: TritonServer) -> None:
    wanted = {"live": True, "models_ready": ["add_sub", "add_sub:1"], "models_gone": ["broken", "unheard_of"], "timeout": 5}
    result = info(add_sub_server, wait_for=wanted, models=["add_sub"])
    assert [model["name"] for model in result["models"]] == ["add_sub"]


def test_waiting_in_vain_says_why(add_sub_server: TritonServer) -> None:
    run_module("serving.triton.model", {"endpoint": add_sub_server.endpoint, "name": "broken"})
    result = info(add_sub_server, wait_for={"models_ready": ["broken", "add_sub:2"], "models_gone": ["add_sub"], "timeout": 0})
    assert "did not come true within 0 s" in result["msg"]
    assert "model broken is UNAVAILABLE: " in result["msg"]
    assert "the weights are missing" in result["msg"]
    assert "model add_sub:2 is not in the repository index" in result["msg"]
    assert "model add_sub is READY (version 1)" in result["msg"]
    assert result["last_state"]["live"] is True


def test_a_server_that_is_still_starting_is_waited_for(tmp_path: Path) -> None:
    write_sleeper(tmp_path, load=1)
    with TritonServer(tmp_path, wait=False) as server:
        assert info(server, retries=0)["live"] is False
        result = info(server, wait_for={"ready": True, "models_ready": ["sleeper"], "timeout": 60, "interval": 0.1})
        assert (result["live"], result["ready"], result["models"][0]["state"]) == (True, True, "READY")


def test_nobody_there_is_a_state_and_says_what_to_check() -> None:
    http, grpc = free_ports(2)
    endpoint = {"replicas": [{"name": "a", "http": f"http://127.0.0.1:{http}"}, {"name": "b", "grpc": f"grpc://127.0.0.1:{grpc}"}]}
    result = info(endpoint, retries=0)
    assert not result.get("failed")
    assert (result["live"], result["ready"], result["server"], result["models"]) == (False, False, None, None)
    assert all("tritonserver opens its ports only after the initial loads" in replica["error"] for replica in result["replicas"])


def test_wrong_ports_are_told(add_sub_server: TritonServer) -> None:
    http, grpc, metrics = add_sub_server.http_port, add_sub_server.grpc_port, add_sub_server.metrics_port
    assert "gRPC listens on another one" in info({"http": f"http://127.0.0.1:{grpc}"})["msg"]
    wrong = info({"http": f"http://127.0.0.1:{metrics}"}, retries=0)
    assert wrong.get("server") is None
    assert "the answer is not JSON" in str(wrong) or "does not offer this API" in str(wrong), "2.39 answers 405, later ones an empty 200"
    assert "the connection failed" in str(info({"grpc": f"grpc://127.0.0.1:{http}"}, retries=0))


def test_check_mode_reads_too(add_sub_server: TritonServer) -> None:
    args = {"endpoint": add_sub_server.endpoint}
    assert run_module("serving.triton.server_info", args, check=True)["live"] is True


# --- a server of the V2 protocol without Triton's extensions, as kserve and mlserver are


def v2_server() -> Step:
    """Answers of a server that has the model iris and no repository API, statistics, configuration or binary tensors."""
    tensors = {
        "inputs": [{"name": "IN", "datatype": "FP64", "shape": [-1, 2]}],
        "outputs": [{"name": "OUT", "datatype": "INT64", "shape": [-1]}],
    }
    answers: dict[str, Any] = {
        "GET /v2/health/live": {"live": True},
        "GET /v2/health/ready": {"ready": True},
        "GET /v2": {"name": "other", "version": "0.1", "extensions": []},
        "GET /v2/models/iris": {"name": "iris", "versions": [], "platform": "", **tensors},
        "GET /v2/models/iris/ready": {"name": "iris", "ready": True},
    }

    def step(connection: Any, request: bytes) -> bool:
        line = request.split(b"\r\n", 1)[0].decode().rsplit(" ", 1)[0]
        if line == "POST /v2/models/iris/infer":
            body = json.loads(request.split(b"\r\n\r\n", 1)[1])
            assert body["id"]
            sums = [int(body["inputs"][0]["data"][0] + body["inputs"][0]["data"][1])]
            output = {"name": "OUT", "datatype": "INT64", "shape": [1], "data": sums}
            return reply(200, json.dumps({"model_name": "iris", "id": body["id"], "outputs": [output]}))(connection, request)
        found = answers.get(line)
        return reply(200 if found else 404, json.dumps(found or {"detail": "Not Found"}))(connection, request)

    return step


def test_a_server_that_offers_less_is_read_as_far_as_it_goes() -> None:
    with scripted(v2_server()) as server:
        endpoint = {"http": server.url}
        result = info(endpoint, models=["iris", "rose"], config=True, metadata=True, statistics=True, wait_for={"models_ready": ["iris"]})
        bare = info(endpoint)
    assert (result["live"], result["ready"], result["server"]["name"]) == (True, True, "other")
    iris, rose = result["models"]
    assert (iris["state"], rose["state"]) == ("READY", "UNAVAILABLE")
    assert iris["config"] is None
    assert iris["metadata"]["inputs"][0]["datatype"] == "FP64"
    assert set(result["replicas"][0]["unavailable"]) == {"index", "statistics"}
    assert bare["models"] is None


@pytest.mark.parametrize("request_", [{"inputs": [{"name": "IN", "values": [1, 2]}]}, {"synthetic": True, "outputs": ["OUT"]}])
def test_inference_on_a_server_that_takes_json_only(request_: dict[str, Any]) -> None:
    expect = [{"output": "OUT", "datatype": "INT64", "values": [0 if request_.get("synthetic") else 3]}]
    with scripted(v2_server()) as server:
        args = {"endpoint": {"http": server.url}, "requests": [{"model": "iris", "expect": expect, **request_}]}
        result = run_module("serving.triton.infer", args)
    assert not result.get("failed"), result["msg"]


def test_a_server_without_repository_api_cannot_be_controlled() -> None:
    with scripted(v2_server()) as server:
        result = run_module("serving.triton.model", {"endpoint": {"http": server.url}, "name": "iris"})
    assert "the server does not offer this API" in result["msg"]
