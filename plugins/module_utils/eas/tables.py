# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Reads the tables that the command line client prints. Pure."""

from __future__ import annotations

import re

_COLOURS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_RULE = re.compile(r"\+(?:-+\+)+")


def plain(output: str) -> list[str]:
    """The lines as they stay on a terminal: without colours, and without what was overwritten."""
    lines = _COLOURS.sub("", output).replace("\r\n", "\n").split("\n")
    return [line.rstrip("\r").rpartition("\r")[2].rstrip() for line in lines]


def rows(output: str) -> list[list[str]] | None:
    """The cells of the output's table, row by row, blanks around them stripped; None where there is no table."""
    columns: list[int] = []
    found: list[list[str]] = []
    for line in plain(output):
        text = line.strip()
        if _RULE.fullmatch(text):
            columns = [place for place, character in enumerate(text) if character == "+"]
        elif columns and text.startswith("|"):
            found.append(_cells(text, columns))
    return found if columns else None


def _cells(line: str, columns: list[int]) -> list[str]:
    """By the places of the rule, since a value may hold a bar; a row may end before the rule (wide characters), or go on behind it."""
    inner = columns[1:-1]
    if not all(place < len(line) and line[place] == "|" for place in inner):
        return [cell.strip() for cell in line.strip("|").split("|", len(inner))]
    ends = [*inner, columns[-1] if len(line) > columns[-1] and line[columns[-1]] == "|" else len(line.rstrip(" |")) + 1]
    return [line[start + 1 : end].strip() for start, end in zip([columns[0], *inner], ends)]


def records(output: str) -> list[dict[str, str]] | None:
    """A table with a header, a mapping of header to cell for each row; None where there is no table."""
    found = rows(output)
    if found is None:
        return None
    header, *rest = found or [[]]
    return [dict(zip(header, row)) for row in rest]


def pairs(output: str) -> dict[str, str] | None:
    """A table of two columns, keys on the left. A value goes on in the rows that have none. None where there is no table."""
    found = rows(output)
    if found is None:
        return None
    result: dict[str, str] = {}
    key = ""
    for cells in found:
        left, right = (*cells, "", "")[:2]
        if left:
            key, result[left] = left, right
        elif key:
            # Lines are broken at blanks, inside of texts too.
            result[key] = f"{result[key]} {right}".strip()
    return result
