# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""SIGKILL of the publishing module at random points while a real server polls the repository: what the tests of all stores share.

Each version comes with a configuration that belongs to it, and its files belong together: the model answers with what it was loaded from,
so half a version, or a version under another one's configuration, shows in the answer.
"""

from __future__ import annotations

import json
import random
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import ansible_runs
from .tritonserver import TritonServer

MODULE = "ansible_collections.serving.triton.plugins.modules.model_repository"
LOCK = ".serving-triton.lock"
MANIFEST = ".serving-triton.json"
# Many more than one load takes: a server that is loading a version when it is removed fails, and Triton's python backend then hangs.
KEEP_VERSIONS = 8

CODE = """
import json
import os

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        folder = os.path.join(args["model_repository"], args["model_version"])
        parts = [args["model_version"], json.loads(args["model_config"])["parameters"]["belongs_to"]["string_value"]]
        for name in sorted(os.listdir(folder)):
            if name.startswith("part"):
                with open(os.path.join(folder, name)) as file:
                    parts.append(file.read(20).strip())
        self.answer = f"{len(parts)}:" + ",".join(sorted(set(parts)))

    def execute(self, requests):
        return [pb_utils.InferenceResponse([pb_utils.Tensor("OUT", np.array([self.answer.encode()], np.object_))]) for _ in requests]
"""
CONFIG = """
backend: "python"
input [ {{ name: "IN" data_type: TYPE_STRING dims: [ 1 ] }} ]
output [ {{ name: "OUT" data_type: TYPE_STRING dims: [ 1 ] }} ]
parameters {{ key: "belongs_to" value {{ string_value: "{version}" }} }}
"""
ENSEMBLE = """
platform: "ensemble"
input [ {{ name: "IN" data_type: TYPE_STRING dims: [ 1 ] }} ]
output [ {{ name: "OUT" data_type: TYPE_STRING dims: [ 1 ] }} ]
ensemble_scheduling {{
  step [ {{
    model_name: "{step}" model_version: -1
    input_map {{ key: "IN" value: "IN" }}
    output_map {{ key: "OUT" value: "OUT" }}
  }} ]
}}
"""
PARTS = 12


def write_version(model: Path, version: int, *, named: bool = False) -> None:
    """A version whose every part says its number, and the configuration that belongs to it. named: it names the version."""
    folder = model / str(version)
    folder.mkdir(parents=True)
    (folder / "model.py").write_text(CODE)
    for part in range(PARTS):
        (folder / f"part{part}").write_text(f"{version:<20}" * (5000 if part == 0 else 20))
    policy = f"version_policy {{ specific {{ versions: [ {version} ] }} }}\n" if named else ""
    (model / "config.pbtxt").write_text(CONFIG.format(version=version) + policy)


def write_ensemble(folder: Path, step: str) -> None:
    """A model whose version is an empty folder."""
    (folder / "1").mkdir(parents=True)
    (folder / "config.pbtxt").write_text(ENSEMBLE.format(step=step))


# A manifest with nothing pending, and the new version there.
WHOLE = "quiet new"
# What a killed publish is waited for before it is killed, and for how long at most it may go on after that.
Phases = Mapping[str, tuple[Callable[[], bool], float]]


@dataclass
class KilledPublisher:
    """One source, its repository, and everything that was seen of it. A store's own says what is published and how far one came.

    named: configurations name the version that they are for. keep: versions that stay.
    """

    home: Path
    seed: int
    named: bool = False
    keep: int = KEEP_VERSIONS
    version: int = 1
    kills: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.name = f"model{self.seed}"
        self.source = self.home / "source"
        self.random = random.Random(self.seed)
        self.home.mkdir()
        write_version(self.source / self.name, 1, named=self.named)

    # what a store has of its own

    def where(self) -> dict[str, Any]:
        """The module's arguments that name the repository."""
        raise NotImplementedError

    def phases(self) -> Phases:
        """Name → when it is reached, and seconds that it lasts; asked for before each publish that is to be killed."""
        raise NotImplementedError

    def state(self) -> str:
        """How far the killed one came, for people; WHOLE where it came to its end."""
        raise NotImplementedError

    def published(self) -> dict[str, str]:
        """path → text of what the repository holds, with empty version folders as empty texts; without the manifest."""
        raise NotImplementedError

    def is_clean(self) -> bool:
        """Whether nothing but models and the manifest is left."""
        raise NotImplementedError

    # what all share

    def start(self) -> subprocess.Popen[bytes]:
        arguments = {
            "src": str(self.source), "prune": True, "keep_versions": self.keep, "digest_cache": "", "lint": False, **self.where(),
        }  # fmt: skip
        payload = {"ANSIBLE_MODULE_ARGS": {**arguments, "_ansible_remote_tmp": tempfile.gettempdir()}}
        process = subprocess.Popen(
            [sys.executable, "-m", MODULE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=ansible_runs.environment(),
        )  # fmt: skip
        assert process.stdin is not None
        process.stdin.write(json.dumps(payload).encode())
        process.stdin.close()
        process.stdin = None
        return process

    def finish(self) -> dict[str, Any]:
        process = self.start()
        output, errors = process.communicate(timeout=60)
        assert process.returncode == 0, output.decode() + errors.decode()
        return dict(json.loads(output))

    def next_source(self) -> None:
        self.version += 1
        write_version(self.source / self.name, self.version, named=self.named)
        if self.version > self.keep + 1:
            shutil.rmtree(self.source / self.name / str(self.version - self.keep - 1))
        if self.version % 4 == 3:
            write_ensemble(self.source / f"{self.name}_ensemble{self.version}", self.name)

    def kill_one(self) -> bool:
        """Whether the killed one left something to do."""
        phases = self.phases()
        reached, lasts = phases[self.random.choice(list(phases))]
        process = self.start()
        while process.poll() is None and not reached():
            time.sleep(0.0001)
        time.sleep(self.random.uniform(0, lasts))
        process.kill()
        process.communicate()
        state = self.state()
        self.kills.append(f"{'done' if process.returncode == 0 else 'killed'} {state}")
        return state != WHOLE

    def run(
        self, kills: int, *, at_once: Callable[[random.Random], int] = lambda _random: 1, first: Callable[[], None] = lambda: None
    ) -> None:
        """Kills one publish after the other, lets the server poll what they left, and has the next one finish the work.

        at_once: how many are killed before one may finish. first: comes before each new version.
        """
        while len(self.kills) < kills:
            first()
            self.next_source()
            for _unused in range(min(at_once(self.random), kills - len(self.kills))):
                left = self.kill_one()
                time.sleep(1.1)
                if not left:
                    break
            self.finish()
            if not self.converged():
                self.problems.append(f"{self.name} version {self.version} did not converge")
        if self.finish()["changed"]:
            self.problems.append(f"{self.name}: an idle run changed something")

    def leave_one_model(self) -> None:
        ensembles = sorted(self.source.glob("*_ensemble*"))
        for folder in ensembles:
            shutil.rmtree(folder)
        assert self.finish()["removed_models"] == [folder.name for folder in ensembles] != []

    def converged(self) -> bool:
        newest = sorted(self.source.joinpath(self.name).glob("[0-9]*"), key=lambda each: int(each.name))[-self.keep :]
        names = {each.name for each in newest}
        wanted = {path: text for path, text in tree(self.source).items() if not self._old(path, names)}
        return self.published() == wanted and self.is_clean()

    def _old(self, path: str, kept: set[str]) -> bool:
        parts = path.split("/")
        return parts[0] == self.name and parts[1].isdecimal() and parts[1] not in kept


def tree(folder: Path) -> dict[str, str]:
    # The python backend leaves byte code beside its models.
    files = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".") and "__pycache__" not in path.parts]
    empty = [path for path in folder.rglob("[0-9]*") if path.is_dir() and not any(path.iterdir())]
    return {**{str(path.relative_to(folder)): path.read_text() for path in files}, **{str(path.relative_to(folder)): "" for path in empty}}


class Watch(threading.Thread):
    """Asks the server without a pause. answers: model → text → count; failures: what was not answered."""

    def __init__(self, server: TritonServer, names: list[str]) -> None:
        super().__init__(daemon=True)
        self.server, self.names = server, names
        self.answers: dict[str, dict[str, int]] = {name: {} for name in names}
        self.failures: list[str] = []
        self.stopping = threading.Event()

    def run(self) -> None:
        body = {"inputs": [{"name": "IN", "shape": [1], "datatype": "BYTES", "data": ["x"]}]}
        while not self.stopping.wait(0.02):
            for name in self.names:
                answer = self._ask(f"/v2/models/{name}/infer", body)
                if answer:
                    text = str(answer["outputs"][0]["data"][0])
                    self.answers[name][text] = self.answers[name].get(text, 0) + 1

    def _ask(self, path: str, body: Mapping[str, Any] | None) -> dict[str, Any]:
        request = urllib.request.Request(f"{self.server.http}{path}", data=json.dumps(body).encode() if body else None)
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return dict(json.loads(answer.read() or b"{}"))
        except urllib.error.HTTPError as error:
            self.failures.append(f"{path}: {error.code} {error.read().decode()}")
        except OSError as error:
            self.failures.append(f"{path}: {error}")
        return {}


def complaints(log: str) -> list[str]:
    """The server's error lines, less those about the workspace that is no model."""
    errors = [line for line in log.splitlines() if re.match(r"E\d{4} ", line)]
    # Ensembles miss a GPU, to no harm.
    expected = "Poll failed for model directory 'serving-triton-publishing'", "unable to create stream for"
    return [line for line in errors if not any(part in line for part in expected)]


@dataclass
class Outcome:
    """What a server and its clients saw of killed publishes."""

    served: list[bool]
    idle: bool
    unsettled: str
    log: str
    watch: Watch


def kill_under_a_polling_server(publishers: Sequence[Any], server: TritonServer, work: Callable[[Any, Watch], None]) -> Outcome:
    """Runs the publishers' work side by side under clients that never pause; then leaves the server one model of each."""
    started = len(server.log)
    watch = Watch(server, [each.name for each in publishers])
    watch.start()
    threads = [threading.Thread(target=work, args=(each, watch)) for each in publishers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    served = [wait_for(watch, each) for each in publishers]
    # What Triton is loading when it is removed fails (docs/publishing.md), and a model loads once more when python wrote its byte code.
    idle = wait_until_idle(server)
    for each in publishers:
        each.leave_one_model()
    unsettled = settle(server, {each.name for each in publishers})
    watch.stopping.set()
    watch.join()
    return Outcome(served, idle, unsettled, server.log[started:], watch)


def check(outcome: Outcome, publishers: Sequence[KilledPublisher], kills: int, *, harmless: str = "") -> None:
    """Asserts it. harmless: a pattern of the server's error lines that may be."""
    report(publishers, outcome.watch)
    problems = [problem for each in publishers for problem in each.problems]
    assert not problems, problems
    assert [len(each.kills) for each in publishers] == [kills] * len(publishers)
    assert all(outcome.served), "the last version is not served"
    assert outcome.idle, "the server does not come to rest"
    assert not outcome.unsettled, f"{outcome.unsettled}\n{outcome.log[-3000:]}"
    assert not outcome.watch.failures, outcome.watch.failures[:5]
    errors = [line for line in complaints(outcome.log) if not (harmless and re.search(harmless, line))]
    assert not errors, errors[:5]
    for name, answers in outcome.watch.answers.items():
        whole = re.compile(rf"{PARTS + 2}:[0-9]+\Z")
        assert answers
        assert all(whole.match(text) for text in answers), f"{name} answered from half a version: {answers}"


def wait_for(watch: Watch, publisher: KilledPublisher, seconds: float = 90) -> bool:
    """Whether the last version gets served."""
    for _unused in range(int(seconds * 10)):
        if f"{PARTS + 2}:{publisher.version}" in watch.answers[publisher.name]:
            return True
        time.sleep(0.1)
    return False


def wait_until_idle(server: TritonServer, quiet: float = 4) -> bool:
    """Whether the server's log comes to rest: it has polled a few times and found nothing more to load."""
    length, since = -1, time.monotonic()
    for _unused in range(900):
        if len(server.log) != length:
            length, since = len(server.log), time.monotonic()
        elif time.monotonic() - since > quiet:
            return True
        time.sleep(0.1)
    return False


def settle(server: TritonServer, names: set[str]) -> str:
    """Waits until the server is ready and has these models alone, each with a ready version. Returns what stands against it, or ""."""
    seen = ""
    for _unused in range(400):
        index = json.loads(_post(server, "/v2/repository/index"))
        ready = {each["name"] for each in index if each.get("state") == "READY"}
        if {each["name"] for each in index} == names == ready and _ready(server):
            return ""
        seen = f"ready: {_ready(server)}, index: {index}"
        time.sleep(0.1)
    return seen


def _post(server: TritonServer, path: str) -> bytes:
    with urllib.request.urlopen(urllib.request.Request(f"{server.http}{path}", data=b"{}"), timeout=20) as answer:
        return bytes(answer.read())


def _ready(server: TritonServer) -> bool:
    try:
        with urllib.request.urlopen(f"{server.http}/v2/health/ready", timeout=20) as answer:
            return bool(answer.status == 200)
    except urllib.error.HTTPError:
        return False


def report(publishers: Sequence[KilledPublisher], watch: Watch) -> None:
    for each in publishers:
        states = {state: each.kills.count(state) for state in sorted(set(each.kills))}
        print(type(each).__name__, each.name, states, watch.answers[each.name])
