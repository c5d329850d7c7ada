# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The V2 protocol's control plane over HTTP: persistent connections, timeouts, bounded retries, TLS. Standard library alone."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from ..core.errors import InputError, ServingError
from ..core.wait import retry
from .control import CallOptions, ModelState
from .endpoint import Address, Tls
from .errors import (
    MAX_REASON,
    BusyError,
    ConnectionFailedError,
    LostAnswerError,
    NotServerError,
    RequestError,
    RestrictedError,
    TlsError,
    UnknownHostError,
    UnsupportedError,
    from_message,
)

_START = "Check that the server runs and the port is right; tritonserver opens its ports only after the initial loads."
# 450 is PAI-EAS's: the service's queue is full.
_BUSY = (429, 450, 502, 503, 504)
_ABSENT = (404, 405, 501)


@dataclass(frozen=True)
class Request:
    """path: below the base path. timeout: seconds, 0 for the usual. resend: False for what must not reach the server twice."""

    method: str
    path: str
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    timeout: float = 0
    resend: bool = True


@dataclass(frozen=True)
class Reply:
    """status: of HTTP. headers: with lower-case names. body: whole."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def html(self) -> bool:
        return "html" in self.headers.get("content-type", "") or self.body.lstrip()[:15].lower().startswith((b"<!doctype", b"<html"))

    def error_text(self) -> str:
        """What a V2 server says about a failure: Triton's `error`, or `detail` of servers built on FastAPI."""
        try:
            value = json.loads(self.body)
        except ValueError:
            return ""
        text = value.get("error") or value.get("detail") or "" if isinstance(value, dict) else ""
        return text if isinstance(text, str) else json.dumps(text)


def failure(reply: Reply, where: str) -> ServingError | None:
    """The error that a reply means, None for success."""
    if reply.html and reply.status in _BUSY:
        # A proxy's page while the server behind it is away.
        return _by_status(reply.status, "", where)
    if reply.html or 300 <= reply.status < 400:
        remedy = "Check the URL's host, port and base path; a proxy or another service may stand there."
        return NotServerError(f"the answer ({reply.status}) is not a V2 inference server's", where=where, remedy=remedy)
    if reply.status < 300:
        return None
    text = reply.error_text()
    return from_message(text, where) or _by_status(reply.status, text[:MAX_REASON], where)


def _by_status(status: int, text: str, where: str) -> ServingError:
    said = f"{status} {text}".strip()
    if status in (401, 403):
        remedy = "Check the token or key under endpoint.headers."
        return RestrictedError(f"the server refuses the credentials ({said})", where=where, remedy=remedy)
    if status in _ABSENT:
        return UnsupportedError(f"the server does not offer this API ({said})", where=where, remedy="Check the URL's base path.")
    if status == 408:
        remedy = "Send smaller requests, or let them take longer: on PAI-EAS by metadata.rpc.keepalive, in milliseconds."
        return RequestError(f"the request took longer than the server allows ({said})", where=where, remedy=remedy)
    if status in _BUSY:
        return BusyError(f"the server cannot take the call now ({said})", where=where, remedy="Try again later, or look at its log.")
    remedy = "Correct the request." if status < 500 else "Look at the server's log."
    return RequestError(f"the server refuses the request ({said})", where=where, remedy=remedy)


class Transport:
    """Calls to one address. Safe to share among threads: each call in progress has a connection of its own, kept for the next."""

    def __init__(self, address: Address, headers: Mapping[str, str], tls: Tls, options: CallOptions) -> None:
        self.where = str(address)
        self._address = address
        self._headers = dict(headers)
        self._tls = tls
        self._options = options
        self._context = _context(tls) if address.secure else None
        self._idle: deque[http.client.HTTPConnection] = deque()

    def call(self, request: Request) -> Reply:
        """One call with retries. Raises when the connection fails or the server is busy; every other reply is the caller's to judge."""

        def once() -> Reply:
            try:
                reply = self._exchange(request)
            except ConnectionFailedError as error:
                if error.sent and not request.resend:
                    raise LostAnswerError(error.what, where=error.where, remedy=error.remedy) from error
                raise
            if reply.status in _BUSY:
                busy = failure(reply, self.where + request.path)
                if isinstance(busy, BusyError):
                    raise busy
            return reply

        return retry(once, self._options.policy, self._options.clock)

    def close(self) -> None:
        while self._idle:
            self._idle.pop().close()

    def _exchange(self, request: Request) -> Reply:
        connection, kept = self._connection(request.timeout or self._options.timeout)
        try:
            return self._send(connection, request)
        except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError) as error:
            connection.close()
            if not (kept and request.resend):
                raise self._lost(error, sent=True) from error
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise self._lost(error, sent=True) from error
        # The server had closed the idle connection: all others that idle are as old.
        self.close()
        return self._exchange(request)

    def _connection(self, timeout: float) -> tuple[http.client.HTTPConnection, bool]:
        """A connection, and whether it served a call before."""
        try:
            connection = self._idle.pop()
            connection.timeout = timeout
            if connection.sock is not None:
                connection.sock.settimeout(timeout)
            return connection, True
        except IndexError:
            connection = self._new(timeout)
        try:
            connection.connect()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise self._lost(error, sent=False) from error
        return connection, False

    def _new(self, timeout: float) -> http.client.HTTPConnection:
        if self._context is None:
            return http.client.HTTPConnection(self._address.host, self._address.port, timeout=timeout)
        return _TlsConnection(self._address, timeout, self._context, self._tls.server_name)

    def _send(self, connection: http.client.HTTPConnection, request: Request) -> Reply:
        headers = {**self._headers, **request.headers}
        connection.request(request.method, self._address.path + request.path, body=request.body or None, headers=headers)
        answer = connection.getresponse()
        reply = Reply(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
        if answer.will_close:
            connection.close()
        else:
            self._idle.append(connection)
        return reply

    def _lost(self, error: Exception, *, sent: bool) -> ServingError:
        if isinstance(error, ssl.SSLError):
            return _tls_failure(error, self.where)
        if isinstance(error, http.client.BadStatusLine) and not isinstance(error, http.client.RemoteDisconnected):
            return NotServerError("the answer is not HTTP", where=self.where, remedy="Check the port: gRPC listens on another one.")
        if isinstance(error, socket.gaierror):
            return UnknownHostError("the host name is not known", where=self.where, remedy="Correct the URL, or its DNS entry.")
        if isinstance(error, (TimeoutError, socket.timeout)):  # two classes before Python 3.10
            remedy = "Raise the timeout, or look at the server's log and load." if sent else _START
            return ConnectionFailedError("no answer in time", where=self.where, remedy=remedy, sent=sent)
        what = "the connection broke" if sent else "the connection failed"
        return ConnectionFailedError(f"{what}: {getattr(error, 'strerror', None) or error}", where=self.where, remedy=_START, sent=sent)


class _TlsConnection(http.client.HTTPSConnection):
    """HTTPS that may expect another name in the certificate than the URL's host."""

    def __init__(self, address: Address, timeout: float, context: ssl.SSLContext, server_name: str) -> None:
        super().__init__(address.host, address.port, timeout=timeout, context=context)
        self._own_context = context
        self._server_name = server_name or address.host

    def connect(self) -> None:
        http.client.HTTPConnection.connect(self)
        self.sock = self._own_context.wrap_socket(self.sock, server_hostname=self._server_name)


def _context(tls: Tls) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=tls.ca_file or None)
        if tls.cert_file:
            context.load_cert_chain(tls.cert_file, tls.key_file or None)
    except (ssl.SSLError, OSError) as error:
        where = tls.cert_file or tls.ca_file
        remedy = "Give files in PEM form; the key must belong to the certificate and need no passphrase."
        raise InputError(f"the TLS files cannot be used: {error}", where=where, remedy=remedy) from error
    if not tls.validate_certs:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _tls_failure(error: ssl.SSLError, where: str) -> TlsError:
    text = getattr(error, "verify_message", "") or error.reason or str(error)
    if isinstance(error, ssl.SSLCertVerificationError):
        remedy = "Give the authority's certificate as endpoint.tls.ca_file, or the certificate's name as endpoint.tls.server_name."
    elif "ALERT" in str(text).upper():
        remedy = "The server refuses this client: give endpoint.tls.cert_file and key_file that its authority has signed."
    else:
        remedy = "Check that this port speaks TLS, and whether the server wants a client certificate (endpoint.tls.cert_file)."
    return TlsError(f"the TLS handshake failed: {text}", where=where, remedy=remedy)


class HttpControl:
    """The control plane of one server over HTTP (the protocol of control.Control)."""

    def __init__(self, address: Address, headers: Mapping[str, str], tls: Tls, options: CallOptions) -> None:
        self.transport = Transport(address, headers, tls, options)
        self.where = self.transport.where

    def live(self) -> bool:
        return self._flag("/v2/health/live")

    def ready(self) -> bool:
        return self._flag("/v2/health/ready")

    def server_metadata(self) -> dict[str, Any]:
        return self._mapping("GET", "/v2")

    def index(self) -> list[ModelState]:
        path = "/v2/repository/index"
        value = self._json("POST", path, b"{}")
        if not isinstance(value, list) or not all(isinstance(item, dict) and "name" in item for item in value):
            raise NotServerError("the answer is not a repository index", where=self.where + path, remedy="Check the URL.")
        fields = ("name", "version", "state", "reason")
        return [ModelState(**{key: str(item[key]) for key in fields if key in item}) for item in value]

    def model_ready(self, name: str, version: str = "") -> bool:
        return self._flag(f"{_model(name, version)}/ready")

    def model_metadata(self, name: str, version: str = "") -> dict[str, Any]:
        return self._mapping("GET", _model(name, version))

    def model_config(self, name: str, version: str = "") -> dict[str, Any]:
        return self._mapping("GET", f"{_model(name, version)}/config")

    def statistics(self) -> list[dict[str, Any]]:
        value = self._mapping("GET", "/v2/models/stats").get("model_stats")
        return value if isinstance(value, list) else []

    def load(self, name: str, config: Mapping[str, Any] | None, timeout: float) -> None:
        parameters = {"config": json.dumps(config)} if config else {}
        self._repository(name, "load", parameters, timeout)

    def unload(self, name: str, dependents: bool, timeout: float) -> None:
        self._repository(name, "unload", {"unload_dependents": True} if dependents else {}, timeout)

    def close(self) -> None:
        self.transport.close()

    def _repository(self, name: str, verb: str, parameters: Mapping[str, Any], timeout: float) -> None:
        path = f"/v2/repository/models/{quote(name, safe='')}/{verb}"
        body = json.dumps({"parameters": parameters} if parameters else {}).encode()
        reply = self.transport.call(Request("POST", path, body, {"Content-Type": "application/json"}, timeout, resend=False))
        self._check(reply, path)

    def _flag(self, path: str) -> bool:
        """Health answers: 200 is yes; a V2 server's 400 or 503, or an unknown model, is no."""
        try:
            reply = self.transport.call(Request("GET", path))
        except BusyError:
            return False
        error = failure(reply, self.where + path)
        if isinstance(error, (NotServerError, RestrictedError)) or (isinstance(error, UnsupportedError) and "/models/" not in path):
            raise error
        return error is None

    def _check(self, reply: Reply, path: str) -> Reply:
        error = failure(reply, self.where + path)
        if error:
            raise error
        return reply

    def _json(self, method: str, path: str, body: bytes = b"") -> Any:
        headers = {"Content-Type": "application/json"} if body else {}
        reply = self._check(self.transport.call(Request(method, path, body, headers)), path)
        try:
            return json.loads(reply.body)
        except ValueError as error:
            raise NotServerError(
                "the answer is not JSON", where=self.where + path, remedy="Check the URL's host, port and base path."
            ) from error

    def _mapping(self, method: str, path: str) -> dict[str, Any]:
        value = self._json(method, path)
        if not isinstance(value, dict):
            raise NotServerError("the answer is not a V2 inference server's", where=self.where + path, remedy="Check the URL.")
        return value


def _model(name: str, version: str) -> str:
    path = f"/v2/models/{quote(name, safe='')}"
    return f"{path}/versions/{quote(version, safe='')}" if version else path
