# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The role server_host on this machine: a real server under supervisor, as root with a system user and as an ordinary user."""

from __future__ import annotations

import json
import os
import pwd
import signal
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.rolecheck import PlaybookRun, Promise, Workspace, assert_clean, assert_unchanged, keep
from support.server_host import ROLE, Host, a_public_folder, service

CANARY = "canary-key-0f3a9c41d2"
ROOT = os.geteuid() == 0


@pytest.fixture
def public_folder() -> Iterator[Path]:
    with a_public_folder() as folder:
        yield folder


@contextmanager
def a_user() -> Iterator[str]:
    """A throw-away ordinary user with a home."""
    name = f"u{uuid.uuid4().hex[:8]}"
    home = tempfile.mkdtemp(prefix="server-host-home-")
    subprocess.run(["useradd", "--home-dir", home, "--shell", "/bin/sh", name], check=True, timeout=60)
    account = pwd.getpwnam(name)
    # Ansible's folder for modules is there beforehand: it warns when it makes one for another user.
    for folder in (Path(home), Path(home, ".ansible"), Path(home, ".ansible", "tmp")):
        folder.mkdir(mode=0o700, exist_ok=True)
        os.chown(folder, account.pw_uid, account.pw_gid)
    try:
        yield name
    finally:
        subprocess.run(["userdel", "--remove", "--force", name], check=False, capture_output=True, timeout=60)


def told(run: PlaybookRun) -> str:
    return run.output.replace("\n", " ")


def check_security(host: Host, key: str) -> None:
    """The restricted APIs want the key, and no other user can read it from files or command lines."""
    header = {"triton-key": key}
    assert host.status("/v2/repository/index", data=b"{}") == 403
    assert host.status("/v2/repository/index", header, b"{}") == 200
    assert host.status("/v2/health/live") == 200
    assert (host.folder / "key").stat().st_mode & 0o777 == 0o600
    assert (host.folder / "environment.json").stat().st_mode & 0o777 == 0o600
    # The launcher overwrites the key as soon as the server has read it.
    assert key not in Path(f"/proc/{host.server()}/cmdline").read_text()
    assert key not in (host.folder / "config.json").read_text()


def test_the_role_keeps_its_promise(tmp_path: Path, public_folder: Path) -> None:
    """Check mode predicts, a second run is idle, absent leaves nothing: no file, process, region, account."""
    user = f"t{uuid.uuid4().hex[:8]}" if ROOT else ""
    environment = {"CANARY": "canary-environment-71c0"}
    host = Host(public_folder, server_host_user=user, server_host_environment=environment, server_host_restricted_key=CANARY)
    workspace = Workspace(tmp_path)

    def running() -> None:
        host.wait()
        check_security(host, CANARY)
        owner = Path(f"/proc/{host.server()}").stat().st_uid
        assert owner == (pwd.getpwnam(user).pw_uid if ROOT else os.geteuid())
        values = Path(f"/proc/{host.server()}/environ").read_bytes().split(b"\0")
        assert b"CANARY=canary-environment-71c0" in values

    def gone() -> None:
        assert not host.left()
        assert user not in {each.pw_name for each in pwd.getpwall()}

    promise = Promise(
        host.play(),
        absent={"server_host_state": "absent"},
        canaries=[CANARY, environment["CANARY"]],
        after_run=running,
        after_absent=gone,
    )
    with service(host, workspace):
        keep(promise, workspace)


# Without `long` a newcomer of test_fresh_clone is such a user.
@pytest.mark.long
@pytest.mark.skipif(not ROOT, reason="the test before runs as an ordinary user already")
def test_an_ordinary_user_needs_no_root(tmp_path: Path, public_folder: Path) -> None:
    """A user of this machine becomes the server's: nothing of the role asks for root, and all of it lies in the user's home."""
    with a_user() as user:
        become = {"become": True, "become_method": "ansible.builtin.su", "become_user": user}
        host = Host(public_folder, server_host_prefix="", server_host_supervisor="auto")
        host.prefix = Path(pwd.getpwnam(user).pw_dir) / ".local" / "share" / "serving-triton"
        python = {"ansible_connection": "local", "ansible_python_interpreter": "/usr/bin/python3"}
        # The test's own folder is closed to that user.
        env = {"ANSIBLE_REMOTE_TEMP": "~/.ansible/tmp"}
        workspace = Workspace(tmp_path, inventory={"all": {"hosts": {"localhost": python}}}, env=env)
        with service(host, workspace, **become):
            first = workspace.run(host.play(**become))
            assert_clean(first)
            host.wait()
            check_security(host, (host.folder / "key").read_text())
            assert Path(f"/proc/{host.server()}").stat().st_uid == pwd.getpwnam(user).pw_uid
            again = workspace.run(host.play(**become))
            assert_clean(again)
            assert_unchanged(again)
        assert not host.left()


def test_a_running_server(tmp_path: Path, public_folder: Path) -> None:
    """Killed, it comes back; a changed option restarts it once; what stands in the way is told before anything is changed."""
    host = Host(public_folder, server_host_user="")
    workspace = Workspace(tmp_path)
    with service(host, workspace):
        assert_clean(workspace.run(host.play()))
        host.wait()

        former = host.server()
        os.kill(former, signal.SIGKILL)
        host.wait(0)
        host.wait()
        assert host.server() != former
        regions = [path for path in Path("/dev/shm").iterdir() if host.name in path.name]
        maps = Path(f"/proc/{host.server()}/maps").read_text().split()
        used = {word for word in maps if word.startswith("/dev/shm/") and host.name in word}
        assert {str(path) for path in regions} == used, "a killed server's shared memory stays"

        former = host.server()
        changed = workspace.run(host.play(), variables={"server_host_options": {"log-verbose": 1}})
        assert_clean(changed)
        assert {name for _unused, _unused, name in changed.changed} == {
            f"{ROLE} : Write the configuration",
            "serving.triton.service : Restart the service",
        }
        assert host.server() != former
        assert "--log-verbose=1" in Path(f"/proc/{host.server()}/cmdline").read_text()

        former = host.server()
        refused = workspace.run(host.play(), variables={"server_host_options": {"http-port": 1}})
        assert refused.rc == 2
        assert "Set http-port by the role's own variables" in told(refused)
        misspelt = workspace.run(host.play(), variables={"server_host_options": {"log-verbos": 1}})
        assert misspelt.rc == 2
        assert "log-verbose" in told(misspelt)
        assert not refused.changed + misspelt.changed
        assert host.server() == former

        assert_a_failed_start_shows_the_log(host, workspace)


def assert_a_failed_start_shows_the_log(host: Host, workspace: Workspace) -> None:
    """A certificate that is none: tritonserver's own words reach the user."""
    files = {f"server_host_tls_{kind}_file": str(workspace.folder / f"{kind}.pem") for kind in ("cert", "key")}
    for path in files.values():
        Path(path).write_text("no certificate")
    run = workspace.run(host.play(), variables={**files, "server_host_start_timeout": 20})
    assert run.rc == 2
    assert "failed to start GRPC service" in told(run), json.dumps(run.tail())


def assert_refused(host: Host, workspace: Workspace, text: str, **variables: Any) -> None:
    run = workspace.run(host.play(), variables=variables)
    assert run.rc == 2, run.tail()
    assert text in told(run), run.tail()
    assert not run.changed
    assert not host.prefix.exists()


def test_what_stands_in_the_way_is_told_first(tmp_path: Path, public_folder: Path) -> None:
    host = Host(public_folder)
    workspace = Workspace(tmp_path)
    with socket.socket() as other:
        other.bind(("127.0.0.1", host.grpc))
        other.listen()
        assert_refused(host, workspace, f"server_host_grpc_port: port {host.grpc} of 127.0.0.1 is taken by process {os.getpid()}")
    (public_folder / "empty").mkdir()
    assert_refused(host, workspace, "it holds no model", server_host_repository=str(public_folder / "empty"))
    assert_refused(host, workspace, "there is no such folder", server_host_repository=str(public_folder / "none"))
    assert_refused(host, workspace, "no Python can run the python backend", server_host_python="/bin/true")
    missing = {"server_host_tls_cert_file": "/nowhere/a.pem", "server_host_tls_key_file": "/nowhere/b.pem"}
    assert_refused(host, workspace, "/nowhere/b.pem: there is no such file", **missing)
