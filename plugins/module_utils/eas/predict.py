# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a service will be once actions are carried out: the prediction of check mode and of the diff. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from ..core.plan import Action
from . import compare, plan
from .spec import overlaid
from .state import RUNNING, STOPPED, Service

_Data = Mapping[str, Any]


def predict(service: Service | None, name: str, actions: Iterable[Action]) -> Service | None:
    """The service after the actions; None where there is none then."""
    for action in actions:
        kind = action.data["do"]
        if kind in (plan.DELETE, plan.AWAIT_GONE):
            service = None
        elif kind == plan.CREATE:
            service = _created(name, action.data)
        elif service is not None:
            service = _CHANGES[kind](service, action.data)
    return service


def _created(name: str, data: _Data) -> Service:
    config = data["config"]
    instances = int(config["metadata"]["instance"])
    labels = {str(key): str(value) for key, value in config.get("labels", {}).items()}
    service = Service(name, RUNNING, config, total=instances, running=instances, current=1, latest=1, labels=labels)
    return replace(
        service, autoscaler=config.get("autoscaler"), token=config.get("token", ""), resource=config["metadata"].get("resource", "")
    )


def _updated(service: Service, data: _Data) -> Service:
    config = compare.replaced(data["config"], service.config) if data["replace"] else compare.merged(service.config, data["config"])
    # Which number the new version gets is EAS's.
    return _sized(replace(service, config=config, current=0, latest=0, token=config.get("token", service.token)))


def _scaled(service: Service, data: _Data) -> Service:
    return _sized(replace(service, config=overlaid(service.config, {"metadata": {"instance": data["instances"]}})))


def _sized(service: Service) -> Service:
    instances = service.total if service.autoscaler else int((service.config.get("metadata") or {}).get("instance", service.total))
    running = 0 if service.status == STOPPED else instances
    return replace(service, total=instances, running=running, pending=0, status=service.status if service.status == STOPPED else RUNNING)


def _labelled(service: Service, data: _Data) -> Service:
    labels = {key: value for key, value in service.labels.items() if key not in data["gone"]}
    return replace(service, labels={**labels, **data["labels"]})


def _released(service: Service, data: _Data) -> Service:
    weight, state = data.get("weight", service.weight), data.get("traffic_state", service.traffic_state)
    return replace(service, weight=weight, traffic_state=state)


_CHANGES: Mapping[str, Callable[[Service, _Data], Service]] = {
    plan.UPDATE: _updated,
    plan.SCALE: _scaled,
    plan.AUTOSCALE: lambda service, data: replace(service, autoscaler=data["rule"]),
    plan.LABEL: _labelled,
    plan.SWITCH: lambda service, data: _sized(replace(service, current=data["version"])),
    plan.RELEASE: _released,
    plan.LOCK: lambda service, data: replace(service, lock=data["lock"]),
    plan.START: lambda service, _data: replace(service, status=RUNNING, running=service.total, pending=0),
    plan.STOP: lambda service, _data: replace(service, status=STOPPED, running=0, pending=0),
    plan.RESTART: lambda service, _data: replace(service, status=RUNNING, running=service.total, pending=0),
}
