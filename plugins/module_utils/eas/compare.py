# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What differs between the configuration that is wanted and the one that EAS tells. Pure.

Only what the user set is compared: EAS adds keys of its own, and those are no difference.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

from .spec import Config, overlaid

# What EAS adds by itself, with the value that it gives, where that is known. Not removed by replacing a configuration.
_ANY = object()
_ADDED: Mapping[tuple[str, ...], Any] = {
    ("generate_token",): _ANY,
    ("source",): _ANY,
    ("token",): _ANY,
    ("metadata", "name"): _ANY,
    ("metadata", "region"): _ANY,
    ("metadata", "workspace_id"): _ANY,
    ("metadata", "enable_webservice"): _ANY,
    ("metadata", "cpu"): 1,
    ("metadata", "gpu"): 0,
    ("metadata", "memory"): 1000,
    ("metadata", "rpc", "batching"): False,
    ("metadata", "rpc", "io_threads"): 4,
    ("metadata", "rpc", "keepalive"): 5000,
    ("metadata", "rpc", "max_queue_size"): 64,
    ("metadata", "rpc", "worker_threads"): 5,
}
_MISSING = object()


def equal(wanted: Any, actual: Any) -> bool:
    """Whether `actual` holds what is wanted. EAS writes some numbers and booleans as text, and adds keys to elements of lists."""
    if isinstance(wanted, Mapping):
        return isinstance(actual, Mapping) and all(equal(value, actual.get(key, _MISSING)) for key, value in wanted.items())
    if isinstance(wanted, list):
        return isinstance(actual, list) and len(wanted) == len(actual) and all(map(equal, wanted, actual))
    if actual is _MISSING or isinstance(actual, (Mapping, list)):
        return False
    return bool(wanted == actual) or _text(wanted) == _text(actual)


def patch(wanted: Mapping[str, Any], actual: Mapping[str, Any]) -> Config:
    """The part of what is wanted that is not there: the least that an update has to send."""
    result: Config = {}
    for key, value in wanted.items():
        there = actual.get(key, _MISSING)
        if key == "processor_params" and isinstance(there, list) and sorted(set(value)) == sorted({str(each) for each in there}):
            continue
        if isinstance(value, Mapping) and isinstance(there, Mapping):
            inner = patch(value, there)
            if inner:
                result[key] = inner
        elif not equal(value, there):
            result[key] = copy.deepcopy(value)
    return result


def extras(wanted: Mapping[str, Any], actual: Mapping[str, Any], at: tuple[str, ...] = ()) -> list[str]:
    """Keys that are there, are not wanted, and that EAS did not add: what replacing the configuration would remove."""
    found: list[str] = []
    for key, value in actual.items():
        path = (*at, key)
        if isinstance(value, Mapping):
            # An empty mapping says nothing; and one that is not wanted goes where something in it does.
            inner = wanted.get(key, {})
            found += extras(inner if isinstance(inner, Mapping) else {}, value, path)
        elif key not in wanted and not (path in _ADDED and (_ADDED[path] is _ANY or equal(_ADDED[path], value))):
            found.append(".".join(path))
    return found


def merged(actual: Mapping[str, Any], change: Mapping[str, Any]) -> Config:
    """What a merging update makes of a configuration."""
    return overlaid(actual, change)


def replaced(wanted: Mapping[str, Any], actual: Mapping[str, Any]) -> Config:
    """What a replacing update makes of a configuration: what is wanted, and what EAS adds."""
    added: Config = {}
    for path, default in _ADDED.items():
        value = _at(actual, path)
        if value is not _MISSING:
            added = overlaid(added, _nested(path, value if default is _ANY else default))
    return overlaid(added, wanted)


def _at(config: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        config = config.get(key, _MISSING) if isinstance(config, Mapping) else _MISSING
    return config


def _nested(path: tuple[str, ...], value: Any) -> Config:
    for key in reversed(path):
        value = {key: value}
    return dict(value)


def paths(change: Mapping[str, Any], at: str = "") -> list[str]:
    """The keys of a patch, dotted, in order."""
    return list(_paths(change, at))


def _paths(change: Mapping[str, Any], at: str) -> Iterator[str]:
    for key, value in change.items():
        if isinstance(value, Mapping) and value:
            yield from _paths(value, f"{at}{key}.")
        else:
            yield f"{at}{key}"


def _text(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).lower() if isinstance(value, bool) else str(value)
