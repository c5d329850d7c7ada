# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The launcher of the role server_host, with small programs in tritonserver's place."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import pytest

LAUNCHER = Path(__file__).resolve().parents[3] / "roles" / "server_host" / "files" / "launch.py"
KEY = "s3cret-of-this-test"
# Two threads, as a server that has read its options has; then it says so and stays.
SERVER = "import threading, time, os; threading.Thread(target=time.sleep, args=(60,), daemon=True).start(); print('up', flush=True); {more}"
SECONDS = 20


class Launched:
    def __init__(self, folder: Path, code: str, *, key: bool = True, environment: dict[str, str] | None = None) -> None:
        self.prefix = f"launch-test-{uuid.uuid4().hex}-"
        (folder / "key").write_text(KEY + "\n")
        (folder / "environment.json").write_text(json.dumps(environment or {}))
        config: dict[str, Any] = {
            "argv": [sys.executable, "-c", code],
            "environment": str(folder / "environment.json"),
            "paths": {"PATH": "/usr/bin:/bin", "LD_LIBRARY_PATH": ""},
            "shared_memory": self.prefix,
            "key_file": str(folder / "key"),
            "key_arguments": ["--a=b:c=", "--d="] if key else [],
        }
        (folder / "config.json").write_text(json.dumps(config))
        self.config = folder / "config.json"

    def region(self, name: str = "1") -> Path:
        path = Path("/dev/shm") / f"{self.prefix}{name}"
        path.touch()
        return path

    def start(self) -> subprocess.Popen[str]:
        command = [sys.executable, str(LAUNCHER), str(self.config)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert process.stdout is not None
        self.said = process.stdout.readline().strip()
        return process


def child_of(pid: int) -> int:
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    assert found
    return int(found[0])


def command_of(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text()


def eventually(condition: Any, what: str) -> None:
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.02)


def gone(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return True
    return state == "Z"


def test_the_key_reaches_the_server_and_disappears_from_its_command_line(tmp_path: Path) -> None:
    launched = Launched(tmp_path, SERVER.format(more="import sys; print(sys.argv[1:], flush=True); time.sleep(60)"))
    process = launched.start()
    assert process.stdout is not None
    assert process.stdout.readline().strip() == str([f"--a=b:c={KEY}", f"--d={KEY}"])
    server = child_of(process.pid)
    eventually(lambda: KEY not in command_of(server), "the key stays visible")
    assert f"--a=b:c={'*' * len(KEY)}" in command_of(server)
    assert KEY not in command_of(process.pid)
    process.terminate()
    _unused, said = process.communicate(timeout=SECONDS)
    assert process.returncode == 128 + signal.SIGTERM
    assert KEY not in said


def test_no_key_no_arguments(tmp_path: Path) -> None:
    launched = Launched(tmp_path, "import sys; print(sys.argv[1:], flush=True)", key=False)
    process = launched.start()
    assert launched.said == "[]"
    assert process.wait(SECONDS) == 0


@pytest.mark.parametrize("status", [0, 3])
def test_the_servers_exit_status_is_handed_on(tmp_path: Path, status: int) -> None:
    process = Launched(tmp_path, f"print(1, flush=True); raise SystemExit({status})").start()
    assert process.wait(SECONDS) == status


def test_a_stop_is_graceful(tmp_path: Path) -> None:
    handler = "lambda *_: sys.exit(os.write(1, b'bye') - 3)"
    code = f"import os, signal, sys, time; signal.signal(signal.SIGTERM, {handler}); print('up', flush=True); time.sleep(60)"
    process = Launched(tmp_path, code).start()
    process.terminate()
    said, _unused = process.communicate(timeout=SECONDS)
    assert "bye" in said
    assert process.returncode == 0


def test_the_server_dies_with_its_launcher(tmp_path: Path) -> None:
    process = Launched(tmp_path, SERVER.format(more="time.sleep(60)")).start()
    server = child_of(process.pid)
    process.send_signal(signal.SIGKILL)
    process.wait(SECONDS)
    eventually(lambda: gone(server), "the server outlives its launcher")


def test_what_a_killed_server_leaves_is_cleared(tmp_path: Path) -> None:
    """Its regions, and its python processes, which the launcher inherits."""
    sleeper = "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])"
    more = f"import subprocess, sys; print({sleeper}.pid, flush=True); time.sleep(60)"
    launched = Launched(tmp_path, SERVER.format(more=more))
    old = launched.region("old")
    foreign = Path("/dev/shm") / f"other-{launched.prefix}"
    foreign.touch()
    try:
        process = launched.start()
        assert not old.exists()
        assert process.stdout is not None
        stub = int(process.stdout.readline())
        region = launched.region("new")
        os.kill(child_of(process.pid), signal.SIGKILL)
        assert process.wait(SECONDS) == 128 + signal.SIGKILL
        assert gone(stub)
        assert not region.exists()
        assert foreign.exists()
    finally:
        foreign.unlink()


def test_models_that_a_killed_server_was_reading_are_cleared(tmp_path: Path) -> None:
    launched = Launched(tmp_path, "print('up', flush=True)", key=False)
    (tmp_path / "folderA1b2C3" / "1").mkdir(parents=True)
    (tmp_path / "other").mkdir()
    config = json.loads(launched.config.read_text())
    launched.config.write_text(json.dumps({**config, "scratch": [str(tmp_path / "folder*")]}))
    process = launched.start()
    assert process.wait(SECONDS) == 0
    assert not (tmp_path / "folderA1b2C3").exists()
    assert (tmp_path / "other").exists()
    assert process.stderr is not None
    assert "folderA1b2C3, which a killed server left" in process.stderr.read()


def test_the_environment_is_the_files_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOREIGN", "1")
    code = "import os, json; print(json.dumps(dict(os.environ)), flush=True)"
    launched = Launched(tmp_path, code, environment={"AWS_SECRET_ACCESS_KEY": "x", "NUMBER": 3})  # type: ignore[dict-item]
    launched.start().wait(SECONDS)
    values = json.loads(launched.said)
    assert (values["AWS_SECRET_ACCESS_KEY"], values["NUMBER"], values["PYTHONDONTWRITEBYTECODE"]) == ("x", "3", "1")
    assert values["PATH"] == "/usr/bin:/bin"
    assert "FOREIGN" not in values


def test_a_wrong_call_says_how() -> None:
    done = subprocess.run([sys.executable, str(LAUNCHER)], capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 2
    assert "Usage:" in done.stderr
