# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Writes a service's report on the controller and hands its text to the summary callback."""

from __future__ import annotations

from datetime import datetime, timezone

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ansible_collections.serving.triton.plugins.module_utils.report import service
from ansible_collections.serving.triton.plugins.plugin_utils.report import summary_enabled, write_report

ARGUMENTS = {"directory": {"type": "path"}}
FACTS = ("triton_target", "triton_server", "triton_endpoint", "triton_published", "triton_verification", "triton_monitoring")


class ActionModule(ActionBase):
    """Reads facts and writes one file on the controller. A report is a record of a run, so it never counts as a change."""

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        _spec, arguments = self.validate_argument_spec(argument_spec=ARGUMENTS)
        variables = task_vars or {}
        name = variables["inventory_hostname"]
        facts = {fact: self._templar.template(variables[fact]) for fact in FACTS if fact in variables}
        finished = datetime.now(timezone.utc).isoformat(timespec="seconds")
        report = service.compose(name, facts, finished=finished, check_mode=self._task.check_mode)
        if arguments["directory"] and not self._task.check_mode:
            report["path"] = str(write_report(arguments["directory"], f"{name}.json", report))
        text = service.render(report)
        if not summary_enabled():
            Display().display("\n" + "\n".join(text))
        result.update(changed=False, report=report, summary=text)
        return result
