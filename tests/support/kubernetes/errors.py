# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the API server answers when it refuses: a Status with the code and the reason that clients act on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from .resources import Resource


class ApiError(Exception):
    """A refusal. retry_after: seconds, sent as a header."""

    def __init__(self, code: int, reason: str, message: str, details: dict[str, Any] | None = None, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.code, self.reason, self.message, self.details, self.retry_after = code, reason, message, details or {}, retry_after

    def status(self) -> dict[str, Any]:
        """The body: a Status of the API."""
        told = {"message": self.message, "reason": self.reason, **({"details": self.details} if self.details else {}), "code": self.code}
        return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", **told}


class Cause(NamedTuple):
    """One field that is wrong. reason: FieldValueInvalid, FieldValueRequired, FieldValueForbidden, FieldValueNotSupported."""

    field: str
    message: str
    reason: str = "FieldValueInvalid"


def details_of(resource: Resource, name: str) -> dict[str, Any]:
    return {"name": name, "kind": resource.plural, **({"group": resource.group} if resource.group else {})}


def no_such_path(*, plain: bool = False) -> ApiError:
    """plain: nothing at all is served there, and the answer is no JSON."""
    return ApiError(
        404, "" if plain else "NotFound", "404 page not found\n" if plain else "the server could not find the requested resource"
    )


def not_found(resource: Resource, name: str) -> ApiError:
    return ApiError(404, "NotFound", f'{resource.qualified} "{name}" not found', details_of(resource, name))


def already_exists(resource: Resource, name: str) -> ApiError:
    return ApiError(409, "AlreadyExists", f'{resource.qualified} "{name}" already exists', details_of(resource, name))


def modified(resource: Resource, name: str) -> ApiError:
    why = "the object has been modified; please apply your changes to the latest version and try again"
    return conflict(resource, name, why)


def conflict(resource: Resource, name: str, why: str) -> ApiError:
    message = f'Operation cannot be fulfilled on {resource.qualified} "{name}": {why}'
    return ApiError(409, "Conflict", message, details_of(resource, name))


def bad_request(message: str) -> ApiError:
    return ApiError(400, "BadRequest", message)


def unsupported_media(accepted: str) -> ApiError:
    message = f"the body of the request was in an unknown format - accepted media types include: {accepted}"
    return ApiError(415, "UnsupportedMediaType", message)


def expired(message: str = "The resourceVersion for the provided watch is too old.") -> ApiError:
    return ApiError(410, "Expired", message)


def forbidden(resource: Resource, name: str, why: str) -> ApiError:
    named = f'"{name}" ' if name else ""
    return ApiError(403, "Forbidden", f"{resource.qualified} {named}is forbidden: {why}", details_of(resource, name))


def invalid(resource: Resource, name: str, causes: Iterable[Cause]) -> ApiError:
    causes = list(causes)
    kind = f"{resource.kind}.{resource.group}" if resource.group else resource.kind
    told = ", ".join(f"{cause.field}: {cause.message}" for cause in causes)
    listed = [{"reason": cause.reason, "message": cause.message, "field": cause.field} for cause in causes]
    group = {"group": resource.group} if resource.group else {}
    named = {"name": name} if name else {}
    details = {**named, **group, "kind": resource.kind, "causes": listed}
    return ApiError(422, "Invalid", f'{kind} "{name}" is invalid: {told if len(causes) == 1 else f"[{told}]"}', details)
