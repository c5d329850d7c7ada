# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""JSON as people write it: with comments, and with commas before a closing bracket. Pure."""

from __future__ import annotations

import json
import re
from typing import Any

from ..core.errors import InputError

# Strings come first, so that nothing inside of one is taken for a comment.
_STRING_OR_COMMENT = re.compile(r'"(?:\\.|[^"\\\n])*"|//[^\n]*|#[^\n]*|/\*.*?\*/', re.DOTALL)
_STRING_OR_COMMA = re.compile(r'"(?:\\.|[^"\\\n])*"|,(?=\s*[}\]])')
_NO_BREAK = re.compile(r"[^\n]")


def parse(text: str, where: str) -> dict[str, Any]:
    """The mapping that a text of such JSON holds. where: what an error names. Raises InputError with line and column."""
    plain = _STRING_OR_COMMENT.sub(lambda found: _kept(found[0]), text.lstrip("\ufeff"))
    plain = _STRING_OR_COMMA.sub(lambda found: _kept(found[0]), plain)
    try:
        value = json.loads(plain)
    except ValueError as error:
        raise InputError(f"is no JSON: {error}", where=where, remedy="Mend it at that place.") from None
    if not isinstance(value, dict):
        raise InputError("holds no mapping", where=where, remedy="Write the service's keys in braces.")
    return value


def _kept(found: str) -> str:
    """A string as it is; blanks for all else, so that places in error messages stay true."""
    return found if found.startswith('"') else _NO_BREAK.sub(" ", found)
