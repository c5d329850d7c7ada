# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a host must offer for a server: its platform, the Python, ports, files and room. Reads only."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import platform
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .access import Account, account_of, reachable
from .interpreters import Interpreter, Wanted, choose
from .listeners import Mark, local, owner_of

MARKER = ".complete"


@dataclass(frozen=True)
class Problem:
    """kind: platform, python, port, repository, file or room. The rest as in core.errors."""

    kind: str
    where: str
    what: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}. {self.remedy}"


@dataclass(frozen=True)
class Needs:
    """What a role asks of the host.

    name, prefix: of the server, see `folder_of`. user: that the server runs as. python: the only Python to consider.
    listeners: name → (address, port). files: that the user must be able to read. megabytes: needed where no runtime is complete.
    machine, glibc: of the server's program; empty when anything will do (a container).
    """

    name: str
    prefix: str = ""
    user: str = ""
    python: str = ""
    python_versions: Sequence[str] = ()
    machine: str = ""
    glibc: str = ""
    listeners: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    repository: str = ""
    files: Sequence[str] = ()
    megabytes: int = 0


def prefix_of(given: str) -> str:
    """The folder below which everything of the collection lies on a host: as the role `service` has it."""
    if given:
        return given
    return "/opt/serving-triton" if os.geteuid() == 0 else os.path.expanduser("~/.local/share/serving-triton")


def regions_of(name: str, folder: str) -> str:
    """The prefix of a server's regions in /dev/shm: no other server's, wherever it lies."""
    return f"triton-{name}-{hashlib.sha256(folder.encode()).hexdigest()[:8]}-"


def servers_of(prefix: str) -> list[str]:
    """Names of the servers that have a folder below a prefix."""
    folder = os.path.join(prefix, "servers")
    return sorted(os.listdir(folder)) if os.path.isdir(folder) else []


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())


def platform_problems(needs: Needs) -> Iterator[Problem]:
    container = "Set server_host_runtime to container."
    if needs.machine and platform.machine() != needs.machine:
        yield Problem(
            "platform", "architecture", f"this server is built for {needs.machine}, and the host is {platform.machine()}", container
        )
    name, version = platform.libc_ver()
    if needs.glibc and name != "glibc":
        yield Problem("platform", "C library", "this server needs the GNU C library", container)
    elif needs.glibc and _numbers(version) < _numbers(needs.glibc):
        yield Problem("platform", "C library", f"this server needs glibc {needs.glibc} or newer, and the host has {version}", container)


def port_problems(needs: Needs, mark: Mark, account: Account) -> tuple[dict[str, dict[str, Any]], list[Problem]]:
    """The state of each port, and what speaks against it."""
    states: dict[str, dict[str, Any]] = {}
    problems = []
    for name, (address, port) in needs.listeners.items():
        state, holder = owner_of(address, port, mark)
        states[name] = {"address": address, "port": port, "state": state, "holder": holder}
        where = f"server_host_{name}_port"
        if state == "taken":
            problems.append(Problem("port", where, f"port {port} of {address} is taken by {holder}", "Stop it, or choose another port."))
        elif state == "free" and not local(address):
            problems.append(Problem("port", f"server_host_{name}_address", f"this machine has no address {address}", "Give one it has."))
        elif port < 1024 and account.uid != 0:
            problems.append(
                Problem("port", where, f"port {port} is for root alone, and the server does not run as root", "Take 1024 or above.")
            )
    ports = [port for _unused, port in needs.listeners.values()]
    if len(set(ports)) < len(ports):
        problems.append(Problem("port", "server_host_*_port", f"one port is given twice: {ports}", "Give three different ports."))
    return states, problems


def models_of(folder: str) -> list[str]:
    """The folders of a repository that look like models."""
    return sorted(
        entry.name
        for entry in os.scandir(folder)
        if entry.is_dir()
        and not entry.name.startswith(".")
        and any(each == "config.pbtxt" or each.isdigit() for each in os.listdir(entry.path))
    )


def repository_problems(repository: str, account: Account) -> Iterator[Problem]:
    where = f"server_host_repository {repository}".strip()
    if not repository:
        yield Problem("repository", where, "it is not given", "Give the path or the URL of a model repository.")
    elif "://" in repository:
        return
    elif not os.path.isdir(repository):
        yield Problem("repository", where, "there is no such folder", "Publish models to it first, or correct the path.")
    elif not reachable(repository, account):
        remedy = "Let others read it and pass the folders above it, or set server_host_user."
        yield Problem("repository", where, f"the user {account.name} cannot read it", remedy)
    elif not models_of(repository):
        yield Problem("repository", where, "it holds no model", "Publish models to it first, or correct the path.")


def file_problems(files: Sequence[str], account: Account) -> Iterator[Problem]:
    for path in files:
        if not os.path.exists(path):
            yield Problem("file", path, "there is no such file", "Put it on the host, or correct the path.")
        elif not reachable(path, account):
            yield Problem(
                "file", path, f"the user {account.name} cannot read it", f"Let {account.name} read it and pass the folders above it."
            )


def python_problems(needs: Needs, chosen: Interpreter | None, judged: Sequence[Interpreter]) -> Iterator[Problem]:
    if not needs.python_versions or chosen is not None:
        return
    seen = "; ".join(f"{each.executable}: {each.problem}" for each in judged) or "none was found"
    remedy = f"Install a shared-library Python of version {' or '.join(needs.python_versions)} and name it in server_host_python."
    yield Problem("python", needs.python or "server_host_python", f"no Python can run the python backend ({seen})", remedy)


def free_megabytes(folder: str) -> int:
    """Room where a folder is, or will be."""
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder) or "/"
    return shutil.disk_usage(folder).free // 2**20


def runtimes_of(root: str) -> tuple[list[str], list[str]]:
    """Names of the finished installations below a server's folder, and all names."""
    folder = os.path.join(root, "runtime")
    names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    return [name for name in names if os.path.exists(os.path.join(folder, name, MARKER))], names


def apt_there() -> bool:
    return os.path.exists("/usr/bin/apt-get") and os.path.exists("/usr/bin/dpkg-deb")


def pip_module_packages(account: Account) -> list[str]:
    """The Debian package without which Ansible's pip module does not run under this Python."""
    there = importlib.util.find_spec("packaging") or importlib.util.find_spec("setuptools")
    return [] if there or not (account.root and apt_there()) else ["python3-packaging"]


def inspect(needs: Needs) -> dict[str, Any]:
    """All of it, as the module returns it."""
    account = account_of(needs.user)
    prefix = prefix_of(needs.prefix)
    folder = os.path.join(prefix, "servers", needs.name)
    regions = regions_of(needs.name, folder)
    wanted = Wanted(needs.python_versions, account, (os.path.join(folder, "lib"),), apt_there())
    chosen, judged = choose(needs.python, wanted) if needs.python_versions else (None, [])
    ports, found = port_problems(needs, Mark(folder, regions), account)
    complete, everything = runtimes_of(folder)
    problems = [*platform_problems(needs), *python_problems(needs, chosen, judged), *found]
    problems += [*repository_problems(needs.repository, account), *file_problems(needs.files, account)]
    room = free_megabytes(folder)
    if not complete and room < needs.megabytes:
        problems.append(
            Problem("room", folder, f"{room} MB are free, {needs.megabytes} MB are needed", "Make room, or set server_host_prefix.")
        )
    return {
        "prefix": prefix,
        "folder": folder,
        "regions": regions,
        "servers": servers_of(prefix),
        "systemd": os.path.isdir("/run/systemd/system"),
        "engines": [name for name in ("podman", "docker") if shutil.which(name)],
        "root": account.root,
        "user": account.name,
        "uid": account.uid,
        "ports": ports,
        "python": chosen.as_dict() if chosen else None,
        "pythons": [each.as_dict() for each in judged],
        "packages": pip_module_packages(account) + (chosen.packages if chosen else []),
        "runtimes": complete,
        "all_runtimes": everything,
        "problems": [{**vars(problem), "message": str(problem)} for problem in problems],
    }
