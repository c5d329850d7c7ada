# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Asks the modules of the collection about one service and turns their answers, failures included, into one verdict."""

from __future__ import annotations

from ansible.plugins.action import ActionBase

from ansible_collections.serving.triton.plugins.module_utils.report import doctor
from ansible_collections.serving.triton.plugins.plugin_utils.report import now, report_path, show, write_report

ARGUMENTS = {
    "directory": {"type": "path"},
    "endpoint": {"type": "dict", "default": {}},
    "prometheus": {"type": "str"},
    "repository": {"type": "str"},
    "server": {"type": "dict", "default": {}},
    "src": {"type": "path"},
    "store": {"type": "dict", "default": {}, "no_log": True},
    "timeout": {"type": "float", "default": 10.0},
}


class ActionModule(ActionBase):
    """Every check runs, whatever the others found; the task fails at its end when any of them failed."""

    TRANSFERS_FILES = False

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        _spec, arguments = self.validate_argument_spec(argument_spec=ARGUMENTS)
        variables = task_vars or {}
        name = variables["inventory_hostname"]
        platform = doctor.judge_platform(arguments["server"])
        checks = (self._server, self._repository, self._monitoring)
        findings = [*platform, *(finding for check in checks for finding in check(arguments, variables))]
        report = doctor.compose(name, findings, now())
        if not self._task.check_mode:
            report["path"] = str(write_report(report_path(arguments["directory"], f"{name}.doctor.json"), report))
        text = doctor.render(report)
        show(text)
        failed = report["verdict"] == doctor.FAIL
        result.update(changed=False, failed=failed, report=report, summary=text)
        if failed:
            result["msg"] = "; ".join(f"{item.check}: {item.detail}" for item in findings if item.status == doctor.FAIL)
        return result

    def _server(self, arguments, variables):
        endpoint = arguments["endpoint"]
        if not endpoint:
            return [doctor.Finding("server", doctor.FAIL, "no endpoint is known", "Deploy the service with serving.triton.site.")]
        options = {"endpoint": endpoint, "timeout": arguments["timeout"], "retries": 1}
        findings = doctor.judge_server(self._ask("serving.triton.server_info", options, variables))
        if endpoint.get("metrics"):
            options = {"url": endpoint["metrics"], "return_content": True, "timeout": arguments["timeout"]}
            findings += doctor.judge_metrics(self._ask("ansible.builtin.uri", options, variables))
        return findings

    def _repository(self, arguments, variables):
        repository, source = arguments["repository"], arguments["src"]
        if not repository:
            return []
        findings = []
        if repository.startswith("/"):
            findings += doctor.judge_repository(self._ask("serving.triton.model_repository_info", {"path": repository}, variables))
            findings += doctor.judge_mounts(variables.get("ansible_facts", {}).get("mounts") or [], [repository])
        elif self._connection.transport == "local":
            # Hosts have neither the SDK of a store nor the publisher's credentials.
            options = {**arguments["store"], "repository": repository}
            findings += doctor.judge_published(self._ask("serving.triton.model_repository_info", options, variables))
        if source:
            options = {**arguments["store"], "src": source, "repository": repository, "lint": False, "_ansible_check_mode": True}
            findings += doctor.judge_publication(self._ask("serving.triton.model_repository", options, variables))
        return findings

    def _monitoring(self, arguments, variables):
        if not arguments["prometheus"]:
            return []
        url = arguments["prometheus"].rstrip("/") + "/api/v1/targets?state=active"
        return doctor.judge_monitoring(self._ask("ansible.builtin.uri", {"url": url, "timeout": arguments["timeout"]}, variables))

    def _ask(self, module, options, variables):
        return self._execute_module(module_name=module, module_args=options, task_vars=variables)
