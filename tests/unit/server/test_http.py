# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The HTTP control plane against servers that answer as a script says."""

from __future__ import annotations

import json
from typing import Any

import pytest
from support.fakes import FakeClock
from support.scripted_http import Step, hang, raw, reply, reset, scripted, then_close
from support.tritonserver import free_ports

from ansible_collections.serving.triton.plugins.module_utils.core.errors import ServingError
from ansible_collections.serving.triton.plugins.module_utils.core.wait import RetryPolicy
from ansible_collections.serving.triton.plugins.module_utils.server import errors
from ansible_collections.serving.triton.plugins.module_utils.server.control import CallOptions, ModelState
from ansible_collections.serving.triton.plugins.module_utils.server.endpoint import Endpoint
from ansible_collections.serving.triton.plugins.module_utils.server.http import HttpControl, Request

HTML = "<!DOCTYPE html><html><body>Welcome</body></html>"


def control(url: str, *, attempts: int = 3, timeout: float = 5, **more: Any) -> tuple[HttpControl, FakeClock]:
    endpoint = Endpoint.from_mapping({"http": url, **more})
    clock = FakeClock()
    address = endpoint.replicas[0].http
    assert address is not None
    return HttpControl(address, endpoint.headers, endpoint.tls, CallOptions(timeout, RetryPolicy(attempts=attempts), clock)), clock


@pytest.mark.parametrize(
    ("step", "kind", "message"),
    [
        (reply(403, '{"error":"This API is restricted, expecting header \'key\'"}'), errors.RestrictedError, "endpoint.headers"),
        (reply(401, "no"), errors.RestrictedError, "refuses the credentials"),
        (reply(404, '{"error":"Request for unknown model: \'m\' is not found"}'), errors.UnknownModelError, "'m' is not found"),
        (reply(400, '{"error":"Request for unknown model: \'m\' is not found"}'), errors.UnknownModelError, "'m' is not found"),
        (reply(404, '{"error":"Not Found"}'), errors.UnsupportedError, "does not offer this API"),
        (reply(404, '{"detail":"Not Found"}'), errors.UnsupportedError, "404 Not Found"),
        (reply(405, ""), errors.UnsupportedError, "does not offer this API"),
        (reply(400, '{"error":"bad shape"}'), errors.RequestError, "400 bad shape"),
        (reply(500, '{"error":"boom"}'), errors.RequestError, "500 boom"),
        (reply(500, "not json"), errors.RequestError, "500"),
        (reply(408, "RPC timeout"), errors.RequestError, "metadata.rpc.keepalive"),
        (reply(200, HTML, kind="text/html"), errors.NotServerError, "base path"),
        (reply(404, HTML, kind="text/html"), errors.NotServerError, "not a V2 inference server's"),
        (reply(302, "", headers="Location: /login\r\n"), errors.NotServerError, "(302)"),
        (reply(200, "[1]"), errors.NotServerError, "not a V2 inference server's"),
        (reply(200, "not json"), errors.NotServerError, "not JSON"),
        (raw(b"\x00\x00\x18\x04\x00\x00\x00\x00\x00"), errors.NotServerError, "not HTTP"),
    ],
)
def test_an_answer_is_told_for_what_it_is(step: Step, kind: type[ServingError], message: str) -> None:
    with scripted(step) as server:
        client, clock = control(server.url)
        with pytest.raises(kind) as caught:
            client.model_metadata("m")
    assert message in str(caught.value)
    assert server.url in caught.value.where
    assert len(server.requests) == 1, "nothing here is worth a retry"
    assert clock.naps == []


@pytest.mark.parametrize("status", [429, 450, 502, 503, 504])
def test_a_busy_server_is_tried_again(status: int) -> None:
    with scripted(reply(status, "later"), reply(status, HTML, kind="text/html"), reply(200, '{"name":"triton"}')) as server:
        client, clock = control(server.url)
        assert client.server_metadata() == {"name": "triton"}
    assert len(clock.naps) == 2


def test_a_server_that_stays_busy_is_an_error_after_the_last_attempt() -> None:
    with scripted(reply(503, '{"error":"later"}')) as server:
        client, clock = control(server.url, attempts=3)
        with pytest.raises(errors.BusyError, match="503 later"):
            client.server_metadata()
    assert (len(server.requests), len(clock.naps)) == (3, 2)


def test_a_reset_is_tried_again() -> None:
    with scripted(reset, reply(200, "{}")) as server:
        client, _unused = control(server.url)
        assert client.server_metadata() == {}


def test_a_slow_answer_ends_with_the_timeout() -> None:
    with scripted(hang) as server:
        client, _unused = control(server.url, attempts=1, timeout=0.05)
        with pytest.raises(errors.ConnectionFailedError, match="no answer in time"):
            client.server_metadata()


def test_a_dead_port_says_what_to_check() -> None:
    (port,) = free_ports(1)
    client, clock = control(f"http://127.0.0.1:{port}")
    with pytest.raises(errors.ConnectionFailedError, match="opens its ports only after the initial loads"):
        client.live()
    assert len(clock.naps) == 2


def test_a_load_is_never_sent_twice() -> None:
    with scripted(reset) as server:
        client, _unused = control(server.url)
        with pytest.raises(errors.LostAnswerError):
            client.load("m", None, 5)
    assert len(server.requests) == 1


def test_a_load_that_could_not_be_sent_is_tried_again() -> None:
    (port,) = free_ports(1)
    client, clock = control(f"http://127.0.0.1:{port}")
    with pytest.raises(errors.ConnectionFailedError):
        client.load("m", None, 5)
    assert len(clock.naps) == 2


def test_connections_are_kept_and_renewed() -> None:
    with scripted(reply(200, "{}"), then_close(reply(200, "{}")), reply(200, "{}", close=True), reply(200, "{}")) as server:
        client, clock = control(server.url)
        for _unused in range(4):
            client.server_metadata()
        client.close()
    assert server.connections == 3
    assert clock.naps == [], "a connection that idled too long is no failure"


def test_base_path_headers_and_names_are_sent() -> None:
    with scripted(reply(200, "{}")) as server:
        client, _unused = control(f"{server.url}/base/", headers={"Authorization": "Bearer x"})
        client.model_config("a b", "3")
    (request,) = server.requests
    assert request.startswith(b"GET /base/v2/models/a%20b/versions/3/config HTTP/1.1\r\n")
    assert b"Authorization: Bearer x\r\n" in request


@pytest.mark.parametrize(("status", "flag"), [(200, True), (400, False), (503, False)])
def test_health_is_a_flag(status: int, flag: bool) -> None:
    with scripted(reply(status, "", kind="text/plain")) as server:
        client, _unused = control(server.url, attempts=1)
        assert client.ready() is flag


def test_a_website_is_not_live() -> None:
    with scripted(reply(200, HTML, kind="text/html")) as server:
        client, _unused = control(server.url)
        with pytest.raises(errors.NotServerError):
            client.live()


def test_an_unknown_model_is_not_ready() -> None:
    with scripted(reply(404, '{"detail":"Model not found"}')) as server:
        client, _unused = control(server.url)
        assert client.model_ready("m") is False


def test_the_index_is_read() -> None:
    body = json.dumps([{"name": "a", "version": "1", "state": "READY"}, {"name": "b"}])
    with scripted(reply(200, body)) as server:
        client, _unused = control(server.url)
        assert client.index() == [ModelState("a", "1", "READY"), ModelState("b")]
    assert server.lines == ["POST /v2/repository/index"]


@pytest.mark.parametrize("body", ["{}", '[{"nme":"a"}]', '["a"]'])
def test_an_index_of_another_form_is_refused(body: str) -> None:
    with scripted(reply(200, body)) as server:
        client, _unused = control(server.url)
        with pytest.raises(errors.NotServerError):
            client.index()


@pytest.mark.parametrize("status", [400, 503])
def test_the_control_mode_is_told_apart(status: int) -> None:
    text = "explicit model load / unload is not allowed if polling is enabled"
    with scripted(reply(status, json.dumps({"error": text}))) as server:
        client, _unused = control(server.url)
        with pytest.raises(errors.ControlModeError, match="none or poll"):
            client.unload("m", False, 5)
    assert len(server.requests) == 1


def test_a_failed_load_carries_triton_s_reason_in_one_line() -> None:
    text = "load failed for model 'm': version 1 is at UNAVAILABLE state: Internal: no weights\n\nAt:\n  model.py(3)\n;\n"
    with scripted(reply(400, json.dumps({"error": text}))) as server:
        client, _unused = control(server.url)
        with pytest.raises(errors.LoadError) as caught:
            client.load("m", {"name": "m"}, 5)
    assert caught.value.reason.endswith("Internal: no weights At: model.py(3)")
    body = json.loads(server.requests[0].split(b"\r\n\r\n")[1])
    assert json.loads(body["parameters"]["config"]) == {"name": "m"}


def test_a_request_may_have_its_own_timeout() -> None:
    with scripted(hang) as server:
        client, _unused = control(server.url, attempts=1, timeout=60)
        with pytest.raises(errors.ConnectionFailedError, match="no answer in time"):
            client.transport.call(Request("GET", "/", timeout=0.05))


def test_an_unknown_host_is_told() -> None:
    client, _unused = control("http://host.invalid:8000", attempts=1)
    with pytest.raises(errors.ConnectionFailedError, match=r"host name is not known|connection failed"):
        client.live()
