# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Sets of fields, as managedFields keeps them.

A path is a tuple of FieldsV1's own keys: `f:NAME`, `k:{"name":"main"}` for an item of a list that is a map, `v:"x"` for an item of a set.
A list item that is there itself, apart from its fields, is a path of its own.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
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


def values(schema: Schema, value: Any, path: Path = ()) -> dict[Path, Any]:
    """All fields that a value sets, with their values; of a list item itself: True."""
    found: dict[Path, Any] = {}
    if isinstance(value, dict) and value and not schema.atomic_map:
        for name, each in value.items():
            found.update(values(schema.field(name), each, (*path, f"f:{name}")))
    elif isinstance(value, list) and value and schema.list_keys:
        for each in value:
            place = (*path, item_key(schema, each))
            found[place] = True
            found.update(values(schema.items, each, place))
    elif isinstance(value, list) and value and schema.is_set:
        found.update({(*path, value_key(each)): True for each in value})
    elif path:
        found[path] = value
    return found


def duplicates(schema: Schema, value: Any, path: Path = ()) -> Iterator[tuple[str, str]]:
    """Items that are twice in a list that is a map or a set: the list and the key, readable."""
    if isinstance(value, dict) and not schema.atomic_map:
        for name, each in value.items():
            yield from duplicates(schema.field(name), each, (*path, f"f:{name}"))
    elif isinstance(value, list) and (schema.list_keys or schema.is_set):
        seen = set()
        for each in value:
            key = item_key(schema, each) if schema.list_keys else value_key(each)
            if key in seen:
                yield readable(path), readable((key,))
            seen.add(key)
            yield from duplicates(schema.items, each, (*path, key))


def owned_fields(schema: Schema, value: Any) -> set[Path]:
    return set(values(schema, value)) - NOBODYS


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
    before, after = values(schema, old), values(schema, new)
    changed = {path for path, value in after.items() if before.get(path, _MISSING) != value}
    gone = {path for path in before if path not in after and value_at(schema, new, path) is _MISSING}
    return changed - NOBODYS, gone - NOBODYS


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
