# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which Python runs the python backend."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.serving.triton.plugins.module_utils.host import interpreters
from ansible_collections.serving.triton.plugins.module_utils.host.access import Account
from ansible_collections.serving.triton.plugins.module_utils.host.interpreters import Wanted, choose, judge

ME = Account("me", 1000, frozenset({1000}), root=False)
ROOT = Account("triton", -1, frozenset(), root=True)
VERSIONS = ("3.9", "3.10", "3.11", "3.12")


class Machine:
    """Answers for interpreters: path → what each says about itself."""

    def __init__(self, **said: dict[str, Any]) -> None:
        self.said = said
        self.ldconfig = ""

    def __call__(self, command: Sequence[str]) -> str:
        if command[0].endswith("ldconfig"):
            return self.ldconfig
        found = self.said.get(command[0].rsplit("/", 1)[-1])
        return json.dumps(found) if found else ""


@pytest.fixture(autouse=True)
def everything_is_reachable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interpreters, "reachable", lambda path, account: "/root/" not in path)


def says(version: str = "3.11", *, place: str = "/usr/bin", libdir: str = "", venv: bool = True, **more: Any) -> dict[str, Any]:
    said = {"implementation": "cpython", "version": version, "executable": f"{place}/python{version}", "base_prefix": "/nowhere"}
    return {**said, "libdir": libdir, "stdlib": "/usr/lib", "venv": venv, **more}


def with_library(folder: Path, version: str = "3.11") -> str:
    (folder / f"libpython{version}.so.1.0").touch()
    return str(folder)


def test_a_shared_python_needs_nothing(tmp_path: Path) -> None:
    found = judge("/usr/bin/python3", Wanted(VERSIONS, ME), Machine(python3=says(libdir=with_library(tmp_path))))
    assert found is not None
    assert (found.version, found.library, found.packages, found.download, found.problem) == (
        "3.11", str(tmp_path / "libpython3.11.so.1.0"), [], [], "",
    )  # fmt: skip


def test_the_library_is_found_by_ldconfig() -> None:
    machine = Machine(python3=says())
    machine.ldconfig = "\tlibpython3.11.so.1.0 (libc6,x86-64) => /usr/lib/x86_64-linux-gnu/libpython3.11.so.1.0\n"
    found = judge("/usr/bin/python3", Wanted(VERSIONS, ME), machine)
    assert found is not None
    assert found.library == "/usr/lib/x86_64-linux-gnu/libpython3.11.so.1.0"


def test_root_installs_what_debian_lacks() -> None:
    found = judge("/usr/bin/python3", Wanted(VERSIONS, ROOT, apt=True), Machine(python3=says(venv=False)))
    assert found is not None
    assert (found.packages, found.problem) == (["libpython3.11", "python3.11-venv"], "")


def test_a_user_unpacks_the_library() -> None:
    found = judge("/usr/bin/python3", Wanted(VERSIONS, ME, apt=True), Machine(python3=says()))
    assert found is not None
    assert (found.packages, found.download, found.problem) == ([], ["libpython3.11"], "")


@pytest.mark.parametrize(
    ("said", "account", "apt", "problem"),
    [
        (says("3.13"), ME, True, "no stub for Python 3.13"),
        (says(place="/root/bin"), ROOT, True, "the user triton cannot reach /root/bin/python3.11"),
        (says(venv=False), ME, True, "the package python3.11-venv"),
        (says(), ME, False, "--enable-shared"),
        (says(place="/opt/python/bin"), ROOT, True, "--enable-shared"),
    ],
)
def test_what_cannot_be_used_says_why(said: dict[str, Any], account: Account, apt: bool, problem: str) -> None:
    found = judge("/x/python3", Wanted(VERSIONS, account, apt=apt), Machine(python3=said))
    assert found is not None
    assert problem in found.problem


def test_what_is_no_cpython_is_left_out() -> None:
    assert judge("/bin/true", Wanted(VERSIONS, ME), Machine()) is None
    assert judge("/x/pypy3", Wanted(VERSIONS, ME), Machine(pypy3={**says(), "implementation": "pypy"})) is None


def test_what_needs_nothing_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(a=says("3.12"), b=says("3.11", libdir=with_library(tmp_path)), c=says("3.13"))
    monkeypatch.setattr(interpreters, "candidates", lambda versions: ["/usr/bin/a", "/usr/bin/b", "/usr/bin/c"])
    chosen, judged = choose("", Wanted(VERSIONS, ROOT, apt=True), machine)
    assert chosen is not None
    assert chosen.executable == "/usr/bin/b"
    assert len(judged) == 3
    # One that was named is taken, whatever else there is.
    named, judged = choose("/usr/bin/a", Wanted(VERSIONS, ROOT, apt=True), machine)
    assert named is not None
    assert (named.executable, len(judged)) == ("/usr/bin/a", 1)


def test_this_python_describes_itself() -> None:
    said = json.loads(interpreters.run([sys.executable, "-I", "-c", interpreters._PROBE]))
    assert said["version"] == f"3.{sys.version_info[1]}"
    assert said["venv"] is True


def test_a_command_that_fails_says_nothing() -> None:
    assert interpreters.run(["/nowhere/python3"]) == ""
    assert interpreters.run([sys.executable, "-c", "print(1); raise SystemExit(1)"]) == ""


def test_shims_are_no_candidates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shim = tmp_path / "shims" / "python3"
    shim.parent.mkdir()
    shim.write_text("")
    shim.chmod(0o755)
    monkeypatch.setenv("PATH", str(shim.parent))
    assert str(shim) not in interpreters.candidates(VERSIONS)
