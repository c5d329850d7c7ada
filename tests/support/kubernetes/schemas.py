# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The schemas of a version of Kubernetes, and what follows from them: validation, pruning, canonical quantities.

They are kubernetes-validate's, which keep Kubernetes' own extensions, so merging is driven by data. Definitions are read once a process.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate

from .errors import Cause
from .resources import Resource

_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
_QUANTITY = "io.k8s.apimachinery.pkg.api.resource.Quantity"
_FOLDER = Path(kubernetes_validate.__file__).parent / "kubernetes-json-schema"


def supported_versions() -> list[str]:
    """Versions of Kubernetes whose schemas are here, oldest first: 1.20, …"""
    found = (re.fullmatch(r"v1\.(\d+)\.0-local-strict", path.name) for path in _FOLDER.iterdir())
    return [f"1.{minor}" for minor in sorted(int(match[1]) for match in found if match)]


@functools.lru_cache(maxsize=4)
def definitions(version: str) -> Mapping[str, Any]:
    """Name → JSON schema, of one version ("1.36")."""
    path = _FOLDER / f"v{version}.0-local-strict" / "_definitions.json"
    return dict(json.loads(path.read_text(encoding="utf-8"))["$defs"])


@dataclass(frozen=True)
class Schema:
    """A place in a schema. What is not described has an empty schema. definition: the name of what it refers to."""

    raw: Mapping[str, Any]
    known: Mapping[str, Any]
    definition: str = ""

    def _at(self, raw: Any) -> Schema:
        raw, definition = raw if isinstance(raw, Mapping) else {}, ""
        while "$ref" in raw:
            definition = raw["$ref"].rsplit("/", 1)[1]
            extensions = {key: value for key, value in raw.items() if key.startswith("x-")}
            raw = self.known.get(definition, {})
            raw = {**raw, **extensions} if extensions else raw
        return Schema(raw, self.known, definition)

    def field(self, name: str) -> Schema:
        properties = self.raw.get("properties") or {}
        return self._at(properties[name] if name in properties else self.raw.get("additionalProperties"))

    @property
    def items(self) -> Schema:
        return self._at(self.raw.get("items"))

    @property
    def list_keys(self) -> list[str]:
        """The keys of the items of a list that is a map."""
        return list(self.raw.get("x-kubernetes-list-map-keys", [])) if self.raw.get("x-kubernetes-list-type") == "map" else []

    @property
    def is_set(self) -> bool:
        return self.raw.get("x-kubernetes-list-type") == "set"

    @property
    def atomic_map(self) -> bool:
        return self.raw.get("x-kubernetes-map-type") == "atomic"

    @property
    def merges(self) -> bool:
        """Whether a strategic merge patch merges this list."""
        return "merge" in self.raw.get("x-kubernetes-patch-strategy", "")

    @property
    def merge_key(self) -> str:
        return str(self.raw.get("x-kubernetes-patch-merge-key", ""))

    @property
    def is_quantity(self) -> bool:
        return self.definition == _QUANTITY


class Schemas:
    """The schemas of a version."""

    def __init__(self, version: str) -> None:
        self._known = definitions(version)
        self._names = _names_by_kind(version)
        self._version = version

    def has(self, group: str, version: str, kind: str) -> bool:
        return (group, version, kind) in self._names

    def of(self, resource: Resource) -> Schema:
        if resource.schema is not None:
            metadata = {"metadata": {"$ref": f"#/$defs/{_META}"}}
            return Schema({**resource.schema, "properties": {**resource.schema.get("properties", {}), **metadata}}, self._known)
        name = self._names.get((resource.group, resource.version, resource.kind), "")
        return Schema(self._known.get(name, {}), self._known)

    def errors(self, resource: Resource, value: Mapping[str, Any]) -> Iterator[jsonschema.ValidationError]:
        if resource.schema is not None:
            own = {name: {} for name in ("apiVersion", "kind", "metadata")}
            schema = {**resource.schema, "properties": {**resource.schema.get("properties", {}), **own}}
            yield from jsonschema.Draft202012Validator(schema).iter_errors(value)
            value, resource = {"metadata": value.get("metadata", {})}, _METADATA_ONLY
        name = self._names.get((resource.group, resource.version, resource.kind))
        if name:
            yield from _validator(self._version, name).iter_errors(value)


_METADATA_ONLY = Resource("meta.k8s.io", "v1", "partialobjectmetadata", "PartialObjectMetadata", True)


@functools.lru_cache(maxsize=4)
def _names_by_kind(version: str) -> dict[tuple[str, str, str], str]:
    names = {
        (each["group"], each["version"], each["kind"]): name
        for name, definition in definitions(version).items()
        for each in definition.get("x-kubernetes-group-version-kind", [])
    }
    return {**names, ("meta.k8s.io", "v1", "PartialObjectMetadata"): "partial"}


@functools.lru_cache(maxsize=512)
def _validator(version: str, name: str) -> jsonschema.Draft202012Validator:
    defs = {**definitions(version), "partial": {"properties": {"metadata": {"$ref": f"#/$defs/{_META}"}}}}
    return jsonschema.Draft202012Validator({"$ref": f"#/$defs/{name}", "$defs": defs})


@dataclass
class Findings:
    """What is wrong with an object. unknown: fields that the schema does not have. undecodable: values of a wrong type."""

    unknown: list[str]
    undecodable: list[str]
    causes: list[Cause]


def dotted(path: Any) -> str:
    """spec.containers[0].name"""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")


def examine(schemas: Schemas, resource: Resource, value: Mapping[str, Any]) -> Findings:
    found = Findings([], [], [])
    if resource.schema is not None:
        value = _without_defaulted(schemas.of(resource), value)
    for error in schemas.errors(resource, {key: each for key, each in value.items() if key != "status"}):
        path = dotted(error.absolute_path)
        if error.validator == "additionalProperties":
            names = [name for name in error.instance if name not in error.schema.get("properties", {})]
            found.unknown += [f"{path}.{name}".lstrip(".") for name in names]
        elif error.validator == "required":
            missing = next(name for name in error.validator_value if name not in error.instance)
            found.causes.append(Cause(f"{path}.{missing}".lstrip("."), "Required value", "FieldValueRequired"))
        elif error.validator in ("type", "oneOf") and resource.schema is None:
            found.undecodable.append(f"json: cannot unmarshal {_json_type(error.instance)} into Go struct field {resource.kind}.{path}")
        elif error.validator == "enum":
            supported = ", ".join(f'"{each}"' for each in error.validator_value)
            message = f"Unsupported value: {json.dumps(error.instance)}: supported values: {supported}"
            found.causes.append(Cause(path, message, "FieldValueNotSupported"))
        elif error.validator == "type":
            there = _named_type(error.instance)
            message = f'Invalid value: "{there}": {path} in body must be of type {error.validator_value}: "{there}"'
            found.causes.append(Cause(path or "<nil>", message, "FieldValueTypeInvalid"))
        else:
            written = json.dumps(error.instance)[:80]
            bound = _BOUNDS.get(error.validator)
            told = f" should be {bound} than or equal to {error.validator_value}" if bound else f": {error.message[:200]}"
            found.causes.append(Cause(path or "<nil>", f"Invalid value: {written}: {path} in body{told}"))
    return found


_BOUNDS = {"maximum": "less", "minimum": "greater"}


def _named_type(value: Any) -> str:
    names = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}
    return names.get(type(value), "null")


def _without_defaulted(schema: Schema, value: Any) -> Any:
    """Without the nulls that a default replaces."""
    if isinstance(value, list):
        return [_without_defaulted(schema.items, each) for each in value]
    if not isinstance(value, Mapping):
        return value
    kept = {name: each for name, each in value.items() if each is not None or "default" not in schema.field(name).raw}
    return {name: _without_defaulted(schema.field(name), each) for name, each in kept.items()}


def _json_type(value: Any) -> str:
    names = {bool: "bool", int: "number", float: "number", str: "string", list: "array", dict: "object"}
    return names.get(type(value), "null")


# --- canonical forms


def normalize(schema: Schema, value: Any, unknown: list[str], path: str = "", *, custom: bool = False, root: bool = True) -> Any:
    """A copy as the server would keep it: no nulls, no unknown fields, quantities in canonical form; of built-in kinds nothing that is
    empty; of a custom resource, unknown fields are told in `unknown` and defaults are filled in. Raises ValueError for no quantity."""
    if schema.is_quantity:
        quantity(value)
        return canonical_quantity(value)
    if isinstance(value, list):
        return [normalize(schema.items, each, unknown, f"{path}[{i}]", custom=custom, root=False) for i, each in enumerate(value)]
    if not isinstance(value, dict):
        return value
    kept = {}
    for name, each in value.items():
        below = f"{path}.{name}".lstrip(".")
        if _prunes(schema) and name not in schema.raw["properties"] and not (root and name in ("apiVersion", "kind")):
            unknown += [below] if custom else []
        elif each is not None:
            kept[name] = normalize(schema.field(name), each, unknown, below, custom=custom and below != "metadata", root=False)
            if not custom and _is_nothing(schema, name, kept[name]):
                del kept[name]
    for name, each in (schema.raw.get("properties") or {}).items() if custom else ():
        if name not in kept and isinstance(each, Mapping) and "default" in each:
            kept[name] = normalize(schema.field(name), json.loads(json.dumps(each["default"])), [], custom=True, root=False)
    return kept


# Fields of built-in kinds whose zero is no value; other numbers and switches may be 0 and false. And texts that may be empty.
_ZERO_IS_NOTHING = {
    "failureThreshold", "hostIPC", "hostNetwork", "hostPID", "hostPort", "initialDelaySeconds", "minReadySeconds", "nodePort", "paused",
    "periodSeconds", "publishNotReadyAddresses", "readOnly", "stdin", "stdinOnce", "successThreshold", "timeoutSeconds", "tty",
    "unschedulable",
}  # fmt: skip
_EMPTY_IS_SOMETHING = {"ingressClassName", "loadBalancerClass", "runtimeClassName", "service", "storageClassName", "type"}


def _is_nothing(schema: Schema, name: str, value: Any) -> bool:
    """Whether the server drops what a client wrote: empty lists and maps, but for structures; empty texts; some zeros."""
    properties = schema.raw.get("properties") or {}
    if value or name not in properties or name in schema.raw.get("required", ()):
        return False
    if isinstance(value, dict):
        return "additionalProperties" in schema.field(name).raw and not schema.field(name).raw.get("properties")
    if isinstance(value, str):
        return name not in _EMPTY_IS_SOMETHING
    return isinstance(value, list) or name in _ZERO_IS_NOTHING


def _prunes(schema: Schema) -> bool:
    return bool(schema.raw.get("properties")) and not schema.raw.get("x-kubernetes-preserve-unknown-fields")


_SUFFIXES = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15, "E": 10**18}
_BINARY = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50, "Ei": 2**60}
_SMALL = {"n": Decimal("1e-9"), "u": Decimal("1e-6"), "m": Decimal("1e-3")}
_QUANTITY_FORM = re.compile(r"([+-]?[0-9.]+)(Ki|Mi|Gi|Ti|Pi|Ei|[numkMGTPE]?|[eE][+-]?[0-9]+)")


def quantity(value: Any) -> Decimal:
    """The number that a quantity means: 500m is 0.5. Raises ValueError."""
    found = _QUANTITY_FORM.fullmatch(str(value))
    if not found:
        raise ValueError("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")
    number, suffix = found[1], found[2]
    try:
        if suffix[:1] in ("e", "E") and len(suffix) > 1 and suffix != "Ei":
            return Decimal(number + suffix)
        return Decimal(number) * (_SUFFIXES.get(suffix) or _BINARY.get(suffix) or _SMALL[suffix])
    except InvalidOperation as error:
        raise ValueError("unable to parse quantity's value") from error


def canonical_quantity(value: Any) -> Any:
    """As the server writes it back: 1000m is 1, 1024Mi is 1Gi, 0.5 is 500m. What is no quantity stays, for validation to find."""
    try:
        amount = quantity(value)
    except ValueError:
        return value
    found = _QUANTITY_FORM.fullmatch(str(value))
    if found and found[2] in _BINARY and amount == amount.to_integral_value():
        fitting = [(suffix, size) for suffix, size in _BINARY.items() if amount % size == 0]
        suffix, size = fitting[-1] if fitting and amount else ("", 1)
        return f"{int(amount / size)}{suffix}"
    return _decimal_quantity(amount)


def _decimal_quantity(amount: Decimal) -> str:
    if amount == amount.to_integral_value():
        fitting = [(suffix, size) for suffix, size in _SUFFIXES.items() if amount % size == 0]
        suffix, size = fitting[-1] if amount else ("", 1)
        return f"{int(amount / size)}{suffix}"
    for suffix, size in reversed(_SMALL.items()):
        if (amount / size) == (amount / size).to_integral_value():
            return f"{int(amount / size)}{suffix}"
    return f"{int(amount / _SMALL['n']) + 1}n"
