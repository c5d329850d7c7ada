# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Writes a service's report on the controller and hands its text to the summary callback."""

from __future__ import annotations

import json
import os
from datetime import datetime, timezone
from pathlib import Path

from ansible import constants
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ansible_collections.serving.triton.plugins.module_utils.report import service

CALLBACK = "serving.triton.summary"
FACTS = ("triton_target", "triton_server", "triton_endpoint", "triton_published", "triton_verification", "triton_monitoring")


class ActionModule(ActionBase):
    """Reads facts and writes one file on the controller. A report is a record of a run, so it never counts as a change."""

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        _spec, arguments = self.validate_argument_spec(argument_spec={"directory": {"type": "path"}})
        variables = task_vars or {}
        facts = {name: self._templar.template(variables[name]) for name in FACTS if name in variables}
        report = service.compose(
            variables["inventory_hostname"],
            facts,
            finished=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            check_mode=self._task.check_mode,
        )
        if arguments["directory"] and not self._task.check_mode:
            report["path"] = str(_write(Path(arguments["directory"]), report))
        text = service.render(report)
        if CALLBACK not in constants.config.get_config_value("CALLBACKS_ENABLED"):
            Display().display("\n" + "\n".join(text))
        result.update(changed=False, report=report, summary=text)
        return result


def _write(folder: Path, report: dict) -> Path:
    """Atomic, so that a reader of the report never sees half of it."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / f"{report['service']}.json"
    draft = path.with_suffix(".tmp")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as stream:
        json.dump({**report, "path": str(path)}, stream, indent=2, sort_keys=True)
        stream.write("\n")
    os.replace(draft, path)
    return path
