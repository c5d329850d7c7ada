# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Who holds a port."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import pytest

from ansible_collections.serving.triton.plugins.module_utils.host.listeners import Listener, Mark, listeners, local, owner_of

HEADER = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"


def proc(folder: Path, tcp: str = "", tcp6: str = "") -> str:
    (folder / "net").mkdir()
    (folder / "net" / "tcp").write_text(HEADER + tcp)
    (folder / "net" / "tcp6").write_text(HEADER + tcp6)
    return str(folder)


def process(folder: Path, pid: int, inode: str, *command: str, readable: bool = True) -> None:
    place = folder / str(pid)
    place.mkdir()
    (place / "cmdline").write_bytes(b"\0".join(part.encode() for part in command) + b"\0")
    if readable:
        (place / "fd").mkdir()
        (place / "fd" / "3").symlink_to(f"socket:[{inode}]")


def line(address: str, port: int, inode: str, state: str = "0A") -> str:
    return f"   0: {address}:{port:04X} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000     0        0 {inode} 1\n"


LOOPBACK = "0100007F"
ANY6 = "0" * 32


def test_listening_sockets_are_read(tmp_path: Path) -> None:
    table = line(LOOPBACK, 8000, "11") + line(LOOPBACK, 9, "12", state="01")
    assert list(listeners(proc(tmp_path, table, line(ANY6, 8001, "13")))) == [Listener("127.0.0.1", 8000, "11"), Listener("::", 8001, "13")]


def test_a_free_port(tmp_path: Path) -> None:
    place = proc(tmp_path, line(LOOPBACK, 8000, "11"))
    assert owner_of("127.0.0.1", 8001, Mark("/opt/a"), place) == ("free", "")
    assert owner_of("192.0.2.1", 8000, Mark("/opt/a"), place) == ("free", "")


@pytest.mark.parametrize(("address", "asked"), [(LOOPBACK, "0.0.0.0"), ("00000000", "127.0.0.1"), (LOOPBACK, "127.0.0.1")])
def test_a_wildcard_conflicts_with_every_address(tmp_path: Path, address: str, asked: str) -> None:
    place = proc(tmp_path, line(address, 8000, "11"))
    process(tmp_path, 7, "11", "/usr/sbin/nginx")
    assert owner_of(asked, 8000, Mark("/opt/a"), place) == ("taken", "process 7 (nginx)")


def test_ours_lies_below_the_folder(tmp_path: Path) -> None:
    place = proc(tmp_path, line(LOOPBACK, 8000, "11"))
    process(tmp_path, 7, "11", "/opt/a/runtime/bin/tritonserver", "--http-port=8000")
    assert owner_of("127.0.0.1", 8000, Mark("/opt/a"), place)[0] == "ours"
    assert owner_of("127.0.0.1", 8000, Mark("/opt/a/runtime/"), place)[0] == "ours"
    assert owner_of("127.0.0.1", 8000, Mark("/opt/ab"), place)[0] == "taken"


def test_another_users_server_is_known_by_its_command_line(tmp_path: Path) -> None:
    place = proc(tmp_path, line(LOOPBACK, 8000, "11"))
    process(tmp_path, 7, "", "/opt/a/bin/tritonserver", "--http-port=8000", readable=False)
    assert owner_of("127.0.0.1", 8000, Mark("/opt/a"), place)[0] == "ours"
    assert owner_of("127.0.0.1", 8000, Mark("/opt/b"), place) == ("taken", "a process of another user")


def test_a_server_in_a_container_is_known_by_its_mark(tmp_path: Path) -> None:
    place = proc(tmp_path, line(LOOPBACK, 8000, "11"))
    process(tmp_path, 7, "11", "/opt/tritonserver/bin/tritonserver", "--backend-config=python,shm-region-prefix-name=triton-a-1-python-")
    assert owner_of("127.0.0.1", 8000, Mark("/opt/a", "triton-a-1-"), place)[0] == "ours"
    assert owner_of("127.0.0.1", 8000, Mark("/opt/a", "triton-b-1-"), place)[0] == "taken"


def test_this_machine() -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        port = listening.getsockname()[1]
        command = Path("/proc/self/cmdline").read_bytes().split(b"\0")[0].decode()
        assert owner_of("127.0.0.1", port, Mark("/nowhere")) == ("taken", f"process {os.getpid()} ({os.path.basename(command)})")
    assert sys.platform == "linux"


def test_addresses_of_this_machine() -> None:
    assert local("127.0.0.1")
    assert local("0.0.0.0")
    assert not local("192.0.2.1")
