# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Instances of the EAS stand-in's services: real tritonservers on what lies in the OSS stand-in, behind the gateway stand-in.

A deployment of a service starts new servers from its JSON: the processor triton copies the repository when it starts, an image has the
folder mounted, so that it sees what is published later. The service runs once they answer; until then, and for ever where they do not come
up, the old ones serve on, as in a rolling update of EAS.
"""

from __future__ import annotations

import itertools
import re
import shlex
import shutil
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .eas_gateway import EasGateway
from .eas_server import EasServer
from .eas_state import DELETING, RUNNING, STOPPED, WAITING, Fate, Service
from .oss_server import OssServer
from .tritonserver import ServerError, TritonServer

_INTERVAL = 0.05
_GONE = (STOPPED, "Stopping", DELETING)
# The instance's own ports are ours to choose.
_OWN_OPTIONS = ("model-repository", "http-port", "grpc-port", "metrics-port", "model-control-mode")


class _Undecided(dict[str, Fate]):
    """No deployment is up before its servers are."""

    def get(self, _name: str, _default: Any = None) -> Any:
        return Fate(WAITING, "", "Waiting for instances")


class EasInstances:
    """A context manager. folder: where repositories are copied to. backends: of models that Triton's own ones do not serve."""

    def __init__(self, eas: EasServer, oss: OssServer, folder: Path, backends: Path | None = None) -> None:
        self.eas, self._oss, self._folder, self._backends = eas, oss, folder, backends
        self._serving: dict[str, list[TritonServer]] = {}
        self._mounted: dict[str, list[tuple[str, Path]]] = {}
        self._seen: dict[str, tuple[object, ...]] = {}
        self._turn = itertools.count()
        self._mutex = threading.RLock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.failure: Exception | None = None
        self.gateway = _Gateway(self)

    def __enter__(self) -> EasInstances:
        self.eas.services.fates = _Undecided()
        self._thread.start()
        return self

    def __exit__(self, *_unused: object) -> None:
        self._stop.set()
        self._thread.join(60)
        self.gateway.close()
        for name in list(self._serving):
            self._take(name, [])
        assert self.failure is None, self.failure

    def serving(self, name: str) -> str:
        """The URL of one of a service's servers, one after the other; empty where it has none."""
        with self._mutex:
            servers = self._serving.get(name) or []
        return servers[next(self._turn) % len(servers)].http if servers else ""

    # --- the platform

    def _watch(self) -> None:
        try:
            while not self._stop.wait(_INTERVAL):
                self._look()
        except (OSError, LookupError, ValueError, AssertionError) as error:
            # Told by __exit__.
            self.failure = error

    def _look(self) -> None:
        with self.eas.mutex:
            services = {name: each for name, each in self.eas.services.all.items() if each.status not in _GONE}
            keys = {name: (each.identity, each.latest, each.restarts, each.total) for name, each in services.items()}
        for name in set(self._serving) - set(keys):
            self._take(name, [])
            self._seen.pop(name, None)
        for name, key in keys.items():
            if self._seen.get(name) != key:
                self._seen[name] = key
                self._deploy(services[name])
        for folders in self._mounted.values():
            for url, folder in folders:
                self._copy(url, folder)

    def _deploy(self, service: Service) -> None:
        with self.eas.mutex:
            config, total = service.config, service.total
        started: list[TritonServer] = []
        try:
            started += [self._start(service.name, config) for _unused in range(total)]
        except ServerError as error:
            for server in started:
                server.__exit__()
            self._tell(service, str(error))
            return
        self._take(service.name, started)
        self._tell(service, "")

    def _tell(self, service: Service, trouble: str) -> None:
        """The deployment's last phase: it runs, or waits for ever and says why."""
        with self.eas.mutex:
            last = service.phases[-1]
            if last.status != WAITING:
                return
            if trouble:
                last.reason, last.message = "Unhealthy", "instances do not become healthy"
                service.logs += trouble.splitlines()
                service.diagnosis = [{"Error": "Unhealthy", "Causes": [last.message], "Advices": ["Read the log."]}]
                self.eas.services.event(service, "Warning", "Unhealthy", last.message)
            else:
                last.status, last.running, last.message = RUNNING, None, ""

    def _take(self, name: str, servers: list[TritonServer]) -> None:
        with self._mutex:
            old, self._serving[name] = self._serving.get(name, []), servers
            if not servers:
                del self._serving[name]
            mounts = {each for server in servers for each in server.repositories}
            self._mounted[name] = [each for each in self._mounted.get(name, []) if str(each[1]) in mounts]
        for server in old:
            server.__exit__()

    # --- one instance

    def _start(self, name: str, config: Mapping[str, Any]) -> TritonServer:
        folder = self._folder / f"{name}-{next(self._turn)}"
        arguments = config.get("processor_params") or shlex.split(config["containers"][0].get("script", ""))[1:]
        options = _options(arguments)
        repository = options["model-repository"][0]
        for storage in config.get("storage", []):
            if storage["mount_path"] == repository:
                self._mounted.setdefault(name, []).append((storage["oss"]["path"], folder))
                repository = storage["oss"]["path"]
        self._copy(repository, folder)
        mode = options.get("model-control-mode", ["none"])[0]
        own = {key: values for key, values in options.items() if key not in _OWN_OPTIONS}
        return TritonServer(folder, mode=mode, options=own, backends=self._backends).start()

    def _copy(self, url: str, folder: Path) -> None:
        """The folder as the bucket has it: files that are new or changed, then those that are gone."""
        match = re.fullmatch(r"oss://([^/.]+)[^/]*/(.*?)/*", url)
        assert match, url
        with self._oss.mutex:
            prefix = f"{match[2]}/"
            bucket = self._oss.buckets.all[match[1]]
            objects = {key[len(prefix) :]: each.data for key, each in bucket.live().items() if key.startswith(prefix)}
        folder.mkdir(parents=True, exist_ok=True)
        for key, data in objects.items():
            path = folder / key
            if key.endswith("/") or (path.exists() and path.read_bytes() == data):
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        for path in [each for each in folder.rglob("*") if each.is_file() and "__pycache__" not in each.parts]:
            if str(path.relative_to(folder)) not in objects:
                path.unlink()
        for path in sorted((each for each in folder.rglob("*") if each.is_dir()), reverse=True):
            if not any(each.is_file() for each in path.rglob("*")):
                shutil.rmtree(path)


class _Gateway(EasGateway):
    """A service is served by its own instances, also while it is updated."""

    def __init__(self, instances: EasInstances) -> None:
        self._instances = instances
        super().__init__(instances.eas, "")

    def serving(self, name: str) -> str:
        return self._instances.serving(name)


def _options(arguments: list[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for each in arguments:
        key, _equals, value = each.removeprefix("--").partition("=")
        found.setdefault(key, []).append(value)
    return found
