# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A service's configuration in one spelling, whatever the way it was written in. Pure."""

from __future__ import annotations

import copy
import json
import shlex
from collections.abc import Mapping
from typing import Any

from ..core.errors import InputError

Config = dict[str, Any]


def canonical(config: Mapping[str, Any], where: str = "config") -> Config:
    """A copy in EAS's current spelling: the name and `rpc.x` in metadata, parameters one an element, labels as text, no null.

    Raises InputError where two spellings of a key contradict each other, or a part is of the wrong type.
    """
    result: Config = without_nulls(config)
    metadata = _mapping(result, "metadata", where)
    if "name" in result:
        _move(metadata, "name", str(result.pop("name")), f"{where}.name")
    for key in [key for key in metadata if key.startswith("rpc.")]:
        _move(_mapping(metadata, "rpc", f"{where}.metadata"), key[len("rpc.") :], metadata.pop(key), f"{where}.metadata.{key}")
    if "processor_params" in result:
        result["processor_params"] = parameters(result["processor_params"], f"{where}.processor_params")
    if "labels" in result:
        result["labels"] = {key: as_text(value) for key, value in _mapping(result, "labels", where).items()}
    return result


def observed(text: str) -> Config:
    """The canonical form of the JSON that EAS tells, where both spellings of a key may be. Raises ValueError for what is none."""
    config = json.loads(text or "{}", strict=False)
    if not isinstance(config, dict):
        raise ValueError("no mapping")
    metadata = config.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    if metadata.get("name"):
        config.pop("name", None)
    for key in [key for key in metadata if key.startswith("rpc.") and key[len("rpc.") :] in (metadata.get("rpc") or {})]:
        del metadata[key]
    return canonical(config, "ServiceConfig")


def without_nulls(value: Any) -> Any:
    """A deep copy without keys of null, which EAS does not know: they are options that a playbook left out."""
    if isinstance(value, Mapping):
        return {str(key): without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, (list, tuple)):
        return [without_nulls(item) for item in value]
    return copy.copy(value)


def parameters(value: Any, where: str) -> list[str]:
    """A processor's parameters, `--name=value` each, from a list or a line."""
    if isinstance(value, str):
        value = shlex.split(value)
    if not isinstance(value, list) or not all(isinstance(each, (str, int, float)) for each in value):
        raise InputError("is no list of parameters", where=where, remedy='Write it as ["--name=value"].')
    found: list[str] = []
    for each in (str(item).strip() for item in value):
        # `--name value`, in two elements, is `--name=value`.
        if found and not each.startswith("-") and found[-1].startswith("--") and "=" not in found[-1]:
            found[-1] += f"={each}"
        else:
            found.append(each)
    return found


def as_text(value: Any) -> str:
    """A value of what EAS keeps as text, such as a label or a variable."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def name_of(config: Mapping[str, Any]) -> str:
    """The name in a canonical configuration; empty where there is none."""
    return str((config.get("metadata") or {}).get("name") or "")


def overlaid(config: Mapping[str, Any], top: Mapping[str, Any]) -> Config:
    """`config` with the keys of `top` over it, at any depth. Lists are taken whole, as EAS does."""
    result = dict(config)
    for key, value in top.items():
        below = result.get(key)
        result[key] = overlaid(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else copy.deepcopy(value)
    return result


def _mapping(config: Config, key: str, where: str) -> Config:
    value = config.setdefault(key, {})
    if not isinstance(value, dict):
        raise InputError("is no mapping", where=f"{where}.{key}", remedy="Write its keys one by one.")
    return value


def _move(target: Config, key: str, value: Any, where: str) -> None:
    if key in target and target[key] != value:
        raise InputError(f"{value!r} contradicts {target[key]!r}, the same setting in another spelling", where=where, remedy="Remove one.")
    target[key] = value
