# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The filter that tells Prometheus what to scrape."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.serving.triton.plugins.filter.file_sd import FilterModule

file_sd = FilterModule().filters()["file_sd"]


def group(address: str, scheme: str = "http", path: str = "/metrics", **labels: str) -> dict[str, Any]:
    return {"targets": [address], "labels": {**labels, "__scheme__": scheme, "__metrics_path__": path}}


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:8002/metrics", group("127.0.0.1:8002")),
        ("http://127.0.0.1:8002", group("127.0.0.1:8002")),
        ("http://127.0.0.1:8002/", group("127.0.0.1:8002")),
        ("https://gateway.example/triton/metrics", group("gateway.example:443", "https", "/triton/metrics")),
        ("http://triton.example/metrics", group("triton.example:80")),
        ("http://[::1]:8002/metrics", group("[::1]:8002")),
    ],
)
def test_a_url_becomes_a_group(url: str, expected: dict[str, Any]) -> None:
    assert file_sd([{"url": url}]) == [expected]


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("", "(empty): this is not a metrics URL. Give one like"),
        ("127.0.0.1:8002", "this is not a metrics URL"),
        ("grpc://127.0.0.1:8001", "this is not a metrics URL"),
        ("http://host:port/metrics", "this is not a metrics URL"),
        ("http:///metrics", "lacks a host"),
        ("http://host/metrics?format=text", "has more than Prometheus can scrape"),
    ],
)
def test_a_bad_url_is_refused(url: str, complaint: str) -> None:
    with pytest.raises(AnsibleFilterError, match=complaint.replace("(", r"\(").replace(")", r"\)")):
        file_sd([{"url": url}])


def test_a_password_in_a_url_is_refused_and_not_repeated() -> None:
    with pytest.raises(AnsibleFilterError, match="credentials belong in monitoring_scrape_settings") as caught:
        file_sd([{"url": "http://user:canary-7f3a91@host/metrics"}])
    assert "canary" not in str(caught.value)


def test_an_endpoint_is_its_own_replica() -> None:
    assert file_sd([], endpoint={"http": "http://a:8000", "metrics": "http://a:8002/metrics"}) == [group("a:8002")]


def test_each_replica_with_metrics_is_a_target() -> None:
    replicas = [
        {"name": "r0", "metrics": "http://a:8002/metrics"},
        {"name": "r1", "metrics": ""},
        {"name": "r2", "metrics": "http://c:8002/metrics"},
    ]
    found = file_sd([], endpoint={"metrics": "http://gateway:8002/metrics", "replicas": replicas}, labels={"service": "s"})
    assert found == [group("a:8002", service="s", replica="r0"), group("c:8002", service="s", replica="r2")]


def test_targets_given_win_over_the_endpoint_and_their_labels_over_the_common_ones() -> None:
    targets = [{"url": "http://b:1/metrics", "labels": {"zone": 7, "service": "mine"}}]
    found = file_sd(targets, endpoint={"metrics": "http://a:8002/metrics"}, labels={"service": "s"})
    assert found == [group("b:1", zone="7", service="mine")]


def test_a_label_that_prometheus_would_refuse_is_refused() -> None:
    with pytest.raises(AnsibleFilterError, match=r"'my-zone' is not a label name"):
        file_sd([{"url": "http://b:1/metrics"}], labels={"my-zone": "x"})


def test_without_an_endpoint_there_is_nothing() -> None:
    assert file_sd([], endpoint={}) == []
