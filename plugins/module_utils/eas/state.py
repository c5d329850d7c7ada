# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A service as EAS tells it, whichever backend asked. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

RUNNING, STOPPED, FAILED, DELETING, DELETED, DELETE_FAILED = "Running", "Stopped", "Failed", "Deleting", "Deleted", "DeleteFailed"
STOPPING, ABSENT = "Stopping", "Absent"
# Nothing more happens to such a service by itself.
SETTLED = frozenset({RUNNING, STOPPED, FAILED, DELETE_FAILED, "Developing", "Complete"})
NO_LOCK, DANGEROUS_LOCK, FULL_LOCK = "none", "dangerous", "all"


@dataclass(frozen=True)
class Service:
    """status, traffic_state, lock: in EAS's words; "" where the backend does not tell. config: canonical.

    total, running, pending: instances. current, latest: versions. token: of callers, a secret. weight: None where it is not told.
    """

    name: str
    status: str
    config: Mapping[str, Any] = field(default_factory=dict)
    region: str = ""
    reason: str = ""
    message: str = ""
    total: int = 0
    running: int = 0
    pending: int = 0
    current: int = 0
    latest: int = 0
    internet: str = ""
    intranet: str = ""
    token: str = field(default="", repr=False)
    weight: int | None = None
    traffic_state: str = ""
    lock: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    autoscaler: Mapping[str, Any] | None = None
    resource: str = ""
    image: str = ""
    created: str = ""
    updated: str = ""

    @property
    def is_up(self) -> bool:
        """Whether all of its instances run."""
        return self.status == RUNNING and self.running >= self.total and not self.pending

    def progress(self) -> str:
        """How far it is, in a few words."""
        text = f"{self.status}, {self.running} of {self.total} instances running"
        said = self.message or self.reason
        return f"{text}: {said}" if said else text
