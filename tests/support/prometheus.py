# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A real prometheus and promtool for tests: those on PATH, or Debian's package unpacked into the cache, without root."""

from __future__ import annotations

import fcntl
import json
import shutil
import subprocess
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import jinja2
import yaml

ROOT = Path(__file__).resolve().parents[2]
ROLE = ROOT / "roles" / "monitoring"
CACHE = ROOT / ".cache" / "prometheus"
PRIVATE = CACHE / "apt"


class NoPrometheusError(Exception):
    """There is none to be had on this machine; the message says why."""


def program(name: str = "prometheus") -> Path:
    """The path of prometheus or promtool. Downloads 19 MB on first use where PATH has none."""
    on_path = shutil.which(name)
    if on_path:
        return Path(on_path).resolve()
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (CACHE / ".ready").exists():
            _unpack()
            (CACHE / ".ready").touch()
    return CACHE / "usr" / "bin" / name


def _unpack() -> None:
    if not shutil.which("apt-get"):
        raise NoPrometheusError("there is no prometheus on PATH, and no apt-get to download it with")
    download = ["download", "prometheus"]
    if _apt(*download).returncode:
        # A container without package lists, or an ordinary user: apt keeps lists of our own.
        (PRIVATE / "state" / "lists" / "partial").mkdir(parents=True, exist_ok=True)
        (PRIVATE / "cache" / "archives" / "partial").mkdir(parents=True, exist_ok=True)
        private = (
            "-o",
            f"Dir::State={PRIVATE / 'state'}",
            "-o",
            "Dir::State::status=/var/lib/dpkg/status",
            "-o",
            f"Dir::Cache={PRIVATE / 'cache'}",
        )
        for arguments in (["update"], download):
            done = _apt(*private, *arguments)
            if done.returncode:
                raise NoPrometheusError(f"apt-get {arguments[0]} failed: {done.stderr.strip()}")
    for package in CACHE.glob("*.deb"):
        subprocess.run(["dpkg-deb", "-x", str(package), str(CACHE)], check=True, timeout=120)
        package.unlink()
    shutil.rmtree(PRIVATE, ignore_errors=True)


def _apt(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["apt-get", "-q", "-o", "APT::Sandbox::User=", *arguments]
    return subprocess.run(command, cwd=CACHE, capture_output=True, text=True, timeout=300, check=False)


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
