# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The eascmd stand-in prints what the reference shows, and acts on the services of the EAS stand-in."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.eas_server import ACCESS_KEY, SECRET, TEMPORARY_KEY, TEMPORARY_SECRET, TOKEN, EasServer, Fault
from support.eascmd import Eascmd, Run
from support.eascmd_tool import wrapped

pytestmark = pytest.mark.integration
Command = Callable[..., "subprocess.CompletedProcess[str]"]
ID = "[0-9A-F-]{36}"
METADATA = {"name": "llm", "instance": 2, "cpu": 4, "gpu": 1, "memory": 10000, "resource": "eas-r-1", "rpc": {"keepalive": 3000}}
CONFIG = {"processor": "triton", "processor_params": ["--model-repository=oss://bucket/models"], "metadata": METADATA}


@pytest.fixture
def config(eas_server: EasServer, tmp_path: Path) -> Path:
    path = tmp_path / "eas.conf"
    path.touch(0o600)
    path.write_text(f"access_id={ACCESS_KEY}\naccess_key={SECRET}\nendpoint={eas_server.endpoint}\n")
    return path


@pytest.fixture
def run(eascmd: Eascmd, config: Path) -> Command:
    def command(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        argv = [str(eascmd.path), "-c", str(config), *arguments]
        return subprocess.run(argv, input=stdin, capture_output=True, text=True, timeout=60, check=False)

    return command


@pytest.fixture
def service(tmp_path: Path) -> str:
    path = tmp_path / "triton.config"
    path.write_text(json.dumps(CONFIG))
    return str(path)


def test_create_prints_its_table_and_waits(run: Command, service: str, eas_server: EasServer, eascmd: Eascmd) -> None:
    done = run("create", service)
    made = eas_server.services.all["llm"]
    url = f"http://1234567890123456.cn-test.pai-eas.aliyuncs.com{'/api/predict/llm'}"
    inner = url.replace(".cn-test", ".vpc.cn-test")
    rule = f"+-------------------+{'-' * (len(inner) + 2)}+"
    image = "registry-vpc.cn-test.aliyuncs.com/eas/llm_cn-test:v0.0.1"
    lines = done.stdout.splitlines()
    assert re.fullmatch(rf"\[RequestId\]: {ID}", lines.pop(0))
    assert lines == [
        rule,
        f"| Internet Endpoint | {url}{' ' * 4} |",
        f"| Intranet Endpoint | {inner} |",
        f"|             Token | {made.token}{' ' * (len(inner) - len(made.token))} |",
        rule,
        "[OK] Creating api gateway",
        f"[OK] Building image [{image}]",
        f"[OK] Pushing image [{image}]",
        "[OK] Waiting [Total: 2, Pending: 2, Running: 0]",
        "[OK] Service is running",
    ]
    assert (done.returncode, done.stderr, made.status) == (0, "", "Running")
    assert eascmd.runs[0].code == 0
    assert eas_server.changes == ["CreateService llm"]
    again = run("create", service)
    assert again.returncode == 1
    assert "Conflict.ServiceExists" in again.stderr


def test_lists_and_descriptions_are_tables(run: Command, eas_server: EasServer) -> None:
    script = "tritonserver --model-repository=/models  --http-port=8000 # two spaces, and | a bar"
    container = {"image": "registry/triton:1", "port": 8000, "script": script}
    made = eas_server.make({"metadata": METADATA, "containers": [container]})
    listed = run("ls").stdout.splitlines()
    header = ["SERVICENAME", "REGION", "INSTANCE", "CREATETIME", "UPDATETIME", "STATUS", "WEIGHT", "SERVICEPATH"]
    assert [cell.strip() for cell in listed[2].split("|")[1:-1]] == header
    when = made.created.strftime("%Y-%m-%d %H:%M:%S")
    assert listed[4] == f"| llm         | cn-test |        2 | {when} | {when} | Running |      0 | /api/predict/llm |"
    assert len({len(line) for line in listed[1:]}) == 1
    rows = [line[1:-1].split("|", 1) for line in run("desc", "llm").stdout.splitlines()[1:-1]]
    assert all(left == f" {left.strip():>{len(left) - 2}} " for left, _value in rows)
    keys = [left.strip() for left, _value in rows if left.strip()]
    assert keys[:8] == ["Status", "ServiceName", "Region", "CreateTime", "UpdateTime", "AccessToken", "PrivateToken", "TotalInstance"]
    assert keys[-3:] == ["InternetEndpoint", "IntranetEndpoint", "ServiceConfig"]
    found = {left.strip(): value.strip() for left, value in rows}
    assert (found["AccessToken"], found["PrivateToken"], found["Memory"]) == ("", made.token, "10000M")
    text = [value.removeprefix(" ").rstrip() for _left, value in rows[keys.index("ServiceConfig") :]]
    start = text.index('      "script": "tritonserver')
    assert text[start + 1 : start + 4] == ["--model-repository=/models", "--http-port=8000 # two spaces,", 'and | a bar"']
    shown = json.loads(" ".join(text))
    assert shown["containers"][0]["script"].split() == script.split()
    assert (shown["metadata"]["rpc"]["keepalive"], shown["name"]) == (3000, "llm")


def test_values_are_wrapped_as_in_the_reference() -> None:
    """The lines of the reference's own example."""
    shown = {"generate_token": "false", "model_path": "http://eas-data.example/models%2Fmnist.tar.gz", "processor": "tensorflow_cpu"}
    assert wrapped(json.dumps(shown, indent=2)) == [
        "{",
        '  "generate_token": "false",',
        '  "model_path":',
        '"http://eas-data.example/models%2Fmnist.tar.gz",',
        '  "processor":',
        '"tensorflow_cpu"',
        "}",
    ]
    assert wrapped("") == [""]


def test_a_service_lives_by_commands(run: Command, service: str, eas_server: EasServer, tmp_path: Path, eascmd: Eascmd) -> None:
    eas_server.make(CONFIG)
    change = tmp_path / "change.json"
    change.write_text('{"metadata": {"cpu": 8}}')
    assert run("modify", "llm", "-s", str(change)).stdout.splitlines()[1:] == [
        "[OK] Updating [Total: 2, Pending: 1, Running: 1]",
        "[OK] Waiting [Total: 2, Pending: 1, Running: 1]",
        "[OK] Service is running",
    ]
    eas_server.services.settle("llm")
    assert run("modify", "llm", "-Dmetadata.instance=3", "-Dmetadata.note=a b").returncode == 0
    assert eas_server.mutations[-1].body == {"metadata": {"instance": 3, "note": "a b"}}
    assert run("version", "llm", "1").returncode == 0
    assert eas_server.services.all["llm"].current == 1
    assert run("stop", "llm").stdout.splitlines()[1:] == ["[OK] Service [llm] in region [cn-test] is stopping", "[OK] Service is stopped"]
    assert run("start", "llm").stdout.splitlines()[-1] == "[OK] Service is running"
    eas_server.services.settle("llm")
    workers = run("w", "llm").stdout.splitlines()
    columns = [cell.strip() for cell in workers[2].split("|")[1:-1]]
    assert columns == ["INSTANCENAME", "INNERIP", "HOSTIP", "STARTAT", "RESTARTS", "STATUS", "READY", "REASON", "LASTSTATE"]
    first = [cell.strip() for cell in workers[4].split("|")[1:-1]]
    assert first[5:7] == ["Running", "[1/1]"]
    assert run("dw", "llm", first[0]).returncode == 0
    assert first[0] not in run("w", "llm").stdout
    wanted = ["modify llm", "modify llm", "version llm 1", "stop llm", "start llm", "w llm", f"dw llm {first[0]}", "w llm"]
    assert eascmd.commands == wanted
    actions = ["UpdateService", "UpdateService", "UpdateServiceVersion", "StopService", "StartService", "DeleteServiceInstances"]
    assert eas_server.changes == [f"{action} llm" for action in actions]


def test_delete_asks(run: Command, eas_server: EasServer, eascmd: Eascmd) -> None:
    eas_server.make(CONFIG)
    eas_server.services.pace.deleting = 2
    question = "Are you sure to delete the service [llm] in [cn-test]? [Y/n]"
    for answer in ("", "n\n", "maybe\n"):
        refused = run("delete", "llm", stdin=answer)
        assert (refused.returncode, refused.stdout) == (1, f"{question}\n")
    assert eas_server.changes == []
    done = run("delete", "llm", stdin="Y\n")
    asked, request, *lines = done.stdout.splitlines()
    assert (asked, request[:13]) == (question, "[RequestId]: ")
    assert lines == [
        "[OK] Service [llm] in region [cn-test] is terminating",
        "[OK] Service is terminating",
        "[OK] Service is terminating",
        "[OK] Service was deleted successfully",
    ]
    assert "llm" not in run("ls").stdout
    assert run("desc", "llm").returncode == 1
    assert [each.stdin for each in eascmd.runs[:4]] == ["", "n\n", "maybe\n", "Y\n"]


def test_keys_come_from_a_private_file(run: Command, eas_server: EasServer, eascmd: Eascmd, config: Path, tmp_path: Path) -> None:
    def bare(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([str(eascmd.path), *arguments], capture_output=True, text=True, timeout=60, check=False)

    keys = ("-i", ACCESS_KEY, "-k", SECRET, "-e", eas_server.endpoint)
    assert bare(*keys, "ls").returncode == 9
    assert bare("-c", str(tmp_path / "new"), "config", *keys).returncode == 9
    assert not (tmp_path / "new").exists()
    stands_for = ("-i", "one", "-k", "two", "-t", "three", "-e", eas_server.endpoint)
    assert bare(*stands_for, "ls").returncode == 9
    assert bare("-c", str(tmp_path / "form"), "config", *stands_for).returncode == 0
    wanted = f"access_id=one\naccess_key=two\nsts_token=three\nendpoint={eas_server.endpoint}\n"
    assert (tmp_path / "form").read_text() == wanted
    assert eas_server.log == []
    eascmd.set(refuse_keys=False)
    assert bare(*keys, "ls").returncode == 0
    written = tmp_path / "new"
    assert bare("-c", str(written), "config", *keys).stdout == f"[OK] Configuration saved to: {written}\n"
    assert written.stat().st_mode & 0o777 == 0o600
    assert bare("-c", str(written), "ls").returncode == 0
    written.chmod(0o644)
    assert bare("-c", str(written), "ls").returncode == 9
    assert "no configuration" in bare("-c", str(tmp_path / "nowhere"), "ls").stderr
    config.write_text(json.dumps({"AccessKeyId": TEMPORARY_KEY, "AccessKeySecret": TEMPORARY_SECRET, "Endpoint": eas_server.url}))
    assert "MissingSecurityToken" in run("ls").stderr
    config.write_text(f"access_id: {TEMPORARY_KEY}\naccess_key: {TEMPORARY_SECRET}\nsts_token: {TOKEN}\nendpoint: {eas_server.endpoint}\n")
    assert run("ls").returncode == 0
    config.write_text(config.read_text().replace(TEMPORARY_SECRET, "wrong"))
    assert "SignatureDoesNotMatch" in run("ls").stderr


def test_knobs(run: Command, eas_server: EasServer, eascmd: Eascmd) -> None:
    eas_server.make(CONFIG)
    plain = run("desc", "llm").stdout
    for noise, first in (("warnings", "WARNING: a new"), ("ansi", "\x1b[33mWARNING"), ("progress", "loading  10%")):
        eascmd.set(noise=noise)
        loud = run("desc", "llm").stdout
        assert loud.startswith(first)
        assert re.sub(r"\x1b\[[0-9;]*\w", "", loud).endswith(plain)
    eascmd.set(ragged=True)
    assert [line.count("|") for line in run("desc", "llm").stdout.splitlines()[1:4]] == [3, 4, 3]
    eascmd.set(codes={"ls": 0, "desc": 4}, errors_on_stdout=True)
    eas_server.faults = [Fault(action="ListServices", status=503), Fault("html", "ListServices", status=502)]
    assert [(done.returncode, "ServiceUnavailable" in done.stdout) for done in [run("ls")]] == [(0, True)]
    assert "502 Bad Gateway" in run("ls").stdout
    assert run("desc", "llm").returncode == 4
    eascmd.set(prompts=("stop", "delete"))
    assert run("stop", "llm", stdin="").returncode == 1
    assert run("stop", "llm", stdin="\n").returncode == 0
    assert run("stop").returncode == 2
    assert run("bench", "ls").returncode == 2
    assert run("ls", "--json").returncode == 2


def test_failures_end_create_and_a_stuck_service_is_waited_for(run: Command, service: str, eas_server: EasServer, eascmd: Eascmd) -> None:
    eas_server.services.fail("llm", "no such image")
    failed = run("create", service)
    assert (failed.returncode, failed.stderr) == (1, "[ERROR] Service is failed: ImagePullBackOff: no such image\n")
    eas_server.services.stick("llm")
    config = eascmd.runs[0].argv[1]
    process = subprocess.Popen([str(eascmd.path), "-c", config, "modify", "llm", "-Dmetadata.cpu=2"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    while "Waiting" not in process.stdout.readline():
        time.sleep(0.01)
    process.kill()
    process.wait(30)
    process.stdout.close()
    assert eascmd.runs[1] == Run(("-c", config, "modify", "llm", "-Dmetadata.cpu=2"))
    assert eas_server.services.all["llm"].status == "Waiting"
    eascmd.set(delay=60)
    slow, seen = subprocess.Popen([str(eascmd.path), "-c", config, "ls"]), len(eas_server.log)
    while len(eascmd.runs) < 3:
        time.sleep(0.01)
    slow.kill()
    slow.wait(30)
    assert (eascmd.runs[2].code, len(eas_server.log)) == (None, seen)
