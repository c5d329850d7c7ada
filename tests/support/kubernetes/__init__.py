# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A Kubernetes cluster for tests, with the real helm and kubectl: the project's own stand-in, or the one that a variable names.

    with open_cluster(tmp_path, tools="helm3") as cluster:
        cluster.stand_in.behave("crashing", "crash", log="CUDA out of memory")
        cluster.helm("upgrade", "--install", "demo", chart, "--namespace", "demo", "--create-namespace", "--wait")
        cluster.kubectl("rollout", "status", "deployment/demo", "--namespace", "demo")

There is no kube-apiserver to be had as a package. The stand-in keeps state, defaults and validates strictly, merges as the schemas say,
and refuses as the real one does; its controllers and nodes do what the test configures. See `standin`, `controllers.kubelet.Behaviour`.

Where SERVING_TRITON_TEST_KUBECONFIG names a kubeconfig, tests run against that cluster; `stand_in` is None and
tests that configure it are skipped.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from . import tools
from .containers import command_pods
from .controllers.kubelet import Behaviour
from .server import Fault
from .standin import NEWEST, StandIn
from .triton import triton_pods

__all__ = ["IMAGE", "NEWEST", "REAL", "Behaviour", "Cluster", "Fault", "StandIn", "command_pods", "open_cluster", "triton_pods"]
REAL = "SERVING_TRITON_TEST_KUBECONFIG"
# Names an image with tritonserver, for tests whose pods have to run.
IMAGE = "SERVING_TRITON_TEST_TRITON_IMAGE"


@dataclass(frozen=True)
class Cluster:
    """kubeconfig: the administrator's. folder: HOME, TMPDIR and caches of the tools, because discovery caches are keyed by host alone.
    stand_in: None for a real cluster."""

    folder: Path
    kubeconfig: Path
    tools: str
    stand_in: StandIn | None

    @property
    def configured(self) -> StandIn:
        """The stand-in, for a test that tells it what to do; skips where the cluster is a real one."""
        if self.stand_in is None:
            pytest.skip(f"configures the stand-in, and {REAL} names a real cluster")
        return self.stand_in

    def program(self, name: str) -> str:
        return str(tools.folder(self.tools) / name)

    def environment(self, **more: str) -> dict[str, str]:
        """What the tools and Ansible need in their environment."""
        places = {name: self.folder / name.lower() for name in ("HOME", "TMPDIR", "KUBECACHEDIR", "HELM_CACHE_HOME", "HELM_CONFIG_HOME")}
        for each in places.values():
            each.mkdir(parents=True, exist_ok=True)
        inherited = {name: os.environ[name] for name in ("LANG", "LC_ALL") if name in os.environ}
        path = f"{tools.folder(self.tools)}:{Path(sys.executable).parent}:{os.environ.get('PATH', '/usr/bin:/bin')}"
        data = {"HELM_DATA_HOME": str(self.folder / "helm_data"), "KUBECONFIG": str(self.kubeconfig), "PATH": path}
        return {**inherited, **{name: str(each) for name, each in places.items()}, **data, **more}

    def run(
        self, program: str, *args: object, rc: int | None = 0, stdin: str = "", timeout: float = 120
    ) -> subprocess.CompletedProcess[str]:
        """Runs helm or kubectl. Fails the test when the exit status is not `rc` (None: any)."""
        command = [self.program(program), *map(str, args)]
        done = subprocess.run(
            command, input=stdin, capture_output=True, text=True, timeout=timeout, check=False, env=self.environment(), cwd=self.folder
        )
        assert rc is None or done.returncode == rc, f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
        return done

    def helm(self, *args: object, rc: int | None = 0, stdin: str = "") -> str:
        """What helm prints, errors last."""
        done = self.run("helm", *args, rc=rc, stdin=stdin)
        return done.stdout + done.stderr

    def kubectl(self, *args: object, rc: int | None = 0, stdin: str = "") -> str:
        """What kubectl prints, errors last."""
        done = self.run("kubectl", *args, rc=rc, stdin=stdin)
        return done.stdout + done.stderr

    @contextmanager
    def namespace(self) -> Iterator[str]:
        """A namespace of its own, gone afterwards: what a test makes in it stays out of others' way on a real cluster too."""
        name = f"serving-triton-{uuid.uuid4().hex[:8]}"
        self.kubectl("create", "namespace", name)
        try:
            yield name
        finally:
            self.kubectl("delete", "namespace", name, "--wait=false", rc=None)

    def start(self, program: str, *args: object) -> subprocess.Popen[str]:
        """Starts helm or kubectl; whoever starts it ends it."""
        command = [self.program(program), *map(str, args)]
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        return subprocess.Popen(command, text=True, env=self.environment(), cwd=self.folder, **pipes)  # type: ignore[call-overload,no-any-return]

    def apply(self, *values: Mapping[str, Any], namespace: str = "default") -> None:
        """kubectl apply of manifests."""
        manifests = json.dumps({"apiVersion": "v1", "kind": "List", "items": values})
        self.kubectl("apply", "--namespace", namespace, "--filename", "-", stdin=manifests)

    def get(self, what: str, name: str = "", namespace: str = "default") -> Any:
        """An object or a list of them, from kubectl."""
        return json.loads(self.run("kubectl", "get", what, *([name] if name else []), "--namespace", namespace, "--output", "json").stdout)


@contextmanager
def open_cluster(
    folder: Path, tools_name: str = "helm3", version: str = "1.36", *, forward: bool = False, hide: bool = False
) -> Iterator[Cluster]:
    """Yields the cluster that tests run against. folder: a fresh one. tools_name: helm3 or helm4. The others: see `StandIn`."""
    real = os.environ.get(REAL)
    stand_in = None if real else StandIn(version, forward=forward, hide=hide)
    try:
        kubeconfig = stand_in.kubeconfig(folder / "kubeconfig") if stand_in else Path(str(real)).resolve()
        yield Cluster(folder, kubeconfig, tools_name, stand_in)
    finally:
        if stand_in:
            stand_in.close()
    assert not (stand_in and stand_in.failures), "\n".join(stand_in.failures)
