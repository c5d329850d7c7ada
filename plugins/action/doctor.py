# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Asks the modules of the collection about a service, its cluster or a machine, and makes one verdict of all answers."""

from __future__ import annotations

from ansible.plugins.action import ActionBase

from ansible_collections.serving.triton.plugins.module_utils.core.errors import InputError
from ansible_collections.serving.triton.plugins.module_utils.gpu.gate import problems
from ansible_collections.serving.triton.plugins.module_utils.report import cluster, doctor, machine
from ansible_collections.serving.triton.plugins.module_utils.report.finding import FAIL, Finding
from ansible_collections.serving.triton.plugins.plugin_utils.compatibility import table
from ansible_collections.serving.triton.plugins.plugin_utils.report import now, report_path, show, write_report

ARGUMENTS = {
    "checks": {"type": "list", "elements": "str", "choices": list(doctor.KINDS), "default": [doctor.SERVICE]},
    "cluster": {"type": "dict", "default": {}},
    "directory": {"type": "path"},
    "endpoint": {"type": "dict", "default": {}},
    "gpus": {"type": "list", "elements": "str", "default": []},
    "image": {"type": "str"},
    "prometheus": {"type": "str"},
    "repository": {"type": "str"},
    "root": {"type": "path", "default": "/"},
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
        checks = arguments["checks"]
        findings = [finding for check in CHECKS if check in checks for finding in CHECKS[check](self, arguments, variables)]
        report = doctor.compose(name, findings, now(), next(kind for kind in doctor.KINDS if kind in checks))
        if not self._task.check_mode:
            report["path"] = str(write_report(report_path(arguments["directory"], f"{name}.doctor.json"), report))
        text = doctor.render(report)
        show(text)
        failed = report["verdict"] == FAIL
        result.update(changed=False, failed=failed, report=report, summary=text)
        if failed:
            result["msg"] = "; ".join(f"{item.check}: {item.detail}" for item in findings if item.status == FAIL)
        return result

    def _machine(self, arguments, variables):
        info = self._ask("serving.triton.gpu_info", {"root": arguments["root"]}, variables)
        findings = machine.judge_machine(info)
        if info.get("failed") or not arguments["gpus"]:
            return findings
        image = arguments["image"] or "of an unknown release"
        try:
            against = problems(table(), image, info)
        except InputError as error:
            return [*findings, Finding("gpu image", FAIL, error.what, error.remedy)]
        # What is wrong with the driver alone was said already.
        told = {finding.detail for finding in findings}
        return [*findings, *machine.judge_gate([each.as_dict() for each in against if each.what not in told], image)]

    def _cluster(self, arguments, _variables):
        return cluster.judge_cluster(arguments["cluster"])

    def _service(self, arguments, variables):
        platform = doctor.judge_platform(arguments["server"])
        checks = (self._server, self._repository, self._monitoring)
        return [*platform, *(finding for check in checks for finding in check(arguments, variables))]

    def _server(self, arguments, variables):
        endpoint = arguments["endpoint"]
        if not endpoint:
            return [Finding("server", FAIL, "no endpoint is known", "Deploy the service with serving.triton.site.")]
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


# What can be diagnosed, in the order of the table: what a service runs on before it.
CHECKS = {doctor.MACHINE: ActionModule._machine, doctor.CLUSTER: ActionModule._cluster, doctor.SERVICE: ActionModule._service}
