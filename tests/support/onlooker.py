# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Looks at a repository after every single rename, exchange and unlink of a publish, as a polling server might just then."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from ansible_collections.serving.triton.plugins.module_utils.repository.layout import CONFIG_FILE, WORK_FOLDER, is_own
from ansible_collections.serving.triton.plugins.module_utils.stores.posix import store as posix

Tree = dict[str, dict[str, str]]


def content(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in sorted(folder.rglob("*")) if path.is_file()}


def versions(model: Path) -> Tree:
    return {each.name: content(each) for each in sorted(model.iterdir()) if each.is_dir() and each.name.isdecimal()}


def models(root: Path) -> dict[str, Tree]:
    folders = sorted(root.iterdir()) if root.is_dir() else []
    return {each.name: versions(each) for each in folders if each.is_dir() and not is_own(each.name)}


def config(root: Path, model: str) -> str | None:
    path = root / model / CONFIG_FILE
    return path.read_text() if path.exists() else None


class Onlooker:
    """before, after: the whole sources. Every version that is seen must be whole, from one of them, under a configuration that fits it."""

    def __init__(self, root: Path, before: Path, after: Path) -> None:
        self.root = root
        self.before, self.after = models(before), models(after)
        self.old_configs = {name: config(before, name) for name in self.before}
        self.new_configs = {name: config(after, name) for name in self.after}
        self.looks = 0
        self.workspace_seen = False

    def look(self) -> None:
        self.looks += 1
        inside = self.root / WORK_FOLDER
        if inside.is_dir() and any(each.is_dir() for each in inside.iterdir()):
            self.workspace_seen = True
            first = [entry for folder in inside.iterdir() for entry in folder.iterdir()]
            assert all(entry.is_dir() for entry in first), f"Triton would take the workspace for a model: {first}"
        for name, seen in models(self.root).items():
            for number, files in seen.items():
                whole = [tree[name][number] for tree in (self.before, self.after) if number in tree.get(name, {})]
                assert files in whole, f"half a version: {name}/{number}"
            self._fits(name, set(seen))

    def _fits(self, name: str, seen: set[str]) -> None:
        if name not in self.before or name not in self.after or self.old_configs[name] == self.new_configs[name]:
            return
        fresh = seen - set(self.before[name])
        now = config(self.root, name)
        if fresh and now == self.old_configs[name]:
            # Only a configuration that names its versions can be left as it is.
            assert now is not None, f"{name}: {fresh} is there without its configuration"
            assert "specific" in now, f"{name}: {fresh} is there under the old configuration"

    @contextmanager
    def watching(self, *, exchange: bool = True, fail_at: int | None = None) -> Iterator[None]:
        """exchange: whether the file system can exchange folders. fail_at: the operation that fails with EIO, from 0."""
        count = iter(range(1 << 30))

        def wrapped(real: Callable[..., Any]) -> Callable[..., Any]:
            def call(*args: Any, **kwargs: Any) -> Any:
                if next(count) == fail_at:
                    raise OSError(5, "Input/output error", str(args[0]))
                result = real(*args, **kwargs)
                self.look()
                return result

            return call

        swap = wrapped(posix.exchange) if exchange else lambda one, two: False
        with ExitStack() as stack:
            for owner, name, new in ((os, "rename", wrapped(os.rename)), (os, "unlink", wrapped(os.unlink)), (posix, "exchange", swap)):
                stack.enter_context(mock.patch.object(owner, name, new))
            yield
