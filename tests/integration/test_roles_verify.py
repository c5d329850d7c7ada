# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The role verify on real servers: what it proves, what it tells, and that it changes nothing."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from support import build_samples
from support.ansible_runs import Result, run_playbook
from support.tritonserver import ROOT, TritonServer, free_ports, write_add_sub, write_broken

SAMPLES = build_samples.FILES / "samples"
GOLDEN = build_samples.FILES / "golden"
BACKENDS = ROOT / "roles/server_host/files/backends"
LOCAL = {"ansible_connection": "local", "ansible_python_interpreter": "{{ ansible_playbook_python }}"}
ELSEWHERE = {**LOCAL, "ansible_connection": "elsewhere"}
SHOW = {"name": "Show the fact", "ansible.builtin.debug": {"var": "triton_verification"}, "when": "triton_verification is defined"}


def verify(folder: Path, variables: Mapping[str, Any], *flags: str, rc: int = 0, host: Mapping[str, Any] | None = None) -> Result:
    """Runs the role on one host and shows the fact that it sets."""
    inventory = folder / "inventory.json"
    inventory.write_text(json.dumps({"all": {"hosts": {"served": dict(host or LOCAL)}}}))
    play = {"hosts": "served", "gather_facts": False, "vars": dict(variables), "tasks": [ROLE, SHOW]}
    # A folder for temporary files of its own: other tests make such at the same time.
    (folder / "temporary").mkdir(exist_ok=True)
    env = {"ANSIBLE_CONNECTION_PLUGINS": str(ROOT / "tests/support/connection_plugins"), "TMPDIR": str(folder / "temporary")}
    result = run_playbook([play], inventory, *flags, rc=rc, env=env)
    assert result.changed == 0, result.stdout
    return result


ROLE = {"name": "Verify", "ansible.builtin.import_role": {"name": "serving.triton.verify"}}


def fact(result: Result) -> dict[str, Any]:
    value: dict[str, Any] = result.result("Show the fact")["triton_verification"]
    return value


def ran(result: Result, task: str) -> bool:
    return any(event.get("task", "").endswith(task) and event["status"] != "skipped" for event in result.events)


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    repository = tmp_path_factory.mktemp("samples") / "repository"
    shutil.copytree(SAMPLES, repository, ignore=shutil.ignore_patterns("__pycache__"))
    return repository


@pytest.fixture(scope="module")
def server(samples: Path) -> Iterator[TritonServer]:
    with TritonServer(samples, backends=BACKENDS) as running:
        yield running


@pytest.fixture(scope="module")
def explicit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    """In mode explicit, with add_sub loaded: other is not loaded, broken cannot be."""
    repository = tmp_path_factory.mktemp("explicit")
    write_add_sub(repository)
    write_add_sub(repository, "other")
    write_broken(repository)
    with TritonServer(repository, mode="explicit", options={"load-model": "add_sub"}) as running:
        yield running


def test_all_samples_are_compared_over_both_protocols(server: TritonServer, tmp_path: Path) -> None:
    result = verify(tmp_path, {"triton_endpoint": server.endpoint, "verify_golden": str(GOLDEN), "verify_require_golden": True})
    told = fact(result)
    assert [model["name"] for model in told["models"]] == sorted(path.name for path in SAMPLES.iterdir())
    assert {model["verified"] for model in told["models"]} == {"compared"}
    expected = sum(len(yaml.safe_load(path.read_text())["requests"]) for path in GOLDEN.glob("*.yml"))
    assert told["requests"] == 2 * expected
    assert told["models_verified"] == len(told["models"])
    assert 0 < told["p50"] <= told["p95"] <= told["p99"]
    assert told["reason"] == ""
    [sequence] = [model for model in told["models"] if model["name"] == "simple_sequence"]
    assert sequence["http"]["requests"] == sequence["grpc"]["requests"] == 14
    assert sequence["versions"] == ["1"]
    assert sequence["state"] == "READY"


def test_check_mode_does_the_same(server: TritonServer, tmp_path: Path) -> None:
    assert fact(verify(tmp_path, {"triton_endpoint": server.endpoint, "verify_golden": str(GOLDEN)}, "--check"))["models_verified"] == 10


def test_a_model_that_is_about_to_change_is_not_compared_in_check_mode(server: TritonServer, tmp_path: Path) -> None:
    variables = {"triton_endpoint": server.endpoint, "triton_published": {"changed_models": ["digits"]}}
    assert "digits" not in [model["name"] for model in fact(verify(tmp_path, variables, "--check"))["models"]]
    assert "digits" in [model["name"] for model in fact(verify(tmp_path, variables))["models"]]


def test_a_wrong_answer_fails_with_a_table(server: TritonServer, tmp_path: Path) -> None:
    shutil.copytree(GOLDEN, tmp_path / "golden")
    path = tmp_path / "golden" / "simple.yml"
    path.write_text(path.read_text().replace("[1, 2, 3, 4, 5, 6,", "[1, 2, 77, 4, 5, 6,", 1))
    result = verify(tmp_path, {"triton_endpoint": server.endpoint, "verify_golden": str(tmp_path / "golden")}, rc=2)
    [failed] = result.tasks("failed")
    assert failed["task"].endswith("Ask every model on every replica")
    message = failed["result"]["msg"]
    assert all(part in message for part in ("simple", "OUTPUT0", "77", "3", "http", "grpc"))
    assert "simple_int8" not in message


def test_a_model_without_golden_cases_is_answered(explicit: TritonServer, tmp_path: Path) -> None:
    told = fact(verify(tmp_path, {"triton_endpoint": explicit.endpoint}))
    assert [(model["name"], model["verified"]) for model in told["models"]] == [("add_sub", "answered")]
    assert told["requests"] == 2


def test_golden_cases_can_be_demanded(explicit: TritonServer, tmp_path: Path) -> None:
    result = verify(tmp_path, {"triton_endpoint": explicit.endpoint, "verify_require_golden": True}, rc=2)
    assert "have no golden cases: add_sub" in result.tasks("failed")[0]["result"]["msg"]
    assert not ran(result, "Ask every model on every replica")


def test_a_model_that_is_asked_for_must_become_ready(explicit: TritonServer, tmp_path: Path) -> None:
    result = verify(tmp_path, {"triton_endpoint": explicit.endpoint, "verify_models": ["add_sub", "other"], "verify_wait": 1}, rc=2)
    assert "model other is not loaded" in result.tasks("failed")[0]["result"]["msg"]


def test_the_latency_budget_holds_or_fails(explicit: TritonServer, tmp_path: Path) -> None:
    variables = {"triton_endpoint": explicit.endpoint, "verify_repeat": 5}
    assert fact(verify(tmp_path, {**variables, "verify_latency_budget": {"p99": 60000}}))["requests"] == 10
    result = verify(tmp_path, {**variables, "verify_latency_budget": {"p50": 0.000001}}, rc=2)
    assert "latency p50" in result.tasks("failed")[0]["result"]["msg"]


def test_one_protocol_is_enough(explicit: TritonServer, tmp_path: Path) -> None:
    only_http = {key: value for key, value in explicit.endpoint.items() if key != "grpc"}
    [model] = fact(verify(tmp_path, {"triton_endpoint": only_http}))["models"]
    assert "http" in model
    assert "grpc" not in model
    [model] = fact(verify(tmp_path, {"triton_endpoint": explicit.endpoint, "verify_protocol": "grpc"}))["models"]
    assert "grpc" in model
    assert "http" not in model


def test_every_replica_is_asked(explicit: TritonServer, server: TritonServer, tmp_path: Path) -> None:
    """Two replicas that differ: a model that one of them lacks is noticed."""
    replicas = [{"name": name, "http": each.http, "grpc": each.grpc} for name, each in (("one", explicit), ("two", server))]
    variables = {"triton_endpoint": {"replicas": replicas}, "verify_models": ["add_sub"], "verify_wait": 1}
    result = verify(tmp_path, variables, rc=2)
    assert "two: model add_sub is not in the repository index" in result.tasks("failed")[0]["result"]["msg"]
    same = [{**replica, "http": server.http, "grpc": server.grpc} for replica in replicas]
    told = fact(verify(tmp_path, {"triton_endpoint": {"replicas": same}, "verify_models": ["simple"], "verify_golden": str(GOLDEN)}))
    assert told["requests"] == 2 * 2 * 2


def test_a_remote_host_gets_the_files_for_as_long_as_it_takes(server: TritonServer, tmp_path: Path) -> None:
    variables = {"triton_endpoint": server.endpoint, "verify_golden": str(GOLDEN)}
    for flags in ((), ("--check", "--diff")):
        result = verify(tmp_path, variables, *flags, host=ELSEWHERE)
        assert fact(result)["models_verified"] == 10
        assert ran(result, "Bring the inputs to the host")
    assert not list((tmp_path / "temporary").glob("serving-triton-*"))


def test_the_controller_can_ask_for_a_remote_host(server: TritonServer, tmp_path: Path) -> None:
    variables = {"triton_endpoint": server.endpoint, "verify_golden": str(GOLDEN), "verify_from": "controller"}
    result = verify(tmp_path, variables, host={**ELSEWHERE, "ansible_python_interpreter": "/no/python"})
    assert fact(result)["models_verified"] == 10
    assert not ran(result, "Bring the inputs to the host")


def test_the_python_that_asks_can_be_chosen(explicit: TritonServer, tmp_path: Path) -> None:
    host = {"ansible_connection": "elsewhere", "ansible_python_interpreter": "/no/python"}
    variables = {"triton_endpoint": explicit.endpoint, "verify_python": sys.executable}
    assert fact(verify(tmp_path, variables, host=host))["models_verified"] == 1


def test_check_mode_says_that_no_server_is_there_yet(tmp_path: Path) -> None:
    port = free_ports(1)[0]
    told = fact(verify(tmp_path, {"triton_endpoint": {"http": f"http://127.0.0.1:{port}"}}, "--check"))
    assert told == {
        "models": [],
        "models_verified": 0,
        "requests": 0,
        "p50": None,
        "p95": None,
        "p99": None,
        "reason": f"no server answers at http://127.0.0.1:{port} yet",
    }
    assert fact(verify(tmp_path, {}, "--check"))["reason"] == "no endpoint is known yet"


def test_a_server_that_does_not_come_fails_the_run(tmp_path: Path) -> None:
    port = free_ports(1)[0]
    result = verify(tmp_path, {"triton_endpoint": {"http": f"http://127.0.0.1:{port}"}, "verify_wait": 1}, rc=2)
    assert f"127.0.0.1:{port}" in result.tasks("failed")[0]["result"]["msg"]
    result = verify(tmp_path, {}, rc=2)
    assert "verify_endpoint must tell where the service is" in result.tasks("failed")[0]["result"]["msg"]


def test_a_server_without_models_proves_nothing(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with TritonServer(tmp_path / "empty", mode="explicit") as running:
        failed = verify(tmp_path, {"triton_endpoint": running.endpoint}, rc=2).tasks("failed")[0]["result"]
        checked = fact(verify(tmp_path, {"triton_endpoint": running.endpoint}, "--check"))
    assert "nothing to verify, the server has no model ready" in failed["msg"]
    assert checked["reason"] == "the server has no model ready"


def test_bad_golden_cases_stop_before_anything_is_asked(explicit: TritonServer, tmp_path: Path) -> None:
    (tmp_path / "add_sub.yml").write_text("requests: [{inputs: [{name: INPUT0, npy: missing.npy}]}]")
    result = verify(tmp_path, {"triton_endpoint": explicit.endpoint, "verify_golden": str(tmp_path)}, rc=2)
    assert "missing.npy does not exist" in result.tasks("failed")[0]["result"]["msg"]
    assert not ran(result, "Wait for the server")


def test_absent_does_nothing(tmp_path: Path) -> None:
    result = verify(tmp_path, {"verify_state": "absent"})
    assert not ran(result, "Wait for the server")


def test_the_servers_key_stays_secret(tmp_path: Path) -> None:
    write_add_sub(tmp_path / "repository")
    options = {
        "http-restricted-api": "inference,model-repository:X-Key=canary-91f2",
        "grpc-restricted-protocol": "inference:key=canary-91f2",
    }
    with TritonServer(tmp_path / "repository", options=options, headers={"X-Key": "canary-91f2", "key": "canary-91f2"}) as running:
        result = verify(tmp_path, {"triton_endpoint": running.endpoint}, "-vvv", "--diff")
        wrong = verify(tmp_path, {"triton_endpoint": {**running.endpoint, "headers": {"X-Key": "canary-77aa"}}}, "-vvv", rc=2)
    assert fact(result)["requests"] == 2
    assert "canary-91f2" not in result.stdout
    assert "canary-77aa" not in wrong.stdout
    assert "expecting header 'X-Key'" in wrong.tasks("failed")[0]["result"]["msg"]
