# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Label and field selectors: of queries and of objects."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .errors import bad_request

Test = Callable[[Mapping[str, Any]], bool]
_REQUIREMENT = re.compile(r"[^,(]+(?:\([^)]*\))?")
_SET = re.compile(r"(\S+)\s+(in|notin)\s+\(([^)]*)\)")


def labels(expression: str) -> Test:
    """a=b,c!=d,e in (f,g),h,!i as a test of objects. Raises ApiError."""
    requirements = [_label(part.strip()) for part in _REQUIREMENT.findall(expression or "")]
    return lambda value: all(test(value["metadata"].get("labels") or {}) for test in requirements)


def _label(part: str) -> Test:
    found = _SET.fullmatch(part)
    if found:
        name, values = found[1], {each.strip() for each in found[3].split(",")}
        return (lambda has: has.get(name) in values) if found[2] == "in" else (lambda has: has.get(name) not in values)
    for sign, equal in (("!=", False), ("==", True), ("=", True)):
        name, found_sign, value = (each.strip() for each in part.partition(sign))
        if found_sign:
            return lambda has: (has.get(name) == value) is equal
    if part.startswith("!"):
        return lambda has: part[1:].strip() not in has
    if not re.fullmatch(r"[\w./-]+", part):
        raise bad_request(f"unable to parse requirement: {part!r}")
    return lambda has: part in has


# What can be selected by, besides name and namespace.
_FIELDS: Mapping[tuple[str, str], Sequence[str]] = {
    ("", "pods"): [
        "spec.nodeName", "spec.restartPolicy", "spec.schedulerName", "spec.serviceAccountName", "spec.hostNetwork", "status.phase",
        "status.podIP", "status.podIPs", "status.nominatedNodeName",
    ],
    ("", "events"): [
        *(f"involvedObject.{name}" for name in ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")),
        "reason", "reportingComponent", "source", "type",
    ],
    ("", "secrets"): ["type"],
    ("", "namespaces"): ["status.phase"],
    ("", "nodes"): ["spec.unschedulable"],
    ("", "services"): ["spec.clusterIP", "spec.type"],
    ("apps", "replicasets"): ["status.replicas"],
    ("batch", "jobs"): ["status.successful"],
}  # fmt: skip


def fields(kind: tuple[str, str], expression: str) -> Test:
    """metadata.name=a,status.phase!=Running as a test of objects. kind: group and plural. Raises ApiError."""
    tests = []
    for part in filter(None, (expression or "").split(",")):
        name, sign, value = re.split(r"(!=|==|=)", part, maxsplit=1)
        if name.strip() not in ("metadata.name", "metadata.namespace", *_FIELDS.get(kind, ())):
            general = f'"{name.strip()}" is not a known field selector: only "metadata.name", "metadata.namespace"'
            raise bad_request(f"field label not supported: {name.strip()}" if kind in _FIELDS else general)
        tests.append((name.strip().split("."), sign != "!=", value.strip()))
    return lambda item: all((_field(item, path) == value) is equal for path, equal, value in tests)


def _field(value: Any, path: list[str]) -> str:
    for name in path:
        value = value.get(name, "") if isinstance(value, Mapping) else ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def matches(selector: Mapping[str, Any] | None, has: Mapping[str, str]) -> bool:
    """A LabelSelector: matchLabels and matchExpressions. None selects nothing, an empty one everything."""
    if selector is None:
        return False
    if any(has.get(name) != value for name, value in (selector.get("matchLabels") or {}).items()):
        return False
    return all(expression(each, has) for each in selector.get("matchExpressions") or [])


def expression(each: Mapping[str, Any], has: Mapping[str, str]) -> bool:
    """One match expression, of labels or of a node affinity."""
    value, values = has.get(each["key"]), each.get("values") or []
    answers = {
        "In": value in values,
        "NotIn": value not in values,
        "Exists": value is not None,
        "DoesNotExist": value is None,
        "Gt": str(value).isdigit() and int(str(value)) > int((values or ["0"])[0]),
        "Lt": str(value).isdigit() and int(str(value)) < int((values or ["0"])[0]),
    }
    return answers[each["operator"]]
