# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Releases and rollbacks on a real server, under a load of real clients over HTTP and gRPC that never sees a failed request."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import tritonclient.http
from support.ansible_runs import ROOT, Result, environment, run_module, run_playbook
from support.load import Load
from support.scorer import CODE, CONFIG, GOLDEN, NAME
from support.tritonserver import TritonServer, write_python_model


@dataclass
class Service:
    """A server, its source, and the playbooks run against it."""

    home: Path
    server: TritonServer

    def load(self) -> Load:
        return Load(f"127.0.0.1:{self.server.http_port}", f"127.0.0.1:{self.server.grpc_port}")

    @property
    def source(self) -> Path:
        return self.home / "source"

    @property
    def repository(self) -> Path:
        return self.home / "models"

    def write(self, version: int, *, add: int = 1, initialize: str = "pass", name: str = NAME) -> None:
        write_python_model(
            self.source, name, version, code=CODE.format(add=add, initialize=initialize), config=CONFIG.format(version=version)
        )

    def inventory(self, **more: Any) -> Path:
        path = self.home / "inventory.json"
        variables = {
            "ansible_connection": "local",
            "ansible_pipelining": True,
            "ansible_python_interpreter": "{{ ansible_playbook_python }}",
            "triton_target": "host",
            "triton_models": str(self.source),
            "triton_golden": str(self.home / "golden"),
            "triton_repository": str(self.repository),
            "triton_endpoint": self.server.endpoint,
            "triton_report_dir": str(self.home / "reports"),
            "release_record": str(self.home / "state" / "loaded.json"),
            "release_control_mode": self.server.mode,
            "release_timeout": 30,
            "verify_retries": 0,
            **more,
        }
        path.write_text(json.dumps({"triton": {"hosts": {"served": variables}}}))
        return path

    def play(self, name: str, *flags: str, rc: int = 0, **more: Any) -> Result:
        return run_playbook(f"serving.triton.{name}", self.inventory(**more), *flags, rc=rc)

    def serves(self) -> list[str]:
        client = tritonclient.http.InferenceServerClient(f"127.0.0.1:{self.server.http_port}")
        index = client.get_model_repository_index()
        client.close()
        return sorted(f"{each['name']}:{each['version']}" for each in index if each.get("state") == "READY")

    def held(self) -> dict[str, bytes]:
        files = [path for path in self.repository.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
        return {str(path.relative_to(self.repository)): path.read_bytes() for path in files}

    def versions(self, name: str = NAME) -> list[str]:
        return sorted(path.name for path in (self.repository / name).glob("[0-9]*"))


def make(home: Path, mode: str) -> Iterator[Service]:
    """Version 1 serves already."""
    for name in ("source", "golden", "state"):
        (home / name).mkdir()
    (home / "golden" / f"{NAME}.yml").write_text(json.dumps(GOLDEN))
    service = Service(home, TritonServer(home / "models", mode=mode, options={"load-model": "*"} if mode == "explicit" else {}))
    service.write(1)
    run_module("serving.triton.model_repository", {"src": str(service.source), "repository": str(service.repository)})
    with service.server:
        yield service


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    yield from make(tmp_path, "explicit")


def message(result: Result) -> str:
    return str(result.tasks("failed")[-1]["result"]["msg"])


def texts(held: dict[str, bytes]) -> dict[str, bytes]:
    """The files of versions."""
    return {key: each for key, each in held.items() if key.endswith("model.py")}


def test_a_release_a_failed_one_and_a_rollback_without_a_failed_request(service: Service) -> None:
    with service.load() as load:
        # A good one.
        service.write(2)
        before = service.held()
        assert service.play("release", "--check", "--diff").changed > 0
        assert service.held() == before
        assert f"{NAME} 2, before 1" in service.play("release").stdout
        assert service.serves() == [f"{NAME}:2"]
        good = service.held()
        assert service.play("release").changed == 0
        assert service.held() == good
        # One that answers wrongly.
        service.write(3, add=2)
        failed = message(service.play("release", rc=2))
        assert all(part in failed for part in ("42", "43", f"What served before serves again: {NAME} 2"))
        assert service.serves() == [f"{NAME}:2"]
        left = service.held()
        assert texts(left) == texts(good)
        assert left[f"{NAME}/config.pbtxt"].startswith(good[f"{NAME}/config.pbtxt"])
        # A second run fails the same clear way, and changes nothing.
        again = service.play("release", rc=2)
        assert again.changed == 0
        assert "version 3 was withdrawn (Ask every model on every replica: 2 of 2 requests failed" in message(again)
        assert service.held() == left
        # Nor does another publisher bring it back.
        published = run_module("serving.triton.model_repository", {"src": str(service.source), "repository": str(service.repository)})
        assert not published["changed"]
        assert "version 3 was withdrawn" in published["held_models"][NAME]
        # By hand.
        service.play("rollback", rollback_to={NAME: 1}, rollback_reason="drift")
        assert service.serves() == [f"{NAME}:1"]
        assert service.play("rollback", rollback_to={NAME: 1}).changed == 0
    assert load.failures == []
    assert {1, 2, 3} == load.seen.keys()


@pytest.mark.long
def test_what_does_not_load_and_what_is_killed_without_a_failed_request(service: Service) -> None:
    with service.load() as load:
        service.write(2, initialize="raise RuntimeError('the weights are missing')")
        service.write(1, initialize="raise RuntimeError('no weights either')", name="young")
        failed = message(service.play("release", rc=2))
        assert "the weights are missing" in failed
        assert "no weights either" in failed
        assert f"{NAME} 1" in failed
        assert "young (new, taken away)" in failed
        assert service.serves() == [f"{NAME}:1"]
        assert sorted(texts(service.held())) == [f"{NAME}/1/model.py"]
        # The mended one goes under the next number. Its release dies while it loads.
        shutil.rmtree(service.source / "young")
        service.write(3, initialize="__import__('time').sleep(4)")
        kill_when(service, lambda: "3" in service.versions())
        assert service.serves() == [f"{NAME}:1"]
        service.play("release")
        assert service.serves() == [f"{NAME}:3"]
        assert service.versions() == ["1", "3"], "what was withdrawn is left out"
    assert load.failures == []
    assert {1, 3} == load.seen.keys()


def kill_when(service: Service, reached: Callable[[], bool]) -> None:
    """Kills the playbook and its modules as soon as it came so far."""
    command = ["ansible-playbook", "serving.triton.release", "--inventory", str(service.inventory())]
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment(), cwd=ROOT, start_new_session=True
    )
    end = time.monotonic() + 120
    while process.poll() is None and not reached() and time.monotonic() < end:
        time.sleep(0.05)
    assert process.poll() is None, "it ended before it could be killed"
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(30)
