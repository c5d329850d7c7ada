# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The EAS stand-in keeps what it promises to Alibaba's own SDK."""

from __future__ import annotations

import hashlib
import http.client
import json
import threading
import uuid
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from alibabacloud_credentials import client as credentials_client
from alibabacloud_credentials import models as credentials_models
from alibabacloud_eas20210701 import models
from alibabacloud_eas20210701.client import Client
from alibabacloud_tea_openapi.exceptions import ClientException, ServerException, ThrottlingException
from alibabacloud_tea_openapi.models import Config
from alibabacloud_tea_util.models import RuntimeOptions
from darabonba.exceptions import UnretryableException
from support.eas_auth import Signed, authorization, signature, stamp
from support.eas_server import (
    ACCESS_KEY,
    OTHER_KEY,
    OTHER_SECRET,
    OTHER_UID,
    REGION,
    SECRET,
    TEMPORARY_KEY,
    TEMPORARY_SECRET,
    TOKEN,
    EasServer,
    Fault,
    throttled,
)
from support.eas_under_test import client, open_eas_under_test, triton_config
from support.eascmd import Eascmd

pytestmark = pytest.mark.integration


@pytest.fixture
def sdk(eas_server: EasServer) -> Any:
    return client(eas_server.endpoint, REGION)


def create(sdk: Any, config: dict[str, Any], **more: Any) -> dict[str, Any]:
    answer: dict[str, Any] = sdk.create_service(models.CreateServiceRequest(body=json.dumps(config), **more)).body.to_map()
    return answer


def update(sdk: Any, name: str, change: dict[str, Any], kind: str | None = None) -> None:
    sdk.update_service(REGION, name, models.UpdateServiceRequest(body=json.dumps(change), update_type=kind))


def describe(sdk: Any, name: str = "llm") -> dict[str, Any]:
    found: dict[str, Any] = sdk.describe_service(REGION, name).body.to_map()
    return found


def walk(sdk: Any, polls: int, name: str = "llm") -> list[tuple[str, int, int]]:
    """Status, running instances and current version of so many polls."""
    found = [describe(sdk, name) for _unused in range(polls)]
    return [(each["Status"], each["RunningInstance"], each["CurrentVersion"]) for each in found]


def code_of(call: Callable[[], Any]) -> tuple[int, str]:
    with pytest.raises((ClientException, ServerException, ThrottlingException)) as caught:
        call()
    return caught.value.status_code, caught.value.code


# --- signatures


def signed(server: EasServer, **more: str) -> dict[str, str]:
    body = b'{"processor": "x", "metadata": {"name": "llm", "instance": 1}}'
    headers = {
        "host": server.endpoint,
        "content-type": "application/json",
        "x-acs-action": "CreateService",
        "x-acs-version": "2021-07-01",
        "x-acs-date": stamp(datetime.now(timezone.utc)),
        "x-acs-signature-nonce": uuid.uuid4().hex,
        "x-acs-content-sha256": hashlib.sha256(body).hexdigest(),
        **more,
    }
    request = Signed("POST", "/api/v2/services", {"Labels": '{"a":"b c"}'}, headers, body)
    return {**headers, "authorization": authorization(request, ACCESS_KEY, SECRET)}


def send(
    server: EasServer, headers: dict[str, str], path: str = "/api/v2/services?Labels=%7B%22a%22%3A%22b%20c%22%7D", more: bytes = b""
) -> str:
    """Sends the request that `signed` signs; returns the code of the answer, "" for success."""
    connection = http.client.HTTPConnection(server.endpoint, timeout=10)
    connection.request("POST", path, b'{"processor": "x", "metadata": {"name": "llm", "instance": 1}}' + more, headers)
    answer = json.loads(connection.getresponse().read())
    connection.close()
    return str(answer.get("Code", ""))


def test_only_what_was_signed_is_let_in(eas_server: EasServer) -> None:
    headers = signed(eas_server)
    names = headers["authorization"].split("SignedHeaders=")[1].split(",")[0]
    assert names.split(";")[:2] == ["content-type", "host"]
    tampered: list[tuple[str, dict[str, str]]] = [
        ("IncompleteSignature", {"authorization": ""}),
        ("IncompleteSignature", {"authorization": "Basic abc"}),
        ("IncompleteSignature", {"x-acs-credentials-provider": "not signed"}),
        ("IncompleteSignature", {"authorization": headers["authorization"].replace(names, "host;content-type;x-acs-action")}),
        ("IncompleteSignature", {"authorization": headers["authorization"].replace(names, names.replace("host;", ""))}),
        ("InvalidVersion", {"x-acs-version": "2018-05-02"}),
        ("InvalidAction.NotFound", {"x-acs-action": "DeleteService"}),
        ("InvalidAccessKeyId.NotFound", {"authorization": headers["authorization"].replace(ACCESS_KEY, "nobody")}),
        ("SignatureDoesNotMatch", {"x-acs-date": stamp(datetime.fromtimestamp(0, timezone.utc))}),
        ("SignatureDoesNotMatch", {"content-type": "text/plain"}),
        ("SignatureDoesNotMatch", {"x-acs-content-sha256": "0" * 64}),
    ]
    for code, changes in tampered:
        assert (code, send(eas_server, {**headers, **changes})) == (code, code), changes
    backwards = names.split(";")[::-1]
    request = Signed("POST", "/api/v2/services", {"Labels": '{"a":"b c"}'}, headers)
    unsorted = (
        f"ACS3-HMAC-SHA256 Credential={ACCESS_KEY},SignedHeaders={';'.join(backwards)},Signature={signature(request, backwards, SECRET)}"
    )
    assert send(eas_server, {**headers, "authorization": unsorted}) == "IncompleteSignature"
    assert send(eas_server, headers, more=b" ") == "SignatureDoesNotMatch"
    assert send(eas_server, headers, path="/api/v2/services?Labels=%7B%7D") == "SignatureDoesNotMatch"
    assert eas_server.changes == []
    assert send(eas_server, headers) == ""
    assert send(eas_server, headers) == "SignatureNonceUsed"
    assert send(eas_server, signed(eas_server, **{"x-acs-date": "yesterday"})) == "InvalidTimeStamp.Format"
    assert send(eas_server, signed(eas_server, **{"x-acs-security-token": "x"})) == "InvalidSecurityToken.MismatchWithAccessKey"
    assert eas_server.changes == ["CreateService llm"]
    assert eas_server.services.all["llm"].labels == {"a": "b c"}


def test_keys_tokens_clocks_and_rights_are_checked(eas_server: EasServer) -> None:
    server = eas_server
    temporary = client(server.endpoint, REGION, TEMPORARY_KEY, TEMPORARY_SECRET, TOKEN)
    assert create(temporary, triton_config("llm"))["Status"] == "Creating"
    assert code_of(lambda: describe(client(server.endpoint, REGION, ACCESS_KEY, "wrong"))) == (400, "SignatureDoesNotMatch")
    assert code_of(lambda: describe(client(server.endpoint, REGION, TEMPORARY_KEY, TEMPORARY_SECRET))) == (400, "MissingSecurityToken")
    server.accounts[TEMPORARY_KEY].expired = True
    assert code_of(lambda: describe(temporary)) == (400, "InvalidSecurityToken.Expired")
    sdk = client(server.endpoint, REGION)
    server.accounts[ACCESS_KEY].denied = {"StopService"}
    assert code_of(lambda: sdk.stop_service(REGION, "llm")) == (403, "NoPermission")
    assert describe(sdk)["ServiceName"] == "llm"
    server.skew = 16 * 60
    assert code_of(lambda: describe(sdk)) == (400, "InvalidTimeStamp.Expired")
    server.skew = 14 * 60
    assert describe(sdk)["ServiceName"] == "llm"
    assert server.changes == ["CreateService llm"]


def test_temporary_credentials_are_told(eas_server: EasServer) -> None:
    chain = credentials_client.Client(credentials_models.Config(type="credentials_uri", credentials_uri=eas_server.credentials_uri))
    sdk = Client(Config(credential=chain, endpoint=eas_server.endpoint, protocol="http", region_id=REGION))
    create(sdk, triton_config("llm"))
    (request,) = eas_server.requests("CreateService")
    assert (request.headers["x-acs-security-token"], request.headers["x-acs-accesskey-id"]) == (TOKEN, TEMPORARY_KEY)


def test_what_another_user_made_is_out_of_reach(eas_server: EasServer, sdk: Any) -> None:
    eas_server.make(triton_config("llm"), OTHER_UID)
    for call in (lambda: describe(sdk), lambda: update(sdk, "llm", {}), lambda: sdk.delete_service(REGION, "llm")):
        assert code_of(call) == (403, "Forbidden.PrivilegeCheckFailed")
    assert sdk.list_services(models.ListServicesRequest()).body.total_count == 0
    assert code_of(lambda: create(sdk, triton_config("llm")))[0] == 409
    assert describe(client(eas_server.endpoint, REGION, OTHER_KEY, OTHER_SECRET))["CallerUid"] == OTHER_UID
    assert eas_server.changes == []


# --- life


def test_a_service_lives_and_dies(eas_server: EasServer, sdk: Any) -> None:
    made = create(sdk, {"name": "llm", **triton_config("llm", 2)}, labels={"team": "ä/b"}, workspace_id="7")
    assert set(made) == {"InternetEndpoint", "IntranetEndpoint", "Region", "RequestId", "ServiceId", "ServiceName", "Status"}
    assert walk(sdk, 5) == [("Creating", 0, 1), ("Waiting", 0, 1), ("Running", 1, 1), ("Running", 2, 1), ("Running", 2, 1)]
    found = describe(sdk)
    assert (found["ServiceId"], found["InternetEndpoint"]) == (made["ServiceId"], made["InternetEndpoint"])
    assert (found["Labels"], found["WorkspaceId"]) == ([{"LabelKey": "team", "LabelValue": "ä/b"}], "7")
    assert len(found["AccessToken"]) > 20
    update(sdk, "llm", {"metadata": {"cpu": 8}})
    assert walk(sdk, 5) == [("Updating", 1, 1), ("Waiting", 1, 2), ("Running", 1, 2), ("Running", 2, 2), ("Running", 2, 2)]
    update(sdk, "llm", {"metadata": {"instance": 3}})
    assert walk(sdk, 2) == [("Scaling", 2, 2), ("Running", 3, 2)]
    update(sdk, "llm", {"metadata": {"instance": 1}})
    assert walk(sdk, 2) == [("Scaling", 1, 2), ("Running", 1, 2)]
    sdk.update_service_version(REGION, "llm", models.UpdateServiceVersionRequest(version=1))
    eas_server.services.settle("llm")
    found = describe(sdk)
    assert (found["CurrentVersion"], found["LatestVersion"], found["Cpu"], found["TotalInstance"]) == (1, 2, 4, 2)
    sdk.stop_service(REGION, "llm")
    assert walk(sdk, 3) == [("Stopping", 2, 1), ("Stopped", 0, 1), ("Stopped", 0, 1)]
    assert code_of(lambda: sdk.stop_service(REGION, "llm"))[0] == 400
    sdk.start_service(REGION, "llm")
    assert [row[:2] for row in walk(sdk, 4)] == [("Starting", 0), ("Waiting", 0), ("Running", 1), ("Running", 2)]
    sdk.restart_service(REGION, "llm")
    assert [row[0] for row in walk(sdk, 4)] == ["Updating", "Waiting", "Running", "Running"]
    eas_server.services.pace.deleting = 3
    sdk.delete_service(REGION, "llm")
    assert code_of(lambda: create(sdk, triton_config("llm")))[0] == 409
    assert code_of(lambda: sdk.start_service(REGION, "llm"))[0] == 409
    assert [row[0] for row in walk(sdk, 3)] == ["Deleting"] * 3
    assert code_of(lambda: describe(sdk)) == (404, "InvalidService.NotFound")
    assert code_of(lambda: sdk.delete_service(REGION, "llm")) == (404, "InvalidService.NotFound")
    wanted = ["Create", "Update", "Update", "Update", "UpdateVersion", "Stop", "Start", "Restart", "Delete"]
    assert [each.replace("Service", "") for each in eas_server.changes] == [f"{each} llm" for each in wanted]
    assert eas_server.mutations[2].body == {"metadata": {"instance": 3}}


def test_time_is_the_tests(eas_server: EasServer, sdk: Any) -> None:
    services = eas_server.services
    services.pace.creating = services.pace.partial = 0
    services.pace.waiting = 2
    create(sdk, triton_config("llm"))
    services.held = True
    assert [row[0] for row in walk(sdk, 4)] == ["Waiting"] * 4
    services.advance("llm")
    assert walk(sdk, 1) == [("Waiting", 0, 1)]
    services.advance("llm")
    assert walk(sdk, 1) == [("Running", 1, 1)]
    services.held = False
    services.pace.stale = 2
    update(sdk, "llm", {"metadata": {"cpu": 8}})
    stale = describe(sdk)
    assert (stale["Status"], stale["RunningInstance"], stale["Cpu"]) == ("Running", 1, 8)
    assert (stale["CurrentVersion"], stale["LatestVersion"]) == (1, 2)
    assert walk(sdk, 4) == [("Running", 1, 1), ("Updating", 0, 1), ("Waiting", 0, 2), ("Waiting", 0, 2)]
    assert walk(sdk, 1) == [("Running", 1, 2)]


def test_deployments_fail_hang_and_recover(eas_server: EasServer, sdk: Any) -> None:
    services = eas_server.services
    services.fail("llm", "no space left on device")
    create(sdk, triton_config("llm"))
    assert [row[0] for row in walk(sdk, 4)] == ["Creating", "Waiting", "Failed", "Failed"]
    found = describe(sdk)
    assert (found["Reason"], found["Message"], found["RunningInstance"]) == ("ImagePullBackOff", "no space left on device", 0)
    services.stick("llm")
    update(sdk, "llm", {"metadata": {"cpu": 8}})
    assert {row[:2] for row in walk(sdk, 9)[2:]} == {("Waiting", 0)}
    events = sdk.describe_service_event(REGION, "llm", models.DescribeServiceEventRequest(event_type="Warning")).body.events
    assert [event.reason for event in events] == ["Unhealthy", "ImagePullBackOff"]
    assert json.loads(events[0].message)["message"] == "health check of port 8000 failed"
    logs = sdk.describe_service_log(REGION, "llm", models.DescribeServiceLogRequest(keyword="health check", page_size=1)).body
    assert (logs.logs, logs.total_page_num) == (["E1 health check of port 8000 failed"], 1)
    (diagnosis,) = sdk.describe_service_diagnosis(REGION, "llm").body.diagnosis_list
    assert (diagnosis.error, diagnosis.causes) == ("Unhealthy", ["health check of port 8000 failed"])
    services.heal("llm")
    assert [row[0] for row in walk(sdk, 2)] == ["Waiting", "Running"]
    services.keep("llm")
    sdk.delete_service(REGION, "llm")
    assert [row[0] for row in walk(sdk, 3)] == ["Deleting", "DeleteFailed", "DeleteFailed"]
    services.heal("llm")
    sdk.delete_service(REGION, "llm")
    services.settle("llm")
    assert code_of(lambda: describe(sdk)) == (404, "InvalidService.NotFound")


# --- the configuration


def test_updates_merge_or_replace(eas_server: EasServer, sdk: Any) -> None:
    config = triton_config("llm", env={"a": 1})
    config["metadata"]["rpc.io_threads"] = 2
    create(sdk, {**config, "name": "llm"})
    shown = json.loads(describe(sdk)["ServiceConfig"])
    assert (shown["name"], shown["metadata"]["name"]) == ("llm", "llm")
    assert shown["metadata"]["rpc"] == {"batching": False, "io_threads": 2, "keepalive": 3000, "max_queue_size": 64, "worker_threads": 5}
    update(sdk, "llm", {"processor_params": ["--model-repository=oss://b/c"], "metadata": {"rpc": {"keepalive": 1}, "env": {"b": 2}}})
    shown = json.loads(describe(sdk)["ServiceConfig"])
    assert shown["processor_params"] == ["--model-repository=oss://b/c"]
    assert shown["metadata"]["rpc"]["io_threads"] == 2
    assert (shown["metadata"]["rpc"]["keepalive"], shown["metadata"]["env"]) == (1, {"a": 1, "b": 2})
    update(sdk, "llm", triton_config("llm"), "replace")
    shown = json.loads(describe(sdk)["ServiceConfig"])
    assert "env" not in shown["metadata"]
    assert shown["metadata"]["rpc"]["io_threads"] == 4
    rows = sdk.list_service_versions(REGION, "llm", models.ListServiceVersionsRequest()).body.versions
    assert [(row.image_id, json.loads(row.service_config)["metadata"].get("env")) for row in rows] == [
        (3, None),
        (2, {"a": 1, "b": 2}),
        (1, {"a": 1}),
    ]
    update(sdk, "llm", triton_config("llm"), "replace")
    assert describe(sdk)["LatestVersion"] == 4
    assert code_of(lambda: update(sdk, "llm", triton_config("other"))) == (400, "InvalidParameter")
    assert code_of(lambda: update(sdk, "llm", {}, "patch")) == (400, "InvalidParameter")
    assert len(eas_server.mutations) == 4


@pytest.fixture(scope="module")
def empty_server() -> Iterator[EasServer]:
    """One that refuses whatever the tests ask for."""
    with EasServer() as server:
        yield server
        assert server.crashes == []


IMAGE = {"containers": [{"image": "triton:1", "port": 8000, "script": "tritonserver"}]}
WHOLE = ["--model-repository=oss://bucket/"]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"metadata": {"name": "a-b"}}, "3 to 63 characters"),
        ({"metadata": {"name": "ab"}}, "3 to 63 characters"),
        ({"metadata": {"name": "a" * 64}}, "3 to 63 characters"),
        ({"name": "other"}, "differ"),
        ({"metadata": {"instance": -1}}, "metadata.instance"),
        ({"metadata": {"instance": "1"}}, "metadata.instance"),
        ({"metadata": {"instance": None}}, "metadata.instance"),
        ({"metadata": {"memory": True}}, "metadata.memory"),
        ({"metadata": {"resource": "eas-r-1"}, "cloud": {"computing": {"instances": [{"type": "ecs.gn6i"}]}}}, "exclude each other"),
        ({"metadata": {"gpu": 0}}, "needs a GPU"),
        ({"processor": None}, "is required"),
        ({"processor_params": []}, "model-repository"),
        ({"processor_params": WHOLE}, "whole bucket"),
        ({"processor_params": ["--model-repository=oss://bucket"]}, "whole bucket"),
        ({"processor_params": ["--model-repository=/models"]}, "is not oss://"),
        ({"storage": [{"mount_path": "/models", "oss": {"path": "oss://bucket/"}}]}, "whole bucket"),
        ({"storage": [{"mount_path": "models", "oss": {"path": "oss://bucket/a"}}]}, "mount_path"),
        ({"storage": [{"mount_path": "/models"}]}, "must have one of"),
        ({"storage": [{"mount_path": "/models", "nfs": {}, "oss": {"path": "oss://bucket/a"}}]}, "must have one of"),
        ({"containers": [{"port": 8000}]}, "image is required"),
        ({"containers": [{"image": "a", "port": 8080}]}, "8080 is reserved"),
        ({"containers": [{"image": "a", "port": 9090}]}, "9090 is reserved"),
        ({"containers": [{"image": "a", "command": "b", "script": "c"}]}, "both command and script"),
        ({"containers": {"image": "a"}}, "containers is not a list"),
        ({"containers": ["a"]}, "containers does not hold objects"),
        ({"cloud": []}, "cloud is not an object"),
        ({"metadata": {"rpc": 3000}}, "rpc is not an object"),
        ({"metadata": {"rpc.keepalive": "3s"}}, "metadata.rpc.keepalive"),
        ({"metadata": {"enable_grpc": "yes"}}, "enable_grpc"),
        ({"autoscaler": {"min": 2, "max": 1}}, "max must be greater"),
    ],
)
def test_bad_configurations_are_refused(empty_server: EasServer, change: dict[str, Any], complaint: str) -> None:
    config = triton_config("llm")
    config = {**config, **change, "metadata": {**config["metadata"], **change.get("metadata", {})}}
    with pytest.raises(ClientException, match=complaint) as caught:
        create(client(empty_server.endpoint, REGION), config)
    assert (caught.value.status_code, caught.value.code) == (400, "InvalidParameter")
    assert (empty_server.changes, empty_server.services.all) == ([], {})


def test_good_configurations_are_taken(sdk: Any) -> None:
    metadata = {"instance": 0, "cpu": 0.5, "memory": 4000}
    mount = {"storage": [{"mount_path": "/models", "oss": {"path": "oss://bucket/", "readOnly": True}, "properties": {}}]}
    computing = {"cloud": {"computing": {"instances": [{"type": "ecs.gn6i"}]}}}
    create(sdk, {**IMAGE, **mount, "metadata": {**metadata, "name": "image_form"}})
    create(
        sdk,
        {
            "name": "by_type",
            "processor": "triton",
            "processor_params": ["--model-repository=oss://b/c/"],
            "metadata": metadata,
            **computing,
        },
    )
    below = {**triton_config("mounted"), "processor_params": ["--model-repository=/models/a"]}
    create(sdk, {**below, "storage": [{"mount_path": "/models/", "oss": {"path": "oss://bucket/a"}}]})
    assert describe(sdk, "image_form")["Image"] == "triton:1"


# --- what belongs to a service


def test_services_are_listed_by_filters_and_pages(sdk: Any, eas_server: EasServer) -> None:
    eas_server.services.page = 2
    for number in range(5):
        eas_server.make(triton_config(f"llm_{number}"), labels={"team": "a" if number % 2 else "b", "tier": "x"}, workspace=str(number))
    eas_server.services.stop(eas_server.services.all["llm_3"])

    def names(**query: Any) -> list[str]:
        body = sdk.list_services(models.ListServicesRequest(**query)).body
        assert body.total_count >= len(body.services)
        return [each.service_name for each in body.services]

    assert [names(page_number=number) for number in (1, 2, 3, 4)] == [["llm_4", "llm_3"], ["llm_2", "llm_1"], ["llm_0"], []]
    assert names(order="asc", page_size=1) == ["llm_0"]
    assert names(label={"team": "a", "tier": "x"}) == ["llm_3", "llm_1"]
    assert names(label={"team": "c"}) == []
    assert names(service_name="llm_2") == ["llm_2"]
    assert names(filter="lm_4") == ["llm_4"]
    assert names(service_status="Stopped") == ["llm_3"]
    assert names(workspace_id="1") == ["llm_1"]
    row = sdk.list_services(models.ListServicesRequest(service_name="llm_2")).body.services[0].to_map()
    assert "InternetEndpoint" not in row
    assert row["Status"] == "Running"
    assert code_of(lambda: names(quota_id="1")) == (400, "InvalidParameter")
    assert eas_server.changes == []


def test_locks_refuse(eas_server: EasServer, sdk: Any) -> None:
    eas_server.make(triton_config("llm"))

    def lock(kind: str) -> None:
        sdk.update_service_safety_lock(REGION, "llm", models.UpdateServiceSafetyLockRequest(lock=kind))

    lock("dangerous")
    assert describe(sdk)["SafetyLock"] == "dangerous"
    assert code_of(lambda: sdk.delete_service(REGION, "llm")) == (403, "Forbidden.SafetyLock")
    assert code_of(lambda: sdk.stop_service(REGION, "llm")) == (403, "Forbidden.SafetyLock")
    update(sdk, "llm", {"metadata": {"cpu": 8}})
    lock("all")
    assert code_of(lambda: update(sdk, "llm", {"metadata": {"cpu": 2}})) == (403, "Forbidden.SafetyLock")
    assert code_of(lambda: lock("some")) == (400, "InvalidParameter")
    lock("none")
    sdk.delete_service(REGION, "llm")
    assert [each.split()[0] for each in eas_server.changes if "Lock" not in each] == ["UpdateService", "DeleteService"]


def test_autoscalers_come_and_go(eas_server: EasServer, sdk: Any) -> None:
    eas_server.make(triton_config("llm"))
    strategies = [models.CreateServiceAutoScalerRequestScaleStrategies(metric_name="qps", threshold=10)]
    changed = [models.UpdateServiceAutoScalerRequestScaleStrategies(metric_name="cpu", threshold=50)]
    wanted = models.CreateServiceAutoScalerRequest(min=1, max=3, scale_strategies=strategies)
    assert code_of(lambda: sdk.describe_service_auto_scaler(REGION, "llm")) == (404, "InvalidAutoScaler.NotFound")
    sdk.create_service_auto_scaler(REGION, "llm", wanted)
    assert code_of(lambda: sdk.create_service_auto_scaler(REGION, "llm", wanted))[0] == 409
    eas_server.services.autoscale("llm", 3)
    assert describe(sdk)["TotalInstance"] == 3
    assert json.loads(describe(sdk)["ServiceConfig"])["metadata"]["instance"] == 1
    sdk.update_service_auto_scaler(REGION, "llm", models.UpdateServiceAutoScalerRequest(min=2, max=5, scale_strategies=changed))
    found = sdk.describe_service_auto_scaler(REGION, "llm").body
    assert (found.min_replica, found.max_replica, found.scale_strategies[0].metric_name) == (2, 5, "cpu")
    bad = models.UpdateServiceAutoScalerRequest(min=2, max=2, scale_strategies=changed)
    assert code_of(lambda: sdk.update_service_auto_scaler(REGION, "llm", bad)) == (400, "InvalidParameter")
    sdk.delete_service_auto_scaler(REGION, "llm")
    assert describe(sdk)["TotalInstance"] == 1
    assert len(eas_server.mutations) == 3


def test_labels_weights_endpoints_and_instances(eas_server: EasServer, sdk: Any) -> None:
    eas_server.make({**triton_config("llm", 2), "labels": {"team": "a"}})
    sdk.update_service_label(REGION, "llm", models.UpdateServiceLabelRequest(labels={"tier": "gold"}))
    sdk.delete_service_label(REGION, "llm", models.DeleteServiceLabelRequest(keys=["team", "unknown"]))
    sdk.release_service(REGION, "llm", models.ReleaseServiceRequest(weight=30, traffic_state="grouping"))
    found = describe(sdk)
    assert found["Labels"] == [{"LabelKey": "tier", "LabelValue": "gold"}]
    assert (found["Weight"], found["TrafficState"]) == (30, "grouping")
    assert code_of(lambda: sdk.release_service(REGION, "llm", models.ReleaseServiceRequest(weight=1001))) == (400, "InvalidParameter")
    wanted = models.UpdateServiceVersionRequest(version=1)
    assert code_of(lambda: sdk.update_service_version(REGION, "llm", wanted)) == (400, "InvalidParameter")
    endpoints = sdk.describe_service_endpoints(REGION, "llm").body
    assert endpoints.access_token == found["AccessToken"]
    assert endpoints.endpoints[0].internet_endpoints == [found["InternetEndpoint"]]
    before = sdk.list_service_instances(REGION, "llm", models.ListServiceInstancesRequest()).body
    assert [(each.status, each.ready_processes) for each in before.instances] == [("Running", 1)] * 2
    first = before.instances[0].instance_name
    sdk.delete_service_instances(REGION, "llm", models.DeleteServiceInstancesRequest(instance_list=first))
    after = sdk.list_service_instances(REGION, "llm", models.ListServiceInstancesRequest()).body
    assert first not in [each.instance_name for each in after.instances]
    gone = models.DeleteServiceInstancesRequest(instance_list=first)
    assert code_of(lambda: sdk.delete_service_instances(REGION, "llm", gone)) == (404, "InvalidInstance.NotFound")


# --- the real one


def test_another_eas_takes_the_stand_ins_place(
    eas_server: EasServer, eascmd: Eascmd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "service.json").write_text(json.dumps(triton_config("ignored", cpu=2)))
    named = {
        "SERVING_TRITON_EAS_ENDPOINT": eas_server.url,
        "SERVING_TRITON_EAS_REGION": REGION,
        "SERVING_TRITON_EAS_CONFIG": str(tmp_path / "service.json"),
        "SERVING_TRITON_EASCMD": str(eascmd.path),
        **eas_server.environment,
    }
    for name, value in named.items():
        monkeypatch.setenv(name, value)
    eas_server.make(triton_config("kept"))
    with open_eas_under_test() as eas:
        assert (eas.real, eas.eascmd, eas.secrets) == (True, eascmd.path, [SECRET])
        create(eas.sdk(), eas.service("a", instance=2))
        found = eas.describe(eas.name("a"))
        assert found is not None
        assert (found["TotalInstance"], found["Cpu"]) == (2, 2)
        assert eas.describe(eas.name("b")) is None
    assert list(eas_server.services.all) == ["kept"]
    for name in named:
        monkeypatch.delenv(name)
    with open_eas_under_test() as eas:
        assert eas.server is not None
        assert eas.options("eascmd")["eascmd_path"] != str(eascmd.path)
        create(eas.sdk(), eas.service("llm"))
        assert eas.server.changes == ["CreateService llm"]


# --- faults


def test_faults_reach_the_sdk(eas_server: EasServer, sdk: Any) -> None:
    eas_server.make(triton_config("llm"))
    eas_server.faults = [
        throttled("DescribeService"),
        throttled("DescribeService", code="Rejected.Throttling", after=2),
        Fault(action="DescribeService", status=503),
        Fault(action="DescribeService", status=500, code="InternalError"),
        throttled("DescribeService", code="Throttling", after=3),
        Fault(action="DescribeService", after=2),
    ]
    assert [code_of(lambda: describe(sdk)) for _unused in range(4)] == [
        (400, "Throttling.User"),
        (429, "Rejected.Throttling"),
        (503, "ServiceUnavailable"),
        (500, "InternalError"),
    ]
    with pytest.raises(ThrottlingException) as caught:
        describe(sdk)
    assert (caught.value.code, caught.value.retry_after) == ("Throttling", 3000)
    assert [describe(sdk)["Status"] for _unused in range(2)] == ["Running"] * 2
    assert code_of(lambda: describe(sdk)) == (503, "ServiceUnavailable")
    for fault in (Fault("html", status=502), Fault("html", status=200), Fault("truncate"), Fault("reset")):
        eas_server.faults = [fault]
        with pytest.raises(UnretryableException):
            describe(sdk)
        assert describe(sdk)["Status"] == "Running"
    assert eas_server.changes == []


def test_a_server_that_does_not_answer_is_given_up(eas_server: EasServer, sdk: Any) -> None:
    eas_server.make(triton_config("llm"))
    eas_server.faults = [Fault("hang", "DescribeService")]
    with pytest.raises(UnretryableException, match="timed out"):
        sdk.describe_service_with_options(REGION, "llm", {}, RuntimeOptions(read_timeout=100, autoretry=False))
    assert describe(sdk)["Status"] == "Running"


def test_a_lost_answer_is_a_change_all_the_same(eas_server: EasServer, sdk: Any) -> None:
    eas_server.faults = [Fault("lost", "CreateService"), Fault("reset", "DeleteService")]
    with pytest.raises(UnretryableException):
        create(sdk, triton_config("llm"))
    assert code_of(lambda: create(sdk, triton_config("llm")))[0] == 409
    with pytest.raises(UnretryableException):
        sdk.delete_service(REGION, "llm")
    assert describe(sdk)["Status"] == "Creating"
    assert eas_server.changes == ["CreateService llm"]
    assert [each.status for each in eas_server.requests("CreateService")] == [200, 409]


def test_many_clients_at_a_time(eas_server: EasServer) -> None:
    failures: list[str] = []

    def live(name: str) -> None:
        own = client(eas_server.endpoint, REGION)
        try:
            create(own, triton_config(name))
            assert [row[0] for row in walk(own, 4, name)] == ["Creating", "Waiting", "Running", "Running"]
            own.delete_service(REGION, name)
        except (AssertionError, ClientException, UnretryableException) as error:
            failures.append(f"{name}: {error!r}")

    threads = [threading.Thread(target=live, args=(f"llm_{number}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    assert len(eas_server.mutations) == 16
