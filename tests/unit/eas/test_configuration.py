# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a user writes becomes EAS's configuration: the seed's file as it stands, both spellings, typed options, and the rules."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.eas_runs import service_options

from ansible_collections.serving.triton.plugins.module_utils.core.errors import InputError
from ansible_collections.serving.triton.plugins.module_utils.eas import check, relaxed_json
from ansible_collections.serving.triton.plugins.module_utils.eas.compare import equal, extras, patch, paths, replaced
from ansible_collections.serving.triton.plugins.module_utils.eas.spec import canonical, parameters
from ansible_collections.serving.triton.plugins.module_utils.eas.wanted import read_wanted, secrets_in, secrets_of

TRITON_CONFIG = """\
# the service of the quick start
{
  "name": "triton_test",                       // lower case, no hyphens
  "processor": "triton",
  "processor_params": [
    "--model-repository=oss://triton-model-repo/models",
    "--allow-grpc=true", /* in the
    documented example */
    "--allow-http=true",
  ],
  "metadata": {
    "instance": 1,
    "cpu": 4,
    "gpu": 1,
    "memory": 10000,
    "resource": "eas-r-#1//2",
    "rpc.keepalive": 3000,
  },
}
"""
SEED = {
    "processor": "triton",
    "processor_params": ["--model-repository=oss://triton-model-repo/models", "--allow-grpc=true", "--allow-http=true"],
    "metadata": {
        "name": "triton_test",
        "instance": 1,
        "cpu": 4,
        "gpu": 1,
        "memory": 10000,
        "resource": "eas-r-#1//2",
        "rpc": {"keepalive": 3000},
    },
}
IMAGE = "registry/tritonserver:23.11"


def config(**options: Any) -> dict[str, Any]:
    """What the typed options compose."""
    found = read_wanted(service_options(**{"name": "digits", **options})).config
    assert found is not None
    return found


# --- a file


def test_the_seeds_file_is_read_as_it_stands(tmp_path: Path) -> None:
    file = tmp_path / "triton.config"
    file.write_text("\ufeff" + TRITON_CONFIG)
    wanted = read_wanted(service_options(config_file=str(file)))
    assert wanted.name == "triton_test"
    assert wanted.config == SEED
    check.check_complete(SEED)
    # Documented by EAS, and not among the options that EAS documents to be accepted.
    [warning] = check.warnings(SEED)
    assert "--allow-grpc" in warning


def test_options_lie_over_a_file(tmp_path: Path) -> None:
    file = tmp_path / "triton.config"
    file.write_text(TRITON_CONFIG)
    found = config(name=None, config_file=str(file), instances=3, keepalive=9000, rpc={"worker_threads": 7})
    metadata = {**SEED["metadata"], "instance": 3, "rpc": {"keepalive": 9000, "worker_threads": 7}}  # type: ignore[dict-item]
    assert found == {**SEED, "metadata": metadata}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": "x, ]", "b": [1, 2, ], }', {"a": "x, ]", "b": [1, 2]}),
        ('{"a": "http://x#y" // z\n}', {"a": "http://x#y"}),
        ('{"a": "\\" // no comment", /* , */ "b": 1}', {"a": '" // no comment', "b": 1}),
    ],
)
def test_json_as_people_write_it(text: str, value: Any) -> None:
    assert relaxed_json.parse(text, "x") == value


@pytest.mark.parametrize("text", ['{"a": 1,\n // comment\n "b" 2}', "[1]", ""])
def test_what_is_no_json_is_told_with_its_place(text: str) -> None:
    with pytest.raises(InputError) as caught:
        relaxed_json.parse(text, "triton.config")
    assert str(caught.value).startswith("triton.config: ")
    if "comment" in text:
        assert "line 3" in str(caught.value)


# --- one spelling


def test_both_spellings_are_one() -> None:
    old = {"name": "a_b", "metadata": {"rpc.keepalive": 5, "rpc.batching": True, "cpu": None}, "processor_params": "--a=1 --b 2"}
    old["labels"] = {"n": 1, "on": True, "none": None}
    assert canonical(old) == {
        "metadata": {"name": "a_b", "rpc": {"keepalive": 5, "batching": True}},
        "processor_params": ["--a=1", "--b=2"],
        "labels": {"n": "1", "on": "true"},
    }
    assert canonical(canonical(old)) == canonical(old)


@pytest.mark.parametrize(
    ("given", "where"),
    [
        ({"name": "a_b", "metadata": {"name": "c_d"}}, "config.name"),
        ({"metadata": {"rpc.keepalive": 1, "rpc": {"keepalive": 2}}}, "config.metadata.rpc.keepalive"),
        ({"metadata": [1]}, "config.metadata"),
        ({"processor_params": [{"a": 1}]}, "config.processor_params"),
    ],
)
def test_contradictions_are_refused(given: dict[str, Any], where: str) -> None:
    with pytest.raises(InputError) as caught:
        canonical(given)
    assert caught.value.where == where


def test_parameters_of_two_elements_are_one() -> None:
    assert parameters(["--model-repository", "oss://b/x", "--exit-on-error=false", "-x"], "x") == [
        "--model-repository=oss://b/x",
        "--exit-on-error=false",
        "-x",
    ]


# --- typed options


def test_the_processor_form() -> None:
    found = config(
        triton_repository="oss://b/models",
        triton_options={"log-verbose": 1, "strict-readiness": False, "backend-config": {"python": {"shm-default-byte-size": 1048576}}},
        instances=2,
        cpu=4.0,
        gpu=1,
        memory=10000,
        resource="eas-r-1",
        keepalive=3000,
        labels={"team": "inference", "n": 1, "on": True},
        rolling={"max_surge": "20%", "max_unavailable": "1"},
        autoscaler={"min": 1, "max": 4, "strategies": [{"metric": "qps", "threshold": 50.0}]},
        network={"vpc_id": "vpc-1", "security_group_id": None},
        token="a-token-of-ours",
    )
    assert found == {
        "metadata": {
            "name": "digits",
            "instance": 2,
            "cpu": 4,
            "gpu": 1,
            "memory": 10000,
            "resource": "eas-r-1",
            "rpc": {"keepalive": 3000},
            "rolling_strategy": {"max_surge": "20%", "max_unavailable": 1},
        },
        "processor": "triton",
        "processor_params": [
            "--model-repository=oss://b/models",
            "--log-verbose=1",
            "--strict-readiness=false",
            "--backend-config=python,shm-default-byte-size=1048576",
        ],
        "cloud": {"networking": {"vpc_id": "vpc-1"}},
        "labels": {"team": "inference", "n": "1", "on": "true"},
        "autoscaler": {"min": 1, "max": 4, "scaleStrategies": [{"metricName": "qps", "threshold": 50}]},
        "token": "a-token-of-ours",
    }


def test_the_image_form() -> None:
    found = config(
        image=IMAGE,
        triton_repository="oss://b/models",
        triton_options={"model-control-mode": "poll"},
        env={"A": True},
        secret_env={"B": "x y"},
        mounts=[{"mount_path": "/data", "nfs_server": "nas", "nfs_path": "/", "read_only": False, "oss": None}],
        instance_types=["ecs.gn6i-c4g1.xlarge"],
        registry_auth="dXNlcjpwYXNz",
        shm_size=8,
    )
    assert found == {
        "metadata": {"name": "digits", "shm_size": 8},
        "containers": [
            {
                "image": IMAGE,
                "port": 8000,
                "script": "tritonserver --model-repository=/models --model-control-mode=poll --http-port=8000",
                "env": [{"name": "A", "value": "true"}, {"name": "B", "value": "x y"}],
            }
        ],
        "storage": [
            {"mount_path": "/models", "oss": {"path": "oss://b/models/", "readOnly": True}},
            {"mount_path": "/data", "nfs": {"server": "nas", "path": "/", "readOnly": False}},
        ],
        "cloud": {"computing": {"instances": [{"type": "ecs.gn6i-c4g1.xlarge"}]}},
        "dockerAuth": "dXNlcjpwYXNz",
    }
    assert set(secrets_in(found)) == {"dXNlcjpwYXNz"}


def test_one_protocol_a_service() -> None:
    [container] = config(image=IMAGE, triton_repository="oss://b/m/", grpc=True)["containers"]
    assert (container["port"], container["script"]) == (8001, "tritonserver --model-repository=/models --grpc-port=8001")
    [other] = config(image=IMAGE, triton_repository="s3://b/m", port=9000)["containers"]
    assert (other["port"], other["script"]) == (9000, "tritonserver --model-repository=s3://b/m --http-port=9000")
    [own] = config(image=IMAGE, command="./serve.sh", grpc=True)["containers"]
    assert (own["port"], own["script"]) == (8001, "./serve.sh")


def test_nothing_given_is_nothing_wanted() -> None:
    assert read_wanted(service_options(name="digits", state="started")).config is None
    assert config(instances=3) == {"metadata": {"name": "digits", "instance": 3}}


TRITON = {"triton_repository": "oss://b/m", "gpu": 1}


@pytest.mark.parametrize(
    ("options", "where", "told"),
    [
        ({"name": "my-triton", **TRITON}, "name", "Name it my_triton."),
        ({"name": "A b", **TRITON}, "name", "Name it a_b."),
        ({"name": None, **TRITON}, "name", "Give name"),
        ({"name": "ab"}, "name", "Choose another"),
        ({"name": "other", "config": SEED}, "name: other", "triton_test"),
        ({"triton_repository": "oss://bucket", "gpu": 1}, "--model-repository", "oss://bucket/triton"),
        ({"triton_repository": "oss://bucket/", "gpu": 1}, "--model-repository", "whole bucket"),
        ({"mounts": [{"mount_path": "/m", "oss": "oss://bucket"}], **TRITON}, "storage[0].oss.path", "whole bucket"),
        ({"triton_repository": "s3://b/m", "gpu": 1}, "triton_repository", "OSS only"),
        ({"triton_options": {"log-verbose": 1}}, "triton_options", "no model repository"),
        ({"triton_options": {"log-verbos": 1}, **TRITON}, "triton_options.log-verbos", "log-verbose"),
        ({"triton_options": {"model-repository": "oss://b/x"}, **TRITON}, "triton_options.model-repository", "Remove one"),
        ({"triton_options": {"http-port": 8080}, **TRITON}, "processor_params --http-port", "8080"),
        ({"image": IMAGE, "triton_repository": "oss://b/m", "port": 9090}, "containers[0].port", "9090"),
        ({"image": IMAGE, "triton_repository": "oss://b/m", "triton_options": {"metrics-port": 8080}}, "containers[0].script", "8080"),
        ({"image": IMAGE, "port": 8000, "triton_options": {"http-port": 8001}}, "triton_options.http-port", "contradicts"),
        ({"image": IMAGE, "command": "x", "triton_options": {"log-verbose": 1}}, "triton_options", "command"),
        ({"image": IMAGE, "processor": "triton"}, "processor", "excludes image"),
        ({"env": {"A": "1"}, "gpu": 1}, "env", "what it is for"),
        ({"processor": "pmml", **TRITON}, "triton_options", "not Triton"),
        ({"resource": "eas-r-1", "instance_types": ["ecs.x"], **TRITON}, "metadata.resource", "cloud.computing"),
        ({"config": {"metadata": {"memory": "10GB"}}}, "metadata.memory", "no number"),
        ({"config": {"metadata": {"instance": 1.5}}}, "metadata.instance", "whole"),
        ({"config": {"containers": [{"port": 8000}]}}, "containers[0]", "image"),
        ({"config": {"containers": {"image": "x"}}}, "containers", "list"),
        ({"config": {"storage": [{"mount_path": "models", "oss": {"path": "oss://b/m"}}]}}, "storage[0]", "absolute"),
        ({"config": {"storage": [{"mount_path": "/m", "oss": {}, "nfs": {}}]}}, "storage[0]", "oss and nfs"),
        ({"config": {"storage": [{"mount_path": "/m", "oss": {"path": "b/m"}}]}}, "storage[0].oss.path", "oss://"),
        ({"config": {"processor": "triton", "containers": [{"image": "x"}]}}, "processor", "containers"),
        ({"autoscaler": {"min": 3, "max": 3, "strategies": [{"metric": "qps", "threshold": 1}]}}, "autoscaler", "range"),
        ({"autoscaler": {"min": 1, "max": 3, "strategies": []}}, "autoscaler", "strategy"),
        ({"config": {"autoscaler": {"min": 1, "max": 3, "strategies": {"qps": 5}}}}, "autoscaler", "scaleStrategies: [{metricName"),
        ({"config": {"autoscaler": {"min": 1, "max": 3, "scaleStrategies": [{"metric": "qps"}]}}}, "autoscaler", "metricName"),
        ({"config": {"autoscaler": {"min": 1, "max": 3, "scaleStrategies": {"qps": 5}}}}, "autoscaler", "metricName"),
        ({"config": {"labels": ["a"]}}, "labels", "no mapping"),
        ({"secret_env": {"A": "1"}, "gpu": 1}, "secret_env", "what it is for"),
        ({"mounts": [{"mount_path": "/m", "oss": None, "nfs_server": None}]}, "mounts: /m", "either"),
        ({"mounts": [{"mount_path": "/m", "oss": None, "nfs_server": "n", "nfs_path": None}]}, "mounts: /m", "nfs_path"),
        ({"version": 1, "instances": 2}, "instances", "version"),
        ({"version": 1, "config": SEED, "name": None}, "config", "version"),
        ({"weight": 1001}, "weight", "-1 to 1000"),
        ({"config": {}, "config_file": "x"}, "config_file", "config"),
        ({"config_file": "/nowhere/triton.config"}, "config_file", "No such file"),
    ],
)
def test_bad_input_is_told_with_its_fix(options: dict[str, Any], where: str, told: str) -> None:
    with pytest.raises(InputError) as caught:
        read_wanted(service_options(**{"name": "digits", **options}))
    assert where in caught.value.where
    assert told in str(caught.value)
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"metadata": {"name": "digits", "instance": 1}}, "what it is to run is not given"),
        ({"processor": "triton", "processor_params": ["--model-repository=oss://b/m"], "metadata": {"gpu": 0}}, "needs a GPU"),
        ({"processor": "triton", "metadata": {"gpu": 1}}, "no model repository"),
    ],
)
def test_a_new_service_needs_more(given: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=told):
        check.check_complete(given)


def test_warnings_name_what_is_odd() -> None:
    odd = config(triton_options={"http-port": 8000, "log-verbose": 1}, memory=16, **TRITON)
    assert [warning.split()[0] for warning in check.warnings(odd)] == ["--http-port", "memory"]
    assert check.warnings(config(image=IMAGE, triton_options={"model-control-mode": "poll"}, triton_repository="oss://b/m")) == []


# --- differences


@pytest.mark.parametrize(
    ("wanted", "actual", "same"),
    [
        (4, 4.0, True),
        (4, "4", True),
        (True, "true", True),
        ("x", "y", False),
        (1, None, False),
        ({"a": 1}, {"a": 1, "b": 2}, True),
        ({"a": {}}, {}, False),
        ([{"a": 1}], [{"a": 1, "added": 2}], True),
        ([1, 2], [1], False),
    ],
)
def test_only_what_is_wanted_is_compared(wanted: Any, actual: Any, same: bool) -> None:
    assert equal(wanted, actual) is same


def test_a_patch_is_the_least_that_has_to_be_sent() -> None:
    actual = {"metadata": {"cpu": 4, "gpu": 1, "rpc": {"keepalive": 5000}}, "processor_params": ["--b=2", "--a=1"], "storage": [{"x": 1}]}
    wanted = {
        "metadata": {"cpu": 8, "gpu": 1, "rpc": {"keepalive": 3000}},
        "processor_params": ["--a=1", "--b=2"],
        "storage": [{"x": 1}, {"y": 2}],
    }
    change = patch(wanted, actual)
    assert change == {"metadata": {"cpu": 8, "rpc": {"keepalive": 3000}}, "storage": [{"x": 1}, {"y": 2}]}
    assert paths(change) == ["metadata.cpu", "metadata.rpc.keepalive", "storage"]


def test_what_eas_adds_is_nothing_to_remove() -> None:
    actual = {
        "metadata": {"name": "x", "workspace_id": "1", "cpu": 1, "memory": 2000, "rpc": {"io_threads": 4, "keepalive": 3000}},
        "cloud": {"networking": {}},
        "storage": [{"mount_path": "/m"}],
    }
    assert extras({"metadata": {}}, actual) == ["metadata.memory", "metadata.rpc.keepalive", "storage"]
    assert replaced({"metadata": {"gpu": 1}}, actual) == {
        "metadata": {"name": "x", "workspace_id": "1", "cpu": 1, "memory": 1000, "gpu": 1, "rpc": {"io_threads": 4, "keepalive": 5000}}
    }


def test_what_is_shown_anyway_is_no_secret() -> None:
    options = service_options(
        region="cn-shanghai", secret_env={"REGION": "shanghai", "THREADS": 1, "KEY": "key-of-s3"}, token="service-token"
    )
    assert secrets_of(options) == ("service-token", "key-of-s3")


def test_secrets_of_a_configuration_are_found() -> None:
    hidden = {
        "token": "service-token",
        "dockerAuth": "user-and-password",
        "containers": [{"env": [{"name": "AWS_SECRET_ACCESS_KEY", "value": "key-of-a-store"}, {"name": "MODE", "value": "plain-text"}]}],
    }
    assert set(secrets_in(hidden)) == {"service-token", "user-and-password", "key-of-a-store"}
