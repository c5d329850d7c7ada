# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How results show a service: without secrets, and with the value that the other modules take as endpoint. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from ..core.redaction import MASK, Redactor, is_secret_key
from .revision import VARIABLE, revision_of
from .state import ABSENT, Service

_GRPC_PORT = 80
# EAS passes tensors on as bytes in some regions alone.
_SAME: Mapping[str, Any] = {"binary": False, "replicas": []}
_SECRET_KEYS = frozenset({"dockerAuth", "token"})
_VARIABLE_LISTS = frozenset({"processor_envs", "env"})


def facts(service: Service | None, name: str, *, access: str, open_token: bool, secrets: tuple[str, ...] = ()) -> dict[str, Any]:
    """The results of a service, None where there is none. access: see the option. open_token: whether the token is shown."""
    if service is None:
        empty: dict[str, Any] = {"service": {}, "config": {}, "revision": "", "endpoints": {}, "token": "", "triton_endpoint": {}}
        return {"name": name, "status": ABSENT, "versions": {"current": 0, "latest": 0}, **empty}
    hide = Redactor((service.token, *secrets))
    token = service.token if open_token else MASK if service.token else ""
    return {
        "name": name,
        "status": service.status,
        "service": hide.value(_service(service)),
        "config": masked(service.config, hide),
        "revision": revision_of(service.config),
        "versions": {"current": service.current, "latest": service.latest},
        "endpoints": {"internet": service.internet, "intranet": service.intranet},
        "token": token,
        "triton_endpoint": triton_endpoint(service, access, token),
    }


def _service(service: Service) -> dict[str, Any]:
    return {
        "name": service.name,
        "region": service.region,
        "status": service.status,
        "message": service.message,
        "instances": {"total": service.total, "running": service.running, "pending": service.pending},
        "weight": service.weight or 0,
        "traffic_state": service.traffic_state,
        "safety_lock": service.lock,
        "labels": dict(service.labels),
        "resource": service.resource,
        "image": service.image,
        "created": service.created,
        "updated": service.updated,
    }


def diffed(service: Service | None, secrets: tuple[str, ...] = ()) -> dict[str, Any]:
    """What the diff compares."""
    if service is None:
        return {}
    hide = Redactor((service.token, *secrets))
    instances = {} if service.autoscaler is None else {"autoscaler": dict(service.autoscaler)}
    state = {"status": service.status, "labels": dict(service.labels), "weight": service.weight or 0, "safety_lock": service.lock or "none"}
    return {**hide.value({**state, **instances, "traffic_state": service.traffic_state}), "config": masked(service.config, hide)}


def masked(value: Any, hide: Redactor, key: str = "") -> Any:
    """A configuration without secrets: known ones, those under a secret's name, and the values of variables."""
    if isinstance(value, Mapping):
        hidden = "value" if _hides_value(value, key) else None
        return {name: MASK if name == hidden else masked(item, hide, str(name)) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [masked(item, hide, key) for item in value]
    if value and not isinstance(value, bool) and (key in _SECRET_KEYS or (is_secret_key(key) and isinstance(value, str))):
        return MASK
    return hide.text(value) if isinstance(value, str) else value


def _hides_value(element: Mapping[str, Any], key: str) -> bool:
    """key: of the list that the element is in. EAS does not tell which variables are secret: any value there may have been one."""
    name = str(element.get("name", ""))
    return bool(element.get("value")) and name != VARIABLE and (key in _VARIABLE_LISTS or is_secret_key(name))


def triton_endpoint(service: Service, access: str, token: str) -> dict[str, Any]:
    """What server_info, model and infer take as endpoint; empty where the service has no such address. access: as the option."""
    url = (
        {"internet": service.internet, "intranet": service.intranet}.get(access)
        if access != "auto"
        else service.internet or service.intranet
    )
    if not url:
        return {}
    parts = urlsplit(url)
    if (service.config.get("metadata") or {}).get("enable_grpc") in (True, "true"):
        # EAS's gateway takes gRPC on this port alone, under the service's own host name, and wants another form of the token.
        grpc = f"{'grpcs' if parts.scheme == 'https' else 'grpc'}://{parts.hostname}:{parts.port or _GRPC_PORT}"
        return {"http": "", "grpc": grpc, "metrics": "", "headers": _headers(f"Bearer {token}" if token else ""), **_SAME}
    return {"http": url.rstrip("/"), "grpc": "", "metrics": "", "headers": _headers(token), **_SAME}


def _headers(token: str) -> dict[str, str]:
    return {"Authorization": token} if token else {}
