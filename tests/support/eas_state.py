# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the EAS stand-in holds: services, and how they go from status to status.

Time is counted in polls: a service moves on after it was looked at so many times, so tests need no clock. A poll is a DescribeService, or
a ListServices that shows the service; it is answered with what was, then it counts.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from . import eas_config
from .eas_config import Config

STOPPED, FAILED, WAITING, RUNNING, DELETING, DELETE_FAILED = "Stopped", "Failed", "Waiting", "Running", "Deleting", "DeleteFailed"


@dataclass
class Pace:
    """Polls that a service stays in each passing status, 0 to skip it.

    partial: Running while an instance is still missing. stale: Running as before just after an update, a scaling or a restart was
    accepted. deleting: of a service that is deleted.
    """

    creating: int = 1
    waiting: int = 1
    partial: int = 1
    stale: int = 0
    updating: int = 1
    scaling: int = 1
    stopping: int = 1
    starting: int = 1
    deleting: int = 1


@dataclass(frozen=True)
class Fate:
    """How deployments of a service end from now on. status: Running, Failed, or Waiting for ever. deletable: whether it can be deleted."""

    status: str = RUNNING
    reason: str = ""
    message: str = ""
    deletable: bool = True


@dataclass
class Phase:
    """One status on a service's way.

    polls: after which the next phase follows; the last phase stays. running: instances, None for all, below 0 that many less than all.
    version: the current one from here on. gone: nothing is left after it.
    """

    status: str
    polls: int = 0
    running: int | None = None
    reason: str = ""
    message: str = ""
    version: int = 0
    gone: bool = False


@dataclass(frozen=True)
class Version:
    number: int
    config: Config
    built: datetime


@dataclass(frozen=True)
class Event:
    """kind: Normal or Warning."""

    kind: str
    reason: str
    message: str
    time: datetime


@dataclass
class Service:
    """config: what was sent last, canonical. phases: the present one first. scaled: instances that an autoscaler made of it."""

    name: str
    config: Config
    owner: str
    number: int
    created: datetime
    updated: datetime
    token: str
    workspace: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    versions: list[Version] = field(default_factory=list)
    current: int = 1
    weight: int = 0
    traffic_state: str = ""
    lock: str = "none"
    autoscaler: dict[str, Any] | None = None
    scaled: int | None = None
    restarts: int = 0
    phases: list[Phase] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    logs: list[str] = field(default_factory=list)
    diagnosis: list[dict[str, Any]] = field(default_factory=list)

    @property
    def phase(self) -> Phase:
        return self.phases[0]

    @property
    def status(self) -> str:
        return self.phase.status

    @property
    def identity(self) -> str:
        return f"eas-m-{self.number:010d}"

    @property
    def total(self) -> int:
        return int(self.config["metadata"]["instance"]) if self.scaled is None else self.scaled

    @property
    def running(self) -> int:
        running = self.phase.running
        if running is None:
            return self.total
        return max(0, self.total + running) if running < 0 else min(self.total, running)

    @property
    def latest(self) -> int:
        return self.versions[-1].number


class Services:
    """All services of an account in a region.

    pace, fates: see there; fates are by name. held: nothing moves on but by `advance`. gateway, intranet: URLs in front of services.
    update_starts: whether an update of a stopped service starts it (?). page: the most rows of a list.
    """

    def __init__(self, region: str, now: Callable[[], datetime], page: int = 100) -> None:
        self.all: dict[str, Service] = {}
        self.region, self.now, self.page = region, now, page
        self.pace = Pace()
        self.fates: dict[str, Fate] = {}
        self.held = False
        self.update_starts = False
        self.gateway = f"http://1234567890123456.{region}.pai-eas.aliyuncs.com"
        self.intranet = f"http://1234567890123456.vpc.{region}.pai-eas.aliyuncs.com"
        self._count = itertools.count(1)

    # --- what tests ask for

    def fail(self, name: str, message: str = "image pull failed: not found", reason: str = "ImagePullBackOff") -> None:
        """Deployments of this service fail from now on."""
        self.fates[name] = Fate(FAILED, reason, message)

    def stick(self, name: str, message: str = "health check of port 8000 failed") -> None:
        """Deployments of this service wait for ever from now on; events, diagnosis and logs say why."""
        self.fates[name] = Fate(WAITING, "Unhealthy", message)

    def keep(self, name: str) -> None:
        """This service cannot be deleted: it ends in DeleteFailed."""
        self.fates[name] = Fate(deletable=False)

    def heal(self, name: str) -> None:
        """Deployments of this service succeed from now on; also the one that it is stuck in."""
        self.fates.pop(name, None)
        service = self.all.get(name)
        if service and service.status == WAITING and len(service.phases) == 1:
            service.phases.append(self._end(service))
            service.phase.polls = 1

    def advance(self, name: str, polls: int = 1) -> None:
        """As if it was looked at so often."""
        for _unused in range(polls):
            if name in self.all:
                self._count_poll(self.all[name])

    def settle(self, name: str) -> None:
        """To the end of what is going on."""
        while name in self.all and (len(self.all[name].phases) > 1 or self.all[name].phase.gone):
            self._count_poll(self.all[name])

    def autoscale(self, name: str, instances: int) -> None:
        """What an autoscaler does under load."""
        self.all[name].scaled = instances

    def make(self, config: Config, owner: str = "", **fields: Any) -> Service:
        """A running service, as it is when somebody has made it."""
        service = self.add(eas_config.canonical(config), owner, {}, "")
        self.settle(service.name)
        for key, value in fields.items():
            setattr(service, key, value)
        return service

    # --- time

    def poll(self, service: Service) -> None:
        if not self.held:
            self._count_poll(service)

    def _count_poll(self, service: Service) -> None:
        phase = service.phase
        if len(service.phases) == 1 and not phase.gone:
            return
        phase.polls -= 1
        if phase.polls > 0:
            return
        if phase.gone:
            del self.all[service.name]
            return
        service.phases.pop(0)
        self._enter(service)

    def _enter(self, service: Service) -> None:
        phase = service.phase
        if phase.version:
            service.current = phase.version
        kind = "Warning" if phase.reason else "Normal"
        self.event(service, kind, phase.reason or phase.status, phase.message or f"Service is now {phase.status}")
        if phase.status in (FAILED, WAITING) and phase.reason:
            _explain(service, phase)

    def event(self, service: Service, kind: str, reason: str, message: str) -> None:
        counts = {"availableInstance": service.running, "unavailableInstance": service.total - service.running}
        text = json.dumps({"versionId": service.current, "message": message, **counts})
        service.events.append(Event(kind, reason, text, self.now()))

    def _follow(self, service: Service, *phases: Phase) -> None:
        """These phases from now on; those that take no poll are skipped, but the last one."""
        kept = [phase for phase in phases[:-1] if phase.polls > 0]
        skipped = [phase.version for phase in phases[:-1] if phase.polls <= 0 and phase.version]
        service.phases = [*kept, phases[-1]]
        if skipped:
            service.phases[-1].version = service.phases[-1].version or skipped[-1]
        service.updated = self.now()
        self._enter(service)

    def _end(self, service: Service) -> Phase:
        fate = self.fates.get(service.name, Fate())
        return Phase(fate.status, 0, None if fate.status == RUNNING else 0, fate.reason, fate.message)

    def _deploy(self, service: Service, *first: Phase, running: int = 0, version: int = 0) -> None:
        """running: instances that serve while the others come, as in `Phase`."""
        pace, end = self.pace, self._end(service)
        partial = [Phase(RUNNING, pace.partial, -1)] if end.status == RUNNING and service.total > 0 else []
        self._follow(service, *first, Phase(WAITING, pace.waiting, running, version=version), *partial, end)

    # --- life

    def add(self, config: Config, owner: str, labels: dict[str, str], workspace: str) -> Service:
        eas_config.check(config)
        now, number = self.now(), next(self._count)
        name = config["metadata"]["name"]
        token = config.get("token") or base64.b64encode(hashlib.sha256(f"{name} {number}".encode()).digest()).decode()
        workspace = workspace or str(config["metadata"].get("workspace_id", ""))
        labels = {**{key: str(value) for key, value in config.get("labels", {}).items()}, **labels}
        service = Service(name, config, owner, number, now, now, token, workspace, labels, autoscaler=config.get("autoscaler"))
        service.versions.append(Version(1, config, now))
        self.all[name] = service
        self._deploy(service, Phase("Creating", self.pace.creating, 0))
        return service

    def change(self, service: Service, config: Config) -> None:
        """An update: a new version that is rolled out, also of what is the same, or a scaling when nothing but instances differ."""
        eas_config.check(config)
        only_scaled = config != service.config and _without_instance(config) == _without_instance(service.config)
        stopped, running = service.status == STOPPED, service.running
        service.config = config
        if "labels" in config:
            service.labels = {key: str(value) for key, value in config["labels"].items()}
        if "autoscaler" in config:
            service.autoscaler = config["autoscaler"]
        if not only_scaled:
            service.versions.append(Version(service.latest + 1, config, self.now()))
        if stopped and not self.update_starts:
            service.current, service.updated = service.latest, self.now()
        elif only_scaled:
            self._follow(service, *self._stale(service), Phase("Scaling", self.pace.scaling, running), self._end(service))
        else:
            self._roll_out(service, service.latest)

    def roll_back(self, service: Service, number: int) -> None:
        service.config = next(version.config for version in service.versions if version.number == number)
        self._roll_out(service, number)

    def _stale(self, service: Service) -> list[Phase]:
        return [Phase(RUNNING, self.pace.stale)] if service.status == RUNNING and self.pace.stale else []

    def _roll_out(self, service: Service, number: int) -> None:
        running = -1 if service.status == RUNNING else 0
        updating = Phase("Updating", self.pace.updating, running)
        self._deploy(service, *self._stale(service), updating, running=running, version=number)

    def stop(self, service: Service) -> None:
        self._follow(service, Phase("Stopping", self.pace.stopping), Phase(STOPPED, 0, 0))

    def start(self, service: Service) -> None:
        self._deploy(service, Phase("Starting", self.pace.starting, 0))

    def restart(self, service: Service) -> None:
        service.restarts += 1
        self._deploy(service, *self._stale(service), Phase("Updating", self.pace.updating, -1), running=-1)

    def remove(self, service: Service) -> None:
        fate = self.fates.get(service.name, Fate())
        if not fate.deletable:
            message = "the resources of the service could not be released"
            self._follow(service, Phase(DELETING, self.pace.deleting, 0), Phase(DELETE_FAILED, 0, 0, "ReleaseFailed", message))
        elif self.pace.deleting:
            self._follow(service, Phase(DELETING, self.pace.deleting, 0, gone=True))
        else:
            del self.all[service.name]


def _without_instance(config: Config) -> Config:
    return {**config, "metadata": {key: value for key, value in config["metadata"].items() if key != "instance"}}


def _explain(service: Service, phase: Phase) -> None:
    """What a failed or a stuck deployment leaves for those who look."""
    service.logs += [
        f"I1 tritonserver 2.51.0 is starting for {service.name}",
        f"E1 {phase.message}",
        "E1 error: creating server: Internal - failed to load all models",
    ]
    advice = "Check the model repository and the image, then update the service."
    service.diagnosis = [{"Error": phase.reason, "Causes": [phase.message], "Advices": [advice]}]
