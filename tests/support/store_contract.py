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
import json
import os
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol
from unittest import mock

import pytest

from ansible_collections.serving.triton.plugins.modules import model_repository

from . import ansible_runs

FQCN = "serving.triton.model_repository"
MODULE = "ansible_collections.serving.triton.plugins.modules.model_repository"
OWN_PREFIX = ".serving-triton"
MANIFEST = ".serving-triton.json"
LOCK = ".serving-triton.lock"


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


# --- a publisher


class Publishing:
    """A source and the repository that it is published to. Runs in this process (`publish`), or as Ansible would (`run`, `start`)."""

    def __init__(self, store: StoreUnderTest, home: Path) -> None:
        self.store, self.home, self.source = store, home, home / "source"
        self.source.mkdir(parents=True, exist_ok=True)

    def arguments(self, **options: Any) -> dict[str, Any]:
        """What the module is given."""
        base = {"repository": self.store.url, "digest_cache": str(self.home / "digests.json"), "lint": False, **self.store.module_options}
        present = {"src": str(self.source)} if options.get("state", "present") == "present" else {}
        return {**base, **present, **options}

    def publish(self, *, check: bool = False, **options: Any) -> dict[str, Any]:
        """One run of the module's own parts. Raises what it would tell as its failure."""
        spec = model_repository.argument_spec()
        params = {name: each.get("default") for name, each in spec.items()} | self.arguments(**options)
        for name in ("s3", "oss", "gcs", "azure"):
            given = params[name] or {}
            params[name] = {option: each.get("default") for option, each in spec[name]["options"].items()} | dict(given)
        with mock.patch.dict(os.environ, self.store.environment):
            publisher = model_repository.build(params)
            actual = publisher.observe()
            plan = publisher.plan(actual)
            if plan and not check:
                publisher.apply(plan)
            answer = publisher.result(actual, plan, bool(plan) and not check)
        return {"changed": bool(plan), "actions": plan.describe(), "diff": plan.diff(), **answer}

    def run(self, *, check: bool = False, **options: Any) -> dict[str, Any]:
        """The module in a process of its own."""
        args = self.arguments(**options)
        return ansible_runs.run_module(FQCN, args, check=check, diff=True, env=dict(self.store.environment))

    def start(self, **options: Any) -> subprocess.Popen[bytes]:
        """The module in a process of its own, running. Its arguments go by its standard input."""
        payload = {"ANSIBLE_MODULE_ARGS": {**self.arguments(**options), "_ansible_remote_tmp": tempfile.gettempdir()}}
        process = subprocess.Popen(
            [sys.executable, "-m", MODULE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=ansible_runs.environment(**self.store.environment),
        )  # fmt: skip
        assert process.stdin is not None
        process.stdin.write(json.dumps(payload).encode())
        process.stdin.close()
        process.stdin = None
        return process

    def add(self, model: str, version: int = 1, *, config: str = "", **files: str) -> Path:
        """Writes a version of a model: its model file, weights, and files by their name without .txt; and the model's configuration."""
        folder = self.source / model / str(version)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "model.py").write_text(f"# {model} {version}\n")
        (folder / "weights").write_text(f"weights of {model} {version}\n" * 50)
        for name, text in files.items():
            (folder / f"{name}.txt").write_text(text)
        (self.source / model / "config.pbtxt").write_text(config or f'backend: "python"\n# {version}\n')
        return self.source / model

    def add_ensemble(self, model: str) -> None:
        """A model whose version is an empty folder."""
        (self.source / model / "1").mkdir(parents=True)
        (self.source / model / "config.pbtxt").write_text('platform: "ensemble"\n')

    def wanted(self) -> dict[str, bytes]:
        """What the source holds."""
        return {str(path.relative_to(self.source)): path.read_bytes() for path in self.source.rglob("*") if path.is_file()}

    def everything(self) -> set[str]:
        """Every key of the repository."""
        return self.store.keys()

    def published(self) -> dict[str, bytes]:
        """What the repository holds, without what is ours to keep order (the manifest, what stands for an empty version)."""
        keys = {key for key in self.everything() if not key.startswith(OWN_PREFIX) and not key.endswith("/.keep")}
        return {key: self.store.get(key) or b"" for key in keys}

    def own(self) -> set[str]:
        """What keeps order."""
        return {key for key in self.everything() if key.startswith(OWN_PREFIX)}

    def is_settled(self) -> bool:
        """Whether the repository holds just what the source holds, no lock and no leftovers, and a run has nothing to do."""
        return self.published() == self.wanted() and self.own() == {MANIFEST} and not self.publish()["changed"]
