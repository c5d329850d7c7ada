# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Writes every task result of a run to the file named by SERVING_TRITON_EVENTS, one JSON object a line."""

from __future__ import annotations

import json
import os
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: events
type: aggregate
short_description: Task results as JSON lines, for tests
description: Each line holds host, role, task, action, status and the result.
"""


class CallbackModule(CallbackBase):  # type: ignore[misc]
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "events"
    CALLBACK_NEEDS_ENABLED = True

    def _write(self, value: dict[str, Any]) -> None:
        with open(os.environ["SERVING_TRITON_EVENTS"], "a", encoding="utf-8") as handle:
            handle.write(json.dumps(value, default=str) + "\n")

    def _task(self, status: str, result: Any) -> None:
        task = result._task
        role = task._role.get_name() if task._role else ""
        event = {"host": result._host.get_name(), "role": role, "task": task.get_name(), "action": task.action, "status": status}
        self._write({**event, "result": json.loads(self._dump_results(result._result))})

    def v2_runner_on_ok(self, result: Any) -> None:
        self._task("changed" if result._result.get("changed") else "ok", result)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        self._task("ignored" if ignore_errors else "failed", result)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        self._task("unreachable", result)

    def v2_runner_on_skipped(self, result: Any) -> None:
        self._task("skipped", result)

    def v2_playbook_on_stats(self, stats: Any) -> None:
        self._write({"status": "stats", "stats": {host: stats.summarize(host) for host in stats.processed}})
