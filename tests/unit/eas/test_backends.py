# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The command line client's tables, the words of failures, places, credentials, and the choice of a backend."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from alibabacloud_credentials import client
from alibabacloud_credentials.models import CredentialModel
from support.eas_runs import FastClock, service_options

from ansible_collections.serving.triton.plugins.module_utils.core.errors import (
    ConflictError,
    InputError,
    ServingError,
    TransientError,
    UnavailableError,
)
from ansible_collections.serving.triton.plugins.module_utils.core.wait import RetryPolicy
from ansible_collections.serving.triton.plugins.module_utils.eas import commands, connect, credentials, tables
from ansible_collections.serving.triton.plugins.module_utils.eas.attempts import once
from ansible_collections.serving.triton.plugins.module_utils.eas.commands import Done
from ansible_collections.serving.triton.plugins.module_utils.eas.eascmd import EasCmd
from ansible_collections.serving.triton.plugins.module_utils.eas.eascmd_client import EasCmdClient
from ansible_collections.serving.triton.plugins.module_utils.eas.errors import AbsentError, Failure, explained, read_text
from ansible_collections.serving.triton.plugins.module_utils.eas.place import locate
from ansible_collections.serving.triton.plugins.module_utils.eas.spec import observed

LS = """\
\x1b[33mWARNING\x1b[0m: there is a newer client
loading 10%\rloading 100%
[RequestId]: 83945D4E-ED3E-4D35-A989-831E36BB
+-------------+-------------+----------+---------------------+---------+--------+
| SERVICENAME |   REGION    | INSTANCE |     UPDATETIME      | STATUS  | WEIGHT |
+-------------+-------------+----------+---------------------+---------+--------+
| digits      | cn-shanghai |        1 | 2019-02-21 16:35:41 | Running |      0 |
| a|b         | cn-shanghai |       10 |                     |         |      0 |
+-------------+-------------+----------+---------------------+---------+--------+
"""
DESC = """\
+-----------------+--------------------------------------------+
|          Status | Running                                    |
|     ServiceName | digits                                     |
|     AccessToken |                                            |
|    PrivateToken | dG9rZW4=                                   |
|   TotalInstance | 2                                          |
|         Message | 服务 is | running                          |
| CurrentVersion  | 3                                          |
|   ServiceConfig | {                                          |                                                                    |
|                 |   "name": "digits",                        |
|                 |   "processor_params":                      |
|                 | ["--model-repository=oss://b/a very        |
|                 | long name/of-a-folder|with-a-bar"],        |
|                 |   "metadata": {                            |
|                 |     "rpc.keepalive": 3000                  |
|                 |   }                                        |
|                 | }                                          |
+-----------------+--------------------------------------------+
"""


def test_a_list_is_read_whatever_stands_around_it() -> None:
    found = tables.records(LS)
    assert found is not None
    assert found[0] == {
        "SERVICENAME": "digits",
        "REGION": "cn-shanghai",
        "INSTANCE": "1",
        "UPDATETIME": "2019-02-21 16:35:41",
        "STATUS": "Running",
        "WEIGHT": "0",
    }
    assert found[1]["SERVICENAME"] == "a|b"
    assert tables.records("[OK] fine") is None
    assert tables.records("+--+\n| A |\n+--+\n") == []


def test_a_description_is_read_wrapped_as_it_is() -> None:
    found = tables.pairs(DESC)
    assert found is not None
    assert (found["Status"], found["AccessToken"], found["PrivateToken"], found["Message"]) == (
        "Running",
        "",
        "dG9rZW4=",
        "服务 is | running",
    )
    assert observed(found["ServiceConfig"]) == {
        "processor_params": ["--model-repository=oss://b/a very long name/of-a-folder|with-a-bar"],
        "metadata": {"name": "digits", "rpc": {"keepalive": 3000}},
    }


def test_a_configuration_that_is_not_understood_is_not_taken_for_empty() -> None:
    backend, _calls = scripted({"desc": [Done(DESC.replace('"metadata": {', '"metadata" {'), 0)], "ls": [Done(LS, 0)]})
    with pytest.raises(UnavailableError, match="not understood"):
        backend.find("digits")
    both = {"name": "old", "metadata": {"name": "new", "rpc.keepalive": 1, "rpc": {"keepalive": 2}}}
    assert observed(json.dumps(both)) == {"metadata": {"name": "new", "rpc": {"keepalive": 2}}}


def scripted(answers: dict[str, list[Done]]) -> tuple[EasCmd, list[tuple[str, ...]]]:
    """A backend whose client answers from a script; the last answer of a command stays."""
    calls: list[tuple[str, ...]] = []

    def run(arguments: Any, stdin: str, timeout: float, enough: Callable[[str], bool], environment: Any) -> Done:
        command = tuple(arguments[3:])
        calls.append(command)
        found = answers[command[0]]
        return found.pop(0) if len(found) > 1 else found[0]

    return EasCmd(EasCmdClient("eascmd", "own-config", run, 5.0), "", RetryPolicy(attempts=3), FastClock()), calls


def test_absence_is_what_the_list_lacks() -> None:
    gone = Done("it is not there, in words of tomorrow", 1)
    backend, calls = scripted({"ls": [Done(LS, 0)], "desc": [gone, gone, Done(DESC, 0)]})
    assert backend.find("other") is None
    assert calls == [("desc", "other"), ("ls",)]
    with pytest.raises(UnavailableError, match="words of tomorrow"):
        backend.find("digits")
    found = backend.find("digits")
    assert found is not None
    assert (found.token, found.total, found.config["metadata"]) == ("dG9rZW4=", 2, {"name": "digits", "rpc": {"keepalive": 3000}})
    backend, _calls = scripted({"ls": [Done("[RequestId]: 1\n", 0)], "desc": [gone]})
    assert backend.find("digits") is None
    for nothing in (Done("", 0), Done("There is no service of this name\n", 0)):
        backend, _calls = scripted({"ls": [Done(LS, 0)], "desc": [nothing]})
        assert backend.find("other") is None
        with pytest.raises(UnavailableError, match="tells nothing"):
            backend.find("digits")


@pytest.mark.parametrize(
    ("done", "kind"),
    [
        (Done("[ERROR] Throttling.User: slow down", 1), TransientError),
        (Done("[ERROR] Forbidden.PrivilegeCheckFailed: not yours", 0), UnavailableError),
        (Done("", 3), UnavailableError),
        (Done("", None, late=True), TransientError),
        (Done("request failed: connection refused", 1), TransientError),
    ],
)
def test_failures_are_no_absence_whatever_the_exit_code(done: Done, kind: type[ServingError]) -> None:
    backend, calls = scripted({"desc": [done], "ls": [done]})
    with pytest.raises(kind):
        backend.find("digits")
    assert len(calls) == (3 if kind is TransientError else 2)


def test_a_change_is_accepted_by_its_ok_line_alone() -> None:
    accepted = Done("[RequestId]: 1\n\x1b[32m[OK]\x1b[0m Service is terminating\n", 7)
    unended = Done("Are you sure to stop it? [Y/n][OK] Service is terminating\n", 7)
    backend, _calls = scripted({"stop": [accepted, unended], "start": [Done("[ERROR] InvalidServiceStatus: Creating", 0)]})
    backend.stop("digits")
    backend.stop("digits")
    with pytest.raises(ConflictError):
        backend.start("digits")


def test_a_command_is_ended_when_enough_is_read_or_time_is_over() -> None:
    script = "import sys, time; print('asked ' + sys.stdin.readline(), end='', flush=True); print('[OK] a', flush=True); time.sleep(60)"
    done = commands.run([sys.executable, "-c", script], "Y\n", 30.0, lambda line: line.startswith("[OK]"))
    assert (done.output, done.code, done.late) == ("asked Y\n[OK] a\n", None, False)
    done = commands.run([sys.executable, "-c", "import time; time.sleep(60)"], "", 0.2, lambda _line: False)
    assert (done.code, done.late) == (None, True)
    done = commands.run([sys.executable, "-c", "import sys; print('a'); sys.exit(3)"], "Y\n", 30.0, lambda _line: False)
    assert (done.output, done.code, done.late) == ("a\n", 3, False)


# --- failures


@pytest.mark.parametrize(
    ("failure", "kind", "text"),
    [
        (Failure(404, "InvalidService.NotFound"), AbsentError, "does not exist"),
        (Failure(403, "Forbidden.PrivilegeCheckFailed"), UnavailableError, "another user"),
        (Failure(403, "Forbidden.SafetyLock"), ConflictError, "lift_lock"),
        (Failure(403, "NoPermission"), UnavailableError, "RAM"),
        (Failure(404, "InvalidAccessKeyId.NotFound"), UnavailableError, "AccessKey ID"),
        (Failure(400, "SignatureDoesNotMatch"), UnavailableError, "secret"),
        (Failure(400, "InvalidSecurityToken.Expired"), UnavailableError, "expired"),
        (Failure(400, "InvalidSecurityToken.MismatchWithAccessKey"), UnavailableError, "not the one"),
        (Failure(400, "InvalidTimeStamp.Expired"), UnavailableError, "clock"),
        (Failure(404, "InvalidRegionId.NotFound"), InputError, "region"),
        (Failure(400, "InvalidParameter", "cpu"), InputError, "cpu"),
        (Failure(409, "Conflict.ServiceExists"), ConflictError, "exists"),
        (Failure(409, "Whatever"), ConflictError, "something else"),
        (Failure(400, "InvalidServiceStatus"), ConflictError, "settled"),
        (Failure(400, "NewCode", "of tomorrow"), UnavailableError, "NewCode): of tomorrow"),
        (Failure(503, "ServiceUnavailable"), TransientError, "busy"),
        (Failure(400, "Throttling.User"), TransientError, "busy"),
        (Failure(400, "Throttling"), TransientError, "busy"),
        (Failure(429, "Rejected.Throttling"), TransientError, "busy"),
        (Failure(502), TransientError, "HTTP 502"),
    ],
)
def test_every_documented_failure_is_explained(failure: Failure, kind: type[ServingError], text: str) -> None:
    error = explained(failure, "digits")
    assert isinstance(error, kind)
    assert text in str(error)
    assert error.where == "digits"
    assert error.remedy


@pytest.mark.parametrize(
    ("text", "code", "status"),
    [
        ("[RequestId]: 1F-2\n[ERROR] InvalidService.NotFound: no", "InvalidService.NotFound", 0),
        ("ERRO: Throttling.User: Request was denied", "Throttling.User", 0),
        ("Error: ServiceUnavailable: The request has failed", "ServiceUnavailable", 0),
        ("HTTP 502: <html>", "", 502),
        ("dial tcp: i/o timeout", "", 503),
        ("canceled", "", 0),
    ],
)
def test_words_of_the_client_are_read(text: str, code: str, status: int) -> None:
    found = read_text(text)
    assert (found.code, found.status) == (code, status)


def test_a_call_that_works_once_may_have_worked_before() -> None:
    answers: list[Exception] = [TransientError("lost"), ConflictError("exists")]

    def call() -> None:
        raise answers.pop(0)

    once(call, (ConflictError,), RetryPolicy(attempts=3), FastClock())
    answers.append(ConflictError("exists"))
    with pytest.raises(ConflictError):
        once(call, (ConflictError,), RetryPolicy(attempts=3), FastClock())


# --- places and credentials


@pytest.mark.parametrize(
    ("options", "environment", "expected"),
    [
        ({"region": "cn-x"}, {}, ("cn-x", "https://pai-eas.cn-x.aliyuncs.com")),
        ({"endpoint": "pai-eas.cn-y.aliyuncs.com"}, {}, ("cn-y", "https://pai-eas.cn-y.aliyuncs.com")),
        ({"endpoint": "pai-eas-manage-vpc.cn-y.aliyuncs.com"}, {}, ("cn-y", "https://pai-eas-manage-vpc.cn-y.aliyuncs.com")),
        ({"endpoint": "http://127.0.0.1:80", "region": "cn-x"}, {}, ("cn-x", "http://127.0.0.1:80")),
        ({}, {"EAS_REGION": "cn-z"}, ("cn-z", "https://pai-eas.cn-z.aliyuncs.com")),
        ({}, {"ALIBABA_CLOUD_REGION_ID": "cn-z"}, ("cn-z", "https://pai-eas.cn-z.aliyuncs.com")),
        ({"region": "cn-x"}, {"EAS_ENDPOINT": "pai-eas.cn-y.aliyuncs.com"}, ("cn-x", "https://pai-eas.cn-x.aliyuncs.com")),
        ({}, {"EAS_ENDPOINT": "pai-eas.cn-y.aliyuncs.com"}, ("cn-y", "https://pai-eas.cn-y.aliyuncs.com")),
    ],
)
def test_the_endpoint_is_always_explicit(options: dict[str, str], environment: dict[str, str], expected: tuple[str, str]) -> None:
    place = locate(options, environment)
    assert (place.region, place.url) == expected


@pytest.mark.parametrize("options", [{}, {"region": "CN X"}, {"endpoint": "a b"}, {"endpoint": "127.0.0.1:80"}])
def test_a_place_that_is_not_known_is_refused(options: dict[str, str]) -> None:
    with pytest.raises(InputError):
        locate(options, {})


KEYS = {"access_key_id": "id", "access_key_secret": "of-options"}
ENVIRONMENT = {
    "ALIBABA_CLOUD_ACCESS_KEY_ID": "env",
    "ALIBABA_CLOUD_ACCESS_KEY_SECRET": "of-environment",
    "ALIBABA_CLOUD_SECURITY_TOKEN": "of-sts",
}


def test_credentials_come_from_options_then_from_the_environment() -> None:
    assert credentials.source({**KEYS, "security_token": "t"}, ENVIRONMENT)() == credentials.Keys("id", "of-options", "t")
    assert credentials.source({}, ENVIRONMENT)() == credentials.Keys("env", "of-environment", "of-sts")
    assert "of-" not in repr(credentials.source({}, ENVIRONMENT)())
    with pytest.raises(InputError):
        credentials.source({"access_key_id": "id"}, {})
    with pytest.raises(InputError, match="oidc_token_file"):
        credentials.source({"oidc_provider_arn": "acs:x", "role_arn": "acs:y"}, {})


@pytest.mark.parametrize(
    ("options", "provider"),
    [
        ({**KEYS, "role_arn": "acs:ram::1:role/r"}, "RamRoleArnCredentialsProvider"),
        ({"role_arn": "acs:r", "oidc_provider_arn": "acs:p", "oidc_token_file": "/token"}, "OIDCRoleArnCredentialsProvider"),
        ({"ecs_role": "r"}, "EcsRamRoleCredentialsProvider"),
        ({"profile": "p"}, "CLIProfileCredentialsProvider"),
        ({}, "DefaultCredentialsProvider"),
        ({"role_arn": "acs:r"}, "RamRoleArnCredentialsProvider"),
    ],
)
def test_the_chain_is_alibaba_clouds(options: dict[str, str], provider: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def get(self: Any) -> Any:
        asked.append(self.cloud_credential.provider)
        return CredentialModel(access_key_id="a", access_key_secret="found", security_token="t")

    monkeypatch.setattr(client.Client, "get_credential", get)
    look_up = credentials.source(options, {})
    assert look_up() == look_up() == credentials.Keys("a", "found", "t")
    assert [type(each).__name__ for each in asked] == [provider] * 2
    # One for all calls, so that it keeps temporary keys until they expire.
    assert asked[0] is asked[1]


def test_no_credentials_are_told_without_noise(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("ALIBABA_CLOUD_ECS_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(UnavailableError, match="no credentials were found"):
        credentials.source({}, {})()
    assert capsys.readouterr().err == ""


# --- the choice


def tool(folder: Path, name: str = "eascmd") -> str:
    path = folder / name
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return str(path)


def choose(**options: Any) -> tuple[str, str]:
    found = connect.connect(service_options(region="cn-test", **KEYS, **options), FastClock())
    return found.backend.name, found.reason


def test_auto_takes_what_is_there_and_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    name, reason = choose()
    assert name == "openapi"
    assert reason.startswith("alibabacloud-eas20210701 7.")
    assert choose(eascmd_path=tool(tmp_path)) == ("eascmd", "eascmd_path is given")
    assert choose(backend="openapi", eascmd_path=tool(tmp_path)) == ("openapi", "backend is given")
    monkeypatch.setattr(connect, "_has_sdk", lambda: False)
    for backend in ("auto", "openapi", "eascmd"):
        with pytest.raises(UnavailableError):
            choose(backend=backend)
    monkeypatch.setenv("PATH", str(tmp_path))
    path = tool(tmp_path, "eascmd64")
    (tmp_path / "eascmd").unlink()
    assert choose() == ("eascmd", f"alibabacloud-eas20210701 is not installed, and {path} is there")
    with pytest.raises(InputError, match="no file that can be run"):
        choose(eascmd_path=str(tmp_path))


def test_an_sdk_that_is_too_old_is_told_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    # What versions before 7 bring has no such module.
    monkeypatch.setitem(sys.modules, "alibabacloud_tea_openapi.utils_models", None)
    monkeypatch.delattr("alibabacloud_tea_openapi.utils_models", raising=False)
    with pytest.raises(UnavailableError, match="too old") as caught:
        choose(backend="openapi")
    assert "alibabacloud-eas20210701>=7.0.0" in caught.value.remedy


@pytest.mark.parametrize("options", [{"timeout": 0.5}, {"attempts": 0}, {"eascmd_path": "/bin/true", "eascmd_config": "/nowhere"}])
def test_options_out_of_range_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        choose(**options)


def test_the_clients_own_configuration_is_for_those_who_say_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    pointers = ("ALIBABA_CLOUD_PROFILE", "ALIBABA_CLOUD_CREDENTIALS_URI", "ALIBABA_CLOUD_OIDC_TOKEN_FILE")
    elsewhere = ("EAS_REGION", "EAS_ENDPOINT", "ALIBABA_CLOUD_REGION_ID", *pointers)
    for name in (*ENVIRONMENT, *elsewhere, "ALIBABA_CLOUD_OIDC_PROVIDER_ARN", "ALIBABA_CLOUD_ECS_METADATA"):
        monkeypatch.delenv(name, raising=False)
    own = tmp_path / ".eas" / "config"
    own.parent.mkdir()
    own.write_text("x")
    assert connect._own_config(service_options()) == str(own)
    assert connect._own_config(service_options(region="cn-x")) == ""
    assert connect._own_config(service_options(**KEYS)) == ""
    for name in elsewhere:
        with monkeypatch.context() as environment:
            environment.setenv(name, "x")
            assert connect._own_config(service_options()) == ""
    assert connect._own_config(service_options(eascmd_config=str(own), region="cn-x")) == str(own)
