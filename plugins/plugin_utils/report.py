# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the actions that report share: where the text is shown and how the file is written."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ansible import constants
from ansible.utils.display import Display

CALLBACK = "serving.triton.summary"


def show(lines: Sequence[str]) -> None:
    """Shows a summary at once, unless the callback will show it at the end of the run."""
    if CALLBACK not in constants.config.get_config_value("CALLBACKS_ENABLED"):
        Display().display("\n" + "\n".join(lines))


def now() -> str:
    """The time that a report carries, ISO 8601."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def report_path(directory: str | None, name: str) -> Path:
    """Where a report is kept: in the folder, or in the user's folder for state where none is given."""
    state = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(directory or f"{state}/serving.triton").expanduser() / name


def write_report(path: Path, report: Mapping[str, Any]) -> Path:
    """Writes the report, with its own path in it, for its owner alone; atomic, so that no reader sees half of it."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_suffix(".tmp")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as stream:
        json.dump({**report, "path": str(path)}, stream, indent=2, sort_keys=True)
        stream.write("\n")
    draft.replace(path)
    return path
