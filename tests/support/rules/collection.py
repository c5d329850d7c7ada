# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What Ansible itself makes of the collection: its documentation as ansible-doc reads it, and its modules' behaviour."""

from __future__ import annotations

import ast
import importlib
import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import yaml
from ansible.module_utils.basic import AnsibleModule

from .. import ansible_runs
from . import places
from .docs import PREFIX, Behaviour

_NAMESPACE = "ansible_collections.serving.triton.plugins"


class _ConstructedError(Exception):
    """Raised in place of making an AnsibleModule, with what it was to be made of."""

    def __init__(self, keywords: dict[str, Any]) -> None:
        super().__init__()
        self.keywords = keywords


@cache
def documentation(kind: str, names: tuple[str, ...]) -> dict[str, Any]:
    """What ansible-doc answers, by FQCN. kind: module, role, filter, callback and so on."""
    command = [str(Path(sys.executable).parent / "ansible-doc"), "-t", kind, "--json", *(f"{PREFIX}{name}" for name in names)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=ansible_runs.environment())
    assert done.returncode == 0, done.stderr
    assert not done.stderr.strip(), done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


@cache
def all_modules() -> dict[str, Any]:
    """The documentation of every module that ansible-doc can read, by FQCN; a broken one is missing here and fails its own test."""
    command = [str(Path(sys.executable).parent / "ansible-doc"), "--metadata-dump", "--no-fail-on-errors", PREFIX.rstrip(".")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True, env=ansible_runs.environment())
    modules = json.loads(done.stdout)["all"]["module"]
    return {name: answer for name, answer in modules.items() if "doc" in answer}


def behaviour(path: Path) -> Behaviour:
    """How a module of this path behaves: from its own main(), or from the action plugin that stands in for it."""
    action = places.PLUGINS / "action" / path.name
    if "def main" not in path.read_text(encoding="utf-8"):
        plugin = importlib.import_module(f"{_NAMESPACE}.action.{path.stem}")
        return Behaviour(plugin.ARGUMENTS, supports_check_mode="check_mode" in action.read_text(encoding="utf-8"))
    keywords = _constructed(importlib.import_module(f"{_NAMESPACE}.modules.{path.stem}"))
    plans = any(isinstance(node, ast.Name) and node.id == "run_plan" for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    return Behaviour(keywords["argument_spec"], keywords.get("supports_check_mode", False), plans)


def _constructed(module: Any) -> dict[str, Any]:
    def record(self: AnsibleModule, argument_spec: Any, **keywords: Any) -> None:
        raise _ConstructedError({"argument_spec": argument_spec, **keywords})

    with mock.patch.object(AnsibleModule, "__init__", record):
        try:
            module.main()
        except _ConstructedError as made:
            return made.keywords
    raise AssertionError(f"{module.__name__}.main() made no AnsibleModule")


@cache
def action_groups() -> dict[str, list[str]]:
    """Group → modules, from meta/runtime.yml."""
    runtime = yaml.safe_load((places.ROOT / "meta" / "runtime.yml").read_text(encoding="utf-8"))
    groups: dict[str, list[str]] = runtime.get("action_groups") or {}
    return groups


def groups_of(module: str) -> list[str]:
    return [group for group, members in action_groups().items() if module in members]
