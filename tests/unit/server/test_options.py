# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""tritonserver's options rendered to arguments."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.serving.triton.plugins.filter.triton_args import FilterModule
from ansible_collections.serving.triton.plugins.module_utils.core.errors import InputError
from ansible_collections.serving.triton.plugins.module_utils.server.options import KNOWN, triton_args


@pytest.mark.parametrize(
    ("options", "arguments"),
    [
        ({}, []),
        ({"log-verbose": 1, "id": "one"}, ["--log-verbose=1", "--id=one"]),
        (
            {"log-verbose": "1", "exit-on-error": False, "strict-readiness": "yes"},
            ["--log-verbose=1", "--exit-on-error=false", "--strict-readiness=true"],
        ),
        ({"id": None, "log-file": ""}, ["--log-file="]),
        ({"disable-auto-complete-config": True}, ["--disable-auto-complete-config"]),
        ({"disable-auto-complete-config": False}, []),
        (
            {"model-control-mode": "explicit", "load-model": ["a", "b"]},
            ["--model-control-mode=explicit", "--load-model=a", "--load-model=b"],
        ),
        ({"backend-config": ["python,a=1"]}, ["--backend-config=python,a=1"]),
        (
            {"backend-config": {"python": {"shm-default-byte-size": 1, "x": True}, "default-max-batch-size": 4}},
            [
                "--backend-config=python,shm-default-byte-size=1",
                "--backend-config=python,x=true",
                "--backend-config=default-max-batch-size=4",
            ],
        ),
        ({"cache-config": {"local": {"size": 1048576}}}, ["--cache-config=local,size=1048576"]),
        ({"metrics-config": {"summary_latencies": True}}, ["--metrics-config=summary_latencies=true"]),
        (
            {"rate-limit-resource": {"R1": 4, "R2": {0: 2, 1: 3}}},
            ["--rate-limit-resource=R1:4", "--rate-limit-resource=R2:2:0", "--rate-limit-resource=R2:3:1"],
        ),
        ({"cuda-memory-pool-byte-size": {0: 67108864}}, ["--cuda-memory-pool-byte-size=0:67108864"]),
        ({"model-load-gpu-limit": {0: 0.5}}, ["--model-load-gpu-limit=0:0.5"]),
        (
            {"http-restricted-api": {"model-repository,trace": {"admin-key": "v"}}},
            ["--http-restricted-api=model-repository,trace:admin-key=v"],
        ),
        ({"metrics-interval-ms": 500}, ["--metrics-interval-ms=500"]),
    ],
)
def test_options_become_arguments(options: dict[str, Any], arguments: list[str]) -> None:
    assert triton_args(options) == arguments


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"log_verbose": 1}, "triton_options.log_verbose: tritonserver has no such option. Did you mean log-verbose?"),
        ({"--log-verbose": 1}, "Did you mean log-verbose?"),
        ({"modle-repository": "x"}, "Did you mean model-repository?"),
        ({"zzz": 1}, "See tritonserver --help"),
        ({"log-verbose": "much"}, "'much' is not an integer"),
        ({"log-verbose": True}, "is not an integer"),
        ({"metrics-interval-ms": "x"}, "is not a number"),
        ({"exit-on-error": "maybe"}, "neither true nor false"),
        ({"http-port": [1, 2]}, "takes one value"),
        ({"http-address": {"a": 1}}, "takes no mapping"),
        ({"model-control-mode": "Explicit"}, "Did you mean explicit?"),
        ({"log-format": "json"}, "Choices: default, ISO8601"),
        ({"load-model": "a"}, "works in model control mode explicit only"),
        ({"load-model": ["*", "a"], "model-control-mode": "explicit"}, '"*" stands alone'),
        ({"grpc-use-ssl": True}, "needs grpc-server-cert and grpc-server-key"),
        ({"backend-config": {"python": {"a": [1]}}}, "neither a text nor a number"),
        ({"http-restricted-api": {"health": "x"}}, "each API needs a mapping"),
        ({"id": "a\nb"}, "line break"),
        ([], "must be a mapping"),
    ],
)
def test_what_cannot_work_is_refused(options: Any, message: str) -> None:
    with pytest.raises(InputError) as caught:
        triton_args(options)
    assert message in str(caught.value)


def test_a_newer_server_s_option_is_let_through_when_it_is_named() -> None:
    assert triton_args({"http-max-input-size": 5}, extra=["http-max-input-size"]) == ["--http-max-input-size=5"]


def test_an_option_newer_than_the_server_is_refused() -> None:
    options = {"http-restricted-api": {"health": {"k": "v"}}}
    with pytest.raises(InputError, match=r"2\.39\.0 does not know this option"):
        triton_args(options, version="2.39.0")
    assert triton_args(options, version="2.48.0") == ["--http-restricted-api=health:k=v"]


def test_the_filter_is_the_function_with_ansible_s_error() -> None:
    render = FilterModule().filters()["triton_args"]
    assert render({"log-verbose": 1}) == ["--log-verbose=1"]
    with pytest.raises(AnsibleFilterError, match="Did you mean log-verbose"):
        render({"log-verbse": 1})


def test_the_table_of_options_is_whole() -> None:
    assert len(KNOWN) == 87
