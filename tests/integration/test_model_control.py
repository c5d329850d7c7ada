# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Module model against real servers: three versions, three control modes, both protocols, one replica and three."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.ansible_runs import run_module
from support.tritonserver import ADD_SUB_CODE, BROKEN_CODE, TritonServer, write_add_sub, write_broken, write_ensemble, write_python_model
from support.zoo import write_sleeper, write_version_teller


def model(endpoint: TritonServer | dict[str, Any], *names: str, check: bool = False, **options: Any) -> dict[str, Any]:
    where = endpoint.endpoint if isinstance(endpoint, TritonServer) else endpoint
    return run_module("serving.triton.model", {"endpoint": where, "names": list(names), **options}, check=check, diff=True)


def states(result: dict[str, Any]) -> dict[str, list[str]]:
    """Replica → state of each model, in the order of the names."""
    assert not result.get("failed"), result["msg"]
    return {replica["name"]: [entry["state"] for entry in replica["models"]] for replica in result["replicas"]}


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("control")
    write_add_sub(root)
    write_ensemble(root, "whole")
    write_broken(root)
    return root


@pytest.fixture(scope="module")
def explicit(triton_version: str, repository: Path) -> Iterator[TritonServer]:
    with TritonServer(repository, triton_version, mode="explicit") as server:
        yield server


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_the_whole_life_of_a_model(explicit: TritonServer, protocol: str) -> None:
    endpoint = {protocol: explicit.endpoint[protocol]}
    predicted = model(endpoint, "add_sub", check=True)
    assert states(model(endpoint, "add_sub", state="unloaded")) == {"default": [""]}, "check mode has changed nothing"
    loaded = model(endpoint, "add_sub")
    assert predicted["changed"]
    assert loaded["changed"]
    assert predicted["actions"] == loaded["actions"] == ["load add_sub"]
    assert predicted["diff"]["after"] == loaded["diff"]["after"] == {"default": {"add_sub": {"state": "READY"}}}
    assert states(predicted) == states(loaded) == {"default": ["READY"]}
    assert loaded["replicas"][0]["models"][0]["versions"] == ["1"]
    assert not model(endpoint, "add_sub")["changed"]
    assert not model(endpoint, "add_sub", check=True)["changed"]
    assert model(endpoint, "add_sub", state="reloaded")["changed"]
    gone = model(endpoint, "add_sub", state="unloaded")
    assert gone["actions"] == ["unload add_sub"]
    assert not model(endpoint, "add_sub", "unheard_of", state="unloaded")["changed"]


def test_an_ensemble_takes_its_parts_along(explicit: TritonServer) -> None:
    assert states(model(explicit, "whole", "add_sub", state="unloaded"))
    assert states(model(explicit, "whole")) == {"default": ["READY"]}
    result = model(explicit, "whole", state="unloaded", unload_dependents=True)
    assert result["changed"]
    assert not model(explicit, "add_sub", "whole", state="unloaded")["changed"], "its part went with it"


def test_a_model_that_cannot_load_shows_triton_s_reason(explicit: TritonServer) -> None:
    result = model(explicit, "broken", "add_sub")
    assert "1 of 2 loads failed: broken: " in result["msg"]
    assert "the weights are missing" in result["msg"]
    assert "the weights are missing" in result["replicas"][0]["failed"]["broken"]
    assert not model(explicit, "add_sub")["changed"], "the other one was loaded all the same"


def test_an_unknown_model_is_told_before_anything_is_loaded(explicit: TritonServer) -> None:
    assert states(model(explicit, "add_sub", state="unloaded"))
    result = model(explicit, "add_sub", "hole")
    assert "the model hole is not in the repository of default. Did you mean whole?" in result["msg"]
    assert model(explicit, "add_sub", check=True)["changed"], "it is still unloaded"
    assert model(explicit, "hole", check=True)["changed"], "a publish before it may only have been simulated"


@pytest.mark.parametrize("mode", ["none", "poll"])
def test_servers_that_are_not_to_be_controlled(triton_version: str, mode: str, tmp_path: Path) -> None:
    write_add_sub(tmp_path)
    with TritonServer(tmp_path, triton_version, mode=mode) as server:
        assert not model(server, "add_sub")["changed"]
        for check in (True, False):
            refused = model(server, "add_sub", state="unloaded", check=check)
            assert "model control mode is none or poll" in refused["msg"]
        grpc = model({"grpc": server.grpc}, "add_sub", state="reloaded")
        assert "model control mode is none or poll" in grpc["msg"]


def test_versions_and_a_reload_that_fails(triton_version: str, tmp_path: Path) -> None:
    folder = write_version_teller(tmp_path, versions=(1,))
    with TritonServer(tmp_path, triton_version, mode="explicit", options={"load-model": "teller"}) as server:
        missing = model(server, "teller", versions=["2"])
        assert "model teller:2 is not in the repository index (ready versions: 1)" in missing["msg"]
        write_version_teller(tmp_path, versions=(1, 2))
        grown = model(server, "teller", versions=["1", "2"])
        assert grown["replicas"][0]["models"][0]["versions"] == ["1", "2"]
        assert not model(server, "teller", versions=["2"])["changed"]
        for version in ("1", "2"):
            (folder / version / "model.py").write_text(BROKEN_CODE)
        failed = model(server, "teller", state="reloaded")
        assert "the weights are missing" in failed["msg"]
        assert "(version 1, 2, which served before, still serves)" in failed["msg"]


def test_a_configuration_given_by_the_task(tmp_path: Path) -> None:
    write_add_sub(tmp_path)
    tensors = {
        way: [{"name": f"{way.upper()}{index}", "data_type": "TYPE_INT32", "dims": [16]} for index in (0, 1)] for way in ("input", "output")
    }
    config = {"name": "add_sub", "backend": "python", "max_batch_size": 4, **tensors}
    with TritonServer(tmp_path, mode="explicit", options={"load-model": "add_sub"}) as server:
        for protocol in ("http", "grpc"):
            endpoint = {protocol: server.endpoint[protocol]}
            config["max_batch_size"] = 2 if protocol == "http" else 4
            assert model(endpoint, "add_sub", config=config)["changed"]
            assert not model(endpoint, "add_sub", config=config)["changed"]
        info = run_module("serving.triton.server_info", {"endpoint": server.endpoint, "config": True})
        assert info["models"][0]["config"]["max_batch_size"] == 4


@pytest.fixture
def trio(tmp_path: Path) -> Iterator[tuple[dict[str, Any], list[TritonServer]]]:
    """Three replicas; on the middle one the model odd is broken."""
    servers = []
    for number in range(3):
        root = tmp_path / str(number)
        write_add_sub(root)
        write_python_model(root, "odd", code=BROKEN_CODE if number == 1 else ADD_SUB_CODE)
        servers.append(TritonServer(root, mode="explicit").start())
    replicas = [{"name": f"replica-{number}", "http": server.http, "grpc": server.grpc} for number, server in enumerate(servers)]
    try:
        yield {"replicas": replicas}, servers
    finally:
        for server in servers:
            server.__exit__()


def test_three_replicas(trio: tuple[dict[str, Any], list[TritonServer]]) -> None:
    endpoint, servers = trio
    assert states(model(servers[0], "add_sub")) == {"default": ["READY"]}
    result = model(endpoint, "add_sub")
    assert result["actions"] == ["load add_sub on replica-1", "load add_sub on replica-2"]
    assert states(result) == {f"replica-{number}": ["READY"] for number in range(3)}

    failed = model(endpoint, "odd")
    assert "1 of 3 loads failed: odd on replica-1: " in failed["msg"]
    assert [list(replica["failed"]) for replica in failed["replicas"]] == [[], ["odd"], []]

    servers[2].kill()
    away = model(endpoint, "add_sub", state="unloaded", retries=0)
    assert servers[2].http in away["msg"]
    assert "Connection refused" in away["msg"]
    assert not model({"replicas": endpoint["replicas"][:2]}, "add_sub")["changed"], "nothing was unloaded"


def test_a_server_that_dies_during_a_load(tmp_path: Path) -> None:
    write_sleeper(tmp_path, load=60)
    with TritonServer(tmp_path, mode="explicit") as server:
        results: list[dict[str, Any]] = []
        thread = threading.Thread(target=lambda: results.append(model(server, "sleeper", retries=1)))
        thread.start()
        while "LOADING" not in str(run_module("serving.triton.server_info", {"endpoint": server.endpoint, "timeout": 2})):
            assert thread.is_alive(), results
        server.kill()
        thread.join(60)
    assert results[0]["failed"]
    assert "1 of 1 loads failed: sleeper: " in results[0]["msg"]
    assert "the server does not answer any more" in results[0]["msg"]
