# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Runs playbooks as a user does, and holds them to the promise: check predicts the run, a second run is idle, absent undoes it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
COLLECTIONS = ROOT / ".venv" / "collections"
LOCAL_INVENTORY = {
    "all": {
        "hosts": {"localhost": {"ansible_connection": "local", "ansible_python_interpreter": "{{ ansible_playbook_python }}"}},
        "children": {"triton": {"hosts": {"localhost": {}}}},
    }
}
_NOISE = re.compile(r"\[(?:DEPRECATION )?WARNING\]|\[DEPRECATED\]")
# Variables that would change what the command under test does.
_FOREIGN = re.compile(r"ANSIBLE_|PYTHONPATH$|PYTEST_|COVERAGE_")

Play = Sequence[Mapping[str, Any]]
# host, place of the task, name of the task
TaskKey = tuple[str, str, str]


@dataclass(frozen=True)
class Outcome:
    """What one task did on one host. status: ok, skipped, failed, ignored or unreachable. seconds: how long it took."""

    host: str
    task: str
    path: str
    action: str
    status: str
    changed: bool
    message: str = ""
    seconds: float = 0.0

    @property
    def key(self) -> TaskKey:
        return (self.host, self.path.replace(f"{ROOT}/", ""), self.task)


@dataclass(frozen=True)
class PlaybookRun:
    """argv, rc, stdout and stderr of one ansible-playbook, each task's outcome in order, and the recap by host."""

    argv: tuple[str, ...]
    rc: int
    stdout: str
    stderr: str
    tasks: tuple[Outcome, ...] = ()
    items: tuple[Outcome, ...] = ()
    recap: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    @property
    def output(self) -> str:
        return self.stdout + self.stderr

    @property
    def changed(self) -> Counter[TaskKey]:
        """How often each task reported a change; a task in check mode that was skipped and says it would change counts too."""
        return Counter(task.key for task in self.tasks if task.changed)

    @property
    def changed_items(self) -> Counter[TaskKey]:
        """The same, by the items of loops."""
        return Counter(item.key for item in self.items if item.changed)

    @property
    def warnings(self) -> list[str]:
        return [line for line in self.output.splitlines() if _NOISE.search(line)]

    def tail(self, lines: int = 60) -> str:
        return "\n".join([" ".join(self.argv), *self.output.splitlines()[-lines:]])


@dataclass(frozen=True)
class Workspace:
    """folder: where one test's HOME, inventory, plays and records lie. inventory: a mapping, or a path to one; env: added variables."""

    folder: Path
    inventory: Mapping[str, Any] | Path = field(default_factory=lambda: LOCAL_INVENTORY)
    env: Mapping[str, str] = field(default_factory=dict)
    timeout: float = 600

    def run(self, play: Play | Path | str, *flags: str, variables: Mapping[str, Any] | None = None) -> PlaybookRun:
        """Runs a play (plain values), a playbook's path or its FQCN. Never raises for a failed play: look at `rc`.

        variables: extra variables, handed over in a file of mode 0600, so that secrets stay off argv.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        record = self.folder / "record.jsonl"
        record.unlink(missing_ok=True)
        argv = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", self._inventory(), *flags]
        if variables:
            argv += ["-e", f"@{self._private('variables.yml', variables)}"]
        argv.append(self._playbook(play))
        done = subprocess.run(
            argv,
            cwd=self.folder,
            env=self._environment(record),
            capture_output=True,
            text=True,
            timeout=self.timeout,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        return _read(tuple(argv), done, record)

    def _inventory(self) -> str:
        if isinstance(self.inventory, Path):
            return str(self.inventory)
        return str(self._private("inventory.yml", self.inventory))

    def _playbook(self, play: Play | Path | str) -> str:
        return str(play) if isinstance(play, (Path, str)) else str(self._private("play.yml", list(play)))

    def _private(self, name: str, values: Any) -> Path:
        path = self.folder / name
        path.touch(mode=0o600)
        path.write_text(yaml.safe_dump(values, sort_keys=False) if values else "", encoding="utf-8")
        return path

    def _environment(self, record: Path) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not _FOREIGN.match(name)}
        return {
            **inherited,
            "PATH": f"{Path(sys.executable).parent}:{inherited.get('PATH', '')}",
            "LC_ALL": "C.UTF-8",
            "ANSIBLE_HOME": str(self.folder / "ansible"),
            "ANSIBLE_LOCAL_TEMP": str(self.folder / "ansible" / "tmp"),
            "ANSIBLE_REMOTE_TEMP": str(self.folder / "ansible" / "remote"),
            "ANSIBLE_CONFIG": str(self._private("ansible.cfg", {})),
            "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS),
            "ANSIBLE_CALLBACK_PLUGINS": str(ROOT / "tests" / "support" / "callback_plugins"),
            "ANSIBLE_CALLBACKS_ENABLED": "record",
            "ANSIBLE_INJECT_FACT_VARS": "false",
            "ANSIBLE_NOCOLOR": "true",
            "SERVING_TRITON_RECORD": str(record),
            **self.env,
        }


def role_play(role: str, variables: Mapping[str, Any] | None = None, *, hosts: str = "localhost", **keywords: Any) -> Play:
    """A play that applies one role. keywords: of the play, such as become."""
    return [{"hosts": hosts, "gather_facts": False, **keywords, "roles": [{"role": role, "vars": dict(variables or {})}]}]


def module_play(module: str, options: Mapping[str, Any], *, hosts: str = "localhost", **keywords: Any) -> Play:
    """A play of one task that calls one module."""
    return [{"hosts": hosts, "gather_facts": False, **keywords, "tasks": [{"name": f"Call {module}", module: dict(options)}]}]


@dataclass(frozen=True)
class Promise:
    """What `keep` holds a play to.

    play: what makes the state.
    absent: what undoes it: another play, or extra variables for the same one (`{"server_host_state": "absent"}`).
    variables: extra variables for all runs.
    canaries: secrets within them, which must never be shown.
    unpredictable: name of a task → why check mode cannot know its change. An entry that turns out needless fails.
    after_run, after_absent: looks at the target, for what a play's own report cannot prove.
    """

    play: Play | Path | str
    absent: Play | Path | Mapping[str, Any] | None = None
    variables: Mapping[str, Any] = field(default_factory=dict)
    canaries: Iterable[str] = ()
    unpredictable: Mapping[str, str] = field(default_factory=dict)
    after_run: Callable[[], None] | None = None
    after_absent: Callable[[], None] | None = None


def keep(promise: Promise, workspace: Workspace) -> list[PlaybookRun]:
    """Check, run, run; then check, absent, check: fails where check mode and run disagree, a repetition changes something, a warning is
    printed or a canary shows. Returns the runs in that order."""
    runs = _converge(promise, workspace, promise.play, promise.variables, "run")
    if promise.after_run:
        promise.after_run()
    if promise.absent is not None:
        play, variables = _undoing(promise)
        runs += _converge(promise, workspace, play, variables, "absent")
        if promise.after_absent:
            promise.after_absent()
    return runs


def _undoing(promise: Promise) -> tuple[Play | Path | str, Mapping[str, Any]]:
    if isinstance(promise.absent, Mapping):
        return promise.play, {**promise.variables, **promise.absent}
    assert promise.absent is not None
    return promise.absent, promise.variables


def _converge(
    promise: Promise, workspace: Workspace, play: Play | Path | str, variables: Mapping[str, Any], name: str
) -> list[PlaybookRun]:
    # With secrets at stake the output is as talkative as a user who debugs makes it: module arguments and commands show.
    flags = ("--diff", "-vvv") if promise.canaries else ("--diff",)

    def once(step: str, *more: str) -> PlaybookRun:
        result = workspace.run(play, *flags, *more, variables=variables)
        assert_clean(result, promise.canaries, step)
        return result

    predicted = once(f"{name}: check", "--check")
    first = once(name)
    assert first.changed, f"{name}: nothing changed, so nothing was proved\n{first.tail()}"
    assert_predicted(predicted, first, promise.unpredictable if name == "run" else {})
    # Once as a run, once in check mode.
    again = once(f"{name} again", *(["--check"] if name == "absent" else []))
    assert_unchanged(again, f"{name} again")
    return [predicted, first, again]


def assert_clean(run: PlaybookRun, canaries: Iterable[str] = (), step: str = "run") -> None:
    """rc 0, no warning or deprecation line, no canary anywhere in the output or on argv."""
    assert run.rc == 0, f"{step}: rc {run.rc}\n{run.tail()}"
    assert not run.warnings, f"{step}: warnings\n" + "\n".join(run.warnings)
    assert_secret(run, canaries, step)


def assert_secret(run: PlaybookRun, canaries: Iterable[str], step: str = "run") -> None:
    """No canary in the output or on the command line, whatever the run's outcome."""
    for canary in canaries:
        leaks = [line for line in (*run.output.splitlines(), " ".join(run.argv)) if canary in line]
        assert not leaks, f"{step}: the secret {canary} shows in\n" + "\n".join(line[:400] for line in leaks)


def assert_unchanged(run: PlaybookRun, step: str = "run") -> None:
    assert not run.changed, f"{step}: these tasks changed something although nothing was left to do\n" + _lines(run.changed)


def assert_predicted(check: PlaybookRun, run: PlaybookRun, unpredictable: Mapping[str, str] | None = None) -> None:
    """The tasks and items that check mode said would change are those that did. unpredictable: name of a task → reason."""
    allowed = unpredictable or {}
    missed = (run.changed - check.changed) + (run.changed_items - check.changed_items)
    invented = (check.changed - run.changed) + (check.changed_items - run.changed_items)
    differing = {key[2] for key in (*missed, *invented)}
    stale = [name for name in allowed if not any(_named(task, name) for task in differing)]
    missed = Counter({key: count for key, count in missed.items() if not any(_named(key[2], name) for name in allowed)})
    invented = Counter({key: count for key, count in invented.items() if not any(_named(key[2], name) for name in allowed)})
    assert not missed, "changed by the run, not predicted by check mode\n" + _lines(missed)
    assert not invented, "predicted by check mode, not changed by the run\n" + _lines(invented)
    assert not stale, f"check mode does predict these; remove them from `unpredictable`: {stale}"


def _named(task: str, name: str) -> bool:
    # Inside a role Ansible shows "role : task".
    return task == name or task.endswith(f" : {name}")


def _lines(changes: Counter[TaskKey]) -> str:
    return "\n".join(f"  {host}: {task}  ({path}) x{count}" for (host, path, task), count in sorted(changes.items()))


def _read(argv: tuple[str, ...], done: subprocess.CompletedProcess[str], record: Path) -> PlaybookRun:
    tasks: list[Outcome] = []
    items: list[Outcome] = []
    recap: dict[str, dict[str, int]] = {}
    for line in record.read_text(encoding="utf-8").splitlines() if record.exists() else []:
        values = json.loads(line)
        event = values.pop("event")
        if event == "recap":
            recap = values["hosts"]
        else:
            (items if event == "item" else tasks).append(Outcome(**values))
    return PlaybookRun(argv, done.returncode, done.stdout, done.stderr, tuple(tasks), tuple(items), recap)
