# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Reads files below a root, which need not be this machine's: links stay inside it."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

# Enough for a kernel module with its symbols; a file that is larger is not what we think it is.
_MOST_BYTES = 512 * 2**20
# Files of procfs are read into memory of the size that is asked for, so not all at once.
_CHUNK = 2**17
_MOST_LINKS = 40

# Standard output of a command; empty when it cannot run, fails or takes too long.
Runner = Callable[[Sequence[str]], str]


@dataclass
class Tree:
    """root: what stands for /. problems: what was there and could not be read, for the user."""

    root: str = "/"
    problems: list[str] = field(default_factory=list)

    @property
    def live(self) -> bool:
        """Whether the root is this machine's own."""
        return self.root == "/"

    def path(self, path: str) -> str:
        """The real path of an absolute one, with every link on its way taken as it would be below the root. It need not exist."""
        parts = [part for part in path.split("/") if part]
        real: list[str] = []
        links = 0
        while parts:
            part = parts.pop(0)
            if part == "..":
                real = real[:-1]
                continue
            here = os.path.join(self.root, *real, part)
            if part == "." or not os.path.islink(here) or links > _MOST_LINKS:
                real += [part] if part != "." else []
                continue
            links += 1
            target = os.readlink(here)
            real = [] if target.startswith("/") else real
            parts = [each for each in target.split("/") if each] + parts
        return os.path.join(self.root, *real)

    def exists(self, path: str) -> bool:
        return os.path.exists(self.path(path))

    def is_dir(self, path: str) -> bool:
        return os.path.isdir(self.path(path))

    def is_link(self, path: str) -> bool:
        """Whether the last part of the path is a link, dangling ones included."""
        folder, name = os.path.split(path.rstrip("/"))
        return os.path.islink(os.path.join(self.path(folder), name))

    def link(self, path: str) -> str:
        """The last part of what a link points to; empty where there is no link."""
        folder, name = os.path.split(path.rstrip("/"))
        try:
            return os.path.basename(os.readlink(os.path.join(self.path(folder), name)).rstrip("/"))
        except OSError:
            return ""

    def names(self, folder: str, pattern: str = "*") -> list[str]:
        """Names in a folder, sorted; none where it is not there."""
        try:
            return sorted(name for name in os.listdir(self.path(folder)) if fnmatch.fnmatch(name, pattern))
        except FileNotFoundError:
            return []
        except OSError as error:
            self._tell(folder, error)
            return []

    def raw(self, path: str) -> bytes:
        """A file's content; empty where there is none, or no process any more that it is of."""
        try:
            with open(self.path(path), "rb", buffering=0) as handle:
                content = bytearray()
                while len(content) < _MOST_BYTES and (chunk := handle.read(_CHUNK)):
                    content += chunk
                return bytes(content)
        except (FileNotFoundError, ProcessLookupError):
            return b""
        except OSError as error:
            self._tell(path, error)
            return b""

    def text(self, path: str) -> str:
        return self.raw(path).decode("utf-8", errors="replace")

    def word(self, path: str) -> str:
        """The content of a file of one line, as those of sysfs are."""
        return self.text(path).strip()

    def _tell(self, path: str, error: OSError) -> None:
        self.problems.append(f"{path} could not be read: {error.strerror or error}")
