# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Waits for a service: until it runs with all instances, is stopped, or gone; tells how far it is, and why it does not get there."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from ..core.errors import DeadlineError, ServingError, TransientError, UnavailableError
from ..core.progress import Stage
from ..core.redaction import Redactor
from ..core.wait import Clock, Probe, wait_until
from . import plan
from .base import Backend
from .state import DELETE_FAILED, DELETED, FAILED, RUNNING, SETTLED, STOPPED, Service

# Looks in a row on which a service has to run. After an update, EAS may tell of the state before for a moment.
_LOOKS = 2
_UNTOLD = "EAS does not tell of it yet"
_LOG_LINES = 100
_SHOWN_LINES = 3
_TROUBLE = re.compile(r"^E[0-9]|error|fail", re.IGNORECASE)
# What tritonserver says on every machine whose GPUs it cannot watch. Seldom the reason.
_USUAL = re.compile(r"\b(?:NVML|DCGM)\b")

Tell = Callable[[Stage], None]


@dataclass(frozen=True)
class Patience:
    """timeout, interval: seconds."""

    timeout: float
    interval: float


def lacking(wanted: plan.Wanted, service: Service, *, rolled: bool) -> str:
    """Why a service is not yet running as it is wanted; empty where it is. rolled: whether a new version of it is to be in use. Pure."""
    if not service.is_up:
        return service.progress()
    change = plan.difference(wanted, service)
    if change:
        return f"{service.progress()}; the update is not seen yet"
    instances = ((wanted.config or {}).get("metadata") or {}).get("instance")
    if instances is not None and not plan.is_autoscaled(wanted, service) and service.total != int(instances):
        return f"{service.progress()}; {instances} are wanted"
    if rolled and service.current < service.latest:
        return f"{service.progress()}; version {service.latest} is not in use yet"
    if wanted.version is not None and service.current != wanted.version:
        return f"{service.progress()}; version {wanted.version} is not in use yet"
    return ""


class Waiter:
    """Looks at one service. autoscaler: its rule, which looks do not ask for. failed: whether it had failed before anything was done."""

    def __init__(self, backend: Backend, name: str, patience: Patience, clock: Clock, tell: Tell) -> None:
        self.patience, self.clock = patience, clock
        self._backend, self._name, self._tell = backend, name, tell
        self.autoscaler: Any = None
        self.failed = False

    def look(self) -> Service | None:
        """The service; None where there is none any more."""
        service = self._backend.find(self._name)
        return None if service is None or service.status == DELETED else replace(service, autoscaler=self.autoscaler)

    def until_gone(self) -> None:
        def probe(service: Service | None) -> Probe[Service | None]:
            if service is not None and service.status == DELETE_FAILED:
                raise self._failed(service, "could not be deleted")
            return Probe(service is None, service, service.progress() if service else "")

        self._wait(probe, "the end of the deletion")

    def until_settled(self) -> Service | None:
        """Until nothing more happens to it by itself."""
        return self._wait(
            lambda service: Probe(service is None or service.status in SETTLED, service, _progress(service)), "a settled state"
        )

    def until_stopped(self, stop: Callable[[], None], *, new: bool = False) -> Service | None:
        """stop: called once where it runs: an update of a stopped service may have started it. new: whether it was just created."""
        stopped_again, failures, appeared = False, 0, not new

        def probe(service: Service | None) -> Probe[Service | None]:
            nonlocal stopped_again, failures, appeared
            if service is None and not appeared:
                return Probe(False, None, _UNTOLD)
            appeared = True
            service = self._there(service)
            failures = self._failures(service, failures)
            if service.status == RUNNING and not stopped_again:
                stopped_again = True
                stop()
            return Probe(service.status == STOPPED, service, service.progress())

        return self._wait(probe, "the stop")

    def until_up(self, wanted: plan.Wanted, *, rolled: bool, or_stopped: bool = False) -> Service | None:
        """or_stopped: whether a service that is stopped is as it should be, too."""
        seen, failures, appeared = 0, 0, False

        def probe(service: Service | None) -> Probe[Service | None]:
            nonlocal seen, failures, appeared
            if service is None and not appeared:
                return Probe(False, None, _UNTOLD)
            appeared = True
            service = self._there(service)
            failures = self._failures(service, failures)
            reason = "" if or_stopped and service.status == STOPPED else lacking(wanted, service, rolled=rolled)
            seen = 0 if reason else seen + 1
            return Probe(seen >= _LOOKS, service, reason or f"{service.progress()}; one more look")

        return self._wait(probe, "running with all instances")

    def _there(self, service: Service | None) -> Service:
        if service is None:
            raise UnavailableError("somebody deleted the service meanwhile", where=self._name, remedy="Run this again.")
        return service

    def _failures(self, service: Service, before: int) -> int:
        """How many looks in a row found it failed. Raises UnavailableError where it failed anew."""
        failures = before + 1 if service.status == FAILED else 0
        # What had failed before may be told once more.
        if failures > int(self.failed):
            raise self._failed(service, "failed")
        return failures

    def _wait(self, probe: Callable[[Service | None], Probe[Service | None]], what: str) -> Service | None:
        last: Service | None = None

        def look() -> Probe[Service | None]:
            nonlocal last
            try:
                last = self.look()
            except TransientError as error:
                return Probe(False, last, str(error))
            found = probe(last)
            self._tell(Stage(found.reason or _progress(last)))
            return found

        try:
            return wait_until(
                look, what=f"{self._name}: {what}", timeout=self.patience.timeout, interval=self.patience.interval, clock=self.clock
            )
        except DeadlineError as error:
            text = f"did not come to {what} within {self.patience.timeout:g} s: {error.remedy}"
            raise self._explained(DeadlineError, last, text) from None

    def _failed(self, service: Service, what: str) -> ServingError:
        said = service.message or service.reason
        return self._explained(UnavailableError, service, f"the service {what}{f': {said}' if said else ''}")

    def _explained(self, kind: type[ServingError], service: Service | None, what: str) -> ServingError:
        """An error with what EAS tells of the reasons: events, diagnosis and the last lines of the log."""
        backend, name = self._backend, self._name
        reasons = {
            "events": _or_none(lambda: backend.events(name)),
            "diagnosis": _or_none(lambda: backend.diagnosis(name)),
            "logs": _or_none(lambda: backend.logs(name, _LOG_LINES)),
        }
        state = {
            "status": service.status if service else "",
            "message": service.message if service else "",
            "instances": {"total": service.total, "running": service.running, "pending": service.pending} if service else {},
            **reasons,
        }
        told = [*reasons["diagnosis"], *reasons["events"][-1:], *telling(reasons["logs"])]
        remedy = f"EAS tells: {' | '.join(told)}" if told else "Look at the service's events and logs in the console."
        hide = Redactor([service.token] if service else [])
        return kind(hide.text(what), where=name, remedy=hide.text(remedy), last_state=hide.value(state))


def telling(logs: list[str]) -> list[str]:
    """The last lines that tell of an error, as tritonserver and others write them; the last lines where none does."""
    trouble = [line for line in logs if _TROUBLE.search(line)]
    return ([line for line in trouble if not _USUAL.search(line)] or trouble or logs)[-_SHOWN_LINES:]


def _or_none(read: Callable[[], list[str]]) -> list[str]:
    try:
        return read()
    except ServingError:
        # The failure that is being explained matters more.
        return []


def _progress(service: Service | None) -> str:
    return service.progress() if service else "there is no service"
