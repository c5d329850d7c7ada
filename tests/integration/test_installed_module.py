# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""On the controller, a module that publishes runs from the installed collection; everywhere else from the payload that Ansible builds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from support.rolecheck import PlaybookRun, Workspace
from support.tritonserver import write_add_sub

pytestmark = pytest.mark.integration
# What Ansible says, when it is asked for everything, of each file that it puts into a payload.
BUILT = "Including module_utils file ansible_collections/serving/triton/plugins/module_utils/stores/registry.py"

# The same Python by another name, so that it has the same libraries.
ANOTHER = "{{ ansible_playbook_python | dirname }}/{{ ansible_playbook_python | realpath | basename }}"

# The loader asks for more than it does today.
OTHER_CORE = """
import ansible.module_utils._internal._ansiballz._loader as loader
def run_module_with_more(*, more, **known): raise AssertionError("it was called")
import sys
if sys.argv[0].endswith("ansible-playbook"): loader.run_module = run_module_with_more
"""


def publish(folder: Path, *flags: str, env: Mapping[str, str] | None = None, **keywords: Any) -> PlaybookRun:
    if not (folder / "source").exists():
        write_add_sub(folder / "source")
    options = {"src": str(folder / "source"), "repository": str(folder / "models"), "lint": False}
    task = {"name": "Publish", "serving.triton.model_repository": options, **keywords}
    run = Workspace(folder / "run", env=env or {}).run([{"hosts": "localhost", "gather_facts": False, "tasks": [task]}], "-vvvvv", *flags)
    assert not run.warnings, run.tail()
    return run


def test_it_runs_in_the_environment_of_its_task_and_leaves_nothing(tmp_path: Path) -> None:
    run = publish(tmp_path, environment={"LOGNAME": "somebody"})
    assert run.rc == 0, run.tail()
    assert BUILT not in run.output
    manifest = json.loads((tmp_path / "models" / ".serving-triton.json").read_text())
    assert manifest["publisher"].startswith("somebody@")
    assert not [path for path in (tmp_path / "run" / "ansible" / "remote").rglob("*") if path.is_file()]


def test_check_mode_changes_nothing(tmp_path: Path) -> None:
    check = publish(tmp_path, "--check")
    assert BUILT not in check.output
    assert [task.changed for task in check.tasks] == [True]
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize(
    ("env", "variables"),
    [
        pytest.param({}, {"ansible_python_interpreter": ANOTHER}, id="another-interpreter"),
        pytest.param({"ANSIBLE_KEEP_REMOTE_FILES": "true"}, {}, id="files-to-look-into"),
    ],
)
def test_elsewhere_it_is_the_payload(env: Mapping[str, str], variables: Mapping[str, str], tmp_path: Path) -> None:
    run = publish(tmp_path, env=env, vars=dict(variables))
    assert run.rc == 0, run.tail()
    assert BUILT in run.output


def test_a_core_that_changed_there_builds_its_payload(tmp_path: Path) -> None:
    """A later ansible-core may call its loader otherwise: then nothing of ours stands between."""
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "sitecustomize.py").write_text(OTHER_CORE)
    run = publish(tmp_path, env={"PYTHONPATH": str(tmp_path / "other")})
    assert run.rc == 0, run.tail()
    assert BUILT in run.output
