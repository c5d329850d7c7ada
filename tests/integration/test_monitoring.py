# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Role monitoring against a real tritonserver under load, with a real Prometheus."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import urllib.error
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest
from support import prometheus
from support.dashboards import queries, substitute
from support.rolecheck import LOCAL_INVENTORY, PlaybookRun, Workspace, assert_clean, assert_predicted, assert_unchanged, role_play
from support.tritonserver import ADD_SUB_CONFIG, TritonServer, free_ports, write_add_sub, write_python_model

T = TypeVar("T")
PATIENCE = 60
FAST = {"ANSIBLE_PIPELINING": "true"}
ROLE = "serving.triton.monitoring"
# Panels that have nothing to show on a healthy machine without a GPU, and why.
EMPTY = {
    "GPU utilization": "no GPU here",
    "GPU memory": "no GPU here",
    "GPU power": "no GPU here",
    "Alerts": "there are none; test_an_alert_follows_a_server_that_is_down… sees one",
}
# What check mode cannot know, and why.
UNPREDICTABLE = {"Remove the package's file and the lists": "the file comes with the download"}


def eventually(look: Callable[[], T], what: str) -> T:
    """The first true answer. The limit only ends a test that is lost."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            found = look()
        except (urllib.error.URLError, ConnectionError, http.client.HTTPException):
            found = None  # type: ignore[assignment]
        if found:
            return found
        assert time.monotonic() < end, f"{what} did not happen"
        time.sleep(0.2)


@dataclass
class Service:
    """One run role: where, with which variables, and what it answered."""

    folder: Path
    workspace: Workspace
    variables: dict[str, Any]
    url: str
    check: PlaybookRun
    run: PlaybookRun

    @property
    def home(self) -> Path:
        return self.folder / "prefix" / "monitoring"

    def apply(self, *flags: str, **more: Any) -> PlaybookRun:
        return self.workspace.run(play(), *flags, variables={**self.variables, **more})


def play() -> list[dict[str, Any]]:
    """The role, and its fact written down."""
    tell = {"ansible.builtin.copy": {"content": "{{ triton_monitoring | to_json }}", "dest": "{{ fact }}", "mode": "0644"}}
    return [{**role_play(ROLE)[0], "post_tasks": [{"name": "Tell", **tell, "when": "monitoring_state != 'absent'"}]}]


def variables_for(folder: Path, port: int, metrics: str) -> dict[str, Any]:
    return {
        "triton_endpoint": {"metrics": metrics},
        "monitoring_state": "present",
        "monitoring_service": "tested",
        "monitoring_prefix": str(folder / "prefix"),
        "monitoring_port": port,
        "monitoring_scrape_interval": 1,
        "monitoring_wait": 30,
        "monitoring_user": f"tm-{os.getpid()}",
        "fact": str(folder / "fact.json"),
    }


@pytest.fixture(scope="module")
def open_folder() -> Iterator[Path]:
    """A folder that Prometheus' own user may enter; pytest's are private."""
    folder = Path(tempfile.mkdtemp(prefix="monitoring-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    """A server with every kind of metric that a CPU gives, answering requests all the time."""
    root = tmp_path_factory.mktemp("models")
    write_add_sub(root)
    # A model of its own: with the cache switched on, a model has no summaries (seen with 2.51).
    write_python_model(root, "cached", config=ADD_SUB_CONFIG + "response_cache { enable: true }\n")
    options = {"metrics-config": "summary_latencies=true", "cache-config": "local,size=1048576", "metrics-interval-ms": 500}
    with TritonServer(root, options=options) as started:
        done = threading.Event()
        thread = threading.Thread(target=ask_until, args=(started, done))
        thread.start()
        yield started
        done.set()
        thread.join()


def ask_until(server: TritonServer, done: threading.Event) -> None:
    """Asks for sums until told to stop; a server that is gone for a while is asked again."""
    number = 0
    while not done.wait(0.02):
        number += 1
        inputs = [{"name": f"INPUT{i}", "datatype": "INT32", "shape": [1, 16], "data": [number % 40] * 16} for i in range(2)]
        model = "add_sub" if number % 2 else "cached"
        connection = http.client.HTTPConnection("127.0.0.1", server.http_port, timeout=5)
        try:
            connection.request("POST", f"/v2/models/{model}/infer", json.dumps({"inputs": inputs}))
            connection.getresponse().read()
        except OSError:
            done.wait(0.2)
        finally:
            connection.close()


@pytest.fixture(scope="module")
def service(open_folder: Path, server: TritonServer) -> Iterator[Service]:
    workspace = Workspace(open_folder / "work", env=FAST)
    port = free_ports(1)[0]
    variables = variables_for(open_folder, port, server.metrics)
    check = workspace.run(play(), "--check", "--diff", variables=variables)
    run = workspace.run(play(), "--diff", variables=variables)
    made = Service(open_folder, workspace, variables, f"http://127.0.0.1:{port}", check, run)
    yield made
    if made.home.exists():
        left = made.apply(monitoring_state="absent")
        assert left.rc == 0, left.tail()


@pytest.fixture(scope="module")
def grafana(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The provisioning folder of a Grafana."""
    folder = tmp_path_factory.mktemp("provisioning")
    for name in ("datasources", "dashboards"):
        (folder / name).mkdir()
    return folder


def test_check_mode_tells_the_run(service: Service) -> None:
    assert_clean(service.check)
    assert_clean(service.run)
    assert_predicted(service.check, service.run, UNPREDICTABLE)


def test_the_fact_tells_where_everything_is(service: Service, server: TritonServer) -> None:
    fact = json.loads((service.folder / "fact.json").read_text())
    assert fact["prometheus"] == service.url
    assert fact["reason"] == ""
    assert fact["targets"] == [server.metrics.split("/")[2]]
    assert "Server is ready" in Path(fact["logs"]).read_text()
    for name in ("config", "rules", "dashboard"):
        assert Path(fact[name]).is_file(), name


def test_only_loopback_and_only_its_own_account(service: Service) -> None:
    flags = prometheus.ask(service.url, "status/flags")
    assert flags["web.listen-address"].startswith("127.0.0.1:")
    if os.geteuid() == 0:
        assert service.home.joinpath("data").owner() == service.variables["monitoring_user"]
    assert service.home.joinpath("data").stat().st_mode & 0o007 == 0


def test_every_panel_has_data(service: Service) -> None:
    board = json.loads((prometheus.ROLE / "files" / "triton.json").read_text(encoding="utf-8"))
    values = {"__rate_interval": "20s", "datasource": "any", "job": "triton", "instance": ".+", "model": ".+"}

    def empty() -> set[str]:
        found: dict[str, bool] = {}
        for panel, expression in queries(board):
            answer = prometheus.ask(service.url, "query", query=substitute(expression, values))["result"]
            real = [each for each in answer if each["value"][1] not in ("NaN", "+Inf", "-Inf")]
            found[panel] = found.get(panel, True) and len(real) == len(answer) > 0
        return {panel for panel, full in found.items() if not full}

    eventually(lambda: empty() <= set(EMPTY), f"data in all panels but {sorted(EMPTY)}")
    assert empty() == set(EMPTY), "an excuse is not needed any more"


def test_every_recorded_series_has_values(service: Service) -> None:
    groups = prometheus.ask(service.url, "rules", type="record")["groups"]
    names = {rule["name"] for group in groups for rule in group["rules"]}
    assert len(names) == 10

    def recorded() -> set[str]:
        return {each["metric"]["__name__"] for each in prometheus.ask(service.url, "query", query='{__name__=~"triton:.+"}')["result"]}

    eventually(lambda: recorded() == names, f"values of {names}")


def test_a_broken_rule_is_refused_and_the_old_ones_stay(service: Service) -> None:
    rules = service.home / "serving-triton.rules.yml"
    before = rules.read_bytes()
    failed = service.apply(monitoring_extra_groups=[{"name": "mine", "rules": [{"record": "mine:up", "expr": "sum(up"}]}])
    assert failed.rc != 0
    assert "could not parse expression" in failed.output
    assert rules.read_bytes() == before
    assert prometheus.ask(service.url, "rules")["groups"]


def test_a_changed_rule_is_taken_over_without_a_restart(service: Service) -> None:
    started = prometheus.ask(service.url, "status/runtimeinfo")["startTime"]
    changed = service.apply(monitoring_extra_groups=[{"name": "mine", "rules": [{"record": "mine:up", "expr": "sum(up)"}]}])
    assert_clean(changed)
    assert [name for _unused, _unused, name in changed.changed] == [f"{ROLE} : Write the rules"]
    assert "mine" in {group["name"] for group in prometheus.ask(service.url, "rules")["groups"]}
    assert prometheus.ask(service.url, "status/runtimeinfo")["startTime"] == started


def test_a_killed_prometheus_comes_back(service: Service) -> None:
    started = prometheus.ask(service.url, "status/runtimeinfo")["startTime"]
    control = service.folder / "prefix" / "supervisor"
    command = [str(next(control.glob("venv-*/bin/supervisorctl"))), "-c", str(control / "supervisord.conf"), "pid", "triton-prometheus"]
    pid = int(subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout)
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: prometheus.ask(service.url, "status/runtimeinfo")["startTime"] != started, "a new Prometheus")


def test_a_wrong_target_fails_before_anything_is_written(service: Service) -> None:
    before = sorted(path.name for path in service.home.iterdir())
    failed = service.apply(monitoring_targets=[{"url": "127.0.0.1:8002"}])
    assert failed.rc != 0
    assert "this is not a metrics URL" in failed.output
    assert not failed.changed
    assert sorted(path.name for path in service.home.iterdir()) == before


def test_grafana_is_provisioned(service: Service, grafana: Path) -> None:
    check = service.apply("--check", monitoring_grafana_provisioning_dir=str(grafana))
    run = service.apply(monitoring_grafana_provisioning_dir=str(grafana))
    assert_clean(run)
    assert_predicted(check, run)
    # The rules of the test before are gone, too.
    assert "mine" not in {group["name"] for group in prometheus.ask(service.url, "rules")["groups"]}
    files = {str(path.relative_to(grafana)) for path in grafana.rglob("*") if path.is_file()}
    assert files == {"datasources/serving-triton.yml", "dashboards/serving-triton.yml", "dashboards/serving-triton/triton.json"}
    assert f'url: "{service.url}"' in (grafana / "datasources" / "serving-triton.yml").read_text()


def test_an_alert_follows_a_server_that_is_down_and_the_next_run_is_idle(service: Service, server: TritonServer, grafana: Path) -> None:
    eventually(lambda: prometheus.ask(service.url, "query", query='up{job="triton",service="tested"} == 1')["result"], "a scrape")
    server.kill()
    try:
        query = 'ALERTS{alertname="TritonDown", service="tested", alertstate="pending"}'
        eventually(lambda: prometheus.ask(service.url, "query", query=query)["result"], "the alert TritonDown")
        failed = service.apply(monitoring_wait=2)
        assert failed.rc != 0
        assert "connection refused" in failed.output
        assert server.metrics in failed.output
    finally:
        server.restart()
    again = service.apply(monitoring_grafana_provisioning_dir=str(grafana))
    assert_clean(again)
    assert_unchanged(again)


def test_a_service_that_goes_leaves_the_others_monitored(service: Service) -> None:
    def targets() -> list[str]:
        return sorted(path.name for path in service.home.glob("serving-triton-*.json"))

    assert_clean(service.apply(monitoring_service="other"))
    assert targets() == ["serving-triton-other.json", "serving-triton-tested.json"]
    assert_clean(service.apply(monitoring_service="other", monitoring_state="absent"))
    assert targets() == ["serving-triton-tested.json"]
    assert prometheus.ask(service.url, "status/flags")


def test_absent_leaves_nothing(service: Service, grafana: Path) -> None:
    gone = {"monitoring_state": "absent", "monitoring_grafana_provisioning_dir": str(grafana)}
    check = service.apply("--check", **gone)
    run = service.apply(**gone)
    assert_clean(run)
    assert_predicted(check, run)
    assert not (service.folder / "prefix").exists()
    assert not [path for path in grafana.rglob("*") if path.is_file()]
    accounts = subprocess.run(["getent", "passwd", service.variables["monitoring_user"]], capture_output=True, timeout=30, check=False)
    assert accounts.returncode == 2
    with pytest.raises(urllib.error.URLError):
        prometheus.ask(service.url, "status/flags")
    assert_unchanged(service.apply(**gone))


def test_without_a_prometheus_one_line_tells_why(tmp_path: Path, server: TritonServer) -> None:
    workspace = Workspace(tmp_path / "work", env=FAST)
    # A machine without prometheus and without apt: neither is on this PATH.
    poor = [{**play()[0], "environment": {"PATH": str(tmp_path)}}]
    variables = variables_for(tmp_path, 9090, server.metrics)
    run = workspace.run(poor, variables=variables)
    assert_clean(run)
    fact = json.loads((tmp_path / "fact.json").read_text())
    assert fact["prometheus"] == ""
    assert "there is no prometheus on localhost's PATH" in fact["reason"]
    assert "monitoring_prometheus_path" in fact["reason"]
    assert f"Monitoring is left out: {fact['reason']}" in run.output
    assert not (tmp_path / "prefix").exists()
    assert workspace.run(poor, variables={**variables, "monitoring_required": True}).rc != 0


@pytest.fixture
def running(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A Prometheus of somebody else: its URL and the folder of its targets and rules."""
    for name in ("targets", "rules", "data"):
        (tmp_path / name).mkdir()
    scrape = {"job_name": "inference", "scrape_interval": "1s", "file_sd_configs": [{"files": [str(tmp_path / "targets" / "*.json")]}]}
    config = {"scrape_configs": [scrape], "rule_files": [str(tmp_path / "rules" / "*.yml")]}
    (tmp_path / "prometheus.yml").write_text(json.dumps(config))
    address = f"127.0.0.1:{free_ports(1)[0]}"
    command = [prometheus.program(), f"--config.file={tmp_path}/prometheus.yml", f"--storage.tsdb.path={tmp_path}/data"]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen([*command, f"--web.listen-address={address}", "--web.enable-lifecycle"], stdout=log, stderr=log)
    try:
        eventually(lambda: prometheus.ask(f"http://{address}", "status/flags"), "a Prometheus")
        yield f"http://{address}", tmp_path
    finally:
        process.terminate()
        process.wait(30)


def test_a_prometheus_that_runs_is_used_and_not_replaced(running: tuple[str, Path], server: TritonServer) -> None:
    url, folder = running
    variables = variables_for(folder, 9090, server.metrics)
    variables |= {
        "monitoring_prometheus_url": url,
        "monitoring_file_sd_dir": str(folder / "targets"),
        "monitoring_rules_dir": str(folder / "rules"),
        "monitoring_prometheus_path": str(prometheus.program()),
    }
    workspace = Workspace(folder / "work", env=FAST)
    check = workspace.run(play(), "--check", variables=variables)
    run = workspace.run(play(), variables=variables)
    assert_clean(run)
    assert_predicted(check, run)
    assert "triton-alerts" in {group["name"] for group in prometheus.ask(url, "rules")["groups"]}
    assert not (folder / "prefix").exists()
    removed = workspace.run(play(), variables={**variables, "monitoring_state": "absent"})
    assert_clean(removed)
    assert not list((folder / "targets").iterdir())
    assert prometheus.ask(url, "rules")["groups"] == []


@pytest.fixture
def ordinary_user() -> Iterator[str]:
    """A throw-away account, where the tests are run by root. Everybody else is an ordinary user already."""
    if os.geteuid() != 0:
        pytest.skip("not root: the other tests of this file ran as an ordinary user")
    name = f"tu-{os.getpid()}"
    subprocess.run(["useradd", "--create-home", name], check=True, timeout=30)
    yield name
    # Nothing is left when the test went well.
    subprocess.run(["pkill", "-KILL", "--uid", name], check=False, timeout=30)
    subprocess.run(["userdel", "--remove", name], check=True, timeout=30, capture_output=True)


# Without `long` a newcomer of test_fresh_clone is such a user.
@pytest.mark.long
def test_an_ordinary_user_needs_no_root(ordinary_user: str, tmp_path: Path, server: TritonServer) -> None:
    python = shutil.which("python3", path="/usr/bin:/usr/local/bin")
    assert python, "the system has no Python that an ordinary user may run"
    host = {**LOCAL_INVENTORY["all"]["hosts"]["localhost"], "ansible_python_interpreter": python}
    host |= {"ansible_become": True, "ansible_become_method": "ansible.builtin.su", "ansible_become_user": ordinary_user}
    home = Path(f"/home/{ordinary_user}")
    # pytest's folders are root's alone, and Ansible warns of a folder that it has to make.
    open_to_all = {"ANSIBLE_REMOTE_TEMP": str(home / ".ansible" / "tmp")}
    for folder in (home / ".ansible", home / ".ansible" / "tmp"):
        folder.mkdir()
        shutil.chown(folder, ordinary_user)
    workspace = Workspace(tmp_path / "work", inventory={"all": {"hosts": {"localhost": host}}}, env=open_to_all)
    variables = {**variables_for(home, free_ports(1)[0], server.metrics), "monitoring_prefix": ""}
    before = sorted(path.name for path in home.iterdir())
    run = workspace.run(play(), variables=variables)
    assert_clean(run)
    prefix = home / ".local" / "share" / "serving-triton"
    assert prefix.owner() == ordinary_user
    fact = json.loads((home / "fact.json").read_text())
    assert Path(fact["config"]).is_relative_to(prefix)
    assert prometheus.ask(fact["prometheus"], "query", query="up == 1")["result"]
    assert_clean(workspace.run(play(), variables={**variables, "monitoring_state": "absent"}))
    assert not prefix.exists()
    assert {path.name for path in home.iterdir()} - set(before) <= {"fact.json", ".local", ".ansible", ".cache"}
