# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""TOML, for the configuration of container runtimes, on hosts whose Python has no reader of it: it came with 3.11, RHEL 9 has 3.9.

Dates and times come as text. What is no TOML is an error, never a wrong value: the tests hold it to the answers of tomllib.
"""

from __future__ import annotations

import re
from typing import Any

_SPACE = re.compile(r"[ \t]*")
_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_LINE_END = re.compile(r"[ \t]*(?:#[^\n]*)?(?:\r?\n|$)")
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_MANY = (re.compile(r'"""\r?\n?((?:[^\\]|\\.)*?)"""(?!")', re.DOTALL), re.compile(r"'''\r?\n?(.*?)'''(?!')", re.DOTALL))
_BASIC = re.compile(r'"((?:[^"\\\n]|\\.)*)"')
_LITERAL = re.compile(r"'([^'\n]*)'")
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([btnfr\"\\])|(\s*\n\s*)|(.))", re.DOTALL)
_ESCAPED = {"b": "\b", "t": "\t", "n": "\n", "f": "\f", "r": "\r", '"': '"', "\\": "\\"}
_ATOM = re.compile(r"[A-Za-z0-9_+.:-]+(?: \d\d:[0-9:.]+\S*)?")
_INTEGER = re.compile(r"[+-]?(?:0|[1-9](?:_?\d)*)")
_BASED = re.compile(r"0(?:x[0-9a-fA-F](?:_?[0-9a-fA-F])*|o[0-7](?:_?[0-7])*|b[01](?:_?[01])*)")
_FLOAT = re.compile(r"[+-]?(?:(?:0|[1-9](?:_?\d)*)(?:\.\d(?:_?\d)*)?(?:[eE][+-]?\d(?:_?\d)*)?|inf|nan)")
_DATE = re.compile(r"\d{4}-\d\d-\d\d(?:[Tt ]\d\d:\d\d:\d\d\S*)?|\d\d:\d\d:\d\d(?:\.\d+)?")


class TomlError(ValueError):
    """The text is not TOML. The message names the line."""


def loads(text: str) -> dict[str, Any]:
    """The document as nested mappings. Raises TomlError."""
    return _Reader(text.replace("\r\n", "\n")).document()


class _Reader:
    def __init__(self, text: str) -> None:
        self.text = text
        self.place = 0

    def document(self) -> dict[str, Any]:
        root: dict[str, Any] = {}
        table = root
        headed: set[int] = set()
        while self._skip(_BLANK) < len(self.text):
            if self._take("[["):
                table = self._appended(root, self._keys())
                self._need("]]")
            elif self._take("["):
                table = self._descend(root, self._keys())
                self._need("]")
                if id(table) in headed:
                    raise self._error("the table is given twice")
                headed.add(id(table))
            else:
                self._pair(table)
            if not _LINE_END.match(self.text, self.place):
                raise self._error("there is more on the line than was expected")
        return root

    def _pair(self, table: dict[str, Any]) -> None:
        *above, last = self._keys()
        self._need("=")
        target = self._descend(table, above)
        if last in target:
            raise self._error(f"{last} is given twice")
        target[last] = self._value()

    def _keys(self) -> list[str]:
        found = []
        while True:
            self._skip(_SPACE)
            found.append(self._key())
            self._skip(_SPACE)
            if not self._take("."):
                return found

    def _key(self) -> str:
        bare = self._match(_BARE)
        if bare:
            return bare[0]
        if self.text[self.place : self.place + 1] in ('"', "'"):
            return self._line_text()
        raise self._error("a key was expected")

    def _descend(self, table: dict[str, Any], names: list[str]) -> dict[str, Any]:
        for name in names:
            inner = table.setdefault(name, {})
            inner = inner[-1] if isinstance(inner, list) and inner else inner
            if not isinstance(inner, dict):
                raise self._error(f"{name} is no table")
            table = inner
        return table

    def _appended(self, root: dict[str, Any], names: list[str]) -> dict[str, Any]:
        tables = self._descend(root, names[:-1]).setdefault(names[-1], [])
        if not isinstance(tables, list):
            raise self._error(f"{names[-1]} is no list of tables")
        table: dict[str, Any] = {}
        tables.append(table)
        return table

    def _value(self) -> Any:
        self._skip(_SPACE)
        if self._take("["):
            return self._list()
        if self._take("{"):
            return self._inline()
        if self.text.startswith(('"', "'"), self.place):
            return self._some_text()
        atom = self._match(_ATOM)
        if not atom:
            raise self._error("a value was expected")
        return self._atom(atom[0])

    def _list(self) -> list[Any]:
        found: list[Any] = []
        while True:
            self._skip(_BLANK)
            if self._take("]"):
                return found
            found.append(self._value())
            self._skip(_BLANK)
            if not self._take(",") and not self.text.startswith("]", self.place):
                raise self._error("the list does not end")

    def _inline(self) -> dict[str, Any]:
        table: dict[str, Any] = {}
        self._skip(_SPACE)
        if self._take("}"):
            return table
        while True:
            self._pair(table)
            self._skip(_SPACE)
            if self._take("}"):
                return table
            self._need(",")

    def _some_text(self) -> str:
        basic, literal = self._match(_MANY[0]), None
        if basic is None:
            literal = self._match(_MANY[1])
        if basic:
            return self._unescaped(basic[1])
        return literal[1] if literal else self._line_text()

    def _line_text(self) -> str:
        basic = self._match(_BASIC)
        if basic:
            return self._unescaped(basic[1])
        literal = self._match(_LITERAL)
        if literal:
            return literal[1]
        raise self._error("the text does not end")

    def _unescaped(self, text: str) -> str:
        def replaced(match: re.Match[str]) -> str:
            if match[1] or match[2]:
                return chr(int(match[1] or match[2], 16))
            if match[5]:
                raise self._error(f"\\{match[5]} is no escape")
            return _ESCAPED[match[3]] if match[3] else ""

        return _ESCAPE.sub(replaced, text)

    def _atom(self, text: str) -> Any:
        if text in ("true", "false"):
            return text == "true"
        if _INTEGER.fullmatch(text):
            return int(text.replace("_", ""))
        if _BASED.fullmatch(text):
            return int(text.replace("_", ""), 0)
        if _FLOAT.fullmatch(text):
            return float(text.replace("_", ""))
        if _DATE.fullmatch(text):
            return text
        raise self._error(f"{text} is no value")

    def _match(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        found = pattern.match(self.text, self.place)
        self.place = found.end() if found else self.place
        return found

    def _skip(self, pattern: re.Pattern[str]) -> int:
        self._match(pattern)
        return self.place

    def _take(self, mark: str) -> bool:
        taken = self.text.startswith(mark, self.place)
        self.place += len(mark) if taken else 0
        return taken

    def _need(self, mark: str) -> None:
        self._skip(_SPACE)
        if not self._take(mark):
            raise self._error(f"{mark} was expected")

    def _error(self, what: str) -> TomlError:
        return TomlError(f"line {self.text.count(chr(10), 0, self.place) + 1}: {what}")
