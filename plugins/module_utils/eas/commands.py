# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Runs a command and reads what it prints, as far as somebody wants to know."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, cast

_PATIENCE = 5.0


@dataclass(frozen=True)
class Done:
    """code: the exit status; None where the command was ended, by its time (`late`), or since its reader had seen enough."""

    output: str
    code: int | None = None
    late: bool = False


Runner = Callable[[Sequence[str], str, float, Callable[[str], bool], "Mapping[str, str] | None"], Done]


def run(
    arguments: Sequence[str], stdin: str, timeout: float, enough: Callable[[str], bool], environment: Mapping[str, str] | None = None
) -> Done:
    """stdin: given whole. timeout: seconds. enough: asked of each line; the command is ended where it says so. environment: more of it."""
    process = subprocess.Popen(  # noqa: S603 - a list of arguments, no shell
        list(arguments),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env={**os.environ, **(environment or {})},
    )
    late = threading.Event()

    def end() -> None:
        late.set()
        process.kill()

    timer = threading.Timer(timeout, end)
    timer.start()
    try:
        with process:
            lines, stopped = _read(process, stdin, enough)
    finally:
        timer.cancel()
    return Done("".join(lines), None if stopped or late.is_set() else process.returncode, late.is_set())


def _read(process: subprocess.Popen[str], stdin: str, enough: Callable[[str], bool]) -> tuple[list[str], bool]:
    # Both are pipes, see run.
    asked, said = cast(IO[str], process.stdin), cast(IO[str], process.stdout)
    # A command that asks nothing may be gone before it was answered.
    with suppress(OSError):
        asked.write(stdin)
        asked.close()
    lines = []
    for line in said:
        lines.append(line)
        if enough(line):
            process.terminate()
            try:
                process.wait(_PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
            return lines, True
    return lines, False
