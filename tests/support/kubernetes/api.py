# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The verbs of the API on stored objects: create, update, patch, apply, delete, with all that the server does in between."""

from __future__ import annotations

import base64
import copy
import json
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from datetime import datetime, timezone
from typing import Any

from . import defaults, errors, fields, ownership, patches, validation
from .admission import Admission
from .errors import ApiError, bad_request, invalid
from .ownership import Owner, Ownership
from .resources import Registry, Resource
from .schemas import Schemas, examine, normalize
from .store import Key, Name, Store
from .words import random_suffix

Value = dict[str, Any]
_SYSTEM_FIELDS = ("name", "namespace", "uid", "creationTimestamp", "generation", "deletionTimestamp", "deletionGracePeriodSeconds")
# Built-in kinds whose generation counts changes of the spec.
_COUNTED_GROUPS = {"apps", "batch", "policy", "networking.k8s.io", "apiextensions.k8s.io", "admissionregistration.k8s.io"}


def timestamp() -> str:
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass
class Request:
    """How to write. validation: Strict, Warn or Ignore. manager: the name in managedFields. warnings: what the answer's headers tell.

    patch: what the client sent, where that was a patch.
    """

    manager: str = "unknown"
    dry_run: bool = False
    validation: str = "Strict"
    force: bool = False
    subresource: str = ""
    patch: Any = None
    warnings: list[str] = dataclass_field(default_factory=list)

    def owner(self, resource: Resource, operation: str = "Update") -> Owner:
        return Owner(self.manager, operation, resource.api_version, self.subresource)


@dataclass(frozen=True)
class Deletion:
    """DeleteOptions. policy: Background, Foreground or Orphan. grace: seconds, None for the pod's own."""

    policy: str = "Background"
    grace: int | None = None
    uid: str = ""
    resource_version: str = ""
    dry_run: bool = False


class Api:
    """The store's lock is held by whoever calls."""

    def __init__(self, store: Store, registry: Registry, schemas: Schemas) -> None:
        self.store, self.registry, self.schemas = store, registry, schemas
        self.admission = Admission(store)

    # --- reading

    def get(self, resource: Resource, namespace: str | None, name: str) -> Value:
        found = self.store.get(resource.key, namespace, name)
        if found is None:
            raise errors.not_found(resource, name)
        return found

    def find(self, key: Key, namespace: str | None, name: str) -> Value | None:
        return self.store.get(key, namespace, name)

    # --- create and update

    def create(self, resource: Resource, value: Value, request: Request, owners: Ownership | None = None) -> Value:
        """owners: of a server-side apply. Raises ApiError."""
        metadata = value.setdefault("metadata", {})
        if not metadata.get("name") and metadata.get("generateName"):
            metadata["name"] = metadata["generateName"] + random_suffix()
        name = metadata.get("name", "")
        if not name:
            raise invalid(
                resource, "", [errors.Cause("metadata.name", "Required value: name or generateName is required", "FieldValueRequired")]
            )
        self.admission.namespace(resource, name, metadata.get("namespace"), creates=True)
        if self.store.get(resource.key, metadata.get("namespace"), name):
            raise errors.already_exists(resource, name)
        if metadata.get("resourceVersion"):
            raise bad_request("resourceVersion should not be set on objects to be created")
        for each in ("selfLink", "managedFields", "deletionTimestamp", "generation"):
            metadata.pop(each, None)
        metadata.update(uid=str(uuid.uuid4()), creationTimestamp=timestamp())
        if "status" in resource.subresources and request.manager != "internal":
            value.pop("status", None)
        written = value
        value, causes = self._decoded(resource, value, request)
        # What admission adds is nobody's.
        decoded = copy.deepcopy(value)
        value = self._admitted(resource, value, None, causes, request)
        if resource.custom or resource.group in _COUNTED_GROUPS:
            value["metadata"]["generation"] = 1
        if owners is None:
            decoded = _without_allocated(written, decoded) if resource.key == ("", "services") else decoded
            owners = ownership.after_update(self.schemas.of(resource), None, decoded, {}, request.owner(resource))
        ownership.write(value, owners if request.manager != "internal" else {}, timestamp())
        return value if request.dry_run else self.store.write(resource, value)

    def update(self, resource: Resource, old: Value, new: Value, request: Request, owners: Ownership | None = None) -> Value:
        """Puts `new` in the place of `old`. What changes nothing writes nothing. Raises ApiError."""
        self._check_identity(resource, old, new)
        new = self._overlay(resource, old, new, request.subresource)
        if request.subresource != "status":
            new = self._prepare(resource, new, old, request)
        told = new["metadata"].pop("managedFields", None)
        told = None if told == old["metadata"].get("managedFields") else told
        if _bare(new) == _bare(old) and (owners is None or owners == ownership.read(old)) and not told:
            return old
        if "generation" in old["metadata"] and _spec(new) != _spec(old):
            new["metadata"]["generation"] = old["metadata"]["generation"] + 1
        if owners is None:
            owners = self._owners(resource, old, new, told, request)
        new["metadata"]["managedFields"] = copy.deepcopy(old["metadata"].get("managedFields") or [])
        ownership.write(new, owners, timestamp())
        if request.dry_run:
            return new
        self.store.write(resource, new)
        if (
            new["metadata"].get("deletionTimestamp")
            and not new["metadata"].get("finalizers")
            and resource.plural not in ("pods", "namespaces")
        ):
            self.store.delete(resource, new)
        return new

    def _owners(self, resource: Resource, old: Value, new: Value, told: Any, request: Request) -> Ownership:
        """Who owns what after an update. told: managedFields as the client wrote them, when it did."""
        known = ownership.read({"metadata": {"managedFields": told}} if told else old)
        if request.manager == "internal":
            return known
        return ownership.after_update(self.schemas.of(resource), old, new, known, request.owner(resource))

    @staticmethod
    def _check_identity(resource: Resource, old: Value, new: Value) -> None:
        metadata, before = new.setdefault("metadata", {}), old["metadata"]
        if metadata.get("name", before["name"]) != before["name"]:
            raise bad_request(f"the name of the object ({metadata['name']}) does not match the name on the URL ({before['name']})")
        if metadata.get("resourceVersion") and metadata["resourceVersion"] != before["resourceVersion"]:
            raise errors.modified(resource, before["name"])
        if metadata.get("uid") and metadata["uid"] != before["uid"]:
            why = f"Precondition failed: UID in precondition: {metadata['uid']}, UID in object meta: {before['uid']}"
            raise errors.conflict(resource, before["name"], why)

    @staticmethod
    def _overlay(resource: Resource, old: Value, new: Value, subresource: str) -> Value:
        """Keeps what a client cannot change by this request."""
        if subresource == "status":
            kept = {**copy.deepcopy(old), "status": new.get("status", {})}
        else:
            kept = dict(new)
            if "status" in resource.subresources:
                kept.pop("status", None)
                if "status" in old:
                    kept["status"] = copy.deepcopy(old["status"])
        metadata = {name: each for name, each in kept["metadata"].items() if name not in _SYSTEM_FIELDS}
        system = {name: old["metadata"][name] for name in (*_SYSTEM_FIELDS, "resourceVersion") if name in old["metadata"]}
        return {**kept, "metadata": {**metadata, **system}}

    def _prepare(self, resource: Resource, value: Value, old: Value | None, request: Request) -> Value:
        """Decoding, defaults, admission and validation, in this order."""
        value, causes = self._decoded(resource, value, request)
        return self._admitted(resource, value, old, causes, request)

    def _decoded(self, resource: Resource, value: Value, request: Request) -> tuple[Value, list[errors.Cause]]:
        """A copy with its defaults, and what is wrong with it by the schema. Raises ApiError."""
        value = {**value, "apiVersion": resource.api_version, "kind": resource.kind}
        if request.manager == "internal":
            value = copy.deepcopy(value)
            defaults.fill(resource, value)
            return value, []
        found = examine(self.schemas, resource, value)
        if found.undecodable:
            told = f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}: '
            raise bad_request(told + found.undecodable[0])
        if resource.key == ("", "secrets"):
            _check_base64(value)
        value = self._normal(resource, value, found.unknown)
        self._report_unknown(resource, sorted(set(found.unknown)), request)
        if not found.causes:
            defaults.fill(resource, value)
        return value, found.causes

    def _admitted(self, resource: Resource, value: Value, old: Value | None, causes: list[errors.Cause], request: Request) -> Value:
        """Raises ApiError."""
        if request.manager == "internal":
            self.admission.admit(resource, value, old, lambda _warning: None)
            return value
        if not causes:
            self.admission.admit(resource, value, old, request.warnings.append)
            request.warnings += validation.warnings(resource, value)
            causes = validation.problems(resource, value, old)
        if causes:
            raise invalid(resource, value["metadata"].get("name", ""), causes)
        return value

    def _normal(self, resource: Resource, value: Value, unknown: list[str]) -> Value:
        """Raises ApiError."""
        try:
            kept: Value = normalize(self.schemas.of(resource), value, unknown, custom=resource.custom)
        except ValueError as error:
            raise bad_request(f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}: {error}') from error
        return kept

    @staticmethod
    def _report_unknown(resource: Resource, unknown: list[str], request: Request) -> None:
        told = [f'unknown field "{name}"' for name in unknown]
        if told and request.validation == "Strict" and request.patch is not None:
            written = json.dumps(json.dumps(request.patch))
            raise ApiError(422, "Invalid", f' "" is invalid: patch: Invalid value: {written}: strict decoding error: {", ".join(told)}')
        if told and request.validation == "Strict":
            kind = f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}'
            raise bad_request(f"{kind}: strict decoding error: {', '.join(told)}")
        if request.validation == "Warn":
            request.warnings += told

    # --- patches

    def patch(self, resource: Resource, place: Name, kind: str, patch: Any, request: Request) -> tuple[Value, bool]:
        """The object afterwards, and whether it was made. Raises ApiError."""
        namespace, name = place
        live = self.store.get(resource.key, namespace, name)
        if kind == patches.APPLY_PATCH:
            return self._apply(resource, live, place, patch, request)
        if live is None:
            raise errors.not_found(resource, name)
        request.patch = patch
        return self.update(resource, live, self.patched(resource, live, kind, patch), request), False

    def patched(self, resource: Resource, live: Value, kind: str, patch: Any) -> Value:
        """`live` with a patch of one of the three kinds."""
        base = copy.deepcopy(live)
        if kind == patches.JSON_PATCH:
            return patches.json_patch(base, patch)
        if kind == patches.MERGE_PATCH:
            return patches.merge_patch(base, patch)
        if kind == patches.STRATEGIC_PATCH and not resource.custom:
            return patches.strategic_merge(self.schemas.of(resource), base, patch)
        accepted = [patches.JSON_PATCH, patches.MERGE_PATCH, patches.APPLY_PATCH]
        raise errors.unsupported_media(", ".join(accepted))

    def _apply(self, resource: Resource, live: Value | None, place: Name, wanted: Value, request: Request) -> tuple[Value, bool]:
        namespace, name = place
        if not wanted.get("kind") or not wanted.get("apiVersion"):
            raise bad_request(f"invalid object type: /, Kind={wanted.get('kind', '')}")
        wanted.setdefault("metadata", {}).setdefault("name", name)
        if wanted["metadata"].get("managedFields"):
            raise bad_request("metadata.managedFields must be nil")
        if namespace:
            wanted["metadata"]["namespace"] = namespace
        found = examine(self.schemas, resource, wanted)
        told = f"failed to create typed patch object ({namespace}/{name}; {resource.api_version}, Kind={resource.kind})"
        if found.undecodable:
            raise ApiError(500, "InternalError", f"{told}: {found.undecodable[0]}")
        if found.unknown and not resource.custom:
            raise ApiError(500, "InternalError", f"{told}: .{found.unknown[0]}: field not declared in schema")
        schema = self.schemas.of(resource)
        wanted = self._normal(resource, wanted, [])
        for path, key in fields.duplicates(schema, wanted):
            raise ApiError(500, "InternalError", f"{told}: {path}: duplicate entries for key {key}")
        owner = request.owner(resource, "Apply")
        new, owners = ownership.server_side_apply(schema, live, wanted, owner, force=request.force)
        if live is None:
            return self.create(resource, new, request, owners), True
        new["metadata"].pop("managedFields", None)
        return self.update(resource, live, new, request, owners), False

    # --- delete

    def delete(self, resource: Resource, value: Value, options: Deletion) -> Value | None:
        """What is left of the object: None when it is gone. Raises ApiError."""
        metadata = value["metadata"]
        if options.uid and options.uid != metadata["uid"]:
            told = f"Precondition failed: UID in precondition: {options.uid}, UID in object meta: {metadata['uid']}"
            raise errors.conflict(resource, metadata["name"], told)
        if options.resource_version and options.resource_version != metadata["resourceVersion"]:
            told = f"Precondition failed: ResourceVersion in precondition: {options.resource_version}"
            raise errors.conflict(resource, metadata["name"], told)
        if options.dry_run:
            return value
        going = copy.deepcopy(value)
        finalizers = list(metadata.get("finalizers") or [])
        extra = {"Foreground": "foregroundDeletion", "Orphan": "orphan"}.get(options.policy)
        if extra and extra not in finalizers:
            finalizers.append(extra)
            going["metadata"]["finalizers"] = finalizers
        grace = self._grace(resource, value, options)
        if not finalizers and not grace and resource.key != ("", "namespaces"):
            self.store.delete(resource, value)
            return None
        if "deletionTimestamp" not in metadata and "generation" in metadata:
            going["metadata"]["generation"] = metadata["generation"] + 1
        going["metadata"].setdefault("deletionTimestamp", timestamp())
        going["metadata"]["deletionGracePeriodSeconds"] = grace
        if resource.key == ("", "namespaces"):
            going["status"] = {**going.get("status", {}), "phase": "Terminating"}
        return value if going == value else self.store.write(resource, going)

    @staticmethod
    def _grace(resource: Resource, value: Value, options: Deletion) -> int:
        if resource.key != ("", "pods") or not value["spec"].get("nodeName"):
            return 0
        if (value.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
            return 0
        return options.grace if options.grace is not None else int(value["spec"].get("terminationGracePeriodSeconds", 30))

    # --- what controllers do

    def edit(self, resource: Resource, value: Value, change: Callable[[Value], None]) -> Value:
        """Changes an object as a controller does: past ownership, not past the counting of generations."""
        new = copy.deepcopy(value)
        change(new)
        return self.update(resource, value, new, Request("internal"))

    def set_status(self, resource: Resource, value: Value, status: Mapping[str, Any]) -> Value:
        """Conditions that stay keep their times."""
        before = {each["type"]: each for each in (value.get("status") or {}).get("conditions") or []}
        conditions = [_kept(before.get(each["type"]), each) for each in status.get("conditions") or []]
        new = {**value, "status": {**status, **({"conditions": conditions} if conditions else {})}}
        if new["status"] == value.get("status"):
            return value
        return self.store.write(resource, copy.deepcopy(new))


_ALLOCATED = ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy")


def _without_allocated(given: Value, service: Value) -> Value:
    """What the server gave a service is nobody's."""
    asked = given.get("spec") or {}
    spec = {name: each for name, each in service["spec"].items() if name in asked or name not in _ALLOCATED}
    pairs = zip(spec.get("ports") or [], asked.get("ports") or [])
    ports = [{name: each for name, each in port.items() if name != "nodePort" or name in wanted} for port, wanted in pairs]
    return {**service, "spec": {**spec, **({"ports": ports} if ports else {})}}


def _check_base64(secret: Value) -> None:
    """Raises ApiError."""
    for text in (secret.get("data") or {}).values():
        try:
            base64.b64decode(text or "", validate=True)
        except ValueError as error:
            raise bad_request(f'Secret in version "v1" cannot be handled as a Secret: illegal base64 data: {error}') from error


def _kept(before: Value | None, after: Value) -> Value:
    if not before or any(before.get(name) != after.get(name) for name in ("status", "reason", "message")):
        return after
    return before


def _bare(value: Mapping[str, Any]) -> Value:
    metadata = {name: each for name, each in value["metadata"].items() if name != "managedFields"}
    return {**value, "metadata": metadata}


def _spec(value: Mapping[str, Any]) -> Value:
    return {name: each for name, each in value.items() if name not in ("metadata", "status")}
