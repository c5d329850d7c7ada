# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Runs modules and playbooks of this checkout as Ansible would."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
_WARNING = re.compile(r"^\[?(WARNING|DEPRECATION WARNING|DEPRECATED)\b.*", re.MULTILINE)


def collections_path() -> Path:
    """A folder with ansible_collections/serving/triton in it: the one around this checkout, or a link to it."""
    if ROOT.parents[1].name == "ansible_collections":
        return ROOT.parents[2]
    for folder in (ROOT / ".venv" / "collections", ROOT / ".cache" / "collections"):
        if (folder / "ansible_collections" / "serving" / "triton" / "galaxy.yml").exists():
            return folder
    link = ROOT / ".cache" / "collections" / "ansible_collections" / "serving" / "triton"
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(ROOT)
    return link.parents[2]


def environment(**more: str) -> dict[str, str]:
    """The environment of every run: this interpreter's tools first, nothing written to the user's home, no colours."""
    unwanted = ("ANSIBLE_", "PYTEST_")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(unwanted)}
    return {
        **inherited,
        "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', '/usr/bin:/bin')}",
        "PYTHONPATH": str(collections_path()),
        "PYTHONDONTWRITEBYTECODE": "1",
        "ANSIBLE_HOME": os.environ.get("ANSIBLE_HOME", str(ROOT / ".cache" / "ansible")),
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "ANSIBLE_COLLECTIONS_PATH": str(collections_path()),
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_DEPRECATION_WARNINGS": "1",
        **more,
    }


def run_module(
    fqcn: str,
    args: Mapping[str, Any],
    *,
    check: bool = False,
    diff: bool = False,
    env: Mapping[str, str] | None = None,
    python: str = sys.executable,
    timeout: float = 120,
) -> dict[str, Any]:
    """Runs one module in a process of its own, as an AnsiballZ payload would, and returns its result.

    A failed module is a result with `failed`. A crash, a warning or a deprecation fails the test.
    """
    name = fqcn.rsplit(".", 1)[-1]
    payload = {
        "ANSIBLE_MODULE_ARGS": {**args, "_ansible_check_mode": check, "_ansible_diff": diff, "_ansible_remote_tmp": tempfile.gettempdir()}
    }
    command = [python, "-m", f"ansible_collections.serving.triton.plugins.modules.{name}"]
    done = subprocess.run(
        command, input=json.dumps(payload), capture_output=True, text=True, timeout=timeout, check=False, env=environment(**(env or {}))
    )
    try:
        result: dict[str, Any] = json.loads(done.stdout)
    except json.JSONDecodeError:
        raise AssertionError(f"{fqcn} crashed (rc {done.returncode}):\n{done.stdout}\n{done.stderr}") from None
    assert not result.get("deprecations"), result["deprecations"]
    assert not result.get("warnings"), result["warnings"]
    assert not done.stderr.strip(), done.stderr
    return result


@dataclass(frozen=True)
class Result:
    """rc: of ansible-playbook. stats: host → {ok, changed, failures, skipped, …}. events: one mapping a task and host."""

    rc: int
    stdout: str
    stats: dict[str, dict[str, int]] = field(default_factory=dict)
    events: list[dict[str, Any]] = field(default_factory=list)

    @property
    def changed(self) -> int:
        """Changed tasks of all hosts."""
        return sum(host["changed"] for host in self.stats.values())

    def tasks(self, status: str) -> list[dict[str, Any]]:
        """The events of one status: ok, changed, failed, ignored, skipped, unreachable."""
        return [event for event in self.events if event["status"] == status]

    def result(self, task: str, host: str = "") -> dict[str, Any]:
        """The result of the last task of this name."""
        found = [event for event in self.events if event.get("task") == task and host in ("", event["host"])]
        assert found, f"no task {task!r} ran:\n{self.stdout}"
        value: dict[str, Any] = found[-1]["result"]
        return value


def run_playbook(
    playbook: str | Path | Sequence[Mapping[str, Any]],
    inventory: str | Path = "localhost,",
    *args: str,
    rc: int | None = 0,
    env: Mapping[str, str] | None = None,
    timeout: float = 600,
) -> Result:
    """Runs a playbook: a path, an FQCN, or plays as values (written to a temporary file).

    Fails the test when a WARNING or DEPRECATION line is printed, or when the exit status is not `rc` (None: any).
    """
    with tempfile.TemporaryDirectory(prefix="playbook-") as folder:
        name = str(playbook)
        if not isinstance(playbook, (str, Path)):
            name = f"{folder}/playbook.json"  # JSON is YAML.
            Path(name).write_text(json.dumps(list(playbook)))
        events = Path(folder) / "events"
        events.touch()
        command = ["ansible-playbook", name, "--inventory", str(inventory), *args]
        more = environment(**{**_callbacks(events), **(env or {})})
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=timeout, check=False, env=more, cwd=ROOT, stdin=subprocess.DEVNULL
        )
        lines = [json.loads(line) for line in events.read_text().splitlines()]
    output = done.stdout + done.stderr
    warning = _WARNING.search(output)
    assert not warning, f"a warning was printed: {warning[0]}\n{output}"
    assert rc is None or done.returncode == rc, f"ansible-playbook ended with {done.returncode}:\n{output}"
    stats = next((line["stats"] for line in lines if line["status"] == "stats"), {})
    return Result(done.returncode, output, stats, [line for line in lines if line["status"] != "stats"])


def _callbacks(events: Path) -> dict[str, str]:
    callbacks = ["events"]
    if (ROOT / "plugins" / "callback" / "summary.py").exists():
        callbacks.insert(0, "serving.triton.summary")
    return {
        "ANSIBLE_CALLBACK_PLUGINS": str(ROOT / "tests" / "support" / "callback"),
        "ANSIBLE_CALLBACKS_ENABLED": ",".join(callbacks),
        "SERVING_TRITON_EVENTS": str(events),
    }
