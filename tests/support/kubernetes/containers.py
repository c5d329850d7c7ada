# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Containers that really run on this machine: where their volumes lie, what their variables hold, what their commands mean here."""

from __future__ import annotations

import base64
import os
import random
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .controllers.kubelet import Behaviour

if TYPE_CHECKING:
    from .standin import StandIn

_GUARD_PORT = 39000
_HOST = re.compile(r"(?<=//)([a-z0-9-]+)((?:\.[a-z0-9-]+)*)(?=[:/]|$)")


class Network:
    """A block of loopback addresses, 127.N.0.0/16, that no other test process has: a bound socket guards it."""

    def __init__(self) -> None:
        for number in random.sample(range(2, 254), 252):
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


class Container:
    """A container of a pod, seen from this machine.

    volumes: a claim's name or a hostPath → a folder. Other hostPaths are what they say, ConfigMaps and Secrets what they are in the
    cluster, everything else is a folder that the containers of the pod share. Hosts of URLs that are services become their addresses.
    """

    def __init__(self, stand_in: StandIn, pod: dict[str, Any], container: dict[str, Any], volumes: Mapping[str, Path]) -> None:
        self._stand_in, self._pod, self.spec, self._volumes = stand_in, pod, container, volumes
        self._folder = stand_in.folder / pod["metadata"]["uid"]
        self._folder.mkdir(0o700, exist_ok=True)
        self.mounts = self._mounts()

    def words(self) -> list[str]:
        return [self.here(word) for word in [*(self.spec.get("command") or []), *(self.spec.get("args") or [])]]

    def environment(self) -> dict[str, str]:
        found = {}
        for each in self.spec.get("env") or []:
            source = each.get("valueFrom") or {}
            for key, kind in (("secretKeyRef", "Secret"), ("configMapKeyRef", "ConfigMap")):
                if key in source:
                    found[each["name"]] = self._data(kind, source[key]["name"]).get(source[key]["key"], b"").decode()
            if "value" in each:
                found[each["name"]] = self.here(each["value"])
        return found

    def here(self, text: str) -> str:
        """A path below a mount, or a URL of a service, as it is on this machine."""
        for mount, folder in self.mounts.items():
            if text == mount or text.startswith(f"{mount}/"):
                return folder + text[len(mount) :]
        return _HOST.sub(self._address, text)

    def _address(self, found: re.Match[str]) -> str:
        labels = found[2].strip(".").split(".")
        service = self._stand_in.get("v1", "Service", found[1], labels[0] or self._pod["metadata"]["namespace"])
        address = (service or {"spec": {}})["spec"].get("clusterIP", "None")
        return found[0] if address == "None" else str(address)

    def remove(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    def _mounts(self) -> dict[str, str]:
        """Mount path → folder of this machine, the longest first. /dev/shm stays this machine's."""
        sources = {each["name"]: each for each in self._pod["spec"].get("volumes") or []}
        found = {}
        for mount in self.spec.get("volumeMounts") or []:
            folder = self._volume(sources[mount["name"]])
            found[mount["mountPath"].rstrip("/")] = f"{folder}/{mount['subPath']}" if mount.get("subPath") else str(folder)
        found.pop("/dev/shm", None)
        return dict(sorted(found.items(), key=lambda item: -len(item[0])))

    def _volume(self, volume: Mapping[str, Any]) -> Path:
        claim = (volume.get("persistentVolumeClaim") or {}).get("claimName", "")
        host = (volume.get("hostPath") or {}).get("path", "")
        if claim in self._volumes or host in self._volumes:
            return self._volumes.get(claim) or self._volumes[host]
        if host:
            return Path(host)
        folder = self._folder / volume["name"]
        folder.mkdir(exist_ok=True)
        for key, kind, name in (("secret", "Secret", "secretName"), ("configMap", "ConfigMap", "name")):
            if key in volume:
                places = {each["key"]: each["path"] for each in volume[key].get("items") or []}
                for file, data in self._data(kind, volume[key][name]).items():
                    if not places or file in places:
                        path = folder / places.get(file, file)
                        path.parent.mkdir(parents=True, exist_ok=True)
                        path.write_bytes(data)
        return folder

    def _data(self, kind: str, name: str) -> dict[str, bytes]:
        value = self._stand_in.get("v1", kind, name, self._pod["metadata"]["namespace"]) or {}
        data = value.get("data") or {}
        return {key: base64.b64decode(text) if kind == "Secret" else text.encode() for key, text in data.items()}


def command_pods(stand_in: StandIn, volumes: Mapping[str, Path] | None = None) -> Behaviour:
    """Pods whose containers run their commands, init containers among them. volumes: see `Container`."""
    return Behaviour(start=lambda pod, spec, _address: CommandPod(Container(stand_in, pod, spec, volumes or {})), initial=True)


class CommandPod:
    """Runs the container's command, python3 being this interpreter. See `controllers.kubelet.Process`."""

    def __init__(self, container: Container) -> None:
        self._container = container
        words = [sys.executable if word in ("python", "python3") else word for word in container.words()]
        inherited = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
        self._process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
            env={**inherited, **container.environment()},
        )  # fmt: skip
        self._lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        self._lines.extend(self._process.stdout)

    def ready(self) -> bool:
        return self._process.poll() is None

    def exit_code(self) -> int | None:
        code = self._process.poll()
        if code is not None:
            self._reader.join(5)
        return code

    def log(self) -> str:
        return "".join(self._lines)

    def stop(self, grace: float) -> None:
        end = time.monotonic() + grace
        self._process.terminate()
        while self._process.poll() is None and time.monotonic() < end:
            time.sleep(0.02)
        self._process.kill()
        self._process.wait(10)
        self._container.remove()
