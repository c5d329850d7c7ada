# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the contract suite (tests/integration/test_store_contract.py) needs of a store, and where it finds each one.

A provider's test module has one function, a context manager that starts its server (or takes the real one that the environment names),
makes what is needed (a bucket, a container) and takes it away at the end:

    @contextmanager
    def open_store_under_test() -> Iterator[StoreUnderTest]: ...

It raises UnavailableError, saying why, where it cannot run here (a package or a program is missing). Its module is imported when a test
of that store runs, not before; a package that cannot be imported skips the tests of that store with its name.
"""

from __future__ import annotations

import importlib
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import pytest


class UnavailableError(Exception):
    """This store cannot be tested here; the text says why."""


class StoreUnderTest(Protocol):
    """A repository's place in a running store, seen past our own code: by the provider's SDK, or straight from the stand-in's memory.

    url: the repository as the module's option `repository` has it. module_options: what else the module gets (the provider's options
    such as {"s3": {"region": …}}, ca_path). environment: the publisher's environment, credentials with it. secrets: texts that must
    never show in a result, a diff, a log or an argument list. conditional: whether puts can be conditional, so that two publishers
    at once always find out. Keys are relative to the url.
    """

    url: str
    module_options: Mapping[str, Any]
    environment: Mapping[str, str]
    secrets: Sequence[str]
    conditional: bool

    def at(self, place: str) -> StoreUnderTest:
        """Another repository of the same server and bucket: its url ends in /place instead. Tests use a fresh place each."""

    def put(self, key: str, data: bytes) -> None:
        """Writes an object as somebody else would."""

    def get(self, key: str) -> bytes | None:
        """None where there is none."""

    def keys(self) -> set[str]:
        """Every key below the url."""

    def delete(self, key: str) -> None:
        """Removes an object as somebody else would."""


# Name of the store → the module of its tests.
PROVIDERS = {
    "posix": "support.store_contract",
    "s3": "support.s3_server",
    "oss": "support.oss_server",
    "gcs": "support.gcs_server",
    "azure": "support.azurite_server",
}


@contextmanager
def store_under_test(name: str) -> Iterator[StoreUnderTest]:
    """The store of this name, in a place of its own. Skips the test where it cannot run, saying why."""
    try:
        opened = importlib.import_module(PROVIDERS[name]).open_store_under_test()
        store = opened.__enter__()
    except ImportError as error:
        pytest.skip(f"the tests of {name} need {error.name or error}: it is not installed")
    except UnavailableError as error:
        pytest.skip(f"{name} cannot be tested here: {error}")
    try:
        yield store.at(f"models-{uuid.uuid4().hex[:8]}")
    finally:
        opened.__exit__(None, None, None)


class FolderUnderTest:
    """The POSIX store: a folder, in memory where possible."""

    module_options: Mapping[str, Any] = {}
    environment: Mapping[str, str] = {}
    secrets: Sequence[str] = ()
    conditional = True

    def __init__(self, root: Path, place: str) -> None:
        self._root = root
        self._folder = root / place
        self.url = str(self._folder)

    def at(self, place: str) -> FolderUnderTest:
        return FolderUnderTest(self._root, place)

    def put(self, key: str, data: bytes) -> None:
        path = self._folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def get(self, key: str) -> bytes | None:
        path = self._folder / key
        return path.read_bytes() if path.is_file() else None

    def keys(self) -> set[str]:
        return {str(path.relative_to(self._folder)) for path in self._folder.rglob("*") if path.is_file()}

    def delete(self, key: str) -> None:
        (self._folder / key).unlink(missing_ok=True)


@contextmanager
def open_store_under_test() -> Iterator[FolderUnderTest]:
    shared = "/dev/shm"
    root = Path(tempfile.mkdtemp(prefix="store-contract-", dir=shared if os.access(shared, os.W_OK) else None))
    try:
        yield FolderUnderTest(root, "models")
    finally:
        shutil.rmtree(root)
