# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""From a request to the verb of the API that it means."""

from __future__ import annotations

import base64
import copy
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from . import discovery, errors, patches, protobuf, selectors, tables
from .access import Access, Attributes, User
from .api import Api, Deletion, Request, Value, timestamp
from .controllers.manager import PODS, is_true
from .errors import ApiError, bad_request, no_such_path
from .queries import check_query, continued
from .resources import Resource

_VERBS = {"GET": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_REVIEWS = ("selfsubjectaccessreviews", "subjectaccessreviews", "localsubjectaccessreviews")
_LARGEST_BODY = 3 * 1024 * 1024
_STREAMS = ("exec", "attach", "portforward", "proxy")


@dataclass
class Asked:
    """A request. body: bytes as they came."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes = b""
    certificate: Mapping[str, Any] | None = None

    def flag(self, name: str) -> bool:
        return self.query.get(name) in ("true", "1")


@dataclass
class Answer:
    """body: JSON, or text as it is. stream: (target, user) of what is no single answer: a watch, exec, port-forward or proxy."""

    code: int = 200
    body: Any = None
    media: str = "application/json"
    warnings: list[str] = field(default_factory=list)
    stream: Target | None = None


@dataclass(frozen=True)
class Target:
    """What a path names. rest: what follows a proxy's name."""

    resource: Resource
    namespace: str | None = None
    name: str = ""
    subresource: str = ""
    rest: str = ""
    verb: str = ""


def read_body(asked: Asked) -> Any:
    """Raises ApiError."""
    if not asked.body:
        return {}
    if len(asked.body) > _LARGEST_BODY:
        raise ApiError(413, "RequestEntityTooLarge", f"Request entity too large: limit is {_LARGEST_BODY}")
    if asked.body.startswith(protobuf.MAGIC):
        return protobuf.decode(asked.body)
    if "cbor" in asked.headers.get("content-type", ""):
        raise errors.unsupported_media("application/json, application/yaml, application/vnd.kubernetes.protobuf")
    try:
        return json.loads(asked.body) if asked.body[:1] in b"{[" else yaml.safe_load(asked.body)
    except (ValueError, yaml.YAMLError) as error:
        raise bad_request(f"error decoding the body: {error}") from error


class Routes:
    """evict: what an eviction does beyond a deletion is here; log: (pod, container, previous) → text."""

    def __init__(self, api: Api, access: Access, version: str, log: Callable[[Value, Value, bool], str]) -> None:
        self.api, self.access, self.version = api, access, version
        self._log = log

    def answer(self, asked: Asked) -> Answer:
        """Raises ApiError."""
        user = self.access.user(asked.headers, asked.certificate)
        parts = [part for part in asked.path.split("/") if part]
        fixed = self._fixed(asked, parts)
        if fixed is not None:
            self.access.check(user, Attributes("get", path=asked.path), None)
            return fixed
        target = self._target(asked, parts)
        plural = f"{target.resource.plural}/{target.subresource}" if target.subresource else target.resource.plural
        where = Attributes(target.verb, target.resource.group, plural, target.namespace or "", target.name)
        with self.api.store.lock:
            self.access.check(user, where, target.resource)
        check_query(target.verb, asked.query, applies=_media(asked) == patches.APPLY_PATCH)
        if target.verb == "watch" or target.subresource in _STREAMS:
            return Answer(stream=target)
        with self.api.store.lock:
            answer = self._resource(asked, target, user)
        answer.warnings += self._deprecations(target)
        return answer

    def _deprecations(self, target: Target) -> list[str]:
        if target.resource.key == ("", "endpoints") and int(self.version.partition(".")[2]) >= 33:
            return ["v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"]
        return []

    # --- what is no resource

    def _fixed(self, asked: Asked, parts: list[str]) -> Answer | None:
        if parts in (["healthz"], ["livez"], ["readyz"]):
            return Answer(body="ok", media="text/plain")
        if parts == ["version"]:
            return Answer(body=self._version())
        whole = self._discovery(asked, parts)
        if whole is not None:
            return whole
        if parts == ["openapi", "v2"]:
            return Answer(body=discovery.openapi_v2(self.api.registry), media=discovery.PROTOBUF_V2)
        if parts[:2] == ["openapi", "v3"]:
            return Answer(body=self._openapi(parts[2:]))
        return None

    def _version(self) -> dict[str, str]:
        major, minor = self.version.split(".")
        names = {"gitVersion": f"v{self.version}.0", "gitCommit": "0" * 40, "gitTreeState": "clean", "buildDate": "2026-01-01T00:00:00Z"}
        return {"major": major, "minor": minor, **names, "goVersion": "go1.26", "compiler": "gc", "platform": "linux/amd64"}

    def _discovery(self, asked: Asked, parts: list[str]) -> Answer | None:
        registry, accepted = self.api.registry, asked.headers.get("accept", "").replace(" ", "")
        whole = "as=APIGroupDiscoveryList" in accepted and "v=v2," in f"{accepted},".replace(";", ",")
        if parts == ["api"]:
            body = discovery.aggregated(registry, [""]) if whole else discovery.core_versions()
            return Answer(body=body, media=discovery.AGGREGATED if whole else "application/json")
        if parts == ["apis"]:
            body = discovery.aggregated(registry, registry.groups()) if whole else discovery.group_list(registry)
            return Answer(body=body, media=discovery.AGGREGATED if whole else "application/json")
        if parts[:1] == ["apis"] and len(parts) == 2 and parts[1] in registry.groups():
            return Answer(body=discovery.group(registry, parts[1]))
        group, version = ("", parts[1]) if parts[:1] == ["api"] and len(parts) == 2 else ("", "")
        if parts[:1] == ["apis"] and len(parts) == 3:
            group, version = parts[1], parts[2]
        if version and registry.of(group, version):
            return Answer(body=discovery.resource_list(registry, group, version))
        return None

    def _openapi(self, parts: list[str]) -> Any:
        if not parts:
            return discovery.openapi_index(self.api.registry)
        if parts[0] == "api" and len(parts) == 2:
            return discovery.openapi(self.api.registry, "", parts[1], self.version)
        if parts[0] == "apis" and len(parts) == 3:
            return discovery.openapi(self.api.registry, parts[1], parts[2], self.version)
        raise no_such_path()

    # --- resources

    def _target(self, asked: Asked, parts: list[str]) -> Target:
        """Raises ApiError for a path that names nothing."""
        head = 2 if parts[:1] == ["api"] else 3
        if parts[:1] not in (["api"], ["apis"]) or len(parts) <= head or (head == 3 and parts[1] not in self.api.registry.groups()):
            raise no_such_path(plain=True)
        group, version, rest = ("", parts[1], parts[2:]) if head == 2 else (parts[1], parts[2], parts[3:])
        namespace = None
        if rest[0] == "namespaces" and len(rest) > 2 and self.api.registry.get(group, version, rest[2]):
            namespace, rest = rest[1], rest[2:]
        resource = self.api.registry.get(group, version, rest[0])
        if resource is None:
            raise no_such_path()
        name, subresource = [*rest[1:3], "", ""][:2]
        if subresource and subresource not in resource.subresources:
            raise no_such_path()
        return Target(resource, namespace, name, subresource, "/".join(rest[3:]), self._verb(asked, name, subresource))

    @staticmethod
    def _verb(asked: Asked, name: str, subresource: str) -> str:
        if asked.method == "GET" and not name:
            return "watch" if asked.flag("watch") else "list"
        if asked.method == "GET" and asked.flag("watch") and not subresource:
            return "watch"
        if asked.method == "DELETE" and not name:
            return "deletecollection"
        if asked.method not in _VERBS:
            raise ApiError(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")
        return _VERBS[asked.method]

    def _resource(self, asked: Asked, target: Target, user: User) -> Answer:
        verbs = target.resource.subresources[target.subresource][1] if target.subresource else target.resource.verbs
        if target.verb not in verbs:
            raise ApiError(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")
        special = self._special(asked, target, user)
        if special is not None:
            return special
        handlers = {
            "get": self._get, "list": self._list, "create": self._create, "update": self._update, "patch": self._patch,
            "delete": self._delete, "deletecollection": self._delete_all,
        }  # fmt: skip
        return handlers[target.verb](asked, target)

    def _special(self, asked: Asked, target: Target, user: User) -> Answer | None:
        """What is not about stored objects, or only about a part of one."""
        if target.resource.plural in _REVIEWS:
            return Answer(201, {**_kind_of(target.resource), **self._access_review(read_body(asked), user)})
        if target.resource.plural == "selfsubjectreviews":
            told = {"userInfo": {"username": user.name, "groups": list(user.groups)}}
            return Answer(201, {**_kind_of(target.resource), "metadata": {}, **read_body(asked), "status": told})
        handlers = {"log": self._pod_log, "token": self._token, "eviction": self._evict, "scale": self._scale}
        handler = handlers.get(target.subresource)
        return handler(asked, target) if handler else None

    def _token(self, asked: Asked, target: Target) -> Answer:
        self.api.get(target.resource, target.namespace, target.name)
        token = self.access.account_token(target.namespace or "", target.name)
        return Answer(201, {**read_body(asked), "status": {"token": token, "expirationTimestamp": timestamp()}})

    def _access_review(self, review: Value, user: User) -> Value:
        spec = review.get("spec") or {}
        whom = User(spec["user"], spec.get("groups") or []) if spec.get("user") else user
        about = spec.get("resourceAttributes") or {}
        plural = about.get("resource", "") + (f"/{about['subresource']}" if about.get("subresource") else "")
        path = (spec.get("nonResourceAttributes") or {}).get("path", "")
        verb = about.get("verb") or (spec.get("nonResourceAttributes") or {}).get("verb", "")
        asked = Attributes(verb, about.get("group", ""), plural, about.get("namespace", ""), about.get("name", ""), path)
        return {**review, "metadata": {}, "status": {"allowed": self.access.allowed(whom, asked)}}

    # --- reading

    def _shown(self, asked: Asked, target: Target, value: Value) -> Any:
        """In the version that is asked for, as a table or as metadata alone."""
        value = self.in_version(target.resource, value)
        accepted = asked.headers.get("accept", "").replace(" ", "")
        if "as=Table;" in f"{accepted};".replace(",", ";") and "metadata" in value:
            return tables.table(target.resource, [value], {"resourceVersion": value["metadata"].get("resourceVersion", "")})
        if "as=PartialObjectMetadata;" in f"{accepted};".replace(",", ";"):
            return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": value["metadata"]}
        return value

    @staticmethod
    def in_version(resource: Resource, value: Value) -> Value:
        if value.get("kind") == resource.kind and value.get("apiVersion") != resource.api_version:
            return {**value, "apiVersion": resource.api_version}
        return value

    def _get(self, asked: Asked, target: Target) -> Answer:
        return Answer(body=self._shown(asked, target, self.api.get(target.resource, target.namespace, target.name)))

    def selected(self, asked: Asked, target: Target) -> Callable[[Value], bool]:
        """A test for the objects that the request is about. Raises ApiError."""
        tests = [
            selectors.labels(asked.query.get("labelSelector", "")),
            selectors.fields(target.resource.key, asked.query.get("fieldSelector", "")),
        ]
        if target.name:
            tests.append(lambda value: value["metadata"]["name"] == target.name)
        return lambda value: (
            (target.namespace is None or value["metadata"].get("namespace") == target.namespace) and all(test(value) for test in tests)
        )

    def _list(self, asked: Asked, target: Target) -> Answer:
        """A continued list goes on after the last name; the version is that of its first part."""
        store, wanted = self.api.store, self.selected(asked, target)
        version, after = str(store.version), ("", "")
        if asked.query.get("continue"):
            version, after = continued(asked.query["continue"])
            store.changes(target.resource.key, int(version))
        values = [value for value in store.all(target.resource.key, target.namespace) if wanted(value)]
        values = [value for value in values if _place(value) > after or not any(after)]
        metadata: dict[str, Any] = {"resourceVersion": version}
        limit = int(asked.query.get("limit") or 0)
        if limit and len(values) > limit:
            if not asked.query.get("labelSelector") and not asked.query.get("fieldSelector"):
                metadata["remainingItemCount"] = len(values) - limit
            values = values[:limit]
            metadata["continue"] = base64.b64encode(json.dumps([version, *_place(values[-1])]).encode()).decode()
        return Answer(body=self._shown_list(asked, target, [self.in_version(target.resource, each) for each in values], metadata))

    @staticmethod
    def _shown_list(asked: Asked, target: Target, values: list[Value], metadata: Value) -> Any:
        accepted = asked.headers.get("accept", "").replace(" ", "")
        if "as=Table;" in f"{accepted};".replace(",", ";"):
            return tables.table(target.resource, values, metadata)
        if "as=PartialObjectMetadataList;" in f"{accepted};".replace(",", ";"):
            partial = {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1"}
            items = [{**partial, "metadata": each["metadata"]} for each in values]
            return {"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": metadata, "items": items}
        if not target.resource.custom:
            values = [{name: each for name, each in value.items() if name not in ("apiVersion", "kind")} for value in values]
        return {"kind": f"{target.resource.kind}List", "apiVersion": target.resource.api_version, "metadata": metadata, "items": values}

    # --- writing

    @staticmethod
    def _how(asked: Asked, target: Target) -> Request:
        agent = asked.headers.get("user-agent", "unknown").partition("/")[0]
        mode = asked.query.get("fieldValidation") or "Warn"
        return Request(
            manager=asked.query.get("fieldManager") or agent, dry_run=asked.query.get("dryRun") == "All", validation=mode,
            force=asked.flag("force"), subresource=target.subresource if target.subresource in ("status", "scale") else "",
        )  # fmt: skip

    def _create(self, asked: Asked, target: Target) -> Answer:
        if target.name:
            raise ApiError(405, "MethodNotAllowed", f"the stand-in does not serve {target.resource.plural}/{target.subresource}")
        resource, value, how = target.resource, read_body(asked), self._how(asked, target)
        if not value or not isinstance(value, dict):
            raise bad_request(f"the object provided is unrecognized (must be of type {resource.kind}): couldn't get version/kind")
        version, kind = value.get("apiVersion", resource.api_version), value.get("kind", resource.kind)
        if version != resource.api_version:
            raise bad_request(f"the API version in the data ({version}) does not match the expected API version ({resource.api_version})")
        if kind != resource.kind:
            raise bad_request(f'{kind} in version "{resource.version}" cannot be handled as a {resource.kind}: unknown conversion')
        metadata = value.setdefault("metadata", {})
        if target.namespace:
            if metadata.get("namespace", target.namespace) not in ("", target.namespace):
                raise bad_request("the namespace of the provided object does not match the namespace sent on the request")
            metadata["namespace"] = target.namespace
        made = self.api.create(resource, value, how)
        return Answer(201, self._shown(asked, target, made), warnings=how.warnings)

    def _update(self, asked: Asked, target: Target) -> Answer:
        value, how = read_body(asked), self._how(asked, target)
        said = (value.get("metadata") or {}).get("name", target.name)
        if said != target.name:
            raise bad_request(f"the name of the object ({said}) does not match the name on the URL ({target.name})")
        live = self.api.get(target.resource, target.namespace, target.name)
        if target.resource.custom and not (value.get("metadata") or {}).get("resourceVersion"):
            cause = errors.Cause("metadata.resourceVersion", "Invalid value: 0: must be specified for an update")
            raise errors.invalid(target.resource, target.name, [cause])
        return Answer(body=self._shown(asked, target, self.api.update(target.resource, live, value, how)), warnings=how.warnings)

    def _patch(self, asked: Asked, target: Target) -> Answer:
        how = self._how(asked, target)
        if target.resource.namespaced:
            self.api.admission.namespace(target.resource, target.name, target.namespace, creates=False)
        place, kind = (target.namespace or "", target.name), _media(asked)
        value, made = self.api.patch(target.resource, place, kind, read_body(asked), how)
        return Answer(201 if made else 200, self._shown(asked, target, value), warnings=how.warnings)

    def _deletion(self, asked: Asked, target: Target) -> Deletion:
        options, conditions = read_body(asked), {}
        conditions = options.get("preconditions") or {}
        policy = options.get("propagationPolicy") or asked.query.get("propagationPolicy") or "Background"
        if policy not in ("Foreground", "Background", "Orphan"):
            told = f'Unsupported value: "{policy}": supported values: "Foreground", "Background", "Orphan", "nil"'
            raise ApiError(422, "Invalid", f'DeleteOptions.meta.k8s.io "" is invalid: propagationPolicy: {told}')
        if options.get("orphanDependents") or asked.flag("orphanDependents"):
            policy = "Orphan"
        grace = options.get("gracePeriodSeconds", asked.query.get("gracePeriodSeconds"))
        dry_run = asked.query.get("dryRun") == "All" or "All" in (options.get("dryRun") or [])
        return Deletion(
            policy, None if grace is None else int(grace), conditions.get("uid", ""), conditions.get("resourceVersion", ""), dry_run
        )

    def _delete(self, asked: Asked, target: Target) -> Answer:
        value = self.api.get(target.resource, target.namespace, target.name)
        options = self._deletion(asked, target)
        left = self.api.delete(target.resource, value, options)
        if left is not None and (left is not value or not options.dry_run):
            return Answer(body=self._shown(asked, target, left))
        details = {**errors.details_of(target.resource, target.name), "uid": value["metadata"]["uid"]}
        return Answer(body={"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details})

    def _delete_all(self, asked: Asked, target: Target) -> Answer:
        options, wanted = self._deletion(asked, target), self.selected(asked, target)
        values = [value for value in self.api.store.all(target.resource.key, target.namespace) if wanted(value)]
        for value in values:
            self.api.delete(target.resource, value, options)
        return Answer(body=self._shown_list(asked, target, values, {"resourceVersion": str(self.api.store.version)}))

    # --- subresources

    def _scale(self, asked: Asked, target: Target) -> Answer:
        resource, how = target.resource, self._how(asked, target)
        live = self.api.get(resource, target.namespace, target.name)
        scale = _scale_of(live)
        if target.verb == "get":
            return Answer(body=scale)
        if target.verb == "patch":
            kind, patch = _media(asked), read_body(asked)
            merged = patches.json_patch(scale, patch) if kind == patches.JSON_PATCH else patches.merge_patch(scale, patch)
        else:
            merged = read_body(asked)
        wanted = (merged.get("spec") or {}).get("replicas", 0)
        version = (merged.get("metadata") or {}).get("resourceVersion")
        if version and version != live["metadata"]["resourceVersion"]:
            raise errors.modified(resource, target.name)
        new = copy.deepcopy(live)
        new["spec"]["replicas"] = wanted
        return Answer(body=_scale_of(self.api.update(resource, live, new, how)))

    def _evict(self, asked: Asked, target: Target) -> Answer:
        """Raises ApiError (429) when a disruption budget forbids it."""
        pod = self.api.get(target.resource, target.namespace, target.name)
        for each in self.api.store.all(("policy", "poddisruptionbudgets"), target.namespace):
            concerned = selectors.matches(each["spec"].get("selector"), pod["metadata"].get("labels") or {}) and is_true(pod, "Ready")
            if concerned and not (each.get("status") or {}).get("disruptionsAllowed"):
                told = "Cannot evict pod as it would violate the pod's disruption budget."
                raise ApiError(429, "TooManyRequests", told, {"causes": [{"reason": "DisruptionBudget", "message": told}]}, retry_after=1)
        grace = ((read_body(asked).get("deleteOptions")) or {}).get("gracePeriodSeconds")
        self.api.delete(self.api.registry.preferred(*PODS), pod, Deletion(grace=grace))
        return Answer(201, {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"})

    def _pod_log(self, asked: Asked, target: Target) -> Answer:
        pod = self.api.get(target.resource, target.namespace, target.name)
        containers = [*(pod["spec"].get("initContainers") or []), *pod["spec"]["containers"]]
        mains = pod["spec"]["containers"]
        name = asked.query.get("container") or (mains[0]["name"] if len(mains) == 1 else "")
        if not name:
            names = " ".join(each["name"] for each in mains)
            raise bad_request(f"a container name must be specified for pod {target.name}, choose one of: [{names}]")
        container = next((each for each in containers if each["name"] == name), None)
        if container is None:
            raise bad_request(f"container {name} is not valid for pod {target.name}")
        states = (pod.get("status") or {}).get("containerStatuses") or []
        waiting = next((each["state"].get("waiting") for each in states if each["name"] == name), None)
        if waiting and waiting["reason"] != "CrashLoopBackOff":
            raise bad_request(f'container "{name}" in pod "{target.name}" is waiting to start: {waiting["reason"]}')
        lines = self._log(pod, container, asked.flag("previous")).splitlines(keepends=True)
        if "tailLines" in asked.query:
            lines = lines[-int(asked.query["tailLines"]) :] if int(asked.query["tailLines"]) else []
        return Answer(body="".join(lines), media="text/plain")


def _kind_of(resource: Resource) -> Value:
    return {"apiVersion": resource.api_version, "kind": resource.kind}


def _media(asked: Asked) -> str:
    return asked.headers.get("content-type", "").partition(";")[0]


def _place(value: Value) -> tuple[str, str]:
    return value["metadata"].get("namespace") or "", value["metadata"]["name"]


def _scale_of(value: Value) -> dict[str, Any]:
    names = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    metadata = {name: value["metadata"][name] for name in names if name in value["metadata"]}
    labels = (value["spec"].get("selector") or {}).get("matchLabels") or {}
    status = {
        "replicas": (value.get("status") or {}).get("replicas", 0),
        "selector": ",".join(f"{name}={each}" for name, each in labels.items()),
    }
    spec = {"replicas": value["spec"].get("replicas", 0)}
    return {"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata, "spec": spec, "status": status}
