# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A stand-in for `eascmd`, the command line client of EAS: an executable file, its knobs and the log of its runs.

What it does is in `eascmd_tool`. It speaks to the endpoint that its configuration file names, so to the same services as the SDK.
"""

from __future__ import annotations

import json
import py_compile
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .eas_server import OTHER_SECRET, SECRET, TEMPORARY_SECRET, TOKEN

# It starts once a command, so what it imports of ours is compiled once.
_COMPILED = ("__init__", "eas_auth", "eascmd_tool")

_SCRIPT = """#!{python} -ISB
import sys
from pathlib import Path

sys.path.insert(0, {folder!r})
from support.eascmd_tool import main

sys.exit(main(Path({folder!r}), sys.argv[1:]))
"""


@dataclass
class Knobs:
    """How the stand-in behaves.

    refuse_keys: -i, -k and -t on the command line end it with code 9, but for `config`; any of `secrets` there does so for every command.
    private_config: so does a configuration that others can read.
    prompts: the commands that ask before they act. prompt_ends: whether a question ends its line.
    noise: what stands before tables: "", "warnings", "ansi" (also colours them) or "progress". ragged: a row of each table goes on behind
    its end, as one in the reference does. codes: exit codes by command, whatever happens. errors_on_stdout: where errors go.
    delay: seconds before a command acts. poll_seconds: between its looks at a service.
    """

    refuse_keys: bool = True
    secrets: tuple[str, ...] = (SECRET, TEMPORARY_SECRET, OTHER_SECRET, TOKEN)
    private_config: bool = True
    prompts: tuple[str, ...] = ("delete",)
    prompt_ends: bool = True
    noise: str = ""
    ragged: bool = False
    codes: Mapping[str, int] = field(default_factory=dict)
    errors_on_stdout: bool = False
    delay: float = 0.0
    poll_seconds: float = 0.02


@dataclass(frozen=True)
class Run:
    """One run. stdin: what was read of it. code: None while it runs, and for ever when it was killed."""

    argv: tuple[str, ...]
    stdin: str = ""
    code: int | None = None


class Eascmd:
    """The executable below a folder. path: of the executable."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()
        self.path = self._folder / "eascmd"
        for name in _COMPILED:
            target = self._folder / "support" / f"{name}.pyc"
            py_compile.compile(str(Path(__file__).with_name(f"{name}.py")), str(target), doraise=True)
        self.path.write_text(_SCRIPT.format(python=sys.executable, folder=str(self._folder)), encoding="utf-8")
        self.path.chmod(0o755)
        self.set()

    def set(self, **knobs: object) -> None:
        """These knobs from now on, the others as they are at first."""
        (self._folder / "knobs.json").write_text(json.dumps(asdict(Knobs(**knobs))), encoding="utf-8")  # type: ignore[arg-type]

    @property
    def runs(self) -> list[Run]:
        log = self._folder / "log"
        lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
        entries: dict[str, dict[str, Any]] = {}
        for entry in map(json.loads, lines):
            entries.setdefault(entry.pop("run"), {}).update(entry)
        return [Run(**{**entry, "argv": tuple(entry["argv"])}) for entry in entries.values()]

    @property
    def commands(self) -> list[str]:
        """The sub-command of each run with its words, without options and their values: "modify my_service"."""
        return [_words(run.argv) for run in self.runs]


def _words(arguments: tuple[str, ...]) -> str:
    words, rest = [], list(arguments)
    while rest:
        word = rest.pop(0)
        if word.startswith("-"):
            rest = rest if word.startswith("-D") else rest[1:]
        else:
            words.append(word)
    return " ".join(words)
