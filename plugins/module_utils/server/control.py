# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the collection asks of one server, whatever the protocol."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from ..core.wait import Clock, RetryPolicy

READY = "READY"
LOADING = "LOADING"
UNLOADING = "UNLOADING"
UNAVAILABLE = "UNAVAILABLE"


@dataclass(frozen=True)
class ModelState:
    """One line of the repository index. version and state are empty for a model that was never loaded; reason is Triton's text."""

    name: str
    version: str = ""
    state: str = ""
    reason: str = ""


@dataclass(frozen=True)
class CallOptions:
    """timeout: seconds a call. policy: attempts and pauses on transient failures."""

    timeout: float = 30.0
    policy: RetryPolicy = field(default_factory=lambda: RetryPolicy(attempts=3))
    clock: Clock = field(default_factory=Clock)


class Control(Protocol):
    """One server's control plane. Every method may raise the errors of server/errors.py."""

    where: str

    def live(self) -> bool:
        """Whether the server says that it is live."""

    def ready(self) -> bool:
        """Whether the server says that it is ready, which does not mean that any model is."""

    def server_metadata(self) -> dict[str, Any]:
        """name, version, extensions."""

    def index(self) -> list[ModelState]:
        """Every model of the server's repositories, loaded or not."""

    def model_ready(self, name: str, version: str = "") -> bool:
        """Whether the model (in its latest version, or this one) answers."""

    def model_metadata(self, name: str, version: str = "") -> dict[str, Any]:
        """name, versions, platform, inputs and outputs, each with name, datatype and shape."""

    def model_config(self, name: str, version: str = "") -> dict[str, Any]:
        """The configuration in use, completed by the server."""

    def statistics(self) -> list[dict[str, Any]]:
        """Counters of every loaded model version, in Triton's form; times in nanoseconds."""

    def load(self, name: str, config: Mapping[str, Any] | None, timeout: float) -> None:
        """Loads or reloads; returns when the load is done. config replaces the whole configuration.

        Never sent twice: LostAnswerError when the connection breaks meanwhile.
        """

    def unload(self, name: str, dependents: bool, timeout: float) -> None:
        """Asks for an unload; returns before it is done. dependents: also the models that only this ensemble uses."""

    def close(self) -> None:
        """Closes the connections."""
