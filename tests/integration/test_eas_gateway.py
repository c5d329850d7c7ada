# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The gateway stand-in in front of a real tritonserver, with Triton's own client."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy
import pytest
import tritonclient.http
from support.ansible_runs import run_module
from support.certificates import make_certificates, tls_front
from support.eas_api import Call
from support.eas_gateway import EasGateway, GatewayFault
from support.eas_runs import run_service, service_options
from support.eas_server import ACCESS_KEY, EasServer
from support.eas_state import Service
from support.eas_under_test import triton_config
from tritonclient.utils import InferenceServerException

pytestmark = pytest.mark.integration
ONES = numpy.ones((1, 16), dtype=numpy.int32)


@pytest.fixture
def service(eas_server: EasServer, eas_gateway: EasGateway) -> Service:
    return eas_server.make(triton_config("llm"))


@pytest.fixture
def client(eas_gateway: EasGateway, service: Service) -> Iterator[tritonclient.http.InferenceServerClient]:
    with tritonclient.http.InferenceServerClient(f"{urlsplit(eas_gateway.url).netloc}/api/predict/llm") as opened:
        yield opened


def infer(client: tritonclient.http.InferenceServerClient, token: str, *, binary: bool = False) -> int:
    """The first number of 1 + 1."""
    inputs = [tritonclient.http.InferInput(name, [1, 16], "INT32") for name in ("INPUT0", "INPUT1")]
    for each in inputs:
        each.set_data_from_numpy(ONES, binary_data=binary)
    outputs = [tritonclient.http.InferRequestedOutput("OUTPUT0", binary_data=binary)]
    answer = client.infer("add_sub", inputs, outputs=outputs, headers={"Authorization": token})
    return int(answer.as_numpy("OUTPUT0")[0][0])


def status_of(client: tritonclient.http.InferenceServerClient, token: str) -> str:
    with pytest.raises(InferenceServerException) as caught:
        infer(client, token)
    return str(caught.value.status())


def test_a_running_service_answers_with_its_token(client: Any, service: Service, eas_gateway: EasGateway, eas_server: EasServer) -> None:
    token = service.token
    assert [infer(client, token, binary=binary) for binary in (False, True)] == [2, 2]
    assert client.is_server_ready(headers={"Authorization": token})
    assert not client.is_server_ready()
    assert [status_of(client, wrong) for wrong in ("", "wrong", f"Bearer {token}")] == ["401"] * 3
    assert {each.service for each in eas_gateway.log} == {"llm"}
    assert [(each.path, each.status) for each in eas_gateway.log[:3]] == [
        ("/v2/models/add_sub/infer", 200),
        ("/v2/models/add_sub/infer", 200),
        ("/v2/health/ready", 200),
    ]
    eas_server.services.stop(service)
    assert status_of(client, token) == "503"
    eas_server.services.settle("llm")
    assert status_of(client, token) == "503"
    eas_server.services.start(service)
    eas_server.services.settle("llm")
    assert infer(client, token) == 2
    eas_server.services.remove(service)
    eas_server.services.settle("llm")
    assert status_of(client, token) == "404"


def test_binary_tensors_may_get_lost(client: Any, service: Service, eas_gateway: EasGateway) -> None:
    eas_gateway.binary = False
    assert infer(client, service.token) == 2
    with pytest.raises(InferenceServerException, match="JSON"):
        infer(client, service.token, binary=True)


@pytest.mark.parametrize("status", [408, 429, 450, 502, 503, 504])
def test_faults_are_answered_so_many_times(client: Any, service: Service, eas_gateway: EasGateway, status: int) -> None:
    eas_gateway.faults = [GatewayFault(status, times=2, part="/infer")]
    assert [status_of(client, service.token), status_of(client, service.token)] == [str(status)] * 2
    assert infer(client, service.token) == 2


def test_a_deployment_takes_a_while_to_be_served(client: Any, service: Service, eas_gateway: EasGateway, eas_server: EasServer) -> None:
    eas_gateway.warm_up, eas_gateway.warm_up_status = 2, 404
    assert [status_of(client, service.token), status_of(client, service.token)] == ["404", "404"]
    assert infer(client, service.token) == 2
    eas_server.services.change(service, triton_config("llm", cpu=8))
    assert status_of(client, service.token) == "503"
    eas_server.services.settle("llm")
    assert [status_of(client, service.token), status_of(client, service.token)] == ["404", "404"]
    assert infer(client, service.token) == 2


def outcomes(gateway: EasGateway, token: str, threads: int, requests: int) -> list[str]:
    """The numbers and statuses that so many clients at a time get; Triton's client is one thread's alone."""
    found: list[str] = []

    def work() -> None:
        with tritonclient.http.InferenceServerClient(f"{urlsplit(gateway.url).netloc}/api/predict/llm") as own:
            for number in range(requests):
                try:
                    found.append(str(infer(own, token, binary=number % 2 == 0)))
                except InferenceServerException as error:
                    found.append(str(error.status()))

    workers = [threading.Thread(target=work) for _unused in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    return found


def test_many_requests_at_a_time(service: Service, eas_gateway: EasGateway) -> None:
    assert outcomes(eas_gateway, service.token, 6, 10) == ["2"] * 60
    eas_gateway.limit = 1
    crowded = outcomes(eas_gateway, service.token, 8, 10)
    assert len(crowded) == 80
    assert set(crowded) == {"2", "450"}


def test_one_connection_serves_refusals_chunks_and_answers(eas_gateway: EasGateway, service: Service) -> None:
    tensors = [{"name": name, "shape": [1, 16], "datatype": "INT32", "data": [1] * 16} for name in ("INPUT0", "INPUT1")]
    body = json.dumps({"inputs": tensors}).encode()
    connection = http.client.HTTPConnection(urlsplit(eas_gateway.url).netloc, timeout=30)
    connection.connect()
    first = connection.sock
    path, token = "/api/predict/llm/v2/models/add_sub/infer", {"Authorization": service.token}

    def ask(method: str, target: str, data: Any = None, headers: dict[str, str] | None = None) -> tuple[int, bytes]:
        connection.request(method, target, data, headers or {}, encode_chunked=isinstance(data, list))
        answer = connection.getresponse()
        return answer.status, answer.read()

    assert ask("POST", path, body)[0] == 401
    assert ask("POST", "/api/predict/other/v2", body, token)[0] == 404
    assert ask("POST", "/v2/models/add_sub/infer", body, token)[0] == 404
    status, answer = ask("POST", path, body, token)
    assert (status, json.loads(answer)["outputs"][0]["data"]) == (200, [2] * 16)
    chunked = {**token, "Transfer-Encoding": "chunked"}
    assert ask("POST", path, [body[:100], body[100:]], chunked) == (status, answer)
    assert ask("HEAD", "/api/predict/llm/v2/nothing", None, token)[1] == b""
    assert ask("GET", "/api/predict/llm/v2/models/none", None, token)[0] in (400, 404)
    assert ask("GET", "/api/predict/llm/metrics", None, token)[1].startswith(b"# HELP nv_")
    assert connection.sock is first
    eas_gateway.faults = [GatewayFault(408), GatewayFault(0)]
    assert ask("POST", path, body, token)[0] == 408
    assert connection.sock is None
    with pytest.raises(ConnectionError):
        ask("POST", path, body, token)
    connection.close()


def test_eas_tells_its_addresses(eas_gateway: EasGateway, eas_server: EasServer, service: Service) -> None:
    port = urlsplit(eas_gateway.url).port
    answer = eas_server.api.handle(Call("DescribeServiceEndpoints", eas_server.accounts[ACCESS_KEY], "llm"))["Endpoints"][0]
    assert answer["InternetEndpoints"] == [f"http://127.0.0.1:{port}/api/predict/llm"]
    assert answer["IntranetEndpoints"] == [f"http://localhost:{port}/api/predict/llm"]
    inner = f"localhost:{port}/api/predict/llm"
    with tritonclient.http.InferenceServerClient(inner) as client:
        assert infer(client, service.token) == 2


def test_it_stands_behind_tls(eas_gateway: EasGateway, service: Service, tmp_path: Path) -> None:
    certificates = make_certificates(tmp_path)
    with tls_front(urlsplit(eas_gateway.url).port or 0, certificates.server, certificates.server_key) as url:
        options = {"ssl": True, "ssl_options": {"ca_certs": str(certificates.ca)}}
        with tritonclient.http.InferenceServerClient(f"{urlsplit(url).netloc}/api/predict/llm", **options) as client:
            assert infer(client, service.token, binary=True) == 2


def test_eas_service_waits_until_it_answers(eas_server: EasServer, eas_gateway: EasGateway) -> None:
    """What eas_service returns is what the other modules take."""
    eas_gateway.warm_up = 2
    options = eas_server.options(backend="openapi", wait_gateway=True, return_token=True)
    done = run_service(service_options(**options, config=triton_config("llm")))
    assert [each.status for each in eas_gateway.log][:2] == [503, 503]
    assert done["triton_endpoint"]["http"] == f"{eas_gateway.url}/api/predict/llm"
    info = run_module("serving.triton.server_info", {"endpoint": done["triton_endpoint"]})
    assert info["live"] is True
    assert [model["name"] for model in info["models"] if model["state"] == "READY"] == ["add_sub"]
    eas_gateway.warm_up = 10**6
    failed = run_service(service_options(**options, config=triton_config("llm", cpu=8), wait_timeout=20.0))
    assert "503" in failed["msg"]
