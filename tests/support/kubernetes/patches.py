# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The three kinds of patch that are not server-side apply."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import jsonpatch
from jsonpointer import JsonPointerException

from .errors import ApiError, bad_request
from .schemas import Schema

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"


def json_patch(value: Mapping[str, Any], operations: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """RFC 6902. Raises ApiError."""
    if not isinstance(operations, list):
        raise bad_request("error decoding patch: json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp")
    try:
        patched: dict[str, Any] = jsonpatch.apply_patch(value, operations)
    except (jsonpatch.JsonPatchException, JsonPointerException) as error:
        raise ApiError(422, "Invalid", "the server rejected our request due to an error in our request") from error
    return patched


def merge_patch(value: Any, patch: Any) -> Any:
    """RFC 7386: null removes, maps are merged, everything else is replaced."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    merged = dict(value) if isinstance(value, dict) else {}
    for name, each in patch.items():
        if each is None:
            merged.pop(name, None)
        else:
            merged[name] = merge_patch(merged.get(name), each)
    return merged


# --- strategic merge: lists are merged by the key that the schema names, and directives begin with $


def strategic_merge(schema: Schema, value: Any, patch: Any) -> Any:
    """Raises ApiError for an item without its key."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    if patch.get("$patch") == "replace":
        return {name: copy.deepcopy(each) for name, each in patch.items() if name != "$patch"}
    merged = dict(value) if isinstance(value, dict) else {}
    if "$retainKeys" in patch:
        merged = {name: each for name, each in merged.items() if name in patch["$retainKeys"]}
    for name, each in patch.items():
        if name.startswith("$deleteFromPrimitiveList/"):
            field = name.partition("/")[2]
            merged[field] = [item for item in merged.get(field) or [] if item not in each]
        elif name.startswith("$setElementOrder/") and name.partition("/")[2] not in patch:
            field = name.partition("/")[2]
            merged[field] = _ordered(schema.field(field), merged.get(field) or [], each)
        elif not name.startswith("$"):
            _merge_field(schema.field(name), merged, name, each, patch.get(f"$setElementOrder/{name}"))
    return merged


def _merge_field(schema: Schema, merged: dict[str, Any], name: str, patch: Any, order: Any) -> None:
    if patch is None or (isinstance(patch, dict) and patch.get("$patch") == "delete"):
        merged.pop(name, None)
    elif isinstance(patch, list) and schema.merges:
        merged[name] = _merge_list(schema, merged.get(name) or [], patch, order)
    else:
        merged[name] = strategic_merge(schema, merged.get(name), patch)


def _merge_list(schema: Schema, value: list[Any], patch: list[Any], order: list[Any] | None) -> list[Any]:
    if not schema.merge_key:
        return _ordered(schema, value + [each for each in patch if each not in value], order)
    if any(each.get("$patch") == "replace" for each in patch):
        return [each for each in patch if each.get("$patch") != "replace"]
    merged = list(value)
    for each in patch:
        key = each.get(schema.merge_key)
        if key is None:
            raise bad_request(f"map: {each} does not contain declared merge key: {schema.merge_key}")
        place = next((place for place, item in enumerate(merged) if item.get(schema.merge_key) == key), None)
        if each.get("$patch") == "delete":
            merged = [item for item in merged if item.get(schema.merge_key) != key]
        elif place is None:
            merged.append(strategic_merge(schema.items, {}, each))
        else:
            merged[place] = strategic_merge(schema.items, merged[place], each)
    return _ordered(schema, merged, order)


def _ordered(schema: Schema, value: list[Any], order: list[Any] | None) -> list[Any]:
    """As $setElementOrder asks; items that it does not know come last."""
    if not order:
        return value
    key = schema.merge_key
    wanted = [each.get(key) for each in order] if key else list(order)

    def place(item: Any) -> int:
        name = item.get(key) if key else item
        return wanted.index(name) if name in wanted else len(wanted)

    return sorted(value, key=place)
