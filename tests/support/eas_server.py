# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A stand-in for Alibaba Cloud PAI-EAS: its API 2021-07-01 over a socket, in memory, with faults on demand and a log of requests.

It checks ACS3 signatures, answers as the reference says, and takes services from status to status by polls (see `eas_state`). The official
SDK and the eascmd stand-in are its clients.
"""

from __future__ import annotations

import json
import socket
import struct
import sys
import threading
import traceback
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from .eas_api import Api, Call, Mutation, route
from .eas_auth import Account, Gate, RefusedError, Signed, stamp
from .eas_state import Service, Services

ACCESS_KEY, SECRET = "eas-test-key", "test-secret-of-eas"
TEMPORARY_KEY, TEMPORARY_SECRET, TOKEN = "STS.eas-test-key", "temporary-secret-of-eas", "temporary-token-of-eas"
OTHER_KEY, OTHER_SECRET = "eas-other-key", "other-secret-of-eas"
REGION = "cn-test"
UID, OTHER_UID = "200000000000000001", "200000000000000002"
_CREDENTIALS = "/credentials"
HTML = "<html><head><title>502 Bad Gateway</title></head><body><center><h1>502 Bad Gateway</h1></center></body></html>"


@dataclass
class Fault:
    """Happens to `times` requests of this action ("" for any) whose path holds `part`, after it let `after` of them pass.

    kind: "answer" refuses with status and code; "html" answers with status and a proxy's page; "reset" closes the connection before
    anything is done; "lost" does what was asked and closes it; "truncate" sends half of the body; "hang" never answers.
    """

    kind: str = "answer"
    action: str = ""
    part: str = ""
    status: int = 503
    code: str = "ServiceUnavailable"
    message: str = "By order of the test."
    times: int = 1
    after: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)

    def hits(self, action: str, path: str) -> bool:
        """Counts too."""
        meant = self.times > 0 and self.action in ("", action) and self.part in path
        waits = meant and self.after > 0
        self.after -= waits
        self.times -= meant and not waits
        return meant and not waits


def throttled(action: str = "", times: int = 1, code: str = "Throttling.User", after: int = 0) -> Fault:
    """after: seconds that the answer asks to wait, if any; the SDK reads them from the second header, in milliseconds."""
    status = 429 if code.startswith("Rejected") else 400
    headers = {"Retry-After": str(after), "x-acs-retry-after": str(after * 1000)} if after else {}
    return Fault(
        action=action, status=status, code=code, message="Request was denied due to user flow control.", times=times, headers=headers
    )


@dataclass(frozen=True)
class Logged:
    """One request that was answered. action: "" where there is nothing at its path."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    action: str
    status: int


@dataclass(frozen=True)
class _Answer:
    status: int
    body: bytes
    headers: Mapping[str, str]


class EasServer:
    """Listens on a port of loopback from the start on; `close` ends it.

    services: what it holds, and the knobs of its pace and fates. skew: seconds that its clock is ahead. page: the most rows of a list.
    crashes: what went wrong in the stand-in itself.
    """

    def __init__(self, page: int = 100) -> None:
        self.accounts = {
            ACCESS_KEY: Account(SECRET, UID),
            TEMPORARY_KEY: Account(TEMPORARY_SECRET, UID, TOKEN),
            OTHER_KEY: Account(OTHER_SECRET, OTHER_UID),
        }
        self.region = REGION
        self.skew = 0.0
        self.faults: list[Fault] = []
        self.log: list[Logged] = []
        self.crashes: list[str] = []
        self.services = Services(REGION, self.now, page)
        self.api = Api(self.services)
        self.gate = Gate(self.accounts)
        self.mutex = threading.RLock()
        self.closing = threading.Event()
        self._server = _Server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()

    @property
    def endpoint(self) -> str:
        """host:port, as the SDK and eascmd take it; spoken to by http."""
        return f"127.0.0.1:{self._server.server_address[1]}"

    @property
    def url(self) -> str:
        return f"http://{self.endpoint}"

    def options(self, **more: Any) -> dict[str, Any]:
        """The options of a module that is to use this server."""
        return {"endpoint": self.url, "region": self.region, "access_key_id": ACCESS_KEY, "access_key_secret": SECRET, **more}

    @property
    def environment(self) -> dict[str, str]:
        """Credentials as alibabacloud_credentials reads them, and nothing else that it could find."""
        keys = {"ALIBABA_CLOUD_ACCESS_KEY_ID": ACCESS_KEY, "ALIBABA_CLOUD_ACCESS_KEY_SECRET": SECRET}
        return {**keys, "ALIBABA_CLOUD_ECS_METADATA_DISABLED": "true"}

    @property
    def mutations(self) -> list[Mutation]:
        """Changes that were accepted, in their order."""
        with self.mutex:
            return list(self.api.mutations)

    @property
    def changes(self) -> list[str]:
        """The same in words: "UpdateService my_service"."""
        return [str(each) for each in self.mutations]

    @property
    def credentials_uri(self) -> str:
        """Where temporary credentials are told to whoever asks, as ALIBABA_CLOUD_CREDENTIALS_URI names such a place."""
        return f"{self.url}{_CREDENTIALS}"

    def now(self) -> datetime:
        return datetime.now(timezone.utc) + timedelta(seconds=self.skew)

    def make(self, config: dict[str, Any], owner: str = UID, **fields: Any) -> Service:
        """A running service, as it is when somebody has made it. fields: of `Service`."""
        with self.mutex:
            return self.services.make(config, owner, **fields)

    def requests(self, action: str = "") -> list[Logged]:
        with self.mutex:
            return [each for each in self.log if action in ("", each.action)]

    def fault(self, action: str, path: str) -> Fault | None:
        with self.mutex:
            return next((each for each in self.faults if each.hits(action, path)), None)

    def close(self) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    def __enter__(self) -> EasServer:
        return self

    def __exit__(self, *_unused: object) -> None:
        self.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, owner: EasServer) -> None:
        self.owner = owner
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away are part of the tests, all else is a mistake of ours."""
        if not isinstance(sys.exc_info()[1], OSError):
            self.owner.crashes.append(traceback.format_exc())


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Small answers must not wait for the client's acknowledgement.
    disable_nagle_algorithm = True
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """`EasServer.log` is the log."""

    def _serve(self) -> None:
        owner = self.server.owner
        url = urlsplit(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = self.rfile.read(int(headers.get("content-length") or 0))
        request = Signed(self.command, url.path, dict(parse_qsl(url.query, keep_blank_values=True)), headers, body)
        if url.path == _CREDENTIALS:
            return self._send(_Answer(200, json.dumps(_temporary(owner)).encode(), {}), truncate=False)
        action, fault = headers.get("x-acs-action", ""), owner.fault(headers.get("x-acs-action", ""), url.path)
        kind = fault.kind if fault else ""
        if kind in ("reset", "hang"):
            owner.closing.wait(60 if kind == "hang" else 0)
            return self._cut(hard=True)
        answer = _refused_by(fault) if fault and kind in ("answer", "html") else _answer(owner, request)
        with owner.mutex:
            owner.log.append(Logged(self.command, url.path, request.query, headers, body, action, answer.status))
        return self._cut(hard=True) if kind == "lost" else self._send(answer, truncate=kind == "truncate")

    do_GET = do_PUT = do_POST = do_DELETE = _serve  # noqa: N815 - the base class's names

    def _send(self, answer: _Answer, *, truncate: bool) -> None:
        self.send_response(answer.status)
        for name, value in {"Content-Type": "application/json;charset=utf-8", **answer.headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body[: len(answer.body) // 2] if truncate else answer.body)
        if truncate:
            self._cut()

    def _cut(self, *, hard: bool = False) -> None:
        self.close_connection = True
        with suppress(OSError):
            self.wfile.flush()
            if hard:
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            else:
                self.connection.shutdown(socket.SHUT_RDWR)


def _temporary(owner: EasServer) -> dict[str, str]:
    account = owner.accounts[TEMPORARY_KEY]
    keys = {"AccessKeyId": TEMPORARY_KEY, "AccessKeySecret": account.secret, "SecurityToken": account.token}
    return {"Code": "Success", **keys, "Expiration": stamp(owner.now() + timedelta(hours=1))}


def _answer(owner: EasServer, request: Signed) -> _Answer:
    identity = str(uuid.uuid4()).upper()
    try:
        with owner.mutex:
            action, region, name = route(request.method, unquote(request.path))
            account = owner.gate.check(request, action, owner.now())
            if region not in ("", owner.region):
                raise RefusedError(404, "InvalidRegionId.NotFound", f"The region {region} is not one of this endpoint.")
            body: dict[str, Any] = owner.api.handle(Call(action, account, name, request.query, request.body))
            status = 200
    except RefusedError as error:
        status, body = error.status, {"Code": error.code, "Message": error.message, "HostId": owner.endpoint, **error.detail}
    return _Answer(status, json.dumps({"RequestId": identity, **body}).encode(), {"x-acs-request-id": identity})


def _refused_by(fault: Fault) -> _Answer:
    if fault.kind == "html":
        return _Answer(fault.status, HTML.encode(), {"Content-Type": "text/html", **fault.headers})
    body = {"RequestId": str(uuid.uuid4()).upper(), "Code": fault.code, "Message": fault.message}
    return _Answer(fault.status, json.dumps(body).encode(), fault.headers)
