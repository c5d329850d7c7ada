# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Discovery documents and the OpenAPI of the server."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from .resources import SUBRESOURCE_GROUPS, Registry, Resource

PROTOBUF_V2 = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"


def group_version(group: str, version: str) -> str:
    return f"{group}/{version}" if group else version


def core_versions() -> dict[str, Any]:
    return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}


def group_list(registry: Registry) -> dict[str, Any]:
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [group(registry, each) for each in registry.groups()]}


def group(registry: Registry, name: str) -> dict[str, Any]:
    versions = [{"groupVersion": group_version(name, each), "version": each} for each in registry.versions(name)]
    return {"kind": "APIGroup", "apiVersion": "v1", "name": name, "versions": versions, "preferredVersion": versions[0]}


def resource_list(registry: Registry, group_name: str, version: str) -> dict[str, Any]:
    listed = []
    for each in registry.of(group_name, version):
        listed.append(
            {
                "name": each.plural, "singularName": each.singular, "namespaced": each.namespaced, "kind": each.kind,
                "verbs": list(each.verbs), "shortNames": list(each.short_names), "categories": list(each.categories),
            }
        )  # fmt: skip
        for name, (kind, verbs) in sorted(each.subresources.items()):
            place = dict(zip(("group", "version"), SUBRESOURCE_GROUPS.get(name, ())))
            listed.append(
                {
                    "name": f"{each.plural}/{name}",
                    "singularName": "",
                    "namespaced": each.namespaced,
                    "kind": kind,
                    "verbs": list(verbs),
                    **place,
                }
            )
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version(group_name, version), "resources": listed}


def aggregated(registry: Registry, groups: Sequence[str]) -> dict[str, Any]:
    """Everything in one document, as clients have asked for it since 1.26."""
    items = []
    for name in groups:
        versions = [
            {"version": version, "resources": [_aggregated(each) for each in registry.of(name, version)], "freshness": "Current"}
            for version in registry.versions(name)
        ]
        items.append({"metadata": {"name": name} if name else {}, "versions": versions})
    return {"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items}


def _aggregated(resource: Resource) -> dict[str, Any]:
    def kind(name: str, subresource: str = "") -> dict[str, str]:
        group_name, version = SUBRESOURCE_GROUPS.get(subresource, (resource.group, resource.version))
        return {"group": group_name, "version": version, "kind": name}

    return {
        "resource": resource.plural,
        "responseKind": kind(resource.kind),
        "scope": "Namespaced" if resource.namespaced else "Cluster",
        "singularResource": resource.singular,
        "verbs": list(resource.verbs),
        "shortNames": list(resource.short_names),
        "categories": list(resource.categories),
        "subresources": [
            {"subresource": name, "responseKind": kind(of, name), "verbs": list(verbs)}
            for name, (of, verbs) in sorted(resource.subresources.items())
        ],
    }


def openapi_index(registry: Registry) -> dict[str, Any]:
    """The hash changes with what is served, because clients keep the documents."""
    paths = {}
    for group_name, version in sorted({(each.group, each.version) for each in registry}):
        place = f"apis/{group_name}/{version}" if group_name else f"api/{version}"
        count = len(registry.of(group_name, version))
        paths[place] = {"serverRelativeURL": f"/openapi/v3/{place}?hash={count}"}
    return {"paths": paths}


def openapi(registry: Registry, group_name: str, version: str, server_version: str) -> dict[str, Any]:
    """Enough for helm and kubectl: every PATCH says that it takes fieldValidation and dryRun, so that they let the server validate."""
    base = f"/apis/{group_name}/{version}" if group_name else f"/api/{version}"
    names = ("dryRun", "fieldManager", "fieldValidation", "force")
    parameters = [{"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": True}} for name in names]
    paths: dict[str, Mapping[str, Any]] = {}
    for each in registry.of(group_name, version):
        kind = {"group": group_name, "version": version, "kind": each.kind}
        place = f"{base}/{'namespaces/{namespace}/' if each.namespaced else ''}{each.plural}/{{name}}"
        operation = {"operationId": f"patch{each.kind}", "parameters": parameters, "x-kubernetes-action": "patch"}
        answers = {"responses": {"200": {"description": "OK"}}}
        paths[place] = {"patch": {**operation, "x-kubernetes-group-version-kind": kind, **answers}}
    info = {"title": "Kubernetes", "version": f"v{server_version}.0"}
    return {"openapi": "3.0.0", "info": info, "paths": paths, "components": {"schemas": {}}}


# --- OpenAPI v2, which kubectl reads for a List, and only as protobuf. Field numbers are those of gnostic's openapi_v2.


def openapi_v2(registry: Registry) -> bytes:
    """Like `openapi`: the PATCH of every resource takes fieldValidation and dryRun."""
    paths = b"".join(_field(2, _field(1, f"/{each.qualified}") + _field(2, _field(8, _patch(each)))) for each in registry)
    return _field(1, "2.0") + _field(8, paths)


def _patch(resource: Resource) -> bytes:
    """An Operation with its parameters and x-kubernetes-group-version-kind."""
    names = ("dryRun", "fieldManager", "fieldValidation", "force")
    parameters = b"".join(_field(8, _field(1, _field(2, _field(3, _field(2, "query") + _field(4, name))))) for name in names)
    kind = json.dumps({"group": resource.group, "version": resource.version, "kind": resource.kind})
    return parameters + _field(13, _field(1, "x-kubernetes-group-version-kind") + _field(2, _field(2, kind)))


def _field(number: int, value: bytes | str) -> bytes:
    """A field that holds text or a message."""
    data = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _varint(number: int) -> bytes:
    head, rest = number & 0x7F, number >> 7
    return bytes([head | 0x80]) + _varint(rest) if rest else bytes([head])
