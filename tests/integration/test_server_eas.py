# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Triton on PAI-EAS: the role by both backends, and every playbook over inventories/pai_eas, down to real inference.

Where the environment names a real EAS (`support.eas_under_test`) and a real OSS (`support.oss_server`), they take the place of the
stand-ins and of the real tritonservers behind these.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy
import pytest
import tritonclient.http
from support.ansible_runs import ROOT, run_module
from support.eas_gateway import GatewayFault
from support.eas_instances import EasInstances
from support.eas_under_test import EasUnderTest, open_eas_under_test
from support.oss_server import OssUnderTest, open_store_under_test
from support.rolecheck import PlaybookRun, Promise, Workspace, assert_clean, assert_secret, assert_unchanged, keep, role_play
from support.scorer import CODE, CONFIG, GOLDEN, NAME
from support.tritonserver import write_python_model

ROLE = "serving.triton.server_eas"


@dataclass
class Cloud:
    """OSS and EAS, and the instances of the stand-in's services; None for the real ones."""

    oss: OssUnderTest
    eas: EasUnderTest
    instances: EasInstances | None

    @property
    def environment(self) -> dict[str, str]:
        return {**self.oss.environment, **self.eas.environment}

    @property
    def secrets(self) -> list[str]:
        return [*self.oss.secrets, *self.eas.secrets]

    def tokens(self) -> list[str]:
        """Of all services that are there."""
        return [] if self.eas.server is None else [each.token for each in self.eas.server.services.all.values()]


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with ExitStack() as stack:
        oss = stack.enter_context(open_store_under_test())
        eas = stack.enter_context(open_eas_under_test())
        if (oss.server is None) != (eas.server is None):
            pytest.skip("OSS and EAS must both be real ones, or neither")
        instances = None
        if eas.server is not None and oss.server is not None:
            instances = stack.enter_context(EasInstances(eas.server, oss.server, tmp_path_factory.mktemp("instances")))
            # One that loses what marks binary tensors, and does not know a service at once.
            instances.gateway.binary = False
            instances.gateway.warm_up = 2
        yield Cloud(oss, eas, instances)


@dataclass
class Service:
    """One host of inventories/pai_eas, its models, and the playbooks run over it."""

    cloud: Cloud
    home: Path
    name: str
    more: Mapping[str, Any]

    @property
    def store(self) -> OssUnderTest:
        return self.cloud.oss.at(self.name)

    def write(self, version: int, *, add: int = 1, initialize: str = "pass") -> None:
        code = CODE.format(add=add, initialize=initialize)
        write_python_model(self.home / "models", NAME, version, code=code, config=CONFIG.format(version=version))

    def publish(self) -> None:
        """Without a playbook."""
        options = {"src": str(self.home / "models"), "repository": self.store.url, **self.store.module_options}
        result = run_module("serving.triton.model_repository", options, env=self.cloud.environment)
        assert not result.get("failed"), result

    @property
    def variables(self) -> dict[str, Any]:
        return {
            "triton_models": str(self.home / "models"),
            "triton_golden": str(self.home / "golden"),
            "triton_repository": self.store.url,
            "triton_store": self.store.module_options,
            "triton_report_dir": str(self.home / "reports"),
            "server_eas_name": self.name,
            **server(self.cloud.eas, "openapi"),
            **self.more,
        }

    def play(self, name: str, *flags: str, rc: int = 0, canaries: bool = False, **more: Any) -> PlaybookRun:
        inventory = ROOT / "inventories" / "pai_eas" / "hosts.yml"
        workspace = Workspace(self.home / "runs", inventory, env=self.cloud.environment)
        run = workspace.run(f"serving.triton.{name}", *flags, *(["-vvv"] if canaries else []), variables={**self.variables, **more})
        assert run.rc == rc, run.tail(200)
        assert not run.warnings, run.warnings
        assert_secret(run, [*self.cloud.secrets, *self.cloud.tokens()], name)
        return run

    def asked(self, value: int = 41) -> tuple[int, int]:
        """What a client of the service gets: the answer, and the version that gave it."""
        found = self.cloud.eas.describe(self.name)
        assert found, "the service is not there"
        headers = {"Authorization": found["AccessToken"]}
        client = tritonclient.http.InferenceServerClient(found["InternetEndpoint"].partition("://")[2])
        tensor = tritonclient.http.InferInput("IN", [1], "INT32")
        tensor.set_data_from_numpy(numpy.array([value], dtype="int32"), binary_data=False)
        wanted = [tritonclient.http.InferRequestedOutput(name, binary_data=False) for name in ("OUT", "VERSION")]
        answer = client.infer(NAME, [tensor], outputs=wanted, headers=headers)
        client.close()
        return int(answer.as_numpy("OUT")[0]), int(answer.as_numpy("VERSION")[0])

    def versions(self) -> list[str]:
        """Those in the repository."""
        parts = [key.split("/") for key in self.keys()]
        return sorted({part[1] for part in parts if part[0] == NAME and part[1].isdigit()})

    def keys(self) -> set[str]:
        """The objects in it."""
        return self.store.keys()


def server(eas: EasUnderTest, backend: str) -> dict[str, Any]:
    """The role's variables for this EAS: how it is reached, and what an instance has."""
    options = eas.options(backend)
    waits = {key: max(0.1, options.pop(key)) for key in tuple(options) if key.startswith("wait_")}
    image = next((each["image"] for each in eas.config.get("containers", [])), None)
    ours = ("processor", "processor_params", "containers", "storage", "name")
    config = {key: value for key, value in eas.config.items() if key not in ours}
    described = {**waits, **({"image": image} if image else {})}
    return {"server_eas_api": options, "server_eas_service": described, "server_eas_config": config}


def make(cloud: Cloud, home: Path, suffix: str, **more: Any) -> Service:
    service = Service(cloud, home, cloud.eas.name(suffix), more)
    (home / "golden").mkdir()
    (home / "golden" / f"{NAME}.yml").write_text(json.dumps(GOLDEN))
    service.write(1)
    return service


def message(run: PlaybookRun) -> str:
    return [task.message for task in run.tasks if task.status == "failed"][-1]


@pytest.fixture
def service(cloud: Cloud, tmp_path: Path) -> Service:
    return make(cloud, tmp_path, "story")


def test_the_role_keeps_its_promise(cloud: Cloud, tmp_path: Path) -> None:
    """Check mode predicts, a second run is idle, absent undoes; no key, token or variable of the server shows."""
    service = make(cloud, tmp_path, "role_openapi")
    service.publish()
    canary = "canary-of-the-server-1d07"
    variables = {
        **server(cloud.eas, "openapi"),
        "server_eas_name": service.name,
        "server_eas_repository": service.store.url,
        "server_eas_environment": {"MODEL_PASSWORD": canary},
        "server_eas_revisions": {NAME: "1"},
    }
    canaries = [*cloud.secrets, canary]

    def running() -> None:
        assert service.asked() == (42, 1)
        canaries.extend(cloud.tokens())

    def gone() -> None:
        assert cloud.eas.describe(service.name) is None

    absent = {"server_eas_state": "absent"}
    promise = Promise(role_play(ROLE, variables), absent=absent, canaries=canaries, after_run=running, after_absent=gone)
    runs = keep(promise, Workspace(tmp_path / "runs", env=cloud.environment))
    assert "SERVING_TRITON_REVISION" in runs[0].stdout, "the diff shows what changes"


SEED = """{{
  // The configuration of EAS's own guide, comments and all.
  "name": "{name}",
  "processor": "triton",
  "processor_params": [
    "--model-repository={url}",
    "--allow-http=true",  # HTTP alone
  ],
  "metadata": {{"instance": 1, "cpu": 4, "gpu": 1, "memory": 10000, "rpc.keepalive": 3000}},
}}
"""


def test_the_configuration_file_as_it_stands_by_the_command_line_client(cloud: Cloud, tmp_path: Path) -> None:
    if cloud.eas.eascmd is None or cloud.eas.real:
        pytest.skip("the resources in this file are not the real account's")
    service = make(cloud, tmp_path, "role_eascmd")
    service.publish()
    (tmp_path / "triton.config").write_text(SEED.format(name=service.name, url=service.store.url))
    given = {**server(cloud.eas, "eascmd"), "server_eas_config": {}, "server_eas_config_file": str(tmp_path / "triton.config")}
    play = role_play(ROLE, {**given, "server_eas_repository": service.store.url, "server_eas_revisions": {NAME: "1"}})
    workspace = Workspace(tmp_path / "runs", env=cloud.environment)
    predicted = workspace.run(play, "--check", "--diff")
    assert_clean(predicted, cloud.secrets)
    first = workspace.run(play, "-vvv")
    assert_clean(first, [*cloud.secrets, *cloud.tokens()])
    assert predicted.changed == first.changed != {}
    assert service.asked() == (42, 1)
    again = workspace.run(play)
    assert_clean(again)
    assert_unchanged(again)
    elsewhere = workspace.run(play, variables={"server_eas_repository": f"{service.store.url}_too"})
    assert elsewhere.rc == 2
    assert "Correct one of them" in message(elsewhere)
    assert_clean(workspace.run(play, variables={"server_eas_state": "absent"}))
    assert cloud.eas.describe(service.name) is None
    assert cloud.eas.tool is not None
    assert not [run for run in cloud.eas.tool.runs for secret in cloud.secrets if secret in " ".join(run.argv)]


WRONG: Mapping[str, tuple[Mapping[str, Any], str]] = {
    "a_bucket": ({"triton_repository": "oss://models"}, "must be oss://bucket/folder (here 'oss://models'), never a whole bucket"),
    "another_store": ({"triton_repository": "s3://models/triton"}, "must be oss://bucket/folder"),
    "explicit": ({"triton_options": {"model-control-mode": "explicit"}}, "a load reaches one instance of those behind the gateway"),
    "hyphen": ({"server_eas_name": "my-service"}, "Name it my_service"),
    "unknown_option": ({"server_eas_service": {"instance": 2}}, "Unsupported parameters for (serving.triton.eas_service) module: instance"),
    "unknown_target": ({"triton_target": "aes"}, "triton_target must be host or kubernetes or eas or kserve (here 'aes')"),
}


def test_what_cannot_work_is_told_before_anything_is_changed(service: Service) -> None:
    local = {"ansible_connection": "local", "ansible_python_interpreter": "{{ ansible_playbook_python }}", "triton_target": "eas"}
    variables = {key: value for key, value in service.variables.items() if key != "server_eas_name"}
    hosts = {name: {**local, **variables, **wrong} for name, (wrong, _text) in WRONG.items()}
    workspace = Workspace(service.home / "runs", {"triton": {"hosts": hosts}}, env=service.cloud.environment)
    run = workspace.run("serving.triton.preflight")
    told = {task.host: task.message.replace("\n", " ") for task in run.tasks if task.status == "failed"}
    assert not run.warnings
    assert {host: text for host, (_wrong, text) in WRONG.items() if text not in told.get(host, "")} == {}, told
    assert not run.changed


def test_from_a_folder_to_verified_inference_and_back(service: Service) -> None:
    check_deployment(service)
    check_releases(service)
    doctor = look_behind_a_lock(service).stdout
    assert f"service {service.name}" in doctor
    assert "1 models are ready on server" in doctor
    check_removal(service)


def look_behind_a_lock(service: Service) -> PlaybookRun:
    """What doctor says of a service that could not be deployed as it is described."""
    if service.cloud.eas.server is None:
        return service.play("doctor")
    there = service.cloud.eas.server.services.all[service.name]
    there.lock = "all"
    described = {**service.variables["server_eas_service"], "keepalive": 7000}
    run = service.play("doctor", server_eas_service=described)
    there.lock = "none"
    return run


def check_deployment(service: Service) -> None:
    predicted = service.play("site", "--check", "--diff")
    assert not service.keys()
    first = service.play("site", canaries=True)
    assert set(first.changed) == set(predicted.changed)
    assert service.asked() == (42, 1)
    for part in ("(eas, processor triton)", "1 of 1 run", "1 models by 10 requests", f"Latencies   {NAME} over HTTP "):
        assert part in first.stdout, first.stdout
    assert "left out: PAI-EAS's gateway forwards the service's own port alone" in first.stdout
    report = json.loads((service.home / "reports" / "triton_samples.json").read_text())
    assert len(report["models"][0]["http"]["latencies"]) == 10


def check_releases(service: Service) -> None:
    # A good one replaces the instances.
    service.write(2)
    assert f"{NAME} 2, before 1" in service.play("release").stdout
    assert service.asked() == (42, 2)
    # One that answers wrongly is found by inference, and taken back.
    service.write(3, add=2)
    failed = message(service.play("release", rc=2))
    assert all(part in failed for part in ("42", "43", f"What served before serves again: {NAME} 2")), failed
    assert service.asked() == (42, 2)
    assert service.versions() == ["1", "2"]
    # One that does not load never takes over, and its log says why.
    service.write(4, initialize="raise RuntimeError('the weights are missing')")
    hasty = {**service.variables["server_eas_service"], "wait_timeout": 15}
    stuck = service.play("release", rc=2, **({} if service.cloud.eas.real else {"server_eas_service": hasty}))
    assert f"What served before serves again: {NAME} 2" in message(stuck)
    assert "the weights are missing" in message(stuck) or service.cloud.eas.real, stuck.tail()
    assert service.asked() == (42, 2)
    assert service.versions() == ["1", "2"]
    assert_unchanged(service.play("site"))
    # By hand.
    service.play("rollback", rollback_to={NAME: 1}, rollback_reason="drift")
    assert service.asked() == (42, 1)


def check_removal(service: Service) -> None:
    cloud = service.cloud
    secrets = [*cloud.secrets, *cloud.tokens()]
    service.play("destroy", canaries=True)
    assert cloud.eas.describe(service.name) is None
    assert not service.keys()
    assert not list((service.home / "reports").glob("*"))
    files = [path for path in service.home.rglob("*") if path.is_file()]
    assert not [path for path in files for secret in secrets if secret.encode() in path.read_bytes()]


@pytest.mark.long
def test_an_image_that_polls_is_left_alone_by_a_release(cloud: Cloud, tmp_path: Path) -> None:
    service = make(cloud, tmp_path, "polls", triton_options={"model-control-mode": "poll", "repository-poll-secs": 1})
    image = "eas-registry-vpc.cn-test.cr.aliyuncs.com/pai-eas/tritonserver:24.10-py3"
    described = {"image": image, **service.variables["server_eas_service"], "instances": 2}
    service = Service(cloud, tmp_path, service.name, {**service.more, "server_eas_service": described})
    if cloud.instances:
        # A gateway that keeps the repository index to itself.
        cloud.instances.gateway.faults.append(GatewayFault(404, 10**6, "/v2/repository/"))
    service.play("site")
    assert service.asked() == (42, 1)
    before = cloud.eas.describe(service.name)
    service.write(2)
    service.play("release")
    assert service.asked() == (42, 2)
    after = cloud.eas.describe(service.name)
    assert before
    assert after
    assert before["CurrentVersion"] == after["CurrentVersion"], "no instance was replaced"
    if cloud.eas.server:
        with cloud.eas.server.mutex:
            phase = cloud.eas.server.services.all[service.name].phase
            phase.status, phase.message = "Failed", "no GPU is left"
        assert "is Failed: no GPU is left" in service.play("doctor", rc=2).stdout
