# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Changes single values of a TOML text and leaves every other line, comments included, as it is.

Each change is checked against what the document means before and after: a layout that cannot be changed this way is an
error, never a wrong file.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ..core.errors import ConflictError
from . import toml

_HEADER = re.compile(r"^(\s*)\[([^\[\]].*?)\]\s*(#.*)?$")
_ANY_HEADER = re.compile(r"^\s*\[")
_PART = re.compile(r"""\s*(?:"((?:[^"\\]|\\.)*)"|'([^']*)'|([A-Za-z0-9_-]+))\s*(?:\.|$)""")
_BARE = re.compile(r"[A-Za-z0-9_-]+")
MISSING = object()


def get(document: Mapping[str, Any], keys: Sequence[str]) -> Any:
    """The value, or MISSING."""
    value: Any = document
    for key in keys:
        if not isinstance(value, Mapping) or key not in value:
            return MISSING
        value = value[key]
    return value


def put(document: Mapping[str, Any], keys: Sequence[str], value: Any) -> dict[str, Any]:
    """A copy with the value; MISSING takes it away."""
    result: dict[str, Any] = copy.deepcopy(dict(document))
    inner = result
    for key in keys[:-1]:
        inner = inner.setdefault(key, {})
        if not isinstance(inner, dict):
            raise _conflict(keys)
    if value is MISSING:
        inner.pop(keys[-1], None)
    else:
        inner[keys[-1]] = value
    return result


def change(text: str, keys: Sequence[str], value: Any) -> str:
    """The text with one value set, or taken away where it is MISSING. Raises ConflictError where the layout does not allow it."""
    before = toml.loads(text)
    if get(before, keys) == value:
        return text
    lines = text.split("\n")
    place = _table(lines, keys[:-1])
    if place is None and _inline(before, lines, keys[:-1]):
        raise _conflict(keys)
    changed = _changed(lines, keys, value, place)
    try:
        after = toml.loads(changed)
    except toml.TomlError:
        after = {}
    if _pruned(after) != _pruned(put(before, keys, value)):
        raise _conflict(keys)
    return changed


def _conflict(keys: Sequence[str]) -> ConflictError:
    return ConflictError(
        f"{'.'.join(keys)} cannot be set in a file of this layout",
        where=".".join(keys),
        remedy="Write the tables of the file with headers of their own ([a.b.c]), not within braces or over several lines.",
    )


def _inline(document: Mapping[str, Any], lines: Sequence[str], keys: Sequence[str]) -> bool:
    """Whether one of the tables around is written without a header of its own, so that no header may add to it."""
    for length in range(1, len(keys) + 1):
        table = get(document, keys[:length])
        valued = isinstance(table, Mapping) and any(not isinstance(value, Mapping) for value in table.values())
        if valued and _table(lines, keys[:length]) is None:
            return True
    return False


def drop_empty_table(text: str, table: Sequence[str]) -> str:
    """The text without the header of a table in which nothing is left."""
    lines = text.split("\n")
    place = _table(lines, table)
    if not table or place is None or any(line.strip() for line in lines[place[0] + 1 : place[1]]):
        return text
    start = place[0] - 1 if place[0] and not lines[place[0] - 1].strip() else place[0]
    changed = "\n".join([*lines[:start], *lines[place[0] + 1 :]])
    return changed if _pruned(toml.loads(changed)) == _pruned(toml.loads(text)) else text


def header(keys: Sequence[str]) -> str:
    """A table's header."""
    return f"[{'.'.join(key if _BARE.fullmatch(key) else json.dumps(key) for key in keys)}]"


def literal(value: Any) -> str:
    """A text, number, boolean or list of them as TOML."""
    return json.dumps(value, ensure_ascii=False)


def _pruned(value: Any) -> Any:
    """Without empty tables, which a document may leave out."""
    if not isinstance(value, Mapping):
        return value
    inner = {key: _pruned(item) for key, item in value.items()}
    return {key: item for key, item in inner.items() if item != {}}


def _changed(lines: list[str], keys: Sequence[str], value: Any, place: tuple[int, int] | None) -> str:
    if place is None:
        ending = [] if value is MISSING else ["", header(keys[:-1]), f"{keys[-1]} = {literal(value)}", ""]
        while lines and not lines[-1].strip():
            lines = lines[:-1]
        return "\n".join([*lines, *ending]).lstrip("\n")
    start, end = place
    at = next((number for number in range(start + 1, end) if _is_key(lines[number], keys[-1])), None)
    if value is MISSING:
        return "\n".join(line for number, line in enumerate(lines) if number != at)
    if at is not None:
        lines[at] = f"{lines[at].split('=', 1)[0].rstrip()} = {literal(value)}"
    else:
        lines.insert(start + 1, f"{_indent(lines, start, end)}{keys[-1]} = {literal(value)}")
    return "\n".join(lines)


def _indent(lines: Sequence[str], start: int, end: int) -> str:
    """That of the first value in the table, else that of its header."""
    example = next(
        (line for line in lines[start + 1 : end] if "=" in line and not line.lstrip().startswith("#")), lines[start] if start >= 0 else ""
    )
    return example[: len(example) - len(example.lstrip())]


def _is_key(line: str, key: str) -> bool:
    name = line.split("=", 1)[0].strip() if "=" in line else ""
    return name in (key, json.dumps(key), f"'{key}'")


def _table(lines: Sequence[str], keys: Sequence[str]) -> tuple[int, int] | None:
    """The line of a table's header and the line after its last. The root table begins before the first line."""
    start = -1 if not keys else next((number for number, line in enumerate(lines) if _names(line) == list(keys)), None)
    if start is None:
        return None
    return start, next((number for number in range(start + 1, len(lines)) if _ANY_HEADER.match(lines[number])), len(lines))


def _names(line: str) -> list[str] | None:
    match = _HEADER.match(line)
    if not match:
        return None
    names, at = [], 0
    while at < len(match[2]):
        part = _PART.match(match[2], at)
        if not part:
            return None
        names.append(part[1] if part[1] is not None else part[2] if part[2] is not None else part[3])
        at = part.end()
    return names
