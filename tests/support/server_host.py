# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""One service of the role server_host on this machine, and looks at what runs."""

from __future__ import annotations

import tempfile
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from support.rolecheck import Workspace, role_play
from support.tritonserver import free_ports, write_add_sub

ROLE = "serving.triton.server_host"


@contextmanager
def a_public_folder() -> Iterator[Path]:
    """A folder that another user can reach, unlike pytest's."""
    with tempfile.TemporaryDirectory(prefix="server-host-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


class Host:
    """One service of the role on this machine: its variables, and looks at what runs."""

    def __init__(self, folder: Path, **more: Any) -> None:
        self.prefix = folder / "prefix"
        self.name = f"t{uuid.uuid4().hex[:8]}"
        self.http, self.grpc, self.metrics = free_ports(3)
        write_add_sub(folder / "models")
        self.variables: dict[str, Any] = {
            "server_host_name": self.name,
            "server_host_prefix": str(self.prefix),
            "server_host_repository": str(folder / "models"),
            "server_host_supervisor": "supervisor",
            "server_host_http_port": self.http,
            "server_host_grpc_port": self.grpc,
            "server_host_metrics_port": self.metrics,
            **more,
        }

    def play(self, **keywords: Any) -> Any:
        return role_play(ROLE, self.variables, **keywords)

    @property
    def folder(self) -> Path:
        return self.prefix / "servers" / self.name

    def processes(self, program: str = "") -> list[int]:
        """Processes of this service, by a part of their command line."""
        found = []
        for entry in Path("/proc").iterdir():
            try:
                command = (entry / "cmdline").read_bytes().decode(errors="replace") if entry.name.isdigit() else ""
            except OSError:
                continue
            if str(self.folder) in command and program in command.split("\0")[0]:
                found.append(int(entry.name))
        return found

    def server(self) -> int:
        (pid,) = self.processes("bin/tritonserver")
        return pid

    def status(self, path: str, headers: Mapping[str, str] | None = None, data: bytes | None = None) -> int:
        request = urllib.request.Request(f"http://127.0.0.1:{self.http}{path}", headers=dict(headers or {}), data=data)
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0

    def wait(self, wanted: int = 200, seconds: float = 60) -> None:
        end = time.monotonic() + seconds
        while (found := self.status("/v2/models/add_sub/ready")) != wanted:
            assert time.monotonic() < end, f"HTTP {found}, expected {wanted}"
            time.sleep(0.1)

    def left(self) -> list[str]:
        """What an absent service has left behind."""
        regions = [path.name for path in Path("/dev/shm").iterdir() if self.name in path.name]
        return [*map(str, self.processes()), *regions, *([str(self.prefix)] if self.prefix.exists() else [])]


def stopped(host: Host, workspace: Workspace, **keywords: Any) -> None:
    """Whatever happened, nothing of the test stays on the machine."""
    workspace.run(host.play(**keywords), variables={"server_host_state": "absent"})


@contextmanager
def service(host: Host, workspace: Workspace, **keywords: Any) -> Iterator[None]:
    try:
        yield
    finally:
        stopped(host, workspace, **keywords)
