# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the chart runs in a pod, with a real tritonserver: its arguments, the readiness probe, and what `helm test` asks."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import tritonserver
from support.charts.cases import KEY, with_key
from support.charts.render import CHART, least, render

HEADER = "triton-key"
# What differs where there is no pod.
NOT_HERE = ("model-repository", "http-port", "grpc-port", "metrics-port", "model-control-mode", "backend-config")


SAMPLES = CHART.parents[2] / "model_repository" / "files" / "samples"
# Models in Python with texts and with sequences of requests.
SAMPLED = ("simple_dyna_sequence", "simple_identity", "simple_sequence")


# It fails after all others have loaded.
SLOWLY = "        import time\n\n        time.sleep(1)\n        raise"


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[tritonserver.TritonServer, dict[str, str]]]:
    """A server started with all the chart's arguments, and the key put behind those that the launcher completes.

    Besides: the states of the models when it first answered.
    """
    repository = tmp_path_factory.mktemp("models")
    tritonserver.write_add_sub(repository)
    tritonserver.write_python_model(repository, "broken", code=tritonserver.BROKEN_CODE.replace("        raise", SLOWLY))
    for name in SAMPLED:
        shutil.copytree(SAMPLES / name, repository / name)
    rendered = render(with_key(least()))
    options: dict[str, list[str]] = {}
    for argument in rendered.arguments + [f"{each}{KEY}" for each in rendered.launch["key_arguments"]]:
        name, _equals, text = argument.removeprefix("--").partition("=")
        if name not in NOT_HERE:
            options.setdefault(name, []).append(text)
    assert {"load-model", "grpc-max-connection-age", "http-restricted-api", "metrics-config", "exit-timeout-secs"} <= options.keys()
    with tritonserver.TritonServer(repository, "2.51", mode="explicit", options=options, headers={HEADER: KEY}) as running:
        request = urllib.request.Request(f"{running.http}/v2/repository/index", b"{}", {HEADER: KEY})
        with urllib.request.urlopen(request, timeout=10) as answer:
            yield running, {each["name"]: each["state"] for each in json.load(answer)}


@pytest.fixture
def server(started: tuple[tritonserver.TritonServer, dict[str, str]]) -> tritonserver.TritonServer:
    return started[0]


def run(script: str, *arguments: str, key: str = KEY) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(CHART / "files" / script), *arguments]
    environment = {**os.environ, "TRITON_KEY": key}
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=environment)


@pytest.mark.parametrize(
    ("models", "status", "said"),
    [
        (["add_sub"], 0, ""),
        (["add_sub", "add_sub:1"], 0, ""),
        (["add_sub", "broken"], 1, "not ready: broken (400)\n"),
        (["add_sub:2"], 1, "not ready: add_sub:2 (400)\n"),
        (["nobody"], 1, "not ready: nobody (400)\n"),
    ],
)
def test_readiness_demands_models(models: list[str], status: int, said: str, server: tritonserver.TritonServer) -> None:
    done = run("ready.py", str(server.http_port), "5", *models)
    assert (done.returncode, done.stdout, done.stderr) == (status, said, "")


def status(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_a_server_answers_when_it_has_tried_all_models(started: tuple[tritonserver.TritonServer, dict[str, str]]) -> None:
    """What probes.startup.models: tried stands on."""
    assert started[1] == {"broken": "UNAVAILABLE", **dict.fromkeys(("add_sub", *SAMPLED), "READY")}


@pytest.mark.parametrize(("models", "answer"), [("all", 400), ("tried", 200)])
def test_a_start_with_a_broken_model_is_over_where_trying_is_enough(models: str, answer: int, server: tritonserver.TritonServer) -> None:
    probe = render(least(probes={"startup": {"models": models}})).server["startupProbe"]["httpGet"]
    assert status(f"{server.http}{probe['path']}") == answer


def test_no_server_is_not_ready() -> None:
    (port,) = tritonserver.free_ports(1)
    done = run("ready.py", str(port), "5", "add_sub")
    assert done.returncode == 1
    assert done.stdout.startswith("not ready: the server does not answer")


ONES = {"datatype": "INT32", "shape": [1, 16], "data": [3] * 16}
BODY = {"inputs": [{"name": "INPUT0", **ONES}, {"name": "INPUT1", **ONES}]}


def file(tmp_path: Path, **changed: Any) -> str:
    """What the chart hands to the test: the file of its ConfigMap."""
    values = least(tests={"requests": changed.pop("requests", []), "timeoutSeconds": 10}, probes={"readiness": changed})
    path = tmp_path / "requests.json"
    path.write_text(render(values).one("ConfigMap", "-test")["data"]["requests.json"], encoding="utf-8")
    return str(path)


def test_every_ready_model_is_asked(server: tritonserver.TritonServer, tmp_path: Path) -> None:
    done = run("inference.py", server.http, file(tmp_path))
    *asked, total = done.stdout.splitlines()
    assert sorted(asked) == [f"ok      {name} 1 answered" for name in ("add_sub", *SAMPLED)]
    assert (done.returncode, total) == (0, "4 of 4 inferences")


@pytest.mark.parametrize(
    ("expect", "status", "said"),
    [
        ([{"name": "OUTPUT0", "data": [6] * 16}, {"name": "OUTPUT1", "data": [0] * 16}], 0, "ok      add_sub  as expected"),
        ([{"name": "OUTPUT0", "data": [6] * 15 + [7]}], 1, "failed  add_sub  OUTPUT0 is [6,"),
        ([{"name": "OUTPUT0", "data": [6]}], 1, "failed  add_sub  OUTPUT0 is [6,"),
        ([{"name": "OUTPUT7", "data": []}], 1, "failed  add_sub  there is no output OUTPUT7, only OUTPUT0, OUTPUT1"),
    ],
)
def test_an_answer_is_compared(expect: Any, status: int, said: str, server: tritonserver.TritonServer, tmp_path: Path) -> None:
    done = run("inference.py", server.http, file(tmp_path, requests=[{"model": "add_sub", "body": BODY, "expect": expect}]))
    assert done.returncode == status, done.stdout
    assert done.stdout.startswith(said)


def test_a_model_that_is_not_there_fails_and_the_others_are_asked_all_the_same(server: tritonserver.TritonServer, tmp_path: Path) -> None:
    done = run("inference.py", server.http, file(tmp_path, models=["broken", "add_sub:1"]))
    assert done.returncode == 1
    assert "failed  broken" in done.stdout
    assert done.stdout.endswith("ok      add_sub 1 answered\n1 of 2 inferences\n")


def test_without_the_key_the_index_stays_closed(server: tritonserver.TritonServer, tmp_path: Path) -> None:
    done = run("inference.py", server.http, file(tmp_path), key="another")
    assert done.returncode == 1
    assert done.stdout.startswith("failed: /v2/repository/index: 403 ")
