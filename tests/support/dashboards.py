# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Reads Grafana dashboards as far as tests need it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def all_panels(board: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Rows and panels, those within collapsed rows too, in the order of the page."""
    for panel in board["panels"]:
        yield panel
        yield from panel.get("panels") or []


def queries(board: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(title of the panel, PromQL) of each query, with its variables."""
    return [(panel["title"], target["expr"]) for panel in all_panels(board) for target in panel.get("targets") or []]


def substitute(expression: str, variables: Mapping[str, str]) -> str:
    """The query as Grafana sends it. variables: name, without $, → value."""
    for name in sorted(variables, key=len, reverse=True):
        expression = expression.replace(f"${{{name}}}", variables[name]).replace(f"${name}", variables[name])
    return expression
