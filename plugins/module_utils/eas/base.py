# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What both backends offer. They carry out and report; what is to be done is decided in `plan`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from .spec import Config
from .state import Service

# Abilities that not every backend has.
REPLACE, RELEASE, LOCK, EXPLAIN = "replace", "release", "lock", "explain"


class Backend(Protocol):
    """name: of the backend. region: where it looks. abilities: see above. Every method raises a ServingError that holds no secret.

    A change returns once EAS accepted it; nothing waits until it is done.
    """

    name: str
    region: str
    abilities: frozenset[str]

    def find(self, name: str) -> Service | None:
        """The service; None where there is none."""

    def names(self) -> list[str]:
        """The services of the region that these credentials may see."""

    def autoscaler(self, service: Service) -> Mapping[str, Any] | None:
        """The rule by which the service is scaled; None where its user decides."""

    def create(self, config: Config) -> None: ...

    def update(self, name: str, config: Config, *, replace: bool) -> None: ...

    def scale(self, name: str, instances: int) -> None: ...

    def autoscale(self, service: Service, rule: Config | None) -> None:
        """rule: None to scale by hand again."""

    def label(self, service: Service, labels: Mapping[str, str], gone: list[str]) -> None: ...

    def switch(self, name: str, version: int) -> None: ...

    def start(self, name: str) -> None: ...

    def stop(self, name: str) -> None: ...

    def restart(self, name: str) -> None: ...

    def delete(self, name: str) -> None: ...

    def release(self, name: str, weight: int | None, traffic_state: str | None) -> None: ...

    def lock(self, name: str, lock: str) -> None: ...

    def instances(self, name: str) -> list[dict[str, Any]]: ...

    def versions(self, service: Service) -> list[dict[str, Any]]:
        """The newest first."""

    def events(self, name: str) -> list[str]:
        """The latest, oldest first."""

    def diagnosis(self, name: str) -> list[str]: ...

    def logs(self, name: str, lines: int) -> list[str]:
        """The last lines."""
