# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""README's first command as a new user runs it: a fresh clone, an empty HOME, an ordinary user, nothing left behind.

The clone is of HEAD, so changes that are not committed are not seen here.
"""

from __future__ import annotations

import json
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.ansible_runs import ROOT

# What a user's shell has, and what reaches the package index here.
KEPT = (
    "LANG",
    "LC_",
    "PIP_",
    "SSL_",
    "REQUESTS_",
    "CURL_",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
)
PYTHONS = ("/usr/bin/python3", "/usr/local/bin/python3", "/usr/bin/python3.11", "/usr/bin/python3.12", "/usr/bin/python3.13")
SAMPLES = "roles/model_repository/files/samples"
WARNING = re.compile(r"^\[(?:WARNING|DEPRECATION WARNING)\].*", re.MULTILINE)


@dataclass(frozen=True)
class NewUser:
    """Somebody with a fresh clone and an empty home, who runs `make`."""

    checkout: Path
    home: Path
    uid: int
    gid: int
    python: str
    ports: dict[str, int]

    def make(self, target: str, *arguments: str, rc: int = 0) -> str:
        """Runs one target and returns what it printed, both streams together."""
        environment = {name: value for name, value in os.environ.items() if name.startswith(KEPT)}
        environment |= {"HOME": str(self.home), "PATH": "/usr/local/bin:/usr/bin:/bin", "USER": "newcomer", "LOGNAME": "newcomer"}
        command = ["make", target, f"PYTHON={self.python}", "ARGS=" + " ".join(["-e @ports.json", *arguments])]
        identity = {"user": self.uid, "group": self.gid, "extra_groups": []} if os.getuid() == 0 else {}
        done = subprocess.run(
            command,
            cwd=self.checkout,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=900,
            check=False,
            **identity,
        )
        assert done.returncode == rc, done.stdout
        assert not WARNING.findall(done.stdout), done.stdout
        return done.stdout


def changed(output: str) -> int:
    """Changed tasks in the play recap."""
    counts = re.findall(r"changed=(\d+)", output)
    assert counts, output
    return sum(map(int, counts))


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _number in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def identity() -> tuple[int, int]:
    """The ordinary user: nobody where the tests run as root, else who runs them."""
    if os.getuid() != 0:
        return os.getuid(), os.getgid()
    nobody = pwd.getpwnam("nobody")
    return nobody.pw_uid, nobody.pw_gid


def reachable_python(uid: int, gid: int) -> str:
    """A Python that this user may run and that can make virtual environments."""
    check = "import ensurepip, venv, sys; sys.exit(sys.version_info < (3, 11))"
    drop = {"user": uid, "group": gid, "extra_groups": []} if os.getuid() == 0 else {}
    for python in (*PYTHONS, shutil.which("python3") or ""):
        if not python or not Path(python).exists():
            continue
        try:
            done = subprocess.run([python, "-c", check], capture_output=True, check=False, timeout=60, env={}, cwd="/", **drop)
        except PermissionError:
            continue
        if done.returncode == 0:
            return python
    pytest.skip("no Python 3.11 or newer with ensurepip that an ordinary user may run")


def processes(marker: str) -> dict[int, str]:
    """pid → command line of the processes that belong to the checkout or its home."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if marker in line and int(entry.name) != os.getpid():
            found[int(entry.name)] = line
    return found


@pytest.fixture(scope="module")
def newcomer() -> Iterator[NewUser]:
    uid, gid = identity()
    python = reachable_python(uid, gid)
    folder = Path(tempfile.mkdtemp(prefix="triton-newcomer-", dir="/var/tmp"))
    try:
        folder.chmod(0o755)
        checkout, home = folder / "checkout", folder / "home"
        home.mkdir(mode=0o700)
        subprocess.run(["git", "clone", "--quiet", "--no-hardlinks", str(ROOT), str(checkout)], check=True)
        names = ("server_host_http_port", "server_host_grpc_port", "server_host_metrics_port", "monitoring_port")
        ports = dict(zip(names, free_ports(len(names))))
        (checkout / "ports.json").write_text(json.dumps(ports))
        if os.getuid() == 0:
            subprocess.run(["chown", "-R", f"{uid}:{gid}", str(folder)], check=True)
        yield NewUser(checkout, home, uid, gid, python, ports)
    finally:
        for pid in processes(str(folder)):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        shutil.rmtree(folder, ignore_errors=True)


def test_a_newcomer_serves_checks_and_destroys(newcomer: NewUser) -> None:
    """One story, in order: each step needs the one before it."""
    first = newcomer.make("site")
    assert changed(first) > 0
    assert "Triton service local (host, process, tritonserver 2.51" in first
    http = f"http://127.0.0.1:{newcomer.ports['server_host_http_port']}"
    assert http in first
    with urllib.request.urlopen(f"{http}/v2/models/digits/ready", timeout=10) as answer:
        assert answer.status == 200
    assert_everything_was_compared(newcomer)

    second = newcomer.make("site")
    assert changed(second) == 0, second
    assert "Changed: nothing" in second
    assert "Triton service local: ok" in newcomer.make("doctor")

    newcomer.make("destroy")
    left = [path for path in newcomer.home.rglob("*") if path.is_file() and ".cache" not in path.parts]
    assert not left
    assert not processes(str(newcomer.home))
    assert not processes(str(newcomer.checkout))
    assert changed(newcomer.make("destroy")) == 0


def assert_everything_was_compared(newcomer: NewUser) -> None:
    """The report names every sample, and each answer over both protocols was compared with what is expected."""
    report = json.loads((newcomer.home / ".local/state/serving.triton/local.json").read_text())
    samples = {path.name for path in (newcomer.checkout / SAMPLES).iterdir() if path.is_dir()}
    assert {model["name"] for model in report["models"]} == samples
    for model in report["models"]:
        assert model["state"] == "READY", model
        assert model["verified"] == "compared", model
        assert model["http"]["p50"] > 0, model
        assert model["grpc"]["p50"] > 0, model


@pytest.mark.long
def test_a_wrong_label_is_caught_and_mended(newcomer: NewUser) -> None:
    """A file changed outside of versions is published, loaded though the model is ready already, and found wrong by its golden cases."""
    models = newcomer.checkout / "models"
    shutil.copytree(newcomer.checkout / SAMPLES, models)
    labels = models / "digits" / "labels.txt"
    right = labels.read_text()
    labels.write_text(right.replace("zero", "nought"))
    mine = f"-e triton_models={models}"
    wrong = newcomer.make("site", mine, rc=2)
    assert "nought" in wrong
    assert "zero" in wrong
    labels.write_text(right)
    assert "Load what was published" in newcomer.make("site", mine).split("PLAY RECAP")[1]
    assert_everything_was_compared(newcomer)
    assert changed(newcomer.make("check", mine)) == 0
    assert "Verified" in newcomer.make("site", mine + " --tags verify,report")
    newcomer.make("destroy")
