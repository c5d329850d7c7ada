# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What stands against a server on a host."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import pytest

from ansible_collections.serving.triton.plugins.module_utils.host import machine
from ansible_collections.serving.triton.plugins.module_utils.host.access import Account, account_of, reachable
from ansible_collections.serving.triton.plugins.module_utils.host.machine import Needs, inspect

STRANGER = Account("stranger", 54321, frozenset({54321}), root=True)


def kinds(**needs: object) -> list[str]:
    return [problem["kind"] for problem in inspect(Needs("t", **needs))["problems"]]  # type: ignore[arg-type]


@pytest.fixture
def repository(tmp_path: Path) -> str:
    (tmp_path / "models" / "simple" / "1").mkdir(parents=True)
    return str(tmp_path / "models")


def test_nothing_in_the_way(tmp_path: Path, repository: str) -> None:
    found = inspect(Needs("t", prefix=str(tmp_path), repository=repository))
    assert found["problems"] == []
    assert found["folder"] == str(tmp_path / "servers" / "t")
    assert (found["runtimes"], found["servers"], found["python"]) == ([], [], None)


def test_a_runtime_counts_when_it_is_complete(tmp_path: Path, repository: str) -> None:
    runtime = tmp_path / "servers" / "t" / "runtime"
    (runtime / "a").mkdir(parents=True)
    (runtime / "b").mkdir()
    (runtime / "b" / ".complete").touch()
    found = inspect(Needs("t", prefix=str(tmp_path), repository=repository))
    assert (found["runtimes"], found["all_runtimes"], found["servers"]) == (["b"], ["a", "b"], ["t"])


def test_repositories(tmp_path: Path, repository: str) -> None:
    assert kinds(repository=repository) == []
    assert kinds(repository="s3://bucket/models") == []
    assert kinds(repository="") == ["repository"]
    assert kinds(repository=str(tmp_path / "none")) == ["repository"]
    (tmp_path / "empty" / ".hidden" / "1").mkdir(parents=True)
    assert kinds(repository=str(tmp_path / "empty")) == ["repository"]


def test_platforms(monkeypatch: pytest.MonkeyPatch, repository: str) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    monkeypatch.setattr(platform, "libc_ver", lambda: ("glibc", "2.31"))
    assert kinds(machine="x86_64", glibc="2.35", repository=repository) == ["platform", "platform"]
    assert kinds(repository=repository) == []
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert kinds(machine="aarch64", glibc="2.35", repository=repository) == ["platform"]


def test_ports(repository: str) -> None:
    one = ("127.0.0.1", 65001)
    assert kinds(repository=repository, listeners={"http": one, "grpc": one}) == ["port"]
    assert kinds(repository=repository, listeners={"http": ("192.0.2.7", 65001)}) == ["port"]


def test_a_low_port_is_for_root(repository: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "account_of", lambda name: STRANGER)
    monkeypatch.setattr(machine, "reachable", lambda path, account: True)
    assert kinds(repository=repository, listeners={"http": ("127.0.0.1", 81)}) == ["port"]


def test_files_and_room(tmp_path: Path, repository: str) -> None:
    assert kinds(repository=repository, files=[str(tmp_path / "none.pem")]) == ["file"]
    assert kinds(repository=repository, megabytes=10**9) == ["room"]


def test_a_problem_says_what_to_do(tmp_path: Path) -> None:
    (problem,) = inspect(Needs("t", repository=str(tmp_path / "none")))["problems"]
    assert problem["message"] == (
        f"server_host_repository {tmp_path}/none: there is no such folder. Publish models to it first, or correct the path."
    )


def test_permissions_of_another_account(tmp_path: Path) -> None:
    secret = tmp_path / "open" / "file"
    secret.parent.mkdir()
    secret.write_text("x")
    # pytest's own folder is closed to others.
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == os.geteuid() and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o755)
    secret.chmod(0o644)
    assert reachable(str(secret), STRANGER)
    secret.chmod(0o640)
    assert not reachable(str(secret), STRANGER)
    assert reachable(str(secret), Account("member", 54321, frozenset({secret.stat().st_gid}), root=True))
    secret.chmod(0o644)
    secret.parent.chmod(0o750)
    assert not reachable(str(secret), STRANGER)
    assert not reachable(str(tmp_path / "none"), STRANGER)


def test_accounts() -> None:
    mine = account_of("")
    assert (mine.uid, mine.root) == (os.geteuid(), os.geteuid() == 0)
    if mine.root:
        assert account_of("no-such-account-here").uid == -1
        assert account_of("nobody").uid > 0
