# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Who owns which field: managedFields, and server-side apply with its conflicts."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from . import fields
from .errors import ApiError
from .fields import Path
from .schemas import Schema


@dataclass(frozen=True)
class Owner:
    """A manager, as managedFields distinguishes them."""

    name: str
    operation: str
    api_version: str
    subresource: str = ""

    def __str__(self) -> str:
        told = f'"{self.name}"' + (f' with subresource "{self.subresource}"' if self.subresource else "")
        return f"{told} using {self.api_version}" if self.operation == "Update" else told


Ownership = dict[Owner, set[Path]]


def read(value: Mapping[str, Any] | None) -> Ownership:
    """The owners that an object's managedFields name."""
    found: Ownership = {}
    for entry in ((value or {}).get("metadata") or {}).get("managedFields") or []:
        if entry.get("manager"):
            owner = Owner(entry["manager"], entry["operation"], entry.get("apiVersion", ""), entry.get("subresource", ""))
            found[owner] = fields.from_fields_v1(entry.get("fieldsV1") or {})
    return found


def write(value: dict[str, Any], owners: Ownership, now: str) -> None:
    """Sets managedFields. An entry whose fields stay keeps its time."""
    before = read(value)
    times = {_identity(entry): entry.get("time") for entry in value["metadata"].get("managedFields") or [] if entry.get("manager")}
    entries = []
    for owner, paths in owners.items():
        if not paths:
            continue
        entry = {"manager": owner.name, "operation": owner.operation, "apiVersion": owner.api_version, "fieldsType": "FieldsV1"}
        entry["time"] = times.get(owner) or now if before.get(owner) == paths else now
        entry["fieldsV1"] = fields.to_fields_v1(paths)
        entries.append({**entry, "subresource": owner.subresource} if owner.subresource else entry)
    value["metadata"].pop("managedFields", None)
    if entries:
        value["metadata"]["managedFields"] = entries


def _identity(entry: Mapping[str, Any]) -> Owner:
    return Owner(entry["manager"], entry["operation"], entry.get("apiVersion", ""), entry.get("subresource", ""))


def after_update(schema: Schema, old: Any, new: Mapping[str, Any], owners: Ownership, owner: Owner) -> Ownership:
    """An update takes over every field that it changes. `old`: None when the object is new."""
    changed, gone = fields.changed_fields(schema, _bare(old or {}), _bare(new))
    left = {each: {path for path in paths if path not in changed and path not in gone} for each, paths in owners.items()}
    if changed:
        left[owner] = left.get(owner, set()) | changed
    return left


def _bare(value: Mapping[str, Any]) -> dict[str, Any]:
    metadata = {name: each for name, each in (value.get("metadata") or {}).items() if name != "managedFields"}
    return {**{name: each for name, each in value.items() if name != "status"}, "metadata": metadata}


def server_side_apply(
    schema: Schema, live: Mapping[str, Any] | None, wanted: Mapping[str, Any], owner: Owner, *, force: bool
) -> tuple[dict[str, Any], Ownership]:
    """The object after an apply, and its owners. Raises ApiError when another manager owns a field that would change."""
    owners, wanted = read(live), _bare(wanted)
    mine = fields.owned_fields(schema, wanted)
    last = set().union(*(paths for each, paths in owners.items() if _same_applier(each, owner)))
    others = {each: paths for each, paths in owners.items() if not _same_applier(each, owner)}
    new = merge(schema, copy.deepcopy(dict(live)), wanted) if live else copy.deepcopy(wanted)
    changed, _gone = fields.changed_fields(schema, _bare(live or {}), _bare(new))
    conflicts = {each: paths & mine & changed for each, paths in others.items() if paths & mine & changed}
    if conflicts and not force:
        raise conflict_error(conflicts)
    left = {each: paths - conflicts.get(each, set()) for each, paths in others.items()}
    _prune(schema, new, last - mine, left)
    return new, {**left, owner: mine}


def _same_applier(one: Owner, other: Owner) -> bool:
    return replace(one, api_version="") == replace(other, api_version="")


def _prune(schema: Schema, value: dict[str, Any], dropped: set[Path], others: Ownership) -> None:
    """Removes what its only owner no longer applies; of list items, what nobody else has a part in."""
    kept = set().union(*others.values())
    # Items before their fields: an item that has lost its key is not found any more.
    for path in sorted(dropped, key=lambda each: (len(each), each)):
        if not any(each[: len(path)] == path for each in kept):
            fields.remove(schema, value, path)


def merge(schema: Schema, live: Any, wanted: Any) -> Any:
    """`wanted` laid over `live`: maps and keyed lists are merged, sets united, everything else replaced."""
    if isinstance(wanted, dict) and isinstance(live, dict) and not schema.atomic_map:
        return {**live, **{name: merge(schema.field(name), live.get(name), each) for name, each in wanted.items()}}
    if isinstance(wanted, list) and isinstance(live, list) and schema.list_keys:
        there = {fields.item_key(schema, each): each for each in live}
        asked = {fields.item_key(schema, each): each for each in wanted}
        merged = {key: merge(schema.items, there.get(key), each) for key, each in asked.items()}
        return _in_order(there, merged)
    if isinstance(wanted, list) and isinstance(live, list) and schema.is_set:
        return wanted + [each for each in live if each not in wanted]
    return copy.deepcopy(wanted)


def _in_order(there: Mapping[str, Any], merged: Mapping[str, Any]) -> list[Any]:
    """What was applied in its order; what only was there after it."""
    return [*merged.values(), *(each for key, each in there.items() if key not in merged)]


def conflict_error(conflicts: Mapping[Owner, set[Path]]) -> ApiError:
    pairs = [(owner, fields.readable(path)) for owner, paths in conflicts.items() for path in sorted(paths)]
    causes = [{"reason": "FieldManagerConflict", "message": f"conflict with {owner}", "field": path} for owner, path in pairs]
    if len(pairs) == 1:
        told = f"Apply failed with 1 conflict: conflict with {pairs[0][0]}: {pairs[0][1]}"
    else:
        lists = ["\n".join([f"conflicts with {owner}:", *(f"- {path}" for each, path in pairs if each == owner)]) for owner in conflicts]
        told = f"Apply failed with {len(pairs)} conflicts: " + "\n".join(lists)
    return ApiError(409, "Conflict", told, {"causes": causes})
