# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A service that serves what is published: a record of the content that was last loaded tells what has to be loaded again.

A server's index names versions, not content, so a changed configuration or label file would never be taken up, and a run that died between
publishing and loading would never be made good. The record is written last, when every replica serves.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..core.errors import InputError
from ..core.plan import Action, Plan
from .control import CallOptions
from .endpoint import Endpoint
from .models import Desired, ModelService


def read_record(path: str) -> dict[str, str]:
    """name → revision of what was loaded last. A missing or damaged record is empty: everything is loaded again."""
    try:
        record = json.loads(Path(path).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=path, remedy="Run this as the user who deployed the server.") from error
    return {str(name): str(revision) for name, revision in record.items()} if isinstance(record, dict) else {}


def write_record(path: str, record: Mapping[str, str]) -> None:
    """Atomic: a reader sees the old record or the new one."""
    draft = f"{path}.tmp"
    try:
        Path(draft).write_text(json.dumps(record, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        os.replace(draft, path)
    except OSError as error:
        remedy = "Check that the folder exists and may be written to."
        raise InputError(f"cannot be written: {error.strerror}", where=path, remedy=remedy) from error


@dataclass(frozen=True)
class Published:
    """revisions: name → any text that changes with the model's content. record: the file that tells what was loaded last.

    started: the servers were started after the publish, so they have loaded it already. In check mode they may not run at all then, and are
    not asked. only: nothing but these models is loaded, unloaded and recorded; all where empty.
    """

    revisions: Mapping[str, str]
    record: str
    started: bool = False
    only: tuple[str, ...] = ()


class RecordedService:
    """What module `model` runs when it is given what is published."""

    def __init__(self, endpoint: Endpoint, desired: Desired, options: CallOptions, published: Published, *, check: bool = False) -> None:
        self._path, started = published.record, published.started
        self._record = read_record(self._path)
        only = frozenset(published.only or (*self._record, *published.revisions))
        others = {name: revision for name, revision in self._record.items() if name not in only}
        wanted = {name: revision for name, revision in published.revisions.items() if name in only}
        self._published = {**others, **wanted}
        stale = {name for name, revision in wanted.items() if self._record.get(name) != revision}
        # A model that is named is unloaded whether it was recorded or not.
        gone = tuple(sorted(set(published.only or self._record) - self._published.keys()))
        load = replace(desired, names=tuple(sorted(wanted)), state="loaded", stale=frozenset() if started else frozenset(stale))
        self._parts: list[tuple[ModelService, Plan]] = []
        self._services = [ModelService(endpoint, load, options, check=check)]
        if gone and not started:
            self._services.append(ModelService(endpoint, replace(desired, names=gone, state="unloaded"), options, check=check))
        if started and check:
            self._services = []

    def observe(self) -> list[Any]:
        """Each part's index of every replica."""
        return [service.observe() for service in self._services]

    def plan(self, actual: list[Any]) -> Plan:
        """Loads of what is stale or missing, unloads of what is no longer published, and the record when it would differ."""
        self._parts = [(service, service.plan(seen)) for service, seen in zip(self._services, actual)]
        actions = [action for _service, plan in self._parts for action in plan]
        if self._record != self._published:
            actions.append(Action("record", self._path))
        return Plan(tuple(actions), _shown(self._record), _shown(self._published))

    def apply(self, _plan: Plan) -> None:
        """A failure leaves the record as it was, so that the next run loads again."""
        for service, part in self._parts:
            if part:
                service.apply(part)
        if self._record != self._published:
            write_record(self._path, self._published)

    def result(self, actual: list[Any], _plan: Plan, applied: bool) -> dict[str, Any]:
        """As ModelService's, of the published models."""
        if not self._parts:
            return {"replicas": []}
        answers = [service.result(seen, part, applied) for (service, part), seen in zip(self._parts, actual)]
        return answers[0]


def _shown(record: Mapping[str, str]) -> dict[str, str]:
    return {name: revision[:12] for name, revision in sorted(record.items())}
