# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The services of a region, as eas_service_info tells them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..core.errors import InputError
from ..core.redaction import Redactor
from ..core.wait import Clock
from . import shown
from .base import EXPLAIN, Backend
from .build import check_abilities
from .connect import connect
from .service import secrets_of
from .state import Service

Options = Mapping[str, Any]


def read_services(options: Options, clock: Clock | None = None) -> dict[str, Any]:
    """options: as the module has them. Raises a ServingError."""
    if options["log_lines"] < 1:
        raise InputError(f"{options['log_lines']} is below 1", where="log_lines", remedy="Give 1 or more.")
    connected = connect(options, clock or Clock())
    backend = connected.backend
    asked = next((name for name in ("events", "logs") if options[name]), "")
    check_abilities(backend, {EXPLAIN: asked} if asked else {})
    found = [service for name in _names(backend, options) if (service := backend.find(name)) is not None and _fits(service, options)]
    return {"backend": backend.name, "backend_reason": connected.reason, "services": [_told(backend, each, options) for each in found]}


def _names(backend: Backend, options: Options) -> list[str]:
    there = backend.names()
    wanted = options["names"]
    return sorted(set(there) & set(wanted) if wanted else there)


def _fits(service: Service, options: Options) -> bool:
    labels = {str(key): str(value) for key, value in (options["labels"] or {}).items()}
    statuses = [status.lower() for status in options["statuses"]]
    return labels.items() <= dict(service.labels).items() and (not statuses or service.status.lower() in statuses)


def _told(backend: Backend, service: Service, options: Options) -> dict[str, Any]:
    hide = Redactor((service.token, *secrets_of(options)))
    told = shown.facts(service, service.name, access=options["access"], open_token=options["return_token"], secrets=secrets_of(options))
    more: dict[str, Any] = {}
    if options["instances"]:
        more["instances_info"] = backend.instances(service.name)
    if options["versions"]:
        more["versions_info"] = backend.versions(service)
    if options["events"]:
        more["events"], more["diagnosis"] = backend.events(service.name), backend.diagnosis(service.name)
    if options["logs"]:
        more["logs"] = backend.logs(service.name, options["log_lines"])
    return {**told, **hide.value(more)}
