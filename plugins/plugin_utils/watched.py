# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the actions of modules that transfer for long share: they say how far the module is."""

from __future__ import annotations

import copy
import os
import shlex
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from ansible import constants
from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from . import progress

# Seconds before the first look, and between two. A run that is shorter is never looked at.
INTERVAL = 5.0
# Seconds that a look which is under way at the end of the module is waited for.
PATIENCE = 2.0


class WatchedAction(ActionBase):
    """Runs the module of the action's name, and says how far it is while that takes long. doing: what it does, in a word.

    The module writes its progress to a file of its user on the target; a thread reads it there, over the same connection.
    """

    doing = ""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _supports_async = True

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        variables = task_vars or {}
        arguments = dict(self._task.args)
        detached = bool(self._task.async_val) and not self._connection.has_native_async
        if detached or self._task.check_mode or _is_for_programs(constants.DEFAULT_STDOUT_CALLBACK):
            answer = self._execute_module(self._task.resolved_action, arguments, task_vars=variables, wrap_async=detached)
            return {**result, **answer}
        arguments.setdefault("progress_file", self._place())
        with self._watching(str(arguments["progress_file"]), variables["inventory_hostname"]):
            answer = self._execute_module(self._task.resolved_action, arguments, task_vars=variables)
        return {**result, **answer}

    def _place(self) -> str:
        """A file that the module and a look, as the same user, both find. Nothing is made before the module does."""
        folder = self.get_shell_option("remote_tmp", default="~/.ansible/tmp")
        return f"{folder}/serving-triton-progress-{os.urandom(8).hex()}.json"

    @contextmanager
    def _watching(self, path: str, host: str) -> Iterator[None]:
        done = threading.Event()
        # A daemon: a look that hangs must not keep the run from ending.
        watcher = threading.Thread(target=_watch, args=(_Looker(self, path), f"{host}: {self.doing}", done), daemon=True)
        watcher.start()
        try:
            yield
        finally:
            done.set()
            watcher.join(PATIENCE)


class _Looker:
    """Reads the file with commands of its own: state of the connection that the module uses stays untouched."""

    def __init__(self, action: WatchedAction, path: str) -> None:
        self._action = copy.copy(action)
        self._action._connection = connection = copy.copy(action._connection)
        connection.become = copy.copy(connection.become)
        # The shell that reads it expands the tilde, as the module does.
        home, rest = ("~/", path[2:]) if path.startswith("~/") else ("", path)
        self._path = home + shlex.quote(rest)

    def read(self) -> str | None:
        """The file's text, empty where there is none yet; None where looking makes no sense."""
        try:
            # Exit status 0, also without a file: some connections tell others from broken ones by it.
            answer = self._action._low_level_execute_command(f"cat {self._path} 2>/dev/null || true")
        except (AnsibleError, OSError, ValueError):
            return None
        return None if answer.get("rc") else answer.get("stdout") or ""

    def remove(self) -> None:
        """What a module that was killed leaves."""
        try:
            self._action._low_level_execute_command(f"rm -f {self._path}")
        except (AnsibleError, OSError, ValueError):
            return


def _is_for_programs(callback: str) -> bool:
    """Whether a stdout callback's output is read by programs, so that no line of ours may come between."""
    return callback.rsplit(".", 1)[-1].startswith("json")


def _watch(looker: _Looker, subject: str, done: threading.Event) -> None:
    before = None
    looked = False
    while not done.wait(INTERVAL):
        looked = True
        text = looker.read()
        if text is None:
            return
        look = progress.parse(text)
        # Not yet begun, or over, or no step further: nothing that people need to read.
        if look and not done.is_set() and not look.is_over and look.is_news(before):
            Display().display(look.line(subject, before))
            before = look
    if looked:
        looker.remove()
