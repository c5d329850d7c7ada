# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""No module shows a secret: not in its result, its errors, its diff, nor in what Ansible prints about the call."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from support.rolecheck import Workspace, assert_secret, module_play
from support.rules import collection, places

CANARY = "canary-5d41c2"
PLAIN: Mapping[str, Any] = {
    "str": "sample",
    "path": "/nonexistent/sample",
    "int": 1,
    "float": 1.0,
    "bool": False,
    "list": [],
    "dict": {},
    "raw": "sample",
}
# What the argument spec alone does not ask for. ADDRESS stands for the gateway's.
ADDRESS = "{address}"
EAS: Mapping[str, Any] = {
    "endpoint": f"http://{ADDRESS}",
    "region": "cn-shanghai",
    "backend": "openapi",
    "access_key_id": "sample",
    "attempts": 1,
}
MORE: Mapping[str, Mapping[str, Any]] = {
    "eas_service": {**EAS, "name": "sample", "image": "sample:1"},
    "eas_service_info": EAS,
    "infer": {"requests": [{"model": "sample", "synthetic": True}]},
    "model": {"name": "sample"},
}
SECRET: Mapping[str, Any] = {"dict": {"Authorization": f"Bearer {CANARY}", "x-key": CANARY}, "list": [CANARY]}


class Gateway(ThreadingHTTPServer):
    """Counts the calls that it refuses."""

    calls = 0

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_port}"


class Echo(BaseHTTPRequestHandler):
    """Refuses every request and repeats its headers in the answer, as some gateways do."""

    server: Gateway

    def _refuse(self) -> None:
        self.server.calls += 1
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = json.dumps({"error": f"refused: {dict(self.headers.items())}"}).encode()
        self.send_response(403)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PUT = do_HEAD = _refuse  # noqa: N815 - the names that http.server calls

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name that http.server gives it
        """Stays silent."""


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    server = Gateway(("127.0.0.1", 0), Echo)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


def filled(spec: Mapping[str, Mapping[str, Any]], address: str) -> dict[str, Any]:
    """Options of a call that holds a canary wherever the argument spec says no_log, and a sample wherever something is required."""
    values = {name: _value(name, option, address) for name, option in spec.items() if option.get("no_log") or option.get("required")}
    quick = {"timeout": 1, "retries": 0}
    return {**values, **{name: value for name, value in quick.items() if name in spec}}


def _value(name: str, option: Mapping[str, Any], address: str) -> Any:
    kind = str(option.get("type", "str"))
    if name == "endpoint":
        headers = SECRET["dict"]
        return {"http": f"http://{address}", "grpc": f"grpc://{address}", "metrics": f"http://{address}/metrics", "headers": headers}
    if option.get("no_log"):
        return SECRET.get(kind, CANARY)
    if option.get("choices"):
        return option["choices"][0]
    inner = filled(option.get("options") or {}, address)
    if kind == "list":
        return [inner or PLAIN[str(option.get("elements", "str"))]]
    return inner or PLAIN[kind]


def call(module: str, spec: Mapping[str, Mapping[str, Any]], address: str, *, check: bool) -> dict[str, Any]:
    """A task that calls the module; that it fails is expected."""
    more = {name: value.replace(ADDRESS, address) if isinstance(value, str) else value for name, value in MORE.get(module, {}).items()}
    options = {**filled(spec, address), **more}
    return {"name": f"Call {module}", f"serving.triton.{module}": options, "check_mode": check, "diff": check, "ignore_errors": True}


@pytest.mark.parametrize("module", [path.stem for path in places.modules() if "def main" in path.read_text(encoding="utf-8")])
def test_a_module_shows_no_secret(module: str, gateway: Gateway, tmp_path: Path) -> None:
    spec = collection.behaviour(places.PLUGINS / "modules" / f"{module}.py").argument_spec
    before = gateway.calls
    # In one play, since a module's payload is built once for each.
    tasks = [call(module, spec, address, check=check) for address in ("127.0.0.1:1", gateway.address) for check in (False, True)]
    run = Workspace(tmp_path, timeout=240).run([{"hosts": "localhost", "gather_facts": False, "tasks": tasks}], "-vvv")
    assert len(run.tasks) == len(tasks), run.tail()
    assert_secret(run, [CANARY])
    assert "Traceback" not in run.output, run.tail()
    # A call that is refused for its form proves nothing about what happens to its secrets.
    assert gateway.calls > before or "endpoint" not in spec, run.tail()


def test_a_secret_that_shows_is_found(gateway: Gateway, tmp_path: Path) -> None:
    play = module_play("ansible.builtin.uri", {"url": f"http://{gateway.address}", "headers": SECRET["dict"], "return_content": True})
    run = Workspace(tmp_path).run(play, "-vvv")
    with pytest.raises(AssertionError, match=f"the secret {CANARY} shows"):
        assert_secret(run, [CANARY])
