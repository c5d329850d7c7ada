# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A service of EAS that is kept as it is wanted: observe, plan, apply."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from ..core.errors import ServingError
from ..core.plan import Action, Plan
from . import plan, shown
from .connect import Connected
from .gateway import wait_for_gateway
from .predict import predict
from .revision import completed
from .state import NO_LOCK, SETTLED, STOPPED, STOPPING, Service
from .waiting import Waiter, lacking


@dataclass(frozen=True)
class Manners:
    """wait, gateway: whether to wait for the service, and for its address. access, open_token: see `shown.facts`. secrets: to mask."""

    check_mode: bool
    wait: bool
    gateway: bool
    access: str
    open_token: bool
    timeout: float
    secrets: tuple[str, ...] = ()


class EasService:
    """waiter: for the wanted service, by the same backend."""

    def __init__(self, connected: Connected, wanted: plan.Wanted, manners: Manners, waiter: Waiter) -> None:
        self._backend, self._reason = connected.backend, connected.reason
        self._wanted, self._manners, self._waiter = wanted, manners, waiter
        self._after: Service | None = None

    def observe(self) -> Service | None:
        found = self._waiter.look()
        self._wanted = completed(self._wanted, found.config if found else {})
        if found is None:
            return None
        config = self._wanted.config or {}
        if "autoscaler" in config or "instance" in (config.get("metadata") or {}) or self._wanted.replace:
            self._waiter.autoscaler = self._backend.autoscaler(found)
        self._waiter.failed = found.status == "Failed"
        return replace(found, autoscaler=self._waiter.autoscaler)

    def plan(self, actual: Service | None) -> Plan:
        try:
            actions = plan.plan_actions(self._wanted, actual)
        except ServingError as error:
            # Who wants to look at the service nevertheless is told which one was meant.
            error.details.setdefault("name", self._wanted.name)
            raise
        after = predict(actual, self._wanted.name, actions)
        secrets = self._manners.secrets
        return Plan(tuple(actions), before=shown.diffed(actual, secrets), after=shown.diffed(after, secrets))

    def apply(self, plan: Plan) -> None:
        lifted = False
        try:
            for action in plan:
                self._do(action)
                lifted = lifted or "lift" in action.verb
        except ServingError:
            lock = next((action.data["lock"] for action in reversed(plan.actions) if "lock" in action.data), "none")
            if lifted and lock != "none":
                # What protects the service is not lost with what failed.
                with suppress(ServingError):
                    self._backend.lock(self._wanted.name, lock)
            raise
        if self._manners.wait:
            self._after = self._finish(plan)
        else:
            self._after = self._waiter.look()

    def result(self, actual: Service | None, plan: Plan, applied: bool) -> dict[str, Any]:
        service = self._after if applied else predict(actual, self._wanted.name, plan)
        if not plan and not self._manners.check_mode and self._manners.wait:
            # An earlier run that was ended before the service was there is waited for, too.
            service = self._arrive(actual)
        manners = self._manners
        facts = shown.facts(service, self._wanted.name, access=manners.access, open_token=manners.open_token, secrets=manners.secrets)
        return {"backend": self._backend.name, "backend_reason": self._reason, **facts}

    # --- one action

    def _do(self, action: Action) -> None:
        name, data, backend = self._wanted.name, action.data, self._backend
        kind = data["do"]
        if kind in (plan.START, plan.STOP, plan.RESTART, plan.DELETE):
            self._start() if kind == plan.START else getattr(backend, kind)(name)
        elif kind == plan.AWAIT_GONE:
            self._waiter.until_gone()
        elif kind == plan.CREATE:
            self._waiter.autoscaler = data["config"].get("autoscaler")
            backend.create(data["config"])
        elif kind == plan.UPDATE:
            backend.update(name, data["config"], replace=data["replace"])
        elif kind == plan.SCALE:
            backend.scale(name, data["instances"])
        elif kind == plan.SWITCH:
            backend.switch(name, data["version"])
        elif kind == plan.LOCK:
            backend.lock(name, data["lock"])
        elif kind == plan.RELEASE:
            backend.release(name, data.get("weight"), data.get("traffic_state"))
        else:
            self._do_with_service(kind, data)

    def _do_with_service(self, kind: str, data: Mapping[str, Any]) -> None:
        """What depends on the service as it is: its labels, and whether it has an autoscaler."""
        service = self._waiter.look()
        if service is None:
            return
        if kind == plan.LABEL:
            self._backend.label(service, data["labels"], data["gone"])
        else:
            self._backend.autoscale(service, data["rule"])
            self._waiter.autoscaler = data["rule"]

    def _start(self) -> None:
        # EAS starts what is stopped, not what is about to be; and an update may have started it.
        service = self._waiter.look()
        if service and service.status not in SETTLED:
            service = self._waiter.until_settled()
        if service is None or service.status == STOPPED:
            self._backend.start(self._wanted.name)

    def _stop_again(self) -> None:
        """Stops what an update has started, when the plan's own locks are in place again."""
        name, backend, wanted = self._wanted.name, self._backend, self._wanted
        service = self._waiter.look()
        lock = service.lock if service and (wanted.lift_lock or wanted.lock is not None) else ""
        if lock in ("", NO_LOCK):
            return backend.stop(name)
        backend.lock(name, NO_LOCK)
        try:
            backend.stop(name)
        finally:
            backend.lock(name, lock)

    # --- the end

    def _arrive(self, actual: Service | None) -> Service | None:
        """Where nothing is to be done: the service, once what is under way has come to its end."""
        state = self._wanted.state
        if actual is None or (state == "present" and actual.status == STOPPED) or (state == "stopped" and actual.status == STOPPED):
            return actual
        if state not in ("absent", "stopped") and not lacking(self._wanted, actual, rolled=False):
            return self._answering(actual)
        return self._finish(Plan(), actual)

    def _finish(self, done: Plan, actual: Service | None = None) -> Service | None:
        wanted = self._wanted
        kinds = {action.data["do"] for action in done}
        if wanted.state == "absent":
            self._waiter.until_gone()
            return None
        if wanted.state == "stopped":
            return self._waiter.until_stopped(self._stop_again, new=plan.CREATE in kinds)
        idle = wanted.state == "present" and plan.CREATE not in kinds
        service = self._waiter.until_up(wanted, rolled=plan.UPDATE in kinds, or_stopped=idle and self._may_be_stopped(done, actual))
        return self._answering(service)

    def _may_be_stopped(self, done: Plan, actual: Service | None) -> bool:
        """Whether the service was stopped before, so that it need not run now."""
        before = actual.status if actual else (done.before or {}).get("status", "")
        return before in (STOPPED, STOPPING)

    def _answering(self, service: Service | None) -> Service | None:
        if service and service.is_up and self._manners.gateway:
            endpoint = shown.triton_endpoint(service, self._manners.access, service.token)
            wait_for_gateway(service.name, endpoint, self._waiter.patience, self._manners.timeout, self._waiter.clock)
        return service
