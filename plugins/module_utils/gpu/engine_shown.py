# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A container engine's configuration as a diff may show it: the file's own lines, with what only its owner may read masked. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from ..core.redaction import MASK, MIN_SECRET_LENGTH, Redactor, is_secret_key
from . import engine_config

# Registries' `auth`, with all that stands in it but for the user's name.
_AUTH = re.compile(r"(?i)auth")
# A user and a password in a URL; JSON may write a slash with a backslash.
_USER = re.compile(r"""(:(?:\\?/){2})(?:\\.|[^\s"\\])*@""")
# A name and its value, in JSON and in TOML.
_PAIR = re.compile(
    r"""((?:"(?P<quoted>[^"\n]*)"|'(?P<literal>[^'\n]*)'|(?P<bare>[\w-]+))\s*[=:]\s*)("(?:\\.|[^"\\\n])+"|'[^'\n]+'|[\w+.-]+)"""
)
_PLAIN = ("true", "false", "null")


def shown(engine: str, text: str | None) -> str:
    """The text for a diff; empty for no file. The text is one that the engine can read."""
    if not text:
        return ""
    hidden = _USER.sub(rf"\1{MASK}@", _PAIR.sub(_pair, text))
    # What takes several lines, or stands in a list.
    values = [value for value in _secrets(engine_config.parse(engine, text)) if len(value) >= MIN_SECRET_LENGTH]
    spelled = (json.dumps(value, ensure_ascii=ascii_alone)[1:-1] for value in values for ascii_alone in (True, False))
    lines = (line for value in values for line in value.splitlines() if len(line) >= MIN_SECRET_LENGTH)
    return Redactor([*values, *spelled, *lines]).text(hidden)


def _pair(match: re.Match[str]) -> str:
    name = match["quoted"] or match["literal"] or match["bare"] or ""
    return f'{match[1]}"{MASK}"' if _is_secret(name) and match[5] not in _PLAIN else match[0]


def _is_secret(name: str) -> bool:
    return is_secret_key(name) or bool(_AUTH.search(name))


def _secrets(value: Any, hidden: bool = False) -> Iterator[str]:
    """Every text below a secret's name."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _secrets(item, (hidden and name != "username") or _is_secret(str(name)))
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _secrets(item, hidden)
    elif isinstance(value, str) and hidden:
        yield value
