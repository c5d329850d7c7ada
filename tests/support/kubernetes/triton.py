# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Pods that really run a tritonserver, on loopback addresses of their own.

    stand_in.behave("tritonserver", triton_pods(stand_in, repository))

The container's arguments are the server's. Paths below its volume mounts become folders of this machine: a hostPath as it is, ConfigMaps
and Secrets as they are in the cluster, claims and hostPaths as `volumes` names them, everything else a new folder for each pod.
"""

from __future__ import annotations

import base64
import json
import random
import shutil
import socket
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..tritonserver import TritonServer, install, python_environment
from .controllers.kubelet import Behaviour

if TYPE_CHECKING:
    from .standin import StandIn

_PORTS = {"http-port": 8000, "grpc-port": 8001, "metrics-port": 8002}
_ADDRESSES = ("http-address", "grpc-address", "metrics-address")
# What belongs to the image rather than to this machine.
_IMAGES_OWN = ("backend-directory", "cache-directory", "repoagent-directory")
_GUARD_PORT = 39000


class Network:
    """A block of loopback addresses, 127.N.0.0/16, that no other test process has: a bound socket guards it."""

    def __init__(self) -> None:
        for number in random.sample(range(2, 255), 253):
            guard = socket.socket()
            try:
                guard.bind((f"127.{number}.0.1", _GUARD_PORT))
            except OSError:
                guard.close()
                continue
            self._guard, self._prefix, self._count = guard, f"127.{number}", 0
            return
        raise OSError("no block of loopback addresses is free")

    def pod(self) -> str:
        self._count += 1
        return f"{self._prefix}.{self._count // 250}.{self._count % 250 + 2}"

    def service(self, count: int) -> str:
        return f"{self._prefix}.{128 + count // 250}.{count % 250 + 2}"

    def close(self) -> None:
        self._guard.close()


def triton_pods(
    stand_in: StandIn, repository: Path | None = None, version: str = "2.51", volumes: Mapping[str, Path] | None = None
) -> Behaviour:
    """repository: takes the place of any --model-repository that is no URL. volumes: a claim's name or a hostPath → a folder."""

    # Not in the controllers' thread, which everything waits for.
    install(version)
    python_environment()

    def start(pod: dict[str, Any], container: dict[str, Any], address: str) -> TritonPod:
        return TritonPod(stand_in, pod, container, address, (repository, version, volumes or {}))

    return Behaviour(start=start)


class TritonPod:
    """One container. See `controllers.kubelet.Process`."""

    def __init__(
        self,
        stand_in: StandIn,
        pod: dict[str, Any],
        container: dict[str, Any],
        address: str,
        settings: tuple[Path | None, str, Mapping[str, Path]],
    ) -> None:
        repository, version, volumes = settings
        self._folder = Path(tempfile.mkdtemp(prefix="pod-"))
        self._stand_in, self._pod, self._container = stand_in, pod, container
        mounts = self._mounts(volumes)
        options = parse_options(self._command_line(mounts))
        named = [_on_this_machine(each, mounts) for each in _listed(options.pop("model-repository", options.pop("model-store", [])))]
        repositories = [str(repository) if repository and "://" not in each else each for each in named] or [str(repository)]
        kept = {name: _on_this_machine(value, mounts) for name, value in options.items() if name not in (*_IMAGES_OWN, *_ADDRESSES)}
        self._server = _PodServer(address, repositories, version, kept, self._environment())
        self._address, self._ready, self._stopping = address, False, False
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
        hook = ((self._container.get("lifecycle") or {}).get("preStop")) or {}
        time.sleep(min(pre_stop_seconds(hook), grace))
        self._server.end(max(0.0, end - time.monotonic()))
        shutil.rmtree(self._folder, ignore_errors=True)

    # --- how it runs

    def _command_line(self, mounts: Mapping[str, str]) -> list[str]:
        """The server's. A launcher (roles/server_host/files/launch.py) is handed a file with it, and the key of restricted APIs in another.

        /dev/shm is this machine's, where every pod needs a prefix of its own.
        """
        words = [*(self._container.get("command") or []), *(self._container.get("args") or [])]
        file = next((word for word in words if word.endswith(".json")), "")
        if file:
            launch = json.loads(Path(_on_this_machine(file, mounts)).read_text(encoding="utf-8"))
            keys = launch.get("key_arguments") or []
            key = Path(_on_this_machine(launch["key_file"], mounts)).read_text(encoding="utf-8").strip() if keys else ""
            words = [*launch["argv"], *(f"{each}{key}" for each in keys)]
        return [word for word in words if "shm-region-prefix-name" not in word]

    def _probe(self) -> None:
        """Ten times a second, whatever the period says: tests wait for it."""
        probe = self._container.get("readinessProbe") or {}
        get = probe.get("httpGet") or {"path": "/v2/health/ready", "port": self._server.http_port}
        names = {each.get("name"): each["containerPort"] for each in self._container.get("ports") or []}
        port = names.get(get["port"], get["port"])
        while self._server.running() and not self._stopping:
            try:
                with urllib.request.urlopen(f"http://{self._address}:{port}{get['path']}", timeout=2):
                    self._ready = True
            except (OSError, urllib.error.URLError):
                self._ready = False
            time.sleep(0.1)

    def _environment(self) -> dict[str, str]:
        """The plain variables and those out of Secrets and ConfigMaps."""
        found = {}
        for each in self._container.get("env") or []:
            source = each.get("valueFrom") or {}
            for key, kind in (("secretKeyRef", "Secret"), ("configMapKeyRef", "ConfigMap")):
                if key in source:
                    found[each["name"]] = self._data(kind, source[key]["name"]).get(source[key]["key"], b"").decode()
            if "value" in each:
                found[each["name"]] = each["value"]
        return found

    def _data(self, kind: str, name: str) -> dict[str, bytes]:
        value = self._stand_in.get("v1", kind, name, self._pod["metadata"]["namespace"]) or {}
        data = value.get("data") or {}
        return {key: base64.b64decode(text) if kind == "Secret" else text.encode() for key, text in data.items()}

    def _mounts(self, volumes: Mapping[str, Path]) -> dict[str, str]:
        """Mount path → folder of this machine, the longest first."""
        sources = {each["name"]: each for each in self._pod["spec"].get("volumes") or []}
        found = {}
        for mount in self._container.get("volumeMounts") or []:
            folder = self._volume(sources[mount["name"]], volumes)
            found[mount["mountPath"].rstrip("/")] = f"{folder}/{mount['subPath']}" if mount.get("subPath") else str(folder)
        return dict(sorted(found.items(), key=lambda item: -len(item[0])))

    def _volume(self, volume: Mapping[str, Any], volumes: Mapping[str, Path]) -> Path:
        claim = (volume.get("persistentVolumeClaim") or {}).get("claimName", "")
        host = (volume.get("hostPath") or {}).get("path", "")
        if claim in volumes or host in volumes:
            return volumes.get(claim) or volumes[host]
        if host:
            return Path(host)
        folder = self._folder / volume["name"]
        folder.mkdir(exist_ok=True)
        for key, kind, name in (("secret", "Secret", "secretName"), ("configMap", "ConfigMap", "name")):
            if key in volume:
                paths = {each["key"]: each["path"] for each in volume[key].get("items") or []}
                for file, data in self._data(kind, volume[key][name]).items():
                    if not paths or file in paths:
                        (folder / paths.get(file, file)).write_bytes(data)
        return folder


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
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            self._wait_end(grace)
        self.kill()
        self._remove()

    def _wait_end(self, grace: float) -> None:
        end = time.monotonic() + grace
        while self._process is not None and self._process.poll() is None and time.monotonic() < end:
            time.sleep(0.02)


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


def _on_this_machine(value: Any, mounts: Mapping[str, str]) -> Any:
    """A path below a mount becomes the path of this machine."""
    if isinstance(value, list):
        return [_on_this_machine(each, mounts) for each in value]
    for mount, folder in mounts.items():
        if value == mount or value.startswith(f"{mount}/"):
            return folder + value[len(mount) :]
    return value


def pre_stop_seconds(hook: Mapping[str, Any]) -> float:
    """How long a preStop hook sleeps: `sleep: {seconds: N}`, or a command that ends in `sleep N`."""
    if "sleep" in hook:
        return float(hook["sleep"]["seconds"])
    words = " ".join((hook.get("exec") or {}).get("command") or []).split()
    places = [place for place, word in enumerate(words) if word.endswith("sleep")]
    return float(words[places[-1] + 1]) if places and places[-1] + 1 < len(words) else 0.0
