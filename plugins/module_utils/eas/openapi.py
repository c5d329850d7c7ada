# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""EAS by Alibaba Cloud's SDK for its API 2021-07-01."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

from ..core.errors import ConflictError, InputError, ServingError
from ..core.redaction import Redactor
from ..core.wait import Clock, RetryPolicy, retry
from .attempts import once
from .base import EXPLAIN, LOCK, RELEASE, REPLACE
from .credentials import Keys, Source
from .errors import TLS, AbsentError, Failure, explained
from .place import Place
from .spec import Config, observed
from .state import Service

_PAGE = 100
_CONNECT_SECONDS = 10.0
_PROXIES = ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy")


class OpenApi:
    """The backend. source: of credentials. policy, clock: of its retries; the SDK makes none."""

    name = "openapi"
    abilities = frozenset({REPLACE, RELEASE, LOCK, EXPLAIN})

    def __init__(self, place: Place, source: Source, settings: Mapping[str, Any], policy: RetryPolicy, clock: Clock) -> None:
        self.region = place.region
        self._place, self._policy, self._clock = place, policy, clock
        self._caller = _Caller(place, source, settings)

    # --- reading

    def find(self, name: str) -> Service | None:
        try:
            return _service(self._call("describe_service", name))
        except AbsentError:
            return None

    def names(self) -> list[str]:
        return [each["ServiceName"] for each in self._pages("list_services", "ListServices", "Services")]

    def autoscaler(self, service: Service) -> Mapping[str, Any] | None:
        try:
            found = self._call("describe_service_auto_scaler", service.name)
        except ServingError as error:
            if error.details.get("status_code") != 404 and not str(error.details.get("code")).endswith("NotFound"):
                raise
            return None
        strategies = found.get("ScaleStrategies") or []
        if not strategies:
            return None
        return {"min": found.get("MinReplica"), "max": found.get("MaxReplica"), "scaleStrategies": strategies}

    def instances(self, name: str) -> list[dict[str, Any]]:
        return [_instance(each) for each in self._pages("list_service_instances", "ListServiceInstances", "Instances", name)]

    def versions(self, service: Service) -> list[dict[str, Any]]:
        found = self._pages("list_service_versions", "ListServiceVersions", "Versions", service.name)
        # They are told without a number, the newest first, and each has one more than the one before.
        return [
            {
                "version": service.latest - place,
                "created": _when(each.get("BuildTime")),
                "message": each.get("Message") or "",
                "current": service.latest - place == service.current,
            }
            for place, each in enumerate(found)
        ]

    def events(self, name: str) -> list[str]:
        found = self._call("describe_service_event", name, request="DescribeServiceEvent", page_num="1", page_size=str(_PAGE))
        return [_event(each) for each in reversed(found.get("Events") or [])]

    def diagnosis(self, name: str) -> list[str]:
        found = self._call("describe_service_diagnosis", name).get("DiagnosisList") or []
        return [_finding(each) for each in found]

    def logs(self, name: str, lines: int) -> list[str]:
        page = self._call("describe_service_log", name, request="DescribeServiceLog", page_num=1, page_size=lines)
        pages = int(page.get("TotalPageNum") or 1)
        if pages > 1:
            # The end of a log is on its last page, which may hold little of it.
            ends = [
                self._call("describe_service_log", name, request="DescribeServiceLog", page_num=number, page_size=lines)
                for number in (pages - 1, pages)
            ]
            return [line for end in ends for line in end.get("Logs") or []][-lines:]
        return (page.get("Logs") or [])[-lines:]

    # --- changes

    def create(self, config: Config) -> None:
        body = json.dumps(config)
        self._once((ConflictError,), "create_service", None, config["metadata"]["name"], request="CreateService", body=body)

    def update(self, name: str, config: Config, *, replace: bool) -> None:
        kind = "replace" if replace else "merge"
        self._call("update_service", name, request="UpdateService", update_type=kind, body=json.dumps(config))

    def scale(self, name: str, instances: int) -> None:
        self.update(name, {"metadata": {"instance": instances}}, replace=False)

    def autoscale(self, service: Service, rule: Config | None) -> None:
        if rule is None:
            self._once((AbsentError,), "delete_service_auto_scaler", service.name, service.name)
            return
        kind = "Update" if service.autoscaler else "Create"
        strategies = [{"metric_name": each["metricName"], "threshold": each["threshold"]} for each in rule["scaleStrategies"]]
        request = self._caller.model(f"{kind}ServiceAutoScalerRequest", min=rule["min"], max=rule["max"])
        request.scale_strategies = [self._caller.model(f"{kind}ServiceAutoScalerRequestScaleStrategies", **each) for each in strategies]
        self._call(f"{kind.lower()}_service_auto_scaler", service.name, ready=request)

    def label(self, service: Service, labels: Mapping[str, str], gone: list[str]) -> None:
        if labels:
            self._call("update_service_label", service.name, request="UpdateServiceLabel", labels=dict(labels))
        if gone:
            self._call("delete_service_label", service.name, request="DeleteServiceLabel", keys=gone)

    def switch(self, name: str, version: int) -> None:
        # The version in use is not one to switch to.
        done = (ConflictError, InputError)
        self._once(done, "update_service_version", name, name, request="UpdateServiceVersion", version=version)

    def start(self, name: str) -> None:
        self._once((ConflictError,), "start_service", name, name)

    def stop(self, name: str) -> None:
        self._once((ConflictError,), "stop_service", name, name)

    def restart(self, name: str) -> None:
        self._once((ConflictError,), "restart_service", name, name)

    def delete(self, name: str) -> None:
        self._once((AbsentError, ConflictError), "delete_service", name, name)

    def release(self, name: str, weight: int | None, traffic_state: str | None) -> None:
        self._call("release_service", name, request="ReleaseService", weight=weight, traffic_state=traffic_state)

    def lock(self, name: str, lock: str) -> None:
        self._call("update_service_safety_lock", name, request="UpdateServiceSafetyLock", lock=lock)

    # --- calls

    def _call(self, operation: str, name: str | None, where: str = "", **arguments: Any) -> dict[str, Any]:
        return retry(lambda: self._try(operation, name, where or name or self.region, **arguments), self._policy, self._clock)

    def _once(self, done: tuple[type[ServingError], ...], operation: str, name: str | None, where: str, **arguments: Any) -> None:
        """For what fails as `done` says where it was carried out already, and its answer lost."""
        once(lambda: self._try(operation, name, where, **arguments), done, self._policy, self._clock)

    def _try(self, operation: str, name: str | None, where: str, **arguments: Any) -> dict[str, Any]:
        path = () if name is None else (self.region, name)
        found: dict[str, Any] = self._caller.call(operation, path, where, **arguments)
        return found

    def _pages(self, operation: str, request: str, key: str, name: str | None = None) -> Iterator[dict[str, Any]]:
        number, seen = 1, 0
        while True:
            page = self._call(operation, name, request=request, page_number=number, page_size=_PAGE)
            rows = page.get(key) or []
            yield from rows
            number, seen = number + 1, seen + len(rows)
            if not rows or seen >= int(page.get("TotalCount") or 0):
                return


class _Caller:
    """One call of the SDK, whose failures are ours."""

    def __init__(self, place: Place, source: Source, settings: Mapping[str, Any]) -> None:
        from alibabacloud_eas20210701 import models
        from alibabacloud_eas20210701.client import Client
        from alibabacloud_tea_openapi import utils_models
        from alibabacloud_tea_util.models import RuntimeOptions

        if not settings["validate_certs"]:
            import urllib3

            # The user asked for it; a line a request tells nothing.
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
        # It writes every header of a request to the standard error where DEBUG is set.
        logging.getLogger("darabonba-core").handlers.clear()
        logging.getLogger("darabonba-core").setLevel(logging.CRITICAL + 1)
        self._models, self._source, self._url = models, source, place.url
        self._holder = _Holder()
        milliseconds = int(settings["timeout"] * 1000)
        self._runtime = RuntimeOptions(
            read_timeout=milliseconds,
            connect_timeout=min(milliseconds, int(_CONNECT_SECONDS * 1000)),
            ignore_ssl=not settings["validate_certs"],
            ca=settings.get("ca_path") or os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE"),
            autoretry=False,
        )
        # Always an endpoint: the SDK knows some regions, and makes up a wrong host for the others.
        scheme = urlsplit(place.url).scheme
        config = utils_models.Config(credential=self._holder, endpoint=place.host, protocol=scheme, region_id=place.region)
        self._client = Client(config)

    def model(self, name: str, **fields: Any) -> Any:
        return getattr(self._models, name)(**fields)

    def call(self, operation: str, path: tuple[str, ...], where: str, *, request: str = "", ready: Any = None, **fields: Any) -> Any:
        """The answer's body as EAS spells it. request: the SDK's name of it, ready: one that is made already. Raises a ServingError."""
        self._holder.keys = keys = self._source()
        arguments = [*path]
        if ready is not None or request:
            arguments.append(ready if ready is not None else self.model(f"{request}Request", **fields))
        try:
            with _proxies_for(self._url):
                answer = getattr(self._client, f"{operation}_with_options")(*arguments, {}, self._runtime)
        except _failures() as error:
            raise explained(_failure(error, keys), where) from None
        return answer.body.to_map() if answer.body is not None else {}


class _Holder:
    """What the SDK asks for credentials: those that were just looked up, so that their own calls keep the user's proxies."""

    keys = Keys("", "")

    def get_credential(self) -> Any:
        from alibabacloud_credentials.models import CredentialModel

        kind = "sts" if self.keys.token else "access_key"
        found = {"access_key_id": self.keys.identity, "access_key_secret": self.keys.secret, "security_token": self.keys.token or None}
        return CredentialModel(type=kind, **found)


@contextmanager
def _proxies_for(url: str) -> Iterator[None]:
    """Without proxies where NO_PROXY names the host: the SDK reads the other variables and not this one."""
    from requests.utils import should_bypass_proxies

    kept = {name: os.environ.pop(name) for name in _PROXIES if name in os.environ} if should_bypass_proxies(url, no_proxy=None) else {}
    try:
        yield
    finally:
        os.environ.update(kept)


def _failures() -> tuple[type[Exception], ...]:
    from requests.exceptions import RequestException
    from Tea.exceptions import TeaException, UnretryableException

    # A proxy's page instead of JSON ends in one of the last: the SDK reads it without a look.
    return (TeaException, UnretryableException, RequestException, OSError, ValueError, AttributeError, TypeError)


def _failure(error: Exception, keys: Keys) -> Failure:
    from Tea.exceptions import TeaException

    hide = Redactor(keys.secrets).text
    status, code = getattr(error, "status_code", None) or getattr(error, "statusCode", None), getattr(error, "code", None)
    if isinstance(error, TeaException) and (status or code):
        data = getattr(error, "data", None) or {}
        message = str(data.get("Message") or data.get("message") or error.message or "")
        after = float(getattr(error, "retry_after", None) or 0) / 1000
        return Failure(int(status or 0), str(code or ""), hide(message), after)
    cause = getattr(error, "inner_exception", None) or error
    text = hide(" ".join(str(getattr(cause, "message", "") or cause).split())[:400])
    return Failure(0, TLS, text) if "CERTIFICATE_VERIFY_FAILED" in text else Failure(503, "", f"no proper answer: {text}")


# --- how EAS tells things


def _service(found: Mapping[str, Any]) -> Service:
    labels = {each.get("LabelKey", ""): each.get("LabelValue", "") for each in found.get("Labels") or []}
    return Service(
        name=found["ServiceName"],
        status=found.get("Status") or "",
        config=observed(found.get("ServiceConfig") or ""),
        region=found.get("Region") or "",
        reason=found.get("Reason") or "",
        message=found.get("Message") or "",
        total=int(found.get("TotalInstance") or 0),
        running=int(found.get("RunningInstance") or 0),
        pending=int(found.get("PendingInstance") or 0),
        current=int(found.get("CurrentVersion") or 0),
        latest=int(found.get("LatestVersion") or 0),
        internet=found.get("InternetEndpoint") or "",
        intranet=found.get("IntranetEndpoint") or "",
        token=found.get("AccessToken") or "",
        weight=found.get("Weight"),
        traffic_state=found.get("TrafficState") or "",
        lock=found.get("SafetyLock") or "none",
        labels=labels,
        resource=found.get("Resource") or "",
        image=found.get("Image") or "",
        created=_when(found.get("CreateTime")),
        updated=_when(found.get("UpdateTime")),
    )


def _when(text: Any) -> str:
    """A time as the command line client shows it too."""
    return str(text or "").replace("T", " ").replace("Z", "")


def _instance(found: Mapping[str, Any]) -> dict[str, Any]:
    ready, total = int(found.get("ReadyProcesses") or 0), int(found.get("TotalProcesses") or 0)
    return {
        "name": found.get("InstanceName") or "",
        "status": found.get("Status") or "",
        "ready": bool(total) and ready >= total,
        "restarts": int(found.get("RestartCount") or 0),
        "reason": found.get("Reason") or "",
        "host": found.get("HostIP") or "",
        "ip": found.get("InnerIP") or "",
    }


def _event(found: Mapping[str, Any]) -> str:
    message = str(found.get("Message") or "")
    # It may be plain text.
    with suppress(ValueError, KeyError, TypeError):
        message = str(json.loads(message)["message"])
    return f"{found.get('Time', '')} {found.get('Type', '')} {found.get('Reason', '')}: {message}".strip()


def _finding(found: Mapping[str, Any]) -> str:
    text = f"{found.get('Error', '')}: {'; '.join(found.get('Causes') or [])}"
    advice = " ".join(found.get("Advices") or [])
    return f"{text}. {advice}".strip() if advice else text
