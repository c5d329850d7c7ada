# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""config.pbtxt, read with Triton's own schema into plain values.

The schema is tritonclient's ModelConfig message. Its generated file is loaded by its place, not by `import tritonclient.grpc`: that would
want grpcio, which nothing here uses, and triple the start-up time.
"""

from __future__ import annotations

import difflib
import importlib.util
import re
import traceback
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..core.errors import InputError

# A plain value: set fields only, enums by name, messages and maps as dicts, 64-bit numbers as int.
Config = dict[str, Any]

LIBRARY = "tritonclient"
_BOM = "\ufeff"
_TEMPLATE = re.compile(r"\$\{\s*\w+\s*\}")
_UNKNOWN = re.compile(r'Message type "(?P<message>[\w.]+)" has no field named "(?P<field>[^"]*)"')
_UNKNOWN_VALUE = re.compile(r'Enum type "(?P<enum>[\w.]+)" has no value named (?P<value>\w+)')
# What the parser puts before its message: the position, and the line in quotes.
_PREFIX = re.compile(r"^(\d+:\d+ : )?('.*': )?")
# Characters of a message: enough for any line that a person wrote.
_SHOWN = 120


class MissingLibraryError(Exception):
    """A Python library that is needed to read config.pbtxt is not installed. library: its name; trace: the import's traceback.

    No ServingError, for modules explain it in Ansible's own way: missing_required_lib.
    """

    def __init__(self, library: str, trace: str) -> None:
        super().__init__(f"config.pbtxt is read with Triton's own schema: install {library} for this Python")
        self.library = library
        self.trace = trace


class ConfigError(InputError):
    """A config.pbtxt that Triton cannot parse. line, column: from 1; 0 where unknown."""

    def __init__(self, what: str, *, where: str, remedy: str, line: int = 0, column: int = 0) -> None:
        super().__init__(what, where=where, remedy=remedy, line=line, column=column)
        self.line = line
        self.column = column


def parse_config(text: str, where: str = "config.pbtxt") -> Config:
    """The set fields of a model configuration. Raises ConfigError for bad text and MissingLibraryError without tritonclient."""
    schema, text_format = _schema()
    message = schema.ModelConfig()
    try:
        text_format.Parse(text, message)
    except text_format.ParseError as error:
        raise _explain(error, text, where, schema) from error
    except RecursionError as error:
        raise ConfigError("blocks are nested too deeply", where=where, remedy="Close the blocks with } or ].") from error
    return _plain(message)


def decode(content: bytes) -> str:
    """A config.pbtxt's text. Bytes that are no UTF-8 are replaced: Triton accepts them in comments and strings."""
    return content.decode("utf-8", errors="replace")


@lru_cache(maxsize=1)
def _schema() -> tuple[Any, Any]:
    try:
        from google.protobuf import text_format

        spec = importlib.util.find_spec(LIBRARY)
        if spec is None or not spec.submodule_search_locations:
            raise ImportError(f"No module named '{LIBRARY}'")
        path = Path(spec.submodule_search_locations[0]) / "grpc" / "model_config_pb2.py"
        schema = importlib.util.spec_from_file_location("serving_triton_model_config_pb2", path)
        if schema is None or schema.loader is None or not path.is_file():
            raise ImportError(f"{LIBRARY} has no grpc/model_config_pb2.py")
        module = importlib.util.module_from_spec(schema)
        schema.loader.exec_module(module)
    except ImportError as error:
        library = "protobuf" if "google" in str(error) else LIBRARY
        raise MissingLibraryError(library, traceback.format_exc()) from error
    return module, text_format


# --- errors


def _explain(error: Any, text: str, where: str, schema: Any) -> ConfigError:
    line, column = error.GetLine() or 0, error.GetColumn() or 0
    what = _PREFIX.sub("", str(error)).rstrip(".")
    place = f"{where}:{line}:{column}" if line else where
    return ConfigError(what[: 3 * _SHOWN], where=place, remedy=_remedy(what, text, line, schema), line=line, column=column)


def _remedy(what: str, text: str, line: int, schema: Any) -> str:
    lines = text.split("\n")
    shown = lines[line - 1].strip()[:_SHOWN] if 0 < line <= len(lines) else ""
    template = _TEMPLATE.search(shown)
    known = _nearest(what, schema)
    if text.startswith(_BOM):
        return "Save the file as UTF-8 without a byte order mark."
    if template:
        return f"Fill in the template's variable {template[0]}."
    if known:
        return known
    if re.search(r",\s*[\]}]", "\n".join(lines[max(0, line - 2) : line + 1])):
        return "Remove the comma before the closing bracket."
    if what.endswith('Expected ","'):
        return f"Separate the items of a list with commas in the line «{shown}»."
    return f"Correct the line «{shown}»." if shown else "Correct the file's syntax (protobuf text format)."


def _nearest(what: str, schema: Any) -> str:
    """The remedy for a name that the schema does not have, else empty."""
    field, value = _UNKNOWN.search(what), _UNKNOWN_VALUE.search(what)
    if field:
        names = _fields(schema.DESCRIPTOR.message_types_by_name).get(field["message"], [])
        near = difflib.get_close_matches(field["field"], names, 1)
        other = f"Remove the field, or upgrade {LIBRARY} if a newer Triton knows it."
        return f"Write {near[0]}." if near else other
    if value:
        names = _values(schema.DESCRIPTOR).get(value["enum"], [])
        near = difflib.get_close_matches(value["value"], names, 1)
        return f"Write {near[0]}." if near else f"Write one of {', '.join(names)}."
    return ""


def _values(owner: Any) -> dict[str, list[str]]:
    """Enum's full name → its values, those of nested messages included. owner: a file's or a message's descriptor."""
    found = {enum.full_name: [value.name for value in enum.values] for enum in owner.enum_types_by_name.values()}
    nested = owner.nested_types_by_name if hasattr(owner, "nested_types_by_name") else owner.message_types_by_name
    for descriptor in nested.values():
        found.update(_values(descriptor))
    return found


def _fields(types: Mapping[str, Any]) -> dict[str, list[str]]:
    """Message's full name → field names, nested messages included."""
    found: dict[str, list[str]] = {}
    for descriptor in types.values():
        found[descriptor.full_name] = [field.name for field in descriptor.fields]
        found.update(_fields(descriptor.nested_types_by_name))
    return found


# --- plain values


def _plain(message: Any) -> Config:
    return {field.name: _value(field, value) for field, value in message.ListFields()}


def _value(field: Any, value: Any) -> Any:
    # By the value: asking the descriptor for its options makes protobuf import as much again as it has.
    if isinstance(value, Mapping):
        item = field.message_type.fields_by_name["value"]
        return {key: _scalar(item, value[key]) for key in value}
    if _repeated(field):
        return [_scalar(field, each) for each in value]
    return _scalar(field, value)


def _repeated(field: Any) -> bool:
    # `label` is deprecated from protobuf 6.31 on, `is_repeated` is absent before.
    known = getattr(field, "is_repeated", None)
    return bool(field.label == field.LABEL_REPEATED if known is None else known)


def _scalar(field: Any, value: Any) -> Any:
    if field.message_type is not None:
        return _plain(value)
    if field.enum_type is not None:
        known = field.enum_type.values_by_number.get(value)
        return known.name if known else str(value)
    return value
