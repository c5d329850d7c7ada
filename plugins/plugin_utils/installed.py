# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A module that runs on the controller runs from where the collection is installed, not from a payload that is built and sent.

A payload holds every file that a module may ever import, those of all stores among them. It is put together in each run of a playbook, and
compiled in each task: that takes longer than a publish of one file. Only the payload is replaced here: who runs it, where, in which
environment, with what options and time limits, in check mode or in the background, and how it is answered stays Ansible's own.
"""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import ansible
from ansible import constants
from ansible.module_utils.common.json import Direction, get_module_encoder
from ansible.plugins.action import ActionBase

_PROFILE = "legacy"
_LOADER = "ansible.module_utils._internal._ansiballz._loader"
_LOADER_TAKES = {"json_params", "profile", "module_fqn", "modlib_path", "extensions"}
# What core calls a payload. Newer ones have more fields, each with a default.
_BUILDER, _BUILT = "ansible.executor.module_common", "_BuiltModule"
_BUILT_TAKES = {"b_module_data", "module_style", "shebang", "serialization_profile"}
# Does what Ansible's own wrapper does after it unpacked its payload; as there, nothing is imported from the current folder or the script's.
_SCRIPT = """\
#!{python}
import os, sys, types
here = os.path.dirname(os.path.realpath(sys.argv[0]))
sys.path[:] = [*(path for path in sys.path if path not in ("", ".", here)), {ansible!r}]
sys.modules["ansible_collections"] = types.ModuleType("ansible_collections")
sys.modules["ansible_collections"].__path__ = [{collections!r}]
from {loader} import run_module
run_module(json_params={arguments!r}, profile={profile!r}, module_fqn={name!r}, modlib_path={collections!r}, extensions={{}})
"""


class InstalledAction(ActionBase):
    """An action whose module runs from its own file where that can be.

    The method that it overrides is ansible-core's own, as of 2.19 and 2.21. With a core that has changed there, payloads are built as ever.
    """

    def _configure_module(self, module_name, module_args, task_vars):
        # Ansible's own modules come this way too: what runs a task in the background is one.
        if module_name != self._task.resolved_action or not self._runs_here(task_vars):
            return super()._configure_module(module_name, module_args, task_vars)
        loader = self._shared_loader_obj.module_loader
        path = loader.find_plugin_with_context(module_name, collection_list=self._task.collections).plugin_resolved_path
        data = script(module_name, path, module_args).encode()
        shebang = f"#!{sys.executable}"
        built = getattr(import_module(_BUILDER), _BUILT)
        return built(b_module_data=data, module_style="new", shebang=shebang, serialization_profile=_PROFILE), path

    def _runs_here(self, task_vars) -> bool:
        """Whether it would run on this machine, with the interpreter and as the user that run Ansible: only they surely read it."""
        if not is_core_known():
            return False
        # Files that are kept are kept to be looked into: then all of the payload is in them.
        if self._connection.transport != "local" or self._connection.become or constants.DEFAULT_KEEP_REMOTE_FILES:
            return False
        delegate = self._task.delegate_to
        variables = task_vars["ansible_delegated_vars"][delegate] if delegate else task_vars
        interpreter = constants.config.get_config_value("INTERPRETER_PYTHON", variables=variables)
        return self._templar.template(interpreter) == sys.executable


def is_core_known() -> bool:
    """Whether this ansible-core's own wrapper ends in the call that the script makes, and its payloads are described as here."""
    try:
        loader, built = import_module(_LOADER).run_module, getattr(import_module(_BUILDER), _BUILT)
    except (ImportError, AttributeError):
        return False
    return _takes(loader, _LOADER_TAKES) and _takes(built, _BUILT_TAKES)


def _takes(function: Callable[..., Any], names: set[str]) -> bool:
    """Whether it has these parameters, and no others that must be given."""
    known = inspect.signature(function).parameters
    return known.keys() >= names and all(each.default is not each.empty for name, each in known.items() if name not in names)


def script(name: str, path: str, arguments: Mapping[str, Any]) -> str:
    """A program that runs an installed module. name: in full; path: its file, …/ansible_collections/NAMESPACE/NAME/plugins/modules/x.py."""
    encoder = get_module_encoder(_PROFILE, Direction.CONTROLLER_TO_MODULE)
    namespace, collection, module = name.split(".")
    return _SCRIPT.format(
        python=sys.executable,
        ansible=str(Path(ansible.__file__).parents[1]),
        collections=str(Path(path).parents[4]),
        arguments=json.dumps({"ANSIBLE_MODULE_ARGS": arguments}, cls=encoder).encode(),
        profile=_PROFILE,
        loader=_LOADER,
        name=f"ansible_collections.{namespace}.{collection}.plugins.modules.{module}",
    )
