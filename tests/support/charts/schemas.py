# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Strict validation of objects: Kubernetes' own kinds by kubernetes-validate's schemas, those of others by the small ones beside this file.

kubernetes-validate itself only warns of kinds and API versions that do not exist, and reads all definitions again for each object.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import yaml
from referencing import Registry, Resource

_FOLDER = Path(kubernetes_validate.__file__).parent / "kubernetes-json-schema"
_CUSTOM = Path(__file__).with_name("custom_kinds.yml")


def problems(thing: Mapping[str, Any], version: str) -> list[str]:
    """What is wrong with an object in a version of Kubernetes ("1.36"); unknown fields, kinds and API versions too."""
    where = f"{thing.get('kind')}/{thing.get('metadata', {}).get('name')}"
    validator = _own(thing["apiVersion"], thing["kind"], version) or _custom(thing["apiVersion"], thing["kind"])
    if validator is None:
        return [f"{where}: Kubernetes {version} has no {thing['kind']} of {thing['apiVersion']}, and custom_kinds.yml neither"]
    return [f"{where}: {'.'.join(map(str, error.path))}: {error.message[:300]}" for error in validator.iter_errors(thing)]


@functools.cache
def _own(api_version: str, kind: str, version: str) -> Any:
    group, _slash, number = api_version.rpartition("/")
    if group and "." in group and not group.endswith(".k8s.io"):
        return None
    folder = _FOLDER / f"v{version}.0-local-strict"
    assert folder.is_dir(), f"kubernetes-validate has no schemas of {version}"
    short = f"{group.split('.')[0]}-{number}" if group else number
    path = folder / f"{kind.lower()}-{short}.json"
    if not path.exists():
        return None
    schema = json.loads(path.read_text(encoding="utf-8"))
    known = schema.get("x-kubernetes-group-version-kind") or []
    if {"group": group, "kind": kind, "version": number} not in known:
        return None
    return jsonschema.Draft202012Validator(schema, registry=Resource.from_contents(schema) @ _definitions(version))


@functools.cache
def _definitions(version: str) -> Any:
    text = (_FOLDER / f"v{version}.0-local-strict" / "_definitions.json").read_text(encoding="utf-8")
    return Resource.from_contents(json.loads(text)) @ Registry()


@functools.cache
def _kinds() -> dict[str, Any]:
    return dict(yaml.safe_load(_CUSTOM.read_text(encoding="utf-8")))


@functools.cache
def _custom(api_version: str, kind: str) -> Any:
    kinds = _kinds()
    spec = kinds["kinds"].get(f"{api_version}/{kind}")
    if spec is None:
        return None
    properties = {"apiVersion": {"const": api_version}, "kind": {"const": kind}, "metadata": {"$ref": "#/$defs/metadata"}, "spec": spec}
    schema = {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
        "$defs": kinds["parts"],
    }
    return jsonschema.Draft202012Validator(_closed(schema))


def _closed(schema: Any) -> Any:
    """A schema whose objects with properties have no others."""
    if isinstance(schema, list):
        return [_closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {key: _closed(value) for key, value in schema.items()}
    if isinstance(inner.get("properties"), dict) and "additionalProperties" not in inner:
        inner["additionalProperties"] = False
    return inner
