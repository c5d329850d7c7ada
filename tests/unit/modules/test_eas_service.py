# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What Ansible writes of a call of eas_service into the system's log."""

from __future__ import annotations

import pytest
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.testing import patch_module_args

from ansible_collections.serving.triton.plugins.module_utils.eas.options import service_spec
from ansible_collections.serving.triton.plugins.modules.eas_service import Module

CONFIG = {
    "name": "digits",
    "token": "canary-1",
    "dockerAuth": "canary-2",
    "containers": [{"image": "sample:1", "env": [{"name": "DB_PASSWORD", "value": "canary-3\nwith 'quotes'"}]}],
}


def test_the_systems_log_shows_no_secret_of_a_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    logged: list[str] = []
    monkeypatch.setattr(AnsibleModule, "log", lambda _self, message, log_args: logged.append(f"{message} {log_args}"))
    with patch_module_args({"config": CONFIG}):
        module = Module(argument_spec=service_spec(), supports_check_mode=True)
    (line,) = logged
    assert "digits" in line
    assert "sample:1" in line
    assert "canary" not in line
    assert module.params["config"] == CONFIG
