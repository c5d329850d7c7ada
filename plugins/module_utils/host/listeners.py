# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Who listens on a TCP port, read from /proc: nobody, a server of ours, or somebody else."""

from __future__ import annotations

import errno
import ipaddress
import os
import re
import socket
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

_LISTEN = "0A"
_ANY = ("0.0.0.0", "::")  # noqa: S104 - compared with, not bound to


@dataclass(frozen=True)
class Listener:
    """A listening socket."""

    address: str
    port: int
    inode: str


def _address(text: str) -> str:
    """The kernel's hexadecimal words, in the machine's byte order."""
    raw = b"".join(bytes.fromhex(text[place : place + 8])[::-1] for place in range(0, len(text), 8))
    address = ipaddress.ip_address(raw)
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address)


def listeners(proc: str = "/proc") -> Iterator[Listener]:
    """All listening TCP sockets of this network namespace."""
    for name in ("tcp", "tcp6"):
        with suppress(OSError), open(f"{proc}/net/{name}", encoding="ascii") as table:
            for line in list(table)[1:]:
                words = line.split()
                if words[3] == _LISTEN:
                    address, port = words[1].split(":")
                    yield Listener(_address(address), int(port, 16), words[9])


def _conflicts(one: str, other: str) -> bool:
    return one == other or one in _ANY or other in _ANY


def _processes(proc: str) -> Iterator[str]:
    return (name for name in os.listdir(proc) if name.isdigit())


def _holder(inode: str, proc: str) -> str:
    """The process that has a socket open; empty when it cannot be seen."""
    for pid in _processes(proc):
        with suppress(OSError):
            folder = f"{proc}/{pid}/fd"
            if any(os.readlink(f"{folder}/{fd}") == f"socket:[{inode}]" for fd in os.listdir(folder)):
                return pid
    return ""


def _command(pid: str, proc: str) -> list[str]:
    with suppress(OSError), open(f"{proc}/{pid}/cmdline", "rb") as handle:
        return [part.decode(errors="replace") for part in handle.read().split(b"\0") if part]
    return []


@dataclass(frozen=True)
class Mark:
    """What tells a process of ours: a program below `folder`, or `text` in its arguments (in a container programs lie elsewhere)."""

    folder: str
    text: str = ""

    def on(self, command: list[str]) -> bool:
        below = bool(command) and command[0].startswith(f"{self.folder.rstrip('/')}/")
        return below or (bool(self.text) and any(self.text in argument for argument in command))


def owner_of(address: str, port: int, mark: Mark, proc: str = "/proc") -> tuple[str, str]:
    """("free" | "ours" | "taken", what holds the port)."""
    found = [each for each in listeners(proc) if each.port == port and _conflicts(each.address, address)]
    if not found:
        return "free", ""
    pid = _holder(found[0].inode, proc)
    if pid:
        command = _command(pid, proc)
        return ("ours" if mark.on(command) else "taken"), f"process {pid} ({os.path.basename(command[0]) if command else '?'})"
    # Another user's sockets are hidden, their command lines are not.
    mine = re.compile(rf"--\w+-port={port}$")
    for other in _processes(proc):
        command = _command(other, proc)
        if mark.on(command) and any(mine.match(argument) for argument in command):
            return "ours", f"process {other} ({os.path.basename(command[0])})"
    return "taken", "a process of another user"


def local(address: str) -> bool:
    """Whether this machine has an address to listen on."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.bind((address, 0))
    except OSError as error:
        return error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
    return True
