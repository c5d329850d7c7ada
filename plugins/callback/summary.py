# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Shows the reports of a run and what it changed, after the play recap."""

from __future__ import annotations

DOCUMENTATION = """
name: summary
type: aggregate
short_description: Shows what a run served, verified and changed
version_added: 0.1.0
author: serving.triton contributors (@serving-triton)
description:
  - After the play recap it prints the summary of each service that M(serving.triton.report) reported in the run, one line per service
    when there are many, and the tasks that changed something.
requirements:
  - Enable it, for example with C(callbacks_enabled = serving.triton.summary) in the section C([defaults]) of C(ansible.cfg).
options:
  detailed_services:
    description: With more services than this, each gets one line only.
    type: int
    default: 5
    env: [{name: SERVING_TRITON_DETAILED_SERVICES}]
    ini: [{section: callback_serving_triton_summary, key: detailed_services}]
"""

from collections import defaultdict

from ansible.plugins.callback import CallbackBase

from ansible_collections.serving.triton.plugins.module_utils.report import service

REPORT = "serving.triton.report"
SOURCES = (REPORT, "serving.triton.doctor")
SHOWN_CHANGES = 20


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "serving.triton.summary"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self):
        super().__init__()
        self._reports = {}
        self._texts = {}
        self._changes = defaultdict(list)
        # A run of somebody else's playbook, without a module of this collection, gets no summary.
        self._ours = False

    def v2_runner_on_ok(self, result):
        self._collect(result)
        if result._result.get("changed"):
            task = result._task.get_name().strip()
            hosts = self._changes[task]
            if result._host.get_name() not in hosts:
                hosts.append(result._host.get_name())

    def v2_runner_on_failed(self, result, ignore_errors=False):
        self._collect(result)

    def v2_playbook_on_stats(self, stats):
        if self._ours:
            self._show()
            self._show_changes()

    def _collect(self, result):
        self._ours = self._ours or str(result._task.resolved_action).startswith("serving.triton.")
        if result._task.resolved_action in SOURCES and "summary" in result._result:
            host = result._host.get_name()
            self._texts[host] = result._result["summary"]
            if result._task.resolved_action == REPORT:
                self._reports[host] = result._result["report"]

    def _show(self):
        # What a doctor found is told whole, for however many services.
        if len(self._reports) > self.get_option("detailed_services"):
            self._print(service.render_brief([self._reports[host] for host in sorted(self._reports)]))
            return
        for host in sorted(self._texts):
            self._print(self._texts[host])

    def _show_changes(self):
        if not self._changes:
            self._print(["Changed: nothing"])
            return
        lines = [f"Changed by {len(self._changes)} tasks:"]
        for task, hosts in list(self._changes.items())[:SHOWN_CHANGES]:
            lines.append(f"  {task}" + (f" ({len(hosts)} hosts)" if len(hosts) > 1 else ""))
        if len(self._changes) > SHOWN_CHANGES:
            lines.append(f"  and {len(self._changes) - SHOWN_CHANGES} more")
        self._print(lines)

    def _print(self, lines):
        self._display.display("\n" + "\n".join(lines))
