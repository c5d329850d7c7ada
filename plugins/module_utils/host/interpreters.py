# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The Pythons of a machine, and which of them can run Triton's python backend."""

from __future__ import annotations

import glob
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from .access import Account, reachable

# What a candidate says about itself. base_prefix: below it lies the standard library, also of a virtual environment.
_PROBE = (
    "import importlib.util, json, os, sys, sysconfig; print(json.dumps({"
    "'implementation': sys.implementation.name, 'version': '%d.%d' % sys.version_info[:2], "
    "'executable': os.path.realpath(sys.executable), 'base_prefix': sys.base_prefix, 'libdir': sysconfig.get_config_var('LIBDIR') or '', "
    "'stdlib': sysconfig.get_path('stdlib'), 'venv': bool(importlib.util.find_spec('venv') and importlib.util.find_spec('ensurepip'))}))"
)
_PROBE_SECONDS = 20
_SYSTEM_FOLDERS = ("/usr/bin", "/usr/local/bin")

Runner = Callable[[Sequence[str]], str]


def run(command: Sequence[str]) -> str:
    """Standard output of a command; empty when it cannot run, fails or takes too long."""
    try:
        done = subprocess.run(  # noqa: S603 - argv of our own making
            list(command), capture_output=True, text=True, timeout=_PROBE_SECONDS, check=False, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""


@dataclass(frozen=True)
class Interpreter:
    """One Python.

    library: path of the libpython3.X.so.1.0 that the stub needs; empty when it is not there.
    packages: Debian packages that root would install to make it usable. download: packages whose files an ordinary user can unpack.
    problem: why it cannot be used; empty when it can.
    """

    executable: str
    version: str
    library: str = ""
    packages: list[str] = field(default_factory=list)
    download: list[str] = field(default_factory=list)
    problem: str = ""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Wanted:
    """versions: those that the server has a stub for. account: who must be able to run it. libraries: more folders to look into.

    apt: whether Debian's packages can be had.
    """

    versions: Sequence[str]
    account: Account
    libraries: Sequence[str] = ()
    apt: bool = False


def candidates(versions: Iterable[str]) -> list[str]:
    """Executables that may be Pythons of these versions, without repetition: the system's first."""
    folders = [*_SYSTEM_FOLDERS, *os.environ.get("PATH", "").split(os.pathsep)]
    # Newest last on purpose: the distribution's own python3 is what most machines keep up to date.
    names = ["python3", *(f"python{version}" for version in reversed(list(versions)))]
    paths = [os.path.join(folder, name) for folder in folders for name in names if folder]
    paths += [getattr(sys, "_base_executable", sys.executable), *sorted(glob.glob(os.path.expanduser("~/.pyenv/versions/*/bin/python3")))]
    found: dict[str, str] = {}
    for path in paths:
        # A shim runs another program, depending on the folder it is called in.
        if os.access(path, os.X_OK) and f"{os.sep}shims{os.sep}" not in path:
            found.setdefault(os.path.realpath(path), path)
    return list(found)


def library_of(said: dict[str, Any], folders: Sequence[str], command: Runner) -> str:
    """Path of the shared library of a Python, or an empty text."""
    name = f"libpython{said['version']}.so.1.0"
    for folder in (said["libdir"], os.path.join(said["base_prefix"], "lib"), *folders):
        if folder and os.path.exists(os.path.join(folder, name)):
            return os.path.join(folder, name)
    for program in ("/sbin/ldconfig", "/usr/sbin/ldconfig"):
        match = re.search(rf"^\s*{re.escape(name)} .*=> (\S+)$", command([program, "-p"]), re.MULTILINE)
        if match:
            return match.group(1)
    return ""


def judge(executable: str, wanted: Wanted, command: Runner = run) -> Interpreter | None:
    """What an executable is good for; None when it is no CPython at all."""
    try:
        said = json.loads(command([executable, "-I", "-c", _PROBE]))
    except ValueError:
        return None
    if said["implementation"] != "cpython":
        return None
    version = said["version"]
    if version not in wanted.versions:
        return Interpreter(
            executable, version, problem=f"this server has no stub for Python {version}, only for {', '.join(wanted.versions)}"
        )
    library = library_of(said, wanted.libraries, command)
    for path in (said["executable"], said["stdlib"], library):
        if path and not reachable(path, wanted.account):
            return Interpreter(executable, version, library, problem=f"the user {wanted.account.name} cannot reach {path}")
    return _with_packages(Interpreter(executable, version, library), said, wanted)


def _with_packages(interpreter: Interpreter, said: dict[str, Any], wanted: Wanted) -> Interpreter:
    """Adds what the distribution can supply, or says what is missing."""
    version, executable = interpreter.version, interpreter.executable
    # Debian's packages serve Debian's Python alone.
    debian = wanted.apt and said["executable"].startswith("/usr/bin/")
    packages = [] if interpreter.library else [f"libpython{version}"]
    packages += [] if said["venv"] else [f"python{version}-venv"]
    if not packages:
        return interpreter
    if debian and wanted.account.root:
        return Interpreter(executable, version, interpreter.library, packages=packages)
    if not said["venv"]:
        return Interpreter(
            executable, version, problem=f"it has no venv and ensurepip (on Debian and Ubuntu: the package python{version}-venv)"
        )
    if debian:
        return Interpreter(executable, version, download=packages)
    return Interpreter(executable, version, problem=f"libpython{version}.so.1.0 was not found (a Python built with --enable-shared has it)")


def choose(given: str, wanted: Wanted, command: Runner = run) -> tuple[Interpreter | None, list[Interpreter]]:
    """The Python to use, or None, and all that were looked at. given: the only one to consider, when not empty."""
    paths = [given] if given else candidates(wanted.versions)
    judged = [each for each in (judge(path, wanted, command) for path in paths) if each is not None]
    usable = [each for each in judged if not each.problem]
    # What needs nothing first; among equals the order of the candidates.
    usable.sort(key=lambda each: len(each.packages) + len(each.download))
    return (usable[0] if usable else None), judged
