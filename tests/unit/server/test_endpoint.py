# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Endpoints from mappings: what is taken, and how what cannot work is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ansible_collections.serving.triton.plugins.module_utils.core.errors import InputError
from ansible_collections.serving.triton.plugins.module_utils.server.endpoint import Endpoint


def test_an_endpoint_without_replicas_is_one_replica() -> None:
    endpoint = Endpoint.from_mapping(
        {"http": "https://models.example/triton/", "grpc": "grpcs://10.0.0.1:9001", "metrics": "http://10.0.0.1:8002/metrics"}
    )
    (replica,) = endpoint.replicas
    assert replica.describe() == {
        "name": "default",
        "http": "https://models.example:443/triton",
        "grpc": "grpcs://10.0.0.1:9001",
        "metrics": "http://10.0.0.1:8002/metrics",
    }
    assert replica.http is not None
    assert replica.http.secure


def test_replicas_carry_their_names_or_numbers() -> None:
    endpoint = Endpoint.from_mapping({"http": "http://all", "replicas": [{"http": "http://a"}, {"name": "b", "grpc": "grpc://b"}]})
    assert [(replica.name, str(replica.http or ""), str(replica.grpc or "")) for replica in endpoint.replicas] == [
        ("0", "http://a:80", ""),
        ("b", "", "grpc://b:8001"),
    ]


def test_an_ipv6_address_keeps_its_brackets() -> None:
    address = Endpoint.from_mapping({"http": "http://[::1]:8000"}).replicas[0].http
    assert address is not None
    assert (address.host, address.netloc, str(address)) == ("::1", "[::1]:8000", "http://[::1]:8000")


def test_values_that_are_null_are_as_good_as_absent() -> None:
    endpoint = Endpoint.from_mapping({"http": "http://a", "grpc": None, "headers": None, "tls": None, "replicas": None, "binary": None})
    assert endpoint.replicas[0].grpc is None
    assert endpoint.headers == {}
    assert endpoint.binary
    assert not Endpoint.from_mapping({"http": "http://a", "binary": False}).binary


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({}, "endpoint: holds neither http nor grpc"),
        ({"metrics": "http://a"}, "holds neither http nor grpc"),
        ({"htpp": "http://a"}, "Did you mean http?"),
        ({"http": "127.0.0.1:8000"}, "is not a URL of scheme http or https. Write it as"),
        ({"http": "grpc://a"}, "endpoint.http: 'grpc://a' is not a URL of scheme http or https"),
        ({"http": "http://a:99999"}, "Port out of range"),
        ({"http": "http://a\n"}, "is not a URL"),
        ({"http": "http://a", "binary": "no"}, "endpoint.binary: must be true or false"),
        ({"http": 8000}, "8000 is not a URL"),
        ({"http": "http://user:secret@a"}, "Put credentials into endpoint.headers"),
        ({"http": "http://a/?x=1"}, "holds a query or a fragment"),
        ({"grpc": "grpc://a/path"}, "holds a path"),
        ({"http": "http://a", "headers": ["x"]}, "endpoint.headers: must be a mapping"),
        ({"http": "http://a", "headers": {"a b": "x"}}, "is not a header's name"),
        ({"http": "http://a", "headers": {"token": "x\n"}}, "endpoint.headers.token: the value is no single line of text"),
        ({"http": "http://a", "headers": {"token": None}}, "no single line"),
        ({"http": "http://a", "tls": {"cafile": "x"}}, "Did you mean ca_file?"),
        ({"http": "http://a", "tls": {"ca_file": "/does/not/exist"}}, "endpoint.tls.ca_file: /does/not/exist: the file is missing"),
        ({"http": "http://a", "tls": {"key_file": __file__}}, "a key without its certificate"),
        ({"http": "http://a", "tls": {"validate_certs": "no"}}, "must be true or false"),
        ({"replicas": [{"name": "a"}]}, "endpoint.replicas[0]: holds neither"),
        ({"replicas": [{"http": "http://a", "headers": {}}]}, "endpoint.replicas[0]: the key 'headers' is unknown"),
        ({"replicas": "http://a"}, "must be a list of mappings"),
        ({"replicas": [{"name": "a", "http": "http://a"}, {"name": "a", "http": "http://b"}]}, "two replicas are named 'a'"),
    ],
)
def test_what_cannot_work_is_refused(value: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        Endpoint.from_mapping(value)
    assert message in str(caught.value)


def test_no_message_holds_a_header_s_value() -> None:
    with pytest.raises(InputError) as caught:
        Endpoint.from_mapping({"http": "http://a", "headers": {"token": "sesame\nopen"}})
    assert "sesame" not in str(caught.value)


def test_tls_files_are_taken(tmp_path: Path) -> None:
    pem = tmp_path / "ca.pem"
    pem.touch()
    tls = Endpoint.from_mapping({"http": "https://a", "tls": {"ca_file": str(pem), "server_name": "b", "cert_file": None}}).tls
    assert (tls.ca_file, tls.server_name, tls.cert_file, tls.validate_certs) == (str(pem), "b", "", True)
