# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The socket: TLS, requests and their log, faults on demand, watches, and the proxy to pods and services."""

from __future__ import annotations

import json
import select
import socket
import ssl
import threading
import time
import traceback
import urllib.parse
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from . import tables
from .controllers.cluster_wide import target_port
from .controllers.kubelet import Kubelet
from .controllers.manager import PODS, is_true
from .errors import ApiError, no_such_path
from .routes import Answer, Asked, Routes, Target
from .streams import serve_exec, serve_port_forward

_HOP = {"connection", "host", "content-length", "transfer-encoding", "authorization", "accept-encoding"}


@dataclass
class Fault:
    """Happens to the next `times` requests of this method whose path and query hold `part`.

    kind: "answer" refuses with code and reason (429 with Retry-After), "reset" closes the connection, "lost" does what was asked and
    closes it, "slow" waits for `seconds` before it does it.
    """

    kind: str = "answer"
    method: str = ""
    part: str = ""
    code: int = 503
    reason: str = "ServiceUnavailable"
    seconds: float = 0.5
    times: int = 1

    def hits(self, method: str, target: str) -> bool:
        return self.times > 0 and self.method in ("", method) and self.part in target


@dataclass(frozen=True)
class Logged:
    """One request that was answered. path: with its query."""

    method: str
    path: str
    code: int
    agent: str


class Front(ThreadingHTTPServer):
    """Listens on loopback from the start on."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, routes: Routes, kubelet: Kubelet, context: ssl.SSLContext) -> None:
        self.routes, self.kubelet = routes, kubelet
        self.faults: list[Fault] = []
        self.log: list[Logged] = []
        self.failures: list[str] = []
        self.closing = False
        self.mutex = threading.Lock()
        super().__init__(("127.0.0.1", 0), _Handler)
        self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away or do not trust the server are part of the tests."""

    def fault(self, method: str, target: str) -> Fault | None:
        with self.mutex:
            found = next((each for each in self.faults if each.hits(method, target)), None)
            if found:
                found.times -= 1
            return found


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Front
    connection: ssl.SSLSocket

    def setup(self) -> None:
        self.request.settimeout(600)
        self.request.do_handshake()
        super().setup()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """`Front.log` is the log."""

    def _serve(self) -> None:
        asked = self._asked()
        fault = self.server.fault(asked.method, self.path)
        kind = fault.kind if fault else ""
        if fault and kind == "slow":
            time.sleep(fault.seconds)
        if kind == "reset":
            return self._cut()
        answer = self._answer(asked, fault)
        with self.server.mutex:
            agent = asked.headers.get("user-agent", "")
            self.server.log.append(Logged(asked.method, self.path, answer.code, agent))
        if kind == "lost":
            return self._cut()
        try:
            return self._stream(asked, answer.stream) if answer.stream else self._send(answer)
        except OSError:
            self.close_connection = True
            return None

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = do_OPTIONS = _serve  # noqa: N815 - the base class's names

    def _asked(self) -> Asked:
        url = urllib.parse.urlsplit(self.path)
        query = {name: values[-1] for name, values in urllib.parse.parse_qs(url.query, keep_blank_values=True).items()}
        headers = {name.lower(): value for name, value in self.headers.items()}
        size = int(headers.get("content-length") or 0)
        body = self.rfile.read(size) if size else b""
        return Asked(self.command, url.path, query, headers, body, self.connection.getpeercert() or None)

    def _answer(self, asked: Asked, fault: Fault | None) -> Answer:
        try:
            if fault and fault.kind == "answer":
                raise ApiError(fault.code, fault.reason, "By order of the test.", retry_after=1 if fault.code == 429 else None)
            return self.server.routes.answer(asked)
        except ApiError as error:
            return _refusal(error)
        except (LookupError, TypeError, ValueError, AttributeError):
            # A bug of ours: the client sees what it would of the real one, and the test that closes the server is told.
            self.server.failures.append(f"{asked.method} {self.path}: {traceback.format_exc()}")
            return _refusal(ApiError(500, "InternalError", f"Internal error occurred: {traceback.format_exc(limit=-1)}"))

    def _send(self, answer: Answer) -> None:
        body = answer.body if isinstance(answer.body, bytes) else _encoded(answer.body)
        self.send_response_only(answer.code)
        self.send_header("Content-Type", answer.media)
        self.send_header("Content-Length", str(len(body)))
        for warning in answer.warnings:
            self.send_header("Warning", f"299 - {json.dumps(warning)}")
        retry = (answer.body.get("details") or {}).get("retryAfterSeconds") if isinstance(answer.body, dict) else None
        if answer.code >= 400 and retry:
            self.send_header("Retry-After", str(retry))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _cut(self) -> None:
        self.close_connection = True
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    # --- what is no single answer

    def _stream(self, asked: Asked, target: Target) -> None:
        try:
            if target.verb == "watch":
                return self._watch(asked, target)
            if target.subresource == "proxy":
                return self._proxy(asked, target)
            with self.server.routes.api.store.lock:
                pod = self.server.routes.api.get(target.resource, target.namespace, target.name)
            serve = serve_port_forward if target.subresource == "portforward" else serve_exec
            self.close_connection = True
            return serve(self, asked, pod)
        except ApiError as error:
            return self._send(_refusal(error))

    def _watch(self, asked: Asked, target: Target) -> None:
        routes, key = self.server.routes, target.resource.key
        store, wanted = routes.api.store, routes.selected(asked, target)
        asked_for = asked.query.get("resourceVersion") or "0"
        with store.lock:
            initial = asked_for == "0" or asked.flag("sendInitialEvents")
            first = [each for each in store.all(key, target.namespace) if wanted(each)] if initial else []
            seen = store.version if initial else int(asked_for)
            store.changes(key, seen)
        self.send_response_only(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for each in first:
            self._event(asked, target, "ADDED", each)
        if asked.flag("sendInitialEvents"):
            self._bookmark(target, seen, {"k8s.io/initial-events-end": "true"})
        self._follow(asked, target, wanted, seen)
        self.wfile.write(b"0\r\n\r\n")

    def _follow(self, asked: Asked, target: Target, wanted: Any, seen: int) -> None:
        """Until the client's time is over, or it is gone, or the server is."""
        store, end = self.server.routes.api.store, time.monotonic() + float(asked.query.get("timeoutSeconds") or 1800)
        bookmark = time.monotonic() + 1.0
        while time.monotonic() < end and not self.server.closing and not self._gone():
            with store.lock:
                try:
                    changes = store.changes(target.resource.key, seen)
                except ApiError as error:
                    return self._chunk({"type": "ERROR", "object": error.status()})
                if not changes:
                    store.lock.wait(min(0.25, max(0.0, end - time.monotonic())))
            for change in changes:
                seen = change.version
                before = change.previous is not None and wanted(change.previous)
                now = change.type != "DELETED" and wanted(change.value)
                if now:
                    self._event(asked, target, "MODIFIED" if before else "ADDED", change.value)
                elif before:
                    self._event(asked, target, "DELETED", change.value)
            if not changes and asked.flag("allowWatchBookmarks") and time.monotonic() > bookmark:
                bookmark = time.monotonic() + 1.0
                with store.lock:
                    seen = store.version if not store.changes(target.resource.key, seen) else seen
                self._bookmark(target, seen, {})
        return None

    def _gone(self) -> bool:
        return bool(self.connection.pending() or select.select([self.connection], [], [], 0)[0])

    def _event(self, asked: Asked, target: Target, kind: str, value: Any) -> None:
        value = self.server.routes.in_version(target.resource, value)
        if "as=Table;" in f"{asked.headers.get('accept', '')};".replace(" ", "").replace(",", ";"):
            value = tables.table(target.resource, [value], {"resourceVersion": value["metadata"]["resourceVersion"]})
        elif "as=PartialObjectMetadata" in asked.headers.get("accept", ""):
            value = {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": value["metadata"]}
        self._chunk({"type": kind, "object": value})

    def _bookmark(self, target: Target, version: int, annotations: dict[str, str]) -> None:
        metadata: dict[str, Any] = {"resourceVersion": str(version), **({"annotations": annotations} if annotations else {})}
        about = {"kind": target.resource.kind, "apiVersion": target.resource.api_version, "metadata": metadata}
        self._chunk({"type": "BOOKMARK", "object": about})

    def _chunk(self, value: Any) -> None:
        data = json.dumps(value).encode() + b"\n"
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    # --- the proxy

    def _proxy(self, asked: Asked, target: Target) -> None:
        host, port = self._backend(target)
        query = urllib.parse.urlsplit(self.path).query
        path = f"/{target.rest}" + (f"?{query}" if query else "")
        try:
            connection = HTTPConnection(self.server.kubelet.place(host), port, timeout=60)
        except OSError as error:
            raise ApiError(503, "ServiceUnavailable", f"error trying to reach service: {error}") from error
        try:
            headers = {name: value for name, value in asked.headers.items() if name not in _HOP}
            connection.request(asked.method, path, asked.body or None, headers)
            answer = connection.getresponse()
            body = answer.read()
        except (OSError, HTTPException) as error:
            raise ApiError(503, "ServiceUnavailable", f"error trying to reach service: {error}") from error
        finally:
            connection.close()
        self.send_response_only(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in _HOP:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _backend(self, target: Target) -> tuple[str, int]:
        """The address of NAME:PORT, a pod's or that of a ready pod of a service. Raises ApiError."""
        name, port = _name_and_port(target.name)
        api = self.server.routes.api
        with api.store.lock:
            value = api.get(target.resource, target.namespace, name)
            if target.resource.key == PODS:
                return (value.get("status") or {}).get("podIP", ""), int(port or 80)
            ports = value["spec"].get("ports") or []
            found = next((each for each in ports if port in ("", each.get("name"), str(each["port"]))), None)
            slices = api.store.all(("discovery.k8s.io", "endpointslices"), target.namespace)
            slice_ = next((each for each in slices if each["metadata"]["labels"].get("kubernetes.io/service-name") == name), None)
            ready = [each for each in (slice_ or {"endpoints": []})["endpoints"] if each["conditions"]["ready"]]
            if not found or not ready:
                raise ApiError(503, "ServiceUnavailable", f'no endpoints available for service "{target.name}"')
            pod = api.find(PODS, target.namespace, ready[0]["targetRef"]["name"])
            number = target_port(pod, found)
        if number is None or pod is None or not is_true(pod, "Ready"):
            raise no_such_path()
        return ready[0]["addresses"][0], number


def _name_and_port(name: str) -> tuple[str, str]:
    """NAME, NAME:PORT or SCHEME:NAME:PORT."""
    parts = name.split(":")
    return (parts[1], parts[2]) if len(parts) == 3 else (parts[0], parts[1] if len(parts) == 2 else "")


def _encoded(body: Any) -> bytes:
    return body.encode() if isinstance(body, str) else json.dumps(body).encode()


def _refusal(error: ApiError) -> Answer:
    if not error.reason:
        return Answer(error.code, error.message, "text/plain; charset=utf-8")
    status = error.status()
    if error.retry_after:
        status["details"] = {**status.get("details", {}), "retryAfterSeconds": error.retry_after}
    return Answer(error.code, status)
