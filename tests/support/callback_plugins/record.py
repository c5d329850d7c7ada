# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Writes every task's outcome as a JSON line, beside the output that a user reads. For the tests alone."""

from __future__ import annotations

import json
import os
import time
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: record
type: notification
short_description: Records outcomes for the tests
description: Writes one JSON line per task, item and recap to the file named by the environment variable SERVING_TRITON_RECORD.
"""


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "record"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        self._started: dict[tuple[str, str], float] = {}

    def _write(self, line: dict[str, Any]) -> None:
        with open(os.environ["SERVING_TRITON_RECORD"], "a", encoding="utf-8") as record:
            record.write(json.dumps(line, default=str) + "\n")

    def _outcome(self, result: Any, status: str, item: bool = False) -> None:
        values = result.result if hasattr(result, "result") else result._result
        task, host = (result.task, result.host) if hasattr(result, "task") else (result._task, result._host)
        began = self._started.get((host.get_name(), task._uuid), time.monotonic())
        self._write(
            {
                "event": "item" if item else "task",
                "host": host.get_name(),
                "task": task.get_name().strip(),
                "path": task.get_path() or "",
                "action": task.action,
                "status": status,
                "changed": bool(values.get("changed")),
                "message": str(values.get("msg", "")),
                "seconds": time.monotonic() - began,
            }
        )

    def v2_runner_on_start(self, host: Any, task: Any) -> None:
        self._started[host.get_name(), task._uuid] = time.monotonic()

    def v2_runner_on_ok(self, result: Any) -> None:
        self._outcome(result, "ok")

    def v2_runner_on_skipped(self, result: Any) -> None:
        self._outcome(result, "skipped")

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        self._outcome(result, "ignored" if ignore_errors else "failed")

    def v2_runner_on_unreachable(self, result: Any) -> None:
        self._outcome(result, "unreachable")

    def v2_runner_item_on_ok(self, result: Any) -> None:
        self._outcome(result, "ok", item=True)

    def v2_runner_item_on_skipped(self, result: Any) -> None:
        self._outcome(result, "skipped", item=True)

    def v2_playbook_on_stats(self, stats: Any) -> None:
        self._write({"event": "recap", "hosts": {host: stats.summarize(host) for host in stats.processed}})
