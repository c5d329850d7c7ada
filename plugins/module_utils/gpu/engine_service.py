# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Teaches a container engine about NVIDIA's runtime and CDI, and undoes it by the record that it kept."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ..core.errors import InputError
from ..core.plan import Action, Plan
from . import engine_config
from .engine_config import Record, Wanted
from .engine_shown import shown

# How each engine checks a file. CRI-O has no such command.
_CHECKS: dict[str, tuple[str, ...]] = {"docker": ("--validate", "--config-file={}"), "containerd": ("--config={}", "config", "dump")}
_SECONDS = 60
Move = Callable[[str, str], None]


@dataclass(frozen=True)
class Place:
    """path: the configuration. record: where what was done is kept; beside it lies a mark while a restart is due.

    program: the engine's, empty for none.
    """

    engine: str
    path: str
    record: str
    program: str = ""

    @property
    def mark(self) -> str:
        return f"{self.record}.restart"


@dataclass(frozen=True)
class State:
    text: str | None
    record: Record | None
    restart: bool


class EngineService:
    """observe, plan and apply for run_plan. wanted: None to undo. move: puts a file in place atomically."""

    def __init__(self, place: Place, wanted: Wanted | None, move: Move) -> None:
        self._place = place
        self._wanted = wanted
        self._move = move

    def observe(self) -> State:
        record = _read(self._place.record)
        return State(_read(self._place.path), engine_config.load_record(record) if record else None, os.path.exists(self._place.mark))

    def plan(self, actual: State) -> Plan:
        place = self._place
        owned = engine_config.undo(place.engine, actual.text, actual.record, place.path)
        record = engine_config.configure(place.engine, owned, self._wanted, place.path) if self._wanted else None
        text = record.written if record and record.edits else owned
        if self._same(text, actual.text):
            if self._wanted or actual.record is None:
                same = shown(place.engine, actual.text)
                return Plan(before=same, after=same)
            # Somebody else took the settings away; the record goes too.
            return Plan((Action("forget", place.path, {"text": actual.text, "record": None, "restart": False}),))
        verb = "remove" if text is None else ("configure" if self._wanted else "restore")
        data = {"text": text, "record": record, "restart": True}
        return Plan((Action(verb, place.path, data),), shown(place.engine, actual.text), shown(place.engine, text))

    def _same(self, text: str | None, actual: str | None) -> bool:
        """Equal in meaning: what somebody rearranged is left alone."""
        if text is None or actual is None:
            return text == actual
        engine = self._place.engine
        return text == actual or engine_config.parse(engine, text) == engine_config.parse(engine, actual)

    def apply(self, plan: Plan) -> None:
        for action in plan:
            text, record = action.data["text"], action.data["record"]
            if text is not None and action.data["restart"]:
                checked = self._staged(self._place.path, text)
                try:
                    self._check(checked)
                except InputError:
                    os.unlink(checked)
                    raise
            # The record first: what follows can be undone by it, even if it breaks off.
            if record:
                self._write(self._place.record, record.dump())
            if action.data["restart"]:
                self._write(self._place.mark, "")
                if text is None:
                    os.unlink(self._place.path)
                else:
                    self._move(checked, self._place.path)
            if not record:
                os.unlink(self._place.record)

    def result(self, actual: State, plan: Plan, applied: bool) -> dict[str, Any]:
        del applied
        changed = any(action.data["restart"] for action in plan)
        return {"restart": changed or actual.restart, "mark": self._place.mark}

    def _staged(self, path: str, text: str) -> str:
        """A new file beside the one that it will replace, with that one's mode; its owner is the business of `move`."""
        os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
        handle, staged = tempfile.mkstemp(prefix=".serving-triton-", dir=os.path.dirname(path))
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        if os.path.exists(path):
            shutil.copymode(path, staged)
        else:
            os.chmod(staged, 0o644)
        return staged

    def _write(self, path: str, text: str) -> None:
        """Into the folder of records, closed to others: an engine's configuration can have credentials of proxies and registries."""
        folder = os.path.dirname(path)
        os.makedirs(folder, mode=0o700, exist_ok=True)
        # One that an earlier release made is open.
        os.chmod(folder, 0o700)
        self._move(self._staged(path, text), path)

    def _check(self, path: str) -> None:
        check = _CHECKS.get(self._place.engine)
        if not self._place.program or not check:
            return
        command: Sequence[str] = [self._place.program, *(part.format(path) for part in check)]
        try:
            done = subprocess.run(  # noqa: S603 - argv of our own making
                command, capture_output=True, text=True, timeout=_SECONDS, check=False, stdin=subprocess.DEVNULL
            )
        except (OSError, subprocess.TimeoutExpired):
            return
        # Docker knows --validate from 23 on.
        if done.returncode and "unknown flag" not in done.stderr:
            raise InputError(
                f"{self._place.engine} would not take the file: {' '.join(done.stderr.split())[-300:]}",
                where=self._place.path,
                remedy="Nothing was changed. Repair what it names.",
            )


def _read(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except FileNotFoundError:
        return None
