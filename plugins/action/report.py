# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Writes a service's report on the controller and hands its text to the summary callback."""

from __future__ import annotations

from contextlib import suppress

from ansible.plugins.action import ActionBase

from ansible_collections.serving.triton.plugins.module_utils.report import service
from ansible_collections.serving.triton.plugins.plugin_utils.report import now, report_path, show, write_report

ARGUMENTS = {
    "directory": {"type": "path"},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
}
FACTS = (
    "triton_target",
    "triton_server",
    "triton_endpoint",
    "triton_published",
    "triton_verification",
    "triton_monitoring",
    "triton_release",
)


class ActionModule(ActionBase):
    """Reads facts and writes one file on the controller. A report is a record of a run, so it never counts as a change."""

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        _spec, arguments = self.validate_argument_spec(argument_spec=ARGUMENTS)
        variables = task_vars or {}
        name = variables["inventory_hostname"]
        if arguments["state"] == "absent":
            return {**result, **self._remove(arguments["directory"], name)}
        report = self._compose(name, variables)
        if not self._task.check_mode:
            report["path"] = str(write_report(report_path(arguments["directory"], f"{name}.json"), report))
        text = service.render(report)
        show(text)
        result.update(changed=False, report=report, summary=text)
        return result

    def _compose(self, name, variables):
        facts = {fact: self._templar.template(variables[fact]) for fact in FACTS if fact in variables}
        return service.compose(name, facts, finished=now(), check_mode=self._task.check_mode)

    def _remove(self, directory, name):
        """Removes the service's report and the doctor's, and the folder with the last of them."""
        paths = [report_path(directory, f"{name}.json"), report_path(directory, f"{name}.doctor.json")]
        found = [path for path in paths if path.exists()]
        if found and not self._task.check_mode:
            for path in found:
                path.unlink()
            with suppress(OSError):  # other services' reports are kept in it
                paths[0].parent.rmdir()
        return {"changed": bool(found), "actions": [f"remove {path}" for path in found]}
