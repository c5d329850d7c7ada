# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A real prometheus and promtool for tests: those on PATH, or Debian's package unpacked into the cache, without root."""

from __future__ import annotations

import json
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import jinja2
import yaml

from . import debian

ROOT = Path(__file__).resolve().parents[2]
ROLE = ROOT / "roles" / "monitoring"


class NoPrometheusError(Exception):
    """There is none to be had on this machine; the message says why."""


def program(name: str = "prometheus") -> Path:
    """The path of prometheus or promtool. Downloads 19 MB on first use where PATH has none."""
    try:
        return debian.program("prometheus", name)
    except debian.NoPackageError as error:
        raise NoPrometheusError(str(error)) from error


def variables(name: str = "defaults") -> dict[str, Any]:
    """The variables of role monitoring: its defaults, or its internal ones (vars)."""
    values: dict[str, Any] = yaml.safe_load((ROLE / name / "main.yml").read_text(encoding="utf-8"))
    return values


def rules(**changed: Any) -> str:
    """The role's rules as text, rendered from its defaults as the task does."""
    environment = jinja2.Environment(
        variable_start_string="<<", variable_end_string=">>", block_start_string="<%", block_end_string="%>",
        trim_blocks=True, keep_trailing_newline=True, undefined=jinja2.StrictUndefined,
    )  # fmt: skip
    environment.filters["to_nice_yaml"] = lambda value, **_unused: yaml.safe_dump(value, indent=2, width=160)
    template = environment.from_string((ROLE / "templates" / "rules.yml.j2").read_text(encoding="utf-8"))
    values = {**variables(), "ansible_managed": "Ansible managed", "__monitoring_rate_window": "60s", **changed}
    return template.render(values)


def ask(url: str, path: str, **parameters: str) -> Any:
    """The data of one answer of Prometheus' API."""
    query = f"?{urllib.parse.urlencode(parameters)}" if parameters else ""
    with urllib.request.urlopen(f"{url}/api/v1/{path}{query}", timeout=10) as answer:
        return json.load(answer)["data"]
