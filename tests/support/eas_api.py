# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The actions of EAS's API 2021-07-01 over the stand-in's services: what each asks for, refuses and answers.

What Alibaba documents is done as documented. Guesses, each marked (?): the codes of 409s, of locks and of wrong states.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from . import eas_config
from .eas_auth import Account, RefusedError
from .eas_state import DELETING, FAILED, RUNNING, STOPPED, Service, Services

Json = dict[str, Any]
PREFIX = "/api/v2"
_SERVICE = f"{PREFIX}/services/{{region}}/{{name}}"
_GPU_PROCESSORS = ("triton",)
# Actions that the lock "dangerous" refuses; "all" refuses every change but that of the lock.
DANGEROUS = {"DeleteService", "StopService"}


@dataclass(frozen=True)
class Call:
    """One action that is asked for. name: of the service, "" where the path has none."""

    action: str
    caller: Account
    name: str = ""
    query: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    def json(self) -> Json:
        return eas_config.parse(self.body or b"{}")

    def mapping(self, key: str) -> Json:
        """A parameter of the query that holds a JSON object."""
        return eas_config.parse((self.query.get(key) or "{}").encode())

    def number(self, key: str, default: int) -> int:
        text = self.query.get(key, "")
        if text and not text.isdigit():
            raise RefusedError(400, "InvalidParameter", f"{key} must be a number, not {text!r}")
        return max(1, int(text or default))


@dataclass(frozen=True)
class Mutation:
    """A change that was accepted. body: what was sent, decoded."""

    action: str
    service: str
    query: Mapping[str, str]
    body: Json

    def __str__(self) -> str:
        return f"{self.action} {self.service}"


class Api:
    """Answers calls. mutations: those that changed something, in their order."""

    def __init__(self, services: Services) -> None:
        self.services = services
        self.mutations: list[Mutation] = []

    def handle(self, call: Call) -> Json:
        """Raises RefusedError."""
        method, handler = _ACTIONS[call.action][0], _ACTIONS[call.action][2]
        if method != "GET" and call.name:
            self._may_change(call)
        answer = handler(self, call)
        if method != "GET":
            body = call.json()
            name = call.name or str(body.get("name") or body.get("metadata", {}).get("name"))
            self.mutations.append(Mutation(call.action, name, dict(call.query), body))
        return answer

    def _found(self, call: Call) -> Service:
        service = self.services.all.get(call.name)
        if service is None:
            raise RefusedError(404, "InvalidService.NotFound", f"The service {call.name} does not exist in {self.services.region}.")
        if service.owner != call.caller.uid:
            message = f"User {call.caller.uid} does not have the privilege to operate on the service {call.name}."
            raise RefusedError(403, "Forbidden.PrivilegeCheckFailed", message)
        return service

    def _may_change(self, call: Call) -> None:
        service = self._found(call)
        locked = service.lock == "all" or (service.lock == "dangerous" and call.action in DANGEROUS)
        if locked and call.action != "UpdateServiceSafetyLock":
            raise RefusedError(403, "Forbidden.SafetyLock", f"The safety lock {service.lock} of {call.name} does not allow {call.action}.")
        if service.status == DELETING:
            raise RefusedError(409, "Conflict.ServiceDeleting", f"The service {call.name} is being deleted.")

    # --- services

    def create(self, call: Call) -> Json:
        config = eas_config.canonical(call.json())
        name = config["metadata"].get("name", "")
        if name in self.services.all:
            raise RefusedError(409, "Conflict.ServiceExists", f"The service {name} already exists.")
        labels = {key: str(value) for key, value in call.mapping("Labels").items()}
        service = self.services.add(config, call.caller.uid, labels, call.query.get("WorkspaceId", ""))
        keys = ("ServiceId", "ServiceName", "Region", "Status", "InternetEndpoint", "IntranetEndpoint")
        return {key: value for key, value in self._describe(service).items() if key in keys}

    def list_(self, call: Call) -> Json:
        query = call.query
        wanted: dict[str, Callable[[Service], bool]] = {
            "ServiceName": lambda service: service.name == query["ServiceName"],
            "Filter": lambda service: query["Filter"] in service.name,
            "ServiceStatus": lambda service: service.status == query["ServiceStatus"],
            "GroupName": lambda service: service.config["metadata"].get("group", "") == query["GroupName"],
            "ResourceName": lambda service: service.config["metadata"].get("resource", "") == query["ResourceName"],
            "WorkspaceId": lambda service: service.workspace == query["WorkspaceId"],
            "ServiceUid": lambda service: service.identity == query["ServiceUid"],
            "Label": lambda service: call.mapping("Label").items() <= service.labels.items(),
        }
        unknown = set(query) - set(wanted) - {"PageNumber", "PageSize", "Order", "Sort"}
        if unknown:
            raise RefusedError(400, "InvalidParameter", f"The stand-in does not filter by {sorted(unknown)}.")
        tests = [test for key, test in wanted.items() if query.get(key)]
        own = [each for each in self.services.all.values() if each.owner == call.caller.uid]
        found = [each for each in own if all(test(each) for test in tests)]
        found.sort(key=lambda each: (each.created, each.number), reverse=query.get("Order", "desc") == "desc")
        page = self._page(call, found)
        answer = {**page, "Services": [_listed(self._describe(each)) for each in page["Services"]]}
        for each in page["Services"]:
            self.services.poll(each)
        return answer

    def describe(self, call: Call) -> Json:
        service = self._found(call)
        answer = self._describe(service)
        self.services.poll(service)
        return answer

    def update(self, call: Call) -> Json:
        service, sent = self._found(call), eas_config.canonical(call.json())
        kind = call.query.get("UpdateType", "merge")
        if kind not in ("merge", "replace"):
            raise RefusedError(400, "InvalidParameter", f"UpdateType must be merge or replace, not {kind!r}")
        if sent["metadata"].setdefault("name", call.name) != call.name:
            raise RefusedError(400, "InvalidParameter", f"the name {sent['metadata']['name']!r} is not that of the service, {call.name}")
        self.services.change(service, eas_config.merged(service.config, sent) if kind == "merge" else sent)
        return _message(f"Succeed to update service [{call.name}] in region [{self.services.region}]")

    def delete(self, call: Call) -> Json:
        self.services.remove(self._found(call))
        return _message(f"Service [{call.name}] in region [{self.services.region}] is terminating")

    def stop(self, call: Call) -> Json:
        self.services.stop(self._in_state(call, lambda status: status not in (STOPPED, "Stopping")))
        return _message(f"Service [{call.name}] in region [{self.services.region}] is stopping")

    def start(self, call: Call) -> Json:
        self.services.start(self._in_state(call, lambda status: status in (STOPPED, FAILED)))
        return _message(f"Service [{call.name}] in region [{self.services.region}] is starting")

    def restart(self, call: Call) -> Json:
        self.services.restart(self._in_state(call, lambda status: status not in (STOPPED, "Stopping")))
        return _message(f"Service [{call.name}] in region [{self.services.region}] is restarting")

    def _in_state(self, call: Call, allowed: Callable[[str], bool]) -> Service:
        service = self._found(call)
        if not allowed(service.status):
            raise RefusedError(400, "InvalidServiceStatus", f"{call.action} is not possible while the service is {service.status}.")
        return service

    # --- what belongs to a service

    def version(self, call: Call) -> Json:
        service, wanted = self._found(call), call.json().get("Version")
        if not isinstance(wanted, int) or not 0 < wanted < service.current:
            raise RefusedError(400, "InvalidParameter", f"Version must be above 0 and below the current {service.current}, not {wanted!r}")
        self.services.roll_back(service, wanted)
        return _message(f"Service [{call.name}] is updating to version {wanted}")

    def release(self, call: Call) -> Json:
        service, sent = self._found(call), call.json()
        weight, state = sent.get("Weight"), sent.get("TrafficState")
        if weight is not None and (not isinstance(weight, int) or not -1 <= weight <= 1000):
            raise RefusedError(400, "InvalidParameter", f"Weight must be -1 to 1000, not {weight!r}")
        if state not in (None, "standalone", "grouping"):
            raise RefusedError(400, "InvalidParameter", f"TrafficState must be standalone or grouping, not {state!r}")
        service.weight = service.weight if weight is None else weight
        service.traffic_state = state or service.traffic_state
        return _message("Service released")

    def lock(self, call: Call) -> Json:
        wanted = call.json().get("Lock")
        if wanted not in ("all", "dangerous", "none"):
            raise RefusedError(400, "InvalidParameter", f"Lock must be all, dangerous or none, not {wanted!r}")
        self._found(call).lock = wanted
        return _message(f"Service [{call.name}] safety lock is {wanted}")

    def put_label(self, call: Call) -> Json:
        labels = call.json().get("Labels") or {}
        self._found(call).labels.update({key: str(value) for key, value in labels.items()})
        return _message("Labels updated")

    def delete_label(self, call: Call) -> Json:
        service = self._found(call)
        for key in call.query.get("Keys", "").split(","):
            service.labels.pop(key, None)
        return _message("Labels deleted")

    def endpoints(self, call: Call) -> Json:
        service = self._found(call)
        urls = self._urls(service)
        entry = {
            "EndpointType": "DefaultGateway",
            "InternetEndpoints": [urls["InternetEndpoint"]],
            "IntranetEndpoints": [urls["IntranetEndpoint"]],
            "PathType": "Service",
            "Port": 80,
        }
        return {"AccessToken": service.token, "Endpoints": [entry], "Message": ""}

    def instances(self, call: Call) -> Json:
        service = self._found(call)
        return self._page(call, [_instance(service, number) for number in range(service.total)], "Instances")

    def delete_instances(self, call: Call) -> Json:
        service, names = self._found(call), call.query.get("InstanceList", "").split(",")
        unknown = set(names) - {_instance(service, number)["InstanceName"] for number in range(service.total)}
        if unknown:
            raise RefusedError(404, "InvalidInstance.NotFound", f"The instances {sorted(unknown)} do not exist.")
        service.restarts += 1
        self.services.event(service, "Normal", "InstanceDeleted", ",".join(names))
        return _message(f"Instances {names} are restarting")

    def versions(self, call: Call) -> Json:
        rows = [
            {
                "BuildTime": _time(each.built),
                "ImageAvailable": "true",
                "ImageId": each.number,
                "Message": "",
                "ServiceConfig": json.dumps(each.config, sort_keys=True),
                "ServiceRunnable": "true",
            }
            for each in reversed(self._found(call).versions)
        ]
        return self._page(call, rows, "Versions")

    def events(self, call: Call) -> Json:
        kind = call.query.get("EventType")
        rows = [
            {"Type": each.kind, "Reason": each.reason, "Message": each.message, "Time": each.time.strftime("%Y-%m-%d %H:%M:%S")}
            for each in reversed(self._found(call).events)
            if kind in (None, "", each.kind)
        ]
        return _numbered(call, rows, "Events", 100)

    def logs(self, call: Call) -> Json:
        keyword = call.query.get("Keyword", "")
        return _numbered(call, [line for line in self._found(call).logs if keyword in line], "Logs", 500)

    def diagnose(self, call: Call) -> Json:
        return {"DiagnosisList": self._found(call).diagnosis}

    # --- autoscaler

    def get_scaler(self, call: Call) -> Json:
        scaler = self._scaler(call)
        return {
            "ServiceName": call.name,
            "MinReplica": scaler["min"],
            "MaxReplica": scaler["max"],
            "ScaleStrategies": scaler["scaleStrategies"],
            "Behavior": scaler.get("behavior", {}),
            "CurrentMetrics": [{"metricName": each["metricName"], "value": 0} for each in scaler["scaleStrategies"]],
        }

    def create_scaler(self, call: Call) -> Json:
        service = self._found(call)
        if service.autoscaler:
            raise RefusedError(409, "Conflict.AutoScalerExists", f"The service {call.name} already has an autoscaler.")
        eas_config.check_autoscaler(call.json())
        service.autoscaler = call.json()
        return _message("Autoscaler created")

    def update_scaler(self, call: Call) -> Json:
        self._scaler(call)
        eas_config.check_autoscaler(call.json())
        self._found(call).autoscaler = call.json()
        return _message("Autoscaler updated")

    def delete_scaler(self, call: Call) -> Json:
        self._scaler(call)
        service = self._found(call)
        service.autoscaler = service.scaled = None
        return _message("Autoscaler deleted")

    def _scaler(self, call: Call) -> Json:
        scaler = self._found(call).autoscaler
        if not scaler:
            raise RefusedError(404, "InvalidAutoScaler.NotFound", f"The service {call.name} has no autoscaler.")
        return scaler

    # --- how things are shown

    def _page(self, call: Call, rows: list[Any], key: str = "Services") -> Json:
        number, size = call.number("PageNumber", 1), min(call.number("PageSize", 100), self.services.page)
        return {"PageNumber": number, "PageSize": size, "TotalCount": len(rows), key: rows[(number - 1) * size : number * size]}

    def _urls(self, service: Service) -> dict[str, str]:
        path = f"/api/predict/{service.name}"
        return {"InternetEndpoint": f"{self.services.gateway}{path}", "IntranetEndpoint": f"{self.services.intranet}{path}"}

    def _describe(self, service: Service) -> Json:
        metadata, phase = service.config["metadata"], service.phase
        return {
            **self._urls(service),
            "AccessToken": service.token,
            "CallerUid": service.owner,
            "Cpu": metadata.get("cpu", 1),
            "CreateTime": _time(service.created),
            "CurrentVersion": service.current,
            "Gpu": metadata.get("gpu", 0),
            "Image": _image(service, self.services.region),
            "Labels": [{"LabelKey": key, "LabelValue": value} for key, value in sorted(service.labels.items())],
            "LatestVersion": service.latest,
            "Memory": metadata.get("memory", 1000),
            "Message": phase.message or f"Service is {phase.status}",
            "Namespace": service.name,
            "ParentUid": "1234567890123456",
            "PendingInstance": 0 if phase.status == STOPPED else service.total - service.running,
            "Reason": phase.reason or phase.status.upper(),
            "Region": self.services.region,
            "Resource": metadata.get("resource", ""),
            "RunningInstance": service.running,
            "SafetyLock": service.lock,
            "ServiceConfig": eas_config.shown(service.config, service.workspace),
            "ServiceGroup": metadata.get("group", ""),
            "ServiceId": service.identity,
            "ServiceName": service.name,
            "ServiceUid": service.identity,
            "Source": "api",
            "Status": phase.status,
            "TotalInstance": service.total,
            "TrafficState": service.traffic_state or "standalone",
            "UpdateTime": _time(service.updated),
            "Weight": service.weight,
            "WorkspaceId": service.workspace,
        }


def _message(text: str) -> Json:
    return {"Message": text}


def _time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _listed(shown: Json) -> Json:
    """Endpoints are only shown by DescribeService."""
    return {key: value for key, value in shown.items() if not key.endswith("Endpoint")}


def _image(service: Service, region: str) -> str:
    containers = service.config.get("containers")
    return str(containers[0]["image"]) if containers else f"registry-vpc.{region}.aliyuncs.com/eas/{service.name}_{region}:v0.0.1"


def _instance(service: Service, number: int) -> Json:
    suffix = hashlib.sha256(f"{service.identity} {service.current} {service.restarts}".encode()).hexdigest()
    ready = number < service.running
    return {
        "InstanceName": f"{service.name}-{suffix[:10]}-{suffix[10 + number % 50 :][:5]}",
        "Status": RUNNING if ready else "Pending",
        "Reason": "" if ready else service.phase.reason,
        "InnerIP": f"10.224.0.{number + 1}",
        "HostIP": f"10.118.0.{number + 1}",
        "InstancePort": 50000,
        "ReadyProcesses": int(ready),
        "TotalProcesses": 1,
        "RestartCount": 0,
        "ResourceType": "PublicResource",
        "Role": "Standard",
        "StartAt": _time(service.updated),
        "Isolated": False,
        "IsSpot": False,
    }


def _numbered(call: Call, rows: list[Any], key: str, size: int) -> Json:
    """The pages of events and logs, which have other names than those of lists."""
    number, size = call.number("PageNum", 1), call.number("PageSize", size)
    counts = {"TotalCount": len(rows), "TotalPageNum": -(-len(rows) // size)}
    return {"PageNum": number, **counts, key: rows[(number - 1) * size : number * size]}


# Action → method, path, handler.
_ACTIONS: dict[str, tuple[str, str, Callable[[Api, Call], Json]]] = {
    "CreateService": ("POST", f"{PREFIX}/services", Api.create),
    "ListServices": ("GET", f"{PREFIX}/services", Api.list_),
    "DescribeService": ("GET", _SERVICE, Api.describe),
    "UpdateService": ("PUT", _SERVICE, Api.update),
    "DeleteService": ("DELETE", _SERVICE, Api.delete),
    "StopService": ("PUT", f"{_SERVICE}/stop", Api.stop),
    "StartService": ("PUT", f"{_SERVICE}/start", Api.start),
    "RestartService": ("PUT", f"{_SERVICE}/restart", Api.restart),
    "ReleaseService": ("PUT", f"{_SERVICE}/release", Api.release),
    "UpdateServiceVersion": ("PUT", f"{_SERVICE}/version", Api.version),
    "UpdateServiceSafetyLock": ("PUT", f"{_SERVICE}/lock", Api.lock),
    "UpdateServiceLabel": ("PUT", f"{_SERVICE}/label", Api.put_label),
    "DeleteServiceLabel": ("DELETE", f"{_SERVICE}/label", Api.delete_label),
    "DescribeServiceEndpoints": ("GET", f"{_SERVICE}/endpoints", Api.endpoints),
    "ListServiceInstances": ("GET", f"{_SERVICE}/instances", Api.instances),
    "DeleteServiceInstances": ("DELETE", f"{_SERVICE}/instances", Api.delete_instances),
    "ListServiceVersions": ("GET", f"{_SERVICE}/versions", Api.versions),
    "DescribeServiceEvent": ("GET", f"{_SERVICE}/events", Api.events),
    "DescribeServiceLog": ("GET", f"{_SERVICE}/logs", Api.logs),
    "DescribeServiceDiagnosis": ("GET", f"{_SERVICE}/diagnosis", Api.diagnose),
    "DescribeServiceAutoScaler": ("GET", f"{_SERVICE}/autoscaler", Api.get_scaler),
    "CreateServiceAutoScaler": ("POST", f"{_SERVICE}/autoscaler", Api.create_scaler),
    "UpdateServiceAutoScaler": ("PUT", f"{_SERVICE}/autoscaler", Api.update_scaler),
    "DeleteServiceAutoScaler": ("DELETE", f"{_SERVICE}/autoscaler", Api.delete_scaler),
}


def _patterns() -> Iterable[tuple[str, str, re.Pattern[str]]]:
    for action, (method, path, _handler) in _ACTIONS.items():
        yield action, method, re.compile(path.replace("{region}", "(?P<region>[^/]+)").replace("{name}", "(?P<name>[^/]+)"))


_ROUTES = tuple(_patterns())


def route(method: str, path: str) -> tuple[str, str, str]:
    """The action that a request asks for, with region and service ("" where the path has none). Raises RefusedError."""
    for action, wanted, pattern in _ROUTES:
        match = pattern.fullmatch(path)
        if match and wanted == method:
            found = match.groupdict()
            return action, found.get("region", ""), found.get("name", "")
    raise RefusedError(404, "InvalidAction.NotFound", f"There is nothing at {method} {path}.")
