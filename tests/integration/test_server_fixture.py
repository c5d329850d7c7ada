# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The fixtures themselves: every other integration test rests on them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from support.ansible_runs import environment, run_module, run_playbook
from support.tritonserver import TritonServer, write_add_sub


def test_a_server_answers_and_says_its_version(triton_version: str, add_sub_server: TritonServer) -> None:
    with urllib.request.urlopen(f"{add_sub_server.http}/v2", timeout=10) as answer:
        assert json.load(answer)["version"] == f"{triton_version}.0"


def test_a_server_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    write_add_sub(tmp_path / "models")
    script = (
        "import sys, time; from support.tritonserver import TritonServer\n"
        "server = TritonServer(sys.argv[1]).start(); print(server.pid, flush=True); time.sleep(600)"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "models")],
        stdout=subprocess.PIPE, text=True, env=environment(PYTHONPATH=str(Path(__file__).parents[1])),
    )  # fmt: skip
    assert child.stdout is not None
    group = int(child.stdout.readline())
    os.kill(child.pid, signal.SIGKILL)
    child.wait(10)
    child.stdout.close()
    for _unused in range(200):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    pytest.fail("the server outlived its test")


def test_a_playbook_run_yields_results_and_refuses_warnings() -> None:
    task = {"name": "Say", "ansible.builtin.debug": {"msg": "hello"}}
    play = {"hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": [task]}
    result = run_playbook([play])
    assert result.result("Say")["msg"] == "hello"
    assert result.stats["localhost"]["ok"] == 1
    with pytest.raises(AssertionError, match="a warning was printed"):
        run_playbook([{**play, "hosts": "localhost:nobody"}])


def test_a_module_that_does_not_exist_is_a_crash() -> None:
    with pytest.raises(AssertionError, match="crashed"):
        run_module("serving.triton.nothing", {})
