# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Restricted APIs, wrong keys, and servers that die while they are asked."""

from __future__ import annotations

import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.ansible_runs import run_module
from support.tritonserver import TritonServer
from support.zoo import write_sleeper

KEY = {"admin-key": "sesame-open-7"}
RESTRICTED = "model-repository,statistics,inference:admin-key=sesame-open-7"


@pytest.fixture(scope="module")
def restricted(triton_version: str, sample_repository: Path) -> Iterator[TritonServer]:
    options: dict[str, Any] = {"load-model": "add_sub", "grpc-restricted-protocol": RESTRICTED}
    if triton_version != "2.39":
        options["http-restricted-api"] = RESTRICTED  # 2.39 cannot restrict HTTP.
    with TritonServer(sample_repository, triton_version, mode="explicit", options=options) as server:
        yield server


def endpoints(server: TritonServer, headers: dict[str, str]) -> list[dict[str, Any]]:
    protocols = ["grpc"] if server.version == "2.39" else ["http", "grpc"]
    return [{protocol: server.endpoint[protocol], "headers": headers} for protocol in protocols]


def ask(module: str, endpoint: dict[str, Any], **options: Any) -> dict[str, Any]:
    return run_module(f"serving.triton.{module}", {"endpoint": endpoint, **options})


def test_with_the_key_everything_works(restricted: TritonServer) -> None:
    for endpoint in endpoints(restricted, KEY):
        info = ask("server_info", endpoint, statistics=True)
        assert info["models"][0]["statistics"] is not None
        assert not ask("model", endpoint, name="add_sub")["changed"]
        assert ask("model", endpoint, name="add_sub", state="reloaded")["changed"]
        assert ask("infer", endpoint, requests=[{"model": "add_sub", "synthetic": True}])["results"][0]["ok"]


@pytest.mark.parametrize("headers", [{}, {"admin-key": "wrong-key-1"}])
def test_without_it_the_refusal_is_told(restricted: TritonServer, headers: dict[str, str]) -> None:
    for endpoint in endpoints(restricted, headers):
        info = ask("server_info", endpoint, statistics=True)
        assert (info["live"], info["models"]) == (True, None)
        refusals = info["replicas"][0]["unavailable"]
        assert set(refusals) == {"index", "statistics"}
        assert all("is restricted, expecting header" in reason for reason in refusals.values())
        loading = ask("model", endpoint, name="add_sub")
        inferring = ask("infer", endpoint, requests=[{"model": "add_sub", "synthetic": True}])
        for failed in (loading, inferring):
            assert failed["failed"]
            assert "endpoint.headers" in failed["msg"]
            assert "wrong-key-1" not in str(failed)


def test_waiting_behind_a_wrong_key_says_so(restricted: TritonServer) -> None:
    (endpoint, *_unused) = endpoints(restricted, {})
    assert ask("server_info", endpoint, wait_for={"models_ready": ["add_sub"]})["live"], "the model itself says that it is ready"
    result = ask("server_info", endpoint, wait_for={"models_ready": ["broken"], "timeout": 0})
    assert "model broken is UNAVAILABLE" in result["msg"]
    assert "is restricted, expecting header" in result["msg"]


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_a_server_that_dies_while_it_infers(tmp_path: Path, protocol: str) -> None:
    write_sleeper(tmp_path, answer=60)
    with TritonServer(tmp_path) as server:
        results: list[dict[str, Any]] = []
        tensor = {"name": "IN", "datatype": "INT32", "shape": [1, 1], "values": [1]}
        options: dict[str, Any] = {
            "requests": [{"model": "sleeper", "inputs": [tensor]}] * 50,
            "protocol": protocol,
            "timeout": 100,
            "retries": 1,
        }
        thread = threading.Thread(target=lambda: results.append(ask("infer", server.endpoint, **options)))
        thread.start()
        while not pending(server):
            assert thread.is_alive(), results
        server.kill()
        thread.join(120)
    assert "50 of 50 requests failed:" in results[0]["msg"]
    assert "the connection" in results[0]["msg"]
    assert "Check that the server runs" in results[0]["msg"]
    assert all(not one["ok"] for one in results[0]["results"])


def pending(server: TritonServer) -> bool:
    """Whether requests wait for the model, which works on another one."""
    try:
        with urllib.request.urlopen(server.metrics, timeout=10) as answer:
            lines = answer.read().decode().splitlines()
    except urllib.error.URLError:
        # Triton opens the port of its metrics after that of HTTP.
        return False
    return any(line.startswith("nv_inference_pending_request_count{") and float(line.split()[-1]) > 0 for line in lines)


def test_a_server_that_dies_between_two_tasks(sample_repository: Path) -> None:
    with TritonServer(sample_repository, mode="explicit", options={"load-model": "add_sub"}) as server:
        request = {"model": "add_sub", "synthetic": True, "protocol": "both"}
        assert ask("infer", server.endpoint, requests=[request])["results"][1]["ok"]
        server.kill()
        dead = ask("infer", server.endpoint, requests=[request] * 20, retries=1)
        assert "Connection refused" in dead["msg"]
        server.restart()
        assert ask("infer", server.endpoint, requests=[request])["results"][1]["ok"]
