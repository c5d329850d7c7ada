# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Runs eas_service in this process: with a clock that never sleeps, and, where a test wants it, with services in memory."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from typing import Any

from ansible_collections.serving.triton.plugins.module_utils.core.errors import ServingError
from ansible_collections.serving.triton.plugins.module_utils.core.progress import Stage
from ansible_collections.serving.triton.plugins.module_utils.core.wait import Clock
from ansible_collections.serving.triton.plugins.module_utils.eas import compare
from ansible_collections.serving.triton.plugins.module_utils.eas.base import EXPLAIN, LOCK, RELEASE, REPLACE
from ansible_collections.serving.triton.plugins.module_utils.eas.build import build_service
from ansible_collections.serving.triton.plugins.module_utils.eas.connect import Connected
from ansible_collections.serving.triton.plugins.module_utils.eas.options import info_spec, service_spec
from ansible_collections.serving.triton.plugins.module_utils.eas.plan import Wanted
from ansible_collections.serving.triton.plugins.module_utils.eas.service import EasService, Manners
from ansible_collections.serving.triton.plugins.module_utils.eas.state import RUNNING, STOPPED, Service
from ansible_collections.serving.triton.plugins.module_utils.eas.waiting import Patience, Waiter
from ansible_collections.serving.triton.plugins.module_utils.module import run_plan


class FastClock(Clock):
    """Sleeping takes no time."""

    def __init__(self) -> None:
        self.time = 0.0
        self.pauses: list[float] = []

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += seconds
        self.pauses.append(seconds)


def service_options(**given: Any) -> dict[str, Any]:
    """The parameters of eas_service, with its defaults."""
    return {**_defaults(service_spec()), **given}


def info_options(**given: Any) -> dict[str, Any]:
    return {**_defaults(info_spec()), **given}


def _defaults(spec: Mapping[str, Any]) -> dict[str, Any]:
    return {name: deepcopy(option.get("default")) for name, option in spec.items()}


class Told(Exception):  # noqa: N818 - no error: how a module ends
    """The result of a module that ended."""

    def __init__(self, result: dict[str, Any]) -> None:
        super().__init__()
        self.result = result


class StandInModule:
    """What `run_plan` needs of an AnsibleModule."""

    def __init__(self, check_mode: bool) -> None:
        self.check_mode = check_mode

    def exit_json(self, **result: Any) -> None:
        raise Told(result)

    def fail_json(self, **result: Any) -> None:
        raise Told({"failed": True, **result})


def run_service(options: Mapping[str, Any], *, check: bool = False, clock: Clock | None = None, stages: list[str] | None = None) -> Any:
    """The result of eas_service, failures and `warnings` included. stages: gets what is told while it waits."""
    warnings: list[str] = []

    def tell(stage: Stage) -> None:
        if stages is not None:
            stages.append(stage.text)

    try:
        run_plan(StandInModule(check), lambda: build_service(options, tell, warnings.append, check_mode=check, clock=clock or FastClock()))  # type: ignore[arg-type]
    except Told as told:
        return {**told.result, "warnings": warnings}
    raise AssertionError("the module did not end")


class MemoryEas:
    """A backend whose services lie in memory, and change at once. service: the one that it has, if any. log: what was called."""

    name, region = "memory", "cn-test"
    abilities = frozenset({REPLACE, RELEASE, LOCK, EXPLAIN})

    def __init__(self, service: Service | None = None) -> None:
        self.service = service
        self.log: list[str] = []
        self.fail_at = ""

    def find(self, name: str) -> Service | None:
        return self.service

    def names(self) -> list[str]:
        return [self.service.name] if self.service else []

    def autoscaler(self, service: Service) -> Mapping[str, Any] | None:
        return self.service.autoscaler if self.service else None

    def _do(self, call: str, **changes: Any) -> None:
        self.log.append(call)
        if call == self.fail_at:
            raise ServingError("by order of the test")
        if self.service is not None:
            self.service = replace(self.service, **changes)

    def create(self, config: dict[str, Any]) -> None:
        self._do("create")
        instances = int(config["metadata"]["instance"])
        self.service = Service(
            config["metadata"]["name"],
            RUNNING,
            with_added(config),
            total=instances,
            running=instances,
            current=1,
            latest=1,
            labels=dict(config.get("labels", {})),
            autoscaler=config.get("autoscaler"),
            lock="none",
        )

    def update(self, name: str, config: dict[str, Any], *, replace: bool) -> None:
        assert self.service is not None
        new = deepcopy(config) if replace else compare.merged(self.service.config, config)
        latest = self.service.latest + 1
        self._do("update", config=with_added(new), latest=latest, current=latest)
        self._size()

    def scale(self, name: str, instances: int) -> None:
        assert self.service is not None
        self._do("scale", config=compare.merged(self.service.config, {"metadata": {"instance": instances}}))
        self._size()

    def _size(self) -> None:
        assert self.service is not None
        status = STOPPED if self.service.status == STOPPED else RUNNING
        total = self.service.total if self.service.autoscaler else int(self.service.config["metadata"]["instance"])
        self.service = replace(self.service, status=status, total=total, running=0 if status == STOPPED else total)

    def autoscale(self, service: Service, rule: dict[str, Any] | None) -> None:
        self._do("autoscale", autoscaler=rule)

    def label(self, service: Service, labels: Mapping[str, str], gone: list[str]) -> None:
        kept = {key: value for key, value in service.labels.items() if key not in gone}
        self._do("label", labels={**kept, **labels})

    def switch(self, name: str, version: int) -> None:
        self._do("switch", current=version)
        self._size()

    def start(self, name: str) -> None:
        assert self.service is not None
        assert self.service.status == STOPPED
        self._do("start", status=RUNNING, running=self.service.total)

    def stop(self, name: str) -> None:
        self._do("stop", status=STOPPED, running=0)

    def restart(self, name: str) -> None:
        assert self.service is not None
        self._do("restart", running=self.service.total)

    def delete(self, name: str) -> None:
        self._do("delete")
        self.service = None

    def release(self, name: str, weight: int | None, traffic_state: str | None) -> None:
        changes = {"weight": weight, "traffic_state": traffic_state}
        self._do("release", **{key: value for key, value in changes.items() if value is not None})

    def lock(self, name: str, lock: str) -> None:
        self._do("lock", lock=lock)

    def instances(self, name: str) -> list[dict[str, Any]]:
        return []

    def versions(self, service: Service) -> list[dict[str, Any]]:
        return []

    def events(self, name: str) -> list[str]:
        return ["an event"]

    def diagnosis(self, name: str) -> list[str]:
        return ["a diagnosis"]

    def logs(self, name: str, lines: int) -> list[str]:
        return ["a line of the log"]


def with_added(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration with what EAS adds to it."""
    rpc = {"io_threads": 4, "worker_threads": 5, "max_queue_size": 64, "keepalive": 5000, "batching": False}
    metadata = {"cpu": 1, "gpu": 0, "memory": 1000, "workspace_id": "123", "rpc": rpc, "enable_webservice": False}
    added = {"metadata": metadata, "cloud": {"networking": {}}}
    return compare.merged(added, config)


def memory_service(backend: MemoryEas, wanted: Wanted, clock: Clock | None = None, **manners: Any) -> EasService:
    """An EasService over services in memory."""
    defaults = {"check_mode": False, "wait": True, "gateway": False, "access": "auto", "open_token": False, "timeout": 1.0}
    waiter = Waiter(backend, wanted.name, Patience(60, 5), clock or FastClock(), lambda _stage: None)
    return EasService(Connected(backend, "for a test"), wanted, Manners(**{**defaults, **manners}), waiter)  # type: ignore[arg-type]
