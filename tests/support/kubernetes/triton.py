# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Pods that really run a tritonserver, on loopback addresses of their own.

    stand_in.behave("tritonserver", triton_pods(stand_in, repository))

The container's arguments are the server's, or those of a file with "argv" that it is started with, as the chart of server_kubernetes does.
Containers of the image that start no server run their command: the chart's test, for example. See `containers.Container` for volumes.
"""

from __future__ import annotations

import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..tritonserver import TritonServer, install, python_environment
from .containers import CommandPod, Container
from .controllers.kubelet import Behaviour, Process

if TYPE_CHECKING:
    from .standin import StandIn

_PORTS = {"http-port": 8000, "grpc-port": 8001, "metrics-port": 8002}
_ADDRESSES = ("http-address", "grpc-address", "metrics-address")
# What belongs to the image rather than to this machine.
_IMAGES_OWN = (*_ADDRESSES, "backend-directory", "cache-directory", "repoagent-directory")


def triton_pods(
    stand_in: StandIn,
    repository: Path | None = None,
    version: str = "2.51",
    volumes: Mapping[str, Path] | None = None,
    *,
    initial: bool = False,
) -> Behaviour:
    """repository: takes the place of any --model-repository. volumes: a claim's name or a hostPath → a folder. initial: run the commands of
    init containers too, which are taken to have succeeded otherwise."""
    # Not in the controllers' thread, which everything waits for.
    install(version)
    python_environment()

    def start(pod: dict[str, Any], spec: dict[str, Any], address: str) -> Process:
        container = Container(stand_in, pod, spec, volumes or {})
        words = server_words(container)
        return TritonPod(container, words, address, repository, version) if words else CommandPod(container)

    return Behaviour(start=start, initial=initial)


def server_words(container: Container) -> list[str]:
    """The command line of the server that a container starts, with its own paths; nothing when it starts none."""
    words = [*(container.spec.get("command") or []), *(container.spec.get("args") or [])]
    for word in words:
        file = Path(container.here(word))
        if word.endswith(".json") and file.is_file():
            config = json.loads(file.read_text())
            if "argv" in config:
                key = Path(container.here(config["key_file"])).read_text().strip() if config.get("key_arguments") else ""
                return [*config["argv"], *(argument + key for argument in config.get("key_arguments", []))]
    return words if not words or any("tritonserver" in word.split("/") or "tritonserver " in word for word in words) else []


class TritonPod:
    """One container. See `controllers.kubelet.Process`."""

    def __init__(self, container: Container, words: Sequence[str], address: str, repository: Path | None, version: str) -> None:
        self._container, self._address = container, address
        options = {name: _here(container, value) for name, value in parse_options(words).items() if name not in _IMAGES_OWN}
        named = options.pop("model-repository", options.pop("model-store", []))
        # The regions of pods are apart in a cluster; here each server has its own prefix.
        options["backend-config"] = [each for each in _listed(options.get("backend-config", [])) if "shm-region-prefix-name" not in each]
        repositories = [str(repository)] if repository else _listed(named)
        self._server = _PodServer(address, repositories, version, options, container.environment())
        self._ready = self._stopping = False
        self._server.start()
        threading.Thread(target=self._probe, daemon=True).start()

    # --- what the kubelet asks

    def ready(self) -> bool:
        return self._ready and not self._stopping

    def exit_code(self) -> int | None:
        return None if self._server.running() or self._stopping else self._server.exit_code

    def log(self) -> str:
        return self._server.log

    def stop(self, grace: float) -> None:
        """preStop (as far as it sleeps), SIGTERM, and SIGKILL when the time is over."""
        self._stopping = True
        end = time.monotonic() + grace
        hook = ((self._container.spec.get("lifecycle") or {}).get("preStop")) or {}
        time.sleep(min(pre_stop_seconds(hook), grace))
        self._server.end(max(0.0, end - time.monotonic()))
        self._container.remove()

    def _probe(self) -> None:
        """The startup probe's HTTP request, then the readiness probe's, ten times a second whatever their periods: tests wait for them."""
        started = "startupProbe" not in self._container.spec
        while self._server.running() and not self._stopping:
            answers = self._answers(self._container.spec.get("readinessProbe" if started else "startupProbe") or {})
            self._ready = started and answers
            started = started or answers
            time.sleep(0.1)

    def _answers(self, probe: Mapping[str, Any]) -> bool:
        get = probe.get("httpGet") or {"path": "/v2/health/ready", "port": self._server.http_port}
        names = {each.get("name"): each["containerPort"] for each in self._container.spec.get("ports") or []}
        port = names.get(get["port"], get["port"])
        try:
            with urllib.request.urlopen(f"http://{self._address}:{port}{get['path']}", timeout=2):
                return True
        except (OSError, urllib.error.URLError):
            return False


class _PodServer(TritonServer):
    """On a pod's address, on the ports that its options name."""

    def __init__(self, address: str, repositories: list[str], version: str, options: dict[str, Any], env: dict[str, str]) -> None:
        mode = options.pop("model-control-mode", "none")
        super().__init__(repositories, version, mode=mode, options=options, env=env, wait=False)
        self._address = address
        self.exit_code: int | None = None

    def start(self) -> TritonServer:
        ports = [int(self.options.get(name, port)) for name, port in _PORTS.items()]
        self.options.update(dict.fromkeys(_ADDRESSES, self._address))
        self._launch(*ports)
        return self

    @property
    def http(self) -> str:
        return f"http://{self._address}:{self.http_port}"

    def running(self) -> bool:
        alive = super().running()
        if not alive and self._process is not None:
            self.exit_code = self._process.returncode
        return alive

    def end(self, grace: float) -> None:
        """SIGTERM, and SIGKILL after so many seconds."""
        end = time.monotonic() + grace
        if self.running() and self._process is not None:
            self._process.terminate()
        while self.running() and time.monotonic() < end:
            time.sleep(0.02)
        self.kill()
        self._remove()


def parse_options(words: Sequence[str]) -> dict[str, Any]:
    """tritonserver's options out of a command and its arguments; an option that comes again is a list."""
    flat = [word for text in words for word in (text.split() if " --" in text else [text])]
    found: dict[str, Any] = {}
    for place, word in enumerate(flat):
        if not word.startswith("--"):
            continue
        name, equals, value = word[2:].partition("=")
        if not equals:
            following = flat[place + 1] if place + 1 < len(flat) else ""
            value = following if following and not following.startswith("--") else "true"
        found[name] = [*_listed(found[name]), value] if name in found else value
    return found


def _listed(value: Any) -> list[str]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _here(container: Container, value: Any) -> Any:
    return [container.here(each) for each in value] if isinstance(value, list) else container.here(value)


def pre_stop_seconds(hook: Mapping[str, Any]) -> float:
    """How long a preStop hook sleeps: `sleep: {seconds: N}`, or a command that ends in `sleep N`."""
    if "sleep" in hook:
        return float(hook["sleep"]["seconds"])
    words = " ".join((hook.get("exec") or {}).get("command") or []).split()
    places = [place for place, word in enumerate(words) if word.endswith("sleep")]
    return float(words[places[-1] + 1]) if places and places[-1] + 1 < len(words) else 0.0
