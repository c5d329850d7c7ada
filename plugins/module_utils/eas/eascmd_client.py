# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Runs eascmd with keys that no other user of the machine sees: in a file of its user's, never on a command line."""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ..core.errors import UnavailableError
from ..core.redaction import Redactor
from .commands import Done, Runner
from .credentials import Keys, Source
from .place import Place

_PARTS = ("identity", "secret", "token")


class KeyFile:
    """Makes configuration files of the client. Their form is not documented.

    So the client itself writes one, of names that stand for keys, and the keys are put into it.
    """

    def __init__(self, place: Place, source: Source) -> None:
        self.source = source
        # A host alone is spoken to by https.
        self._endpoint = place.url if place.url.startswith("http:") else place.host
        self._names = {part: f"STANDSFOR{secrets.token_hex(8)}" for part in _PARTS}
        self._forms: dict[bool, str] = {}

    def text(self, keys: Keys, path: str, run: Callable[[list[str], str], Done]) -> str:
        """What such a file holds for these keys. path: of the client. run: runs it, at home in a folder."""
        temporary = bool(keys.token)
        if temporary not in self._forms:
            self._forms[temporary] = self._written(temporary, path, run)
        text = self._forms[temporary]
        for part, name in self._names.items():
            text = text.replace(name, getattr(keys, part))
        return text

    def _written(self, temporary: bool, path: str, run: Callable[[list[str], str], Done]) -> str:
        names = self._names
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "config"
            keys = ["-i", names["identity"], "-k", names["secret"], *(["-t", names["token"]] if temporary else [])]
            # At home in that folder: a client that does not heed -c must not replace its user's own file.
            done = run(["-c", str(file), "config", *keys, "-e", self._endpoint], folder)
            text = file.read_text(encoding="utf-8") if file.exists() else ""
        if not all(names[part] in text for part in _PARTS[: 3 if temporary else 2]):
            said = " ".join(done.output.split())[:300]
            remedy = "Run eascmd config yourself and give its file as eascmd_config, or use backend: openapi."
            raise UnavailableError(f"eascmd config writes no file that keys could be put into: {said}", where=path, remedy=remedy)
        return text


class EasCmdClient:
    """Runs the executable at a path. config: how to make its configuration for each command, or a file that is used as it is.

    timeout: seconds of a command.
    """

    def __init__(self, path: str, config: KeyFile | str, runner: Runner, timeout: float) -> None:
        self._path, self._config, self._runner, self._timeout = path, config, runner, timeout

    def run(self, arguments: tuple[str, ...], stdin: str = "", enough: Callable[[str], bool] = lambda _line: False) -> Done:
        """What the client printed, without the keys. enough: see `commands.run`."""
        if isinstance(self._config, str):
            return self._runner([self._path, "-c", self._config, *arguments], stdin, self._timeout, enough, None)
        keys = self._config.source()
        text = self._config.text(keys, self._path, self._run_at_home)
        with private_file(text) as config:
            done = self._runner([self._path, "-c", config, *arguments], stdin, self._timeout, enough, None)
        return Done(Redactor(keys.secrets).text(done.output), done.code, done.late)

    def _run_at_home(self, arguments: list[str], home: str) -> Done:
        return self._runner([self._path, *arguments], "", self._timeout, lambda _line: False, {"HOME": home})


@contextmanager
def private_file(text: str) -> Iterator[str]:
    """The path of a file of this text that nobody else can read; it is removed afterwards."""
    descriptor, path = tempfile.mkstemp(prefix="serving-triton-")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        yield path
    finally:
        os.unlink(path)
