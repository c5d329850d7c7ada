# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""TLS and mutual TLS: Triton's own for gRPC, a front that terminates it for HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.ansible_runs import run_module
from support.certificates import SERVER_NAME, Certificates, make_certificates, tls_front
from support.tritonserver import TritonServer


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def secured(certificates: Certificates, sample_repository: Path) -> Iterator[TritonServer]:
    """gRPC with TLS under a certificate for 127.0.0.1."""
    files = {"grpc-server-cert": str(certificates.server), "grpc-server-key": str(certificates.server_key)}
    options = {"load-model": "add_sub", "grpc-use-ssl": True, **files}
    with TritonServer(sample_repository, mode="explicit", options=options) as server:
        yield server


@pytest.fixture(scope="module")
def mutual(certificates: Certificates, sample_repository: Path) -> Iterator[TritonServer]:
    """gRPC that demands a client certificate, under a certificate for triton.test alone."""
    files = {
        "grpc-server-cert": str(certificates.other),
        "grpc-server-key": str(certificates.other_key),
        "grpc-root-cert": str(certificates.ca),
    }
    options = {"load-model": "add_sub", "grpc-use-ssl": True, "grpc-use-ssl-mutual": True, **files}
    with TritonServer(sample_repository, mode="explicit", options=options) as server:
        yield server


def info(url: str, **tls: Any) -> dict[str, Any]:
    endpoint = {"grpc" if url.startswith("grpc") else "http": url, "tls": {key: str(value) for key, value in tls.items()}}
    return run_module("serving.triton.server_info", {"endpoint": endpoint, "retries": 0})


def infer(url: str, **tls: Any) -> dict[str, Any]:
    endpoint = {"grpc" if url.startswith("grpc") else "http": url, "tls": {key: str(value) for key, value in tls.items()}}
    return run_module("serving.triton.infer", {"endpoint": endpoint, "requests": [{"model": "add_sub", "synthetic": True}], "retries": 0})


def test_grpc_with_tls(secured: TritonServer, certificates: Certificates) -> None:
    assert info(secured.grpc, ca_file=certificates.ca)["live"] is True
    assert infer(secured.grpc, ca_file=certificates.ca)["results"][0]["ok"]


def test_grpc_with_an_authority_that_it_does_not_know(secured: TritonServer) -> None:
    result = info(secured.grpc)
    assert "the TLS handshake failed" in result["msg"]
    assert "endpoint.tls" in result["msg"]


def test_grpc_without_tls_to_a_port_with_it(secured: TritonServer) -> None:
    result = info(secured.grpc.replace("grpcs", "grpc"))
    assert result["live"] is False
    assert "the connection failed" in result["replicas"][0]["error"]


def test_grpc_with_mutual_tls(mutual: TritonServer, certificates: Certificates) -> None:
    client = {"cert_file": certificates.client, "key_file": certificates.client_key}
    named = {"ca_file": certificates.ca, "server_name": SERVER_NAME}
    assert info(mutual.grpc, **named, **client)["live"] is True
    assert infer(mutual.grpc, **named, **client)["results"][0]["ok"]
    refused = info(mutual.grpc, **named)
    assert "client certificate (endpoint.tls.cert_file)" in refused["replicas"][0]["error"]
    assert "the TLS handshake failed" in info(mutual.grpc, ca_file=certificates.ca, **client)["msg"], "the name differs"


def test_https(secured: TritonServer, certificates: Certificates) -> None:
    with tls_front(secured.http_port, certificates.server, certificates.server_key) as url:
        assert info(url, ca_file=certificates.ca)["live"] is True
        assert infer(url, ca_file=certificates.ca)["results"][0]["ok"]
        assert info(url, validate_certs=False)["live"] is True
        unknown = info(url)
    assert "the TLS handshake failed" in unknown["msg"]
    assert "endpoint.tls.ca_file" in unknown["msg"]


def test_https_under_another_name(secured: TritonServer, certificates: Certificates) -> None:
    with tls_front(secured.http_port, certificates.other, certificates.other_key) as url:
        assert info(url, ca_file=certificates.ca, server_name=SERVER_NAME)["live"] is True
        assert "endpoint.tls.server_name" in info(url, ca_file=certificates.ca)["msg"]


def test_https_with_client_certificates(secured: TritonServer, certificates: Certificates) -> None:
    with tls_front(secured.http_port, certificates.server, certificates.server_key, client_ca=certificates.ca) as url:
        assert info(url, ca_file=certificates.ca, cert_file=certificates.client, key_file=certificates.client_key)["live"] is True
        refused = info(url, ca_file=certificates.ca)
    assert "endpoint.tls.cert_file" in refused["msg"], "by an alert, or by the end of the connection"


def test_https_to_a_port_without_it(secured: TritonServer) -> None:
    assert "Check that this port speaks TLS" in info(secured.http.replace("http:", "https:"))["msg"]


def test_files_that_cannot_be_used(secured: TritonServer, certificates: Certificates, tmp_path: Path) -> None:
    (tmp_path / "not.pem").write_text("nothing")
    assert "the TLS files cannot be used" in info("https://127.0.0.1:1", ca_file=tmp_path / "not.pem")["msg"]
    assert "the file is missing or not readable" in info(secured.grpc, ca_file=tmp_path / "none.pem")["msg"]
