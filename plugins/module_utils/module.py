# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The one wrapper around AnsibleModule: how every module of the collection plans, applies, answers and fails."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from ansible.module_utils.basic import AnsibleModule

from .core.errors import ServingError
from .core.plan import Plan

State = TypeVar("State")


class PlannedService(Protocol[State]):
    """What a module with a desired state implements. `plan` must be free of side effects."""

    def observe(self) -> State:
        """The actual state."""

    def plan(self, actual: State) -> Plan:
        """What takes the actual state to the desired one."""

    def apply(self, plan: Plan) -> None:
        """Carries the plan out. Called only when the plan is not empty and check mode is off."""

    def result(self, actual: State, plan: Plan, applied: bool) -> dict[str, Any]:
        """Return values besides changed, actions and diff; predicted ones where `applied` is false."""


def run_plan(module: AnsibleModule, build: Callable[[], PlannedService[Any]]) -> None:
    """Runs a module that changes something: observe, plan, and (outside check mode) apply."""

    def answer() -> dict[str, Any]:
        # A module ends in seconds, and a large repository is a million objects: looking for cycles would take a quarter of the time.
        gc.disable()
        service = build()
        actual = service.observe()
        plan = service.plan(actual)
        applied = bool(plan) and not module.check_mode
        if applied:
            service.apply(plan)
        return {"changed": bool(plan), "actions": plan.describe(), "diff": plan.diff(), **service.result(actual, plan, applied)}

    _exit(module, answer)


def run_info(module: AnsibleModule, read: Callable[[], dict[str, Any]]) -> None:
    """Runs a module that only reads."""
    _exit(module, lambda: {"changed": False, **read()})


def _exit(module: AnsibleModule, answer: Callable[[], dict[str, Any]]) -> None:
    # AnsibleModule masks the values of no_log options in both exits.
    try:
        result = answer()
    except ServingError as error:
        module.fail_json(msg=str(error), what=error.what, where=error.where, remedy=error.remedy, **error.details)
    module.exit_json(**result)
