# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A playbook says how far a long publish is, where people read its output."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
from support import ansible_runs

pytestmark = pytest.mark.integration
LINE = re.compile(r"^served: publishing 0 of 1 files, [0-9.]+ of 256 MiB(, [0-9.]+ [KMG]iB/s, \d+ s left)?$", re.MULTILINE)
CALLBACKS = {"ANSIBLE_CALLBACKS_ENABLED": "events,impatient"}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A model whose copy takes long enough to be looked at every few milliseconds."""
    weights = tmp_path / "source" / "big" / "1" / "model.onnx"
    weights.parent.mkdir(parents=True)
    with weights.open("wb") as file:
        file.truncate(256 << 20)
    return tmp_path / "source"


def publish(source: Path, *arguments: str, task: dict[str, Any] | None = None, **env: str) -> str:
    options = {"src": str(source), "repository": str(source.parent / "models"), "lint": False, "digest_cache": ""}
    tasks = [{"name": "Publish", "serving.triton.model_repository": options, **(task or {})}]
    play = [{"hosts": "served", "gather_facts": False, "tasks": tasks}]
    host = source.parent / "inventory.yml"
    host.write_text("all: {hosts: {served: {ansible_connection: local, ansible_python_interpreter: '{{ ansible_playbook_python }}'}}}")
    temporary = source.parent / "tmp"
    env = {**CALLBACKS, "ANSIBLE_REMOTE_TMP": str(temporary), "ANSIBLE_ASYNC_DIR": str(source.parent / "jobs"), **env}
    done = ansible_runs.run_playbook(play, host, *arguments, env=env)
    assert done.changed == 1 or "--check" in arguments or env.get("ANSIBLE_STDOUT_CALLBACK")
    assert not [name for name in os.listdir(temporary) if "progress" in name]
    return done.stdout


def test_a_long_publish_tells_how_far_it_is(source: Path) -> None:
    assert LINE.search(publish(source))


def test_check_mode_tells_nothing(source: Path) -> None:
    assert "publishing" not in publish(source, "--check")


def test_output_for_programs_has_no_such_line(source: Path) -> None:
    output = publish(source, ANSIBLE_STDOUT_CALLBACK="ansible.posix.json")
    assert output.startswith("{")
    assert "publishing" not in output


def test_a_publish_in_the_background_works(source: Path) -> None:
    publish(source, task={"async": 60, "poll": 5})
    assert (source.parent / "models" / "big" / "1" / "model.onnx").stat().st_size == 256 << 20
