# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Sets of fields, as managedFields keeps them.

A path is a tuple of FieldsV1's own keys: `f:NAME`, `k:{"name":"main"}` for an item of a list that is a map, `v:"x"` for an item of a set.
A list item that is there itself, apart from its fields, is a path of its own.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from .schemas import Schema

Path = tuple[str, ...]
_MISSING = object()
# What the server sets is nobody's.
NOBODYS = {
    ("f:apiVersion",),
    ("f:kind",),
    *(
        ("f:metadata", f"f:{name}")
        for name in ("name", "namespace", "uid", "resourceVersion", "creationTimestamp", "generation", "managedFields", "deletionTimestamp")
    ),
}


def item_key(schema: Schema, item: Any) -> str:
    """The path of an item of a list that is a map. An absent protocol is TCP."""
    values = {name: item.get(name, "TCP" if name == "protocol" else None) for name in schema.list_keys}
    return "k:" + json.dumps({name: value for name, value in values.items() if value is not None}, separators=(",", ":"), sort_keys=True)


def value_key(item: Any) -> str:
    return "v:" + json.dumps(item, separators=(",", ":"), sort_keys=True)


def fields(schema: Schema, value: Any, path: Path = ()) -> set[Path]:
    """All fields that a value sets."""
    if isinstance(value, dict) and value and not schema.atomic_map:
        return set().union(*(fields(schema.field(name), each, (*path, f"f:{name}")) for name, each in value.items()))
    if isinstance(value, list) and value and schema.list_keys:
        keyed = [(each, (*path, item_key(schema, each))) for each in value]
        return {key for _each, key in keyed}.union(*(fields(schema.items, each, key) for each, key in keyed))
    if isinstance(value, list) and value and schema.is_set:
        return {(*path, value_key(each)) for each in value}
    return {path} if path else set()


def owned_fields(schema: Schema, value: Any) -> set[Path]:
    return fields(schema, value) - NOBODYS


def value_at(schema: Schema, value: Any, path: Path) -> Any:
    """The value of a field, or a value that equals no other. Of a list item itself: whether it is there."""
    for position, key in enumerate(path):
        if key.startswith("f:"):
            name = key[2:]
            if not isinstance(value, dict) or name not in value:
                return _MISSING
            value, schema = value[name], schema.field(name)
            continue
        found = _item(schema, value, key)
        if found is _MISSING or position == len(path) - 1:
            return _MISSING if found is _MISSING else True
        value, schema = found, schema.items
    return value


def _item(schema: Schema, value: Any, key: str) -> Any:
    if not isinstance(value, list):
        return _MISSING
    name = value_key if key.startswith("v:") else lambda each: item_key(schema, each)
    return next((each for each in value if name(each) == key), _MISSING)


def changed_fields(schema: Schema, old: Any, new: Any) -> tuple[set[Path], set[Path]]:
    """The fields that are new or have another value, and those that are gone."""
    before, after = owned_fields(schema, old), owned_fields(schema, new)
    changed = {path for path in after if value_at(schema, old, path) != value_at(schema, new, path)}
    return changed, {path for path in before - after if value_at(schema, new, path) is _MISSING}


def exists(schema: Schema, value: Any, path: Path) -> bool:
    return value_at(schema, value, path) is not _MISSING


def remove(schema: Schema, value: Any, path: Path) -> None:
    """Removes a field in place, and the containers that it leaves empty."""
    key, rest = path[0], path[1:]
    if key.startswith("f:"):
        name = key[2:]
        if not isinstance(value, dict) or name not in value:
            return
        if rest:
            remove(schema.field(name), value[name], rest)
        if not rest or value[name] in ({}, []):
            del value[name]
        return
    found = _item(schema, value, key)
    if found is _MISSING:
        return
    if rest:
        remove(schema.items, found, rest)
    else:
        value.remove(found)


# --- FieldsV1


def to_fields_v1(paths: Iterable[Path]) -> dict[str, Any]:
    paths = set(paths)
    root: dict[str, Any] = {}
    for path in sorted(paths):
        place = root
        for key in path:
            place = place.setdefault(key, {})
    for path in paths:
        place = root
        for key in path:
            place = place[key]
        if place:
            place["."] = {}
    return root


def from_fields_v1(tree: Mapping[str, Any], path: Path = ()) -> set[Path]:
    found = set()
    for key, below in tree.items():
        if key == ".":
            found.add(path)
        elif below:
            found |= from_fields_v1(below, (*path, key))
        else:
            found.add((*path, key))
    return found


def readable(path: Path) -> str:
    """.spec.containers[name="main"].image"""
    told = []
    for key in path:
        if key.startswith("f:"):
            told.append(f".{key[2:]}")
        elif key.startswith("k:"):
            told.append("[" + ",".join(f"{name}={json.dumps(value)}" for name, value in json.loads(key[2:]).items()) + "]")
        else:
            told.append(f"[={key[2:]}]")
    return "".join(told)
