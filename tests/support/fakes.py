# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A clock that does not wait, and a server's control plane that lives in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.serving.triton.plugins.module_utils.core.errors import ServingError
from ansible_collections.serving.triton.plugins.module_utils.core.wait import Clock
from ansible_collections.serving.triton.plugins.module_utils.server.control import READY, UNAVAILABLE, ModelState


class FakeClock(Clock):
    """Sleeping advances the time. naps: how long each sleep was."""

    def __init__(self) -> None:
        self.time = 0.0
        self.naps: list[float] = []

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.naps.append(seconds)
        self.time += seconds


@dataclass
class FakeControl:
    """models: name → state. Loading makes READY, unloading UNAVAILABLE; fails: call or model's name → the error to raise."""

    where: str = "fake"
    models: dict[str, str] = field(default_factory=dict)
    fails: dict[str, ServingError] = field(default_factory=dict)
    configs: dict[str, dict[str, Any]] = field(default_factory=dict)
    is_live: bool = True
    is_ready: bool = True
    calls: list[str] = field(default_factory=list)
    on_index: Callable[[FakeControl], None] | None = None
    closed: bool = False

    def _note(self, call: str) -> None:
        self.calls.append(call)
        for key in (call, call.split(maxsplit=1)[0]):
            if key in self.fails:
                raise self.fails[key]

    def live(self) -> bool:
        self._note("live")
        return self.is_live

    def ready(self) -> bool:
        self._note("ready")
        return self.is_ready

    def server_metadata(self) -> dict[str, Any]:
        self._note("server")
        return {"name": "fake", "version": "1", "extensions": ["statistics"], "more": 1}

    def index(self) -> list[ModelState]:
        self._note("index")
        if self.on_index:
            self.on_index(self)
        return [ModelState(name, "1" if state else "", state) for name, state in self.models.items()]

    def model_ready(self, name: str, version: str = "") -> bool:
        self._note(f"model_ready {name}")
        return self.models.get(name) == READY

    def model_metadata(self, name: str, version: str = "") -> dict[str, Any]:
        self._note(f"model_metadata {name}")
        return {
            "name": name,
            "inputs": [{"name": "IN", "datatype": "FP32", "shape": [-1, 2]}],
            "outputs": [{"name": "OUT", "shape": [-1, 1]}],
        }

    def model_config(self, name: str, version: str = "") -> dict[str, Any]:
        self._note(f"model_config {name}")
        return self.configs.get(name, {"name": name})

    def statistics(self) -> list[dict[str, Any]]:
        self._note("statistics")
        return [{"name": name, "version": "1", "inference_count": 3} for name in self.models]

    def load(self, name: str, config: Mapping[str, Any] | None, timeout: float) -> None:
        self._note(f"load {name}")
        self.models[name] = READY
        if config:
            self.configs[name] = dict(config)

    def unload(self, name: str, dependents: bool, timeout: float) -> None:
        self._note(f"unload {name}")
        if name in self.models:
            self.models[name] = UNAVAILABLE

    def close(self) -> None:
        self.closed = True
