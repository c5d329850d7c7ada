# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""When a module may run from the installed collection: only where that is the same as its payload, by the same interpreter and user."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.executor import module_common

from ansible_collections.serving.triton.plugins.plugin_utils import installed
from ansible_collections.serving.triton.plugins.plugin_utils.installed import script
from ansible_collections.serving.triton.plugins.plugin_utils.watched import WatchedAction

HERE = {"ansible_python_interpreter": sys.executable}
ELSEWHERE = {"ansible_python_interpreter": "/usr/bin/python3.99"}


def runs_here(variables: dict[str, Any], *, transport: str = "local", become: object = None, delegate: str | None = None) -> bool:
    action = object.__new__(WatchedAction)
    action._connection = SimpleNamespace(transport=transport, become=become)
    action._task = SimpleNamespace(delegate_to=delegate)
    action._templar = SimpleNamespace(template=lambda text: text)
    return action._runs_here(variables)


def test_only_this_machine_this_interpreter_and_this_user() -> None:
    assert runs_here(HERE)
    assert not runs_here(HERE, transport="ssh")
    assert not runs_here(HERE, become=object())
    assert not runs_here(ELSEWHERE)
    assert not runs_here({})


@pytest.mark.parametrize(("own", "delegated", "expected"), [(ELSEWHERE, HERE, True), (HERE, ELSEWHERE, False)])
def test_whom_a_task_is_delegated_to_decides(own: dict[str, Any], delegated: dict[str, Any], expected: bool) -> None:
    variables = {**own, "ansible_delegated_vars": {"other": delegated}}
    assert runs_here(variables, delegate="other") is expected


def test_what_is_handed_over_is_what_this_core_makes_itself() -> None:
    """A core that describes its payloads by more or otherwise gets its own: 2.21.5 looks whether one brings its environment along."""
    assert installed.is_core_known()
    action = object.__new__(WatchedAction)
    action._connection = SimpleNamespace(transport="local", become=None)
    action._task = SimpleNamespace(delegate_to=None, resolved_action="serving.triton.sample", collections=None)
    action._templar = SimpleNamespace(template=lambda text: text)
    context = SimpleNamespace(plugin_resolved_path="/x/ansible_collections/serving/triton/plugins/modules/sample.py")
    loader = SimpleNamespace(find_plugin_with_context=lambda *_names, **_more: context)
    action._shared_loader_obj = SimpleNamespace(module_loader=loader)
    built, path = action._configure_module("serving.triton.sample", {}, HERE)
    assert isinstance(built, module_common._BuiltModule)
    assert path == context.plugin_resolved_path


def test_a_core_that_makes_payloads_otherwise_is_left_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def otherwise(*, b_module_data: bytes, module_style: str, shebang: str, serialization_profile: str, more: str) -> None: ...

    monkeypatch.setattr(module_common, "_BuiltModule", otherwise)
    assert not installed.is_core_known()


def test_nothing_is_imported_from_where_it_happens_to_run(tmp_path: Path) -> None:
    """A file json.py beside the program, or in the current folder, is not Python's."""
    path = "/x/ansible_collections/serving/triton/plugins/modules/sample.py"
    program = tmp_path / "program"
    program.write_text(script("serving.triton.sample", path, {"option": "it's «ü»"}))
    (tmp_path / "json.py").write_text("raise SystemExit('the wrong one')")
    done = subprocess.run([sys.executable, str(program)], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "the wrong one" not in done.stdout + done.stderr
    # It got as far as looking for the module, where that is said to be.
    assert "ansible_collections.serving" in done.stdout
    assert '"failed": true' in done.stdout
