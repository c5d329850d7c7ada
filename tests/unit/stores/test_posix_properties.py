# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The POSIX store on a real file system: what a server may see in the middle of a publish, and what remains of one that fails."""

from __future__ import annotations

import dataclasses
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st
from support.fakes import FakeClock
from support.onlooker import Onlooker, content, models
from support.publish_sources import CONTENTS, Source, options, sources

from ansible_collections.serving.triton.plugins.module_utils.core.errors import ServingError
from ansible_collections.serving.triton.plugins.module_utils.repository.digest import DigestCache
from ansible_collections.serving.triton.plugins.module_utils.repository.publish import Options
from ansible_collections.serving.triton.plugins.module_utils.repository.publish_source import read_source
from ansible_collections.serving.triton.plugins.module_utils.stores.base import StoreOptions
from ansible_collections.serving.triton.plugins.module_utils.stores.posix.store import PosixStore
from ansible_collections.serving.triton.plugins.module_utils.stores.posix.workspace import Workspace
from ansible_collections.serving.triton.plugins.module_utils.stores.publisher import Manners, Publisher

PLAIN = Options(force=True)


def write(folder: Path, source: Source) -> Path:
    for name, tree in source.items():
        (folder / name).mkdir(parents=True)
        for number in tree.versions:
            (folder / name / str(number)).mkdir()
        for path, each in tree.items():
            (folder / name / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / name / path).write_bytes(CONTENTS[each.sha256])
    return folder


def publish(root: Path, source: Path, chosen: Options = PLAIN) -> list[str]:
    publisher = Publisher(
        PosixStore(str(root), StoreOptions()), read_source(str(source), (), DigestCache()), chosen, Manners(clock=FakeClock())
    )
    plan = publisher.plan(publisher.observe())
    if plan:
        publisher.apply(plan)
    return plan.describe()


def failure_of(root: Path, source: Path, chosen: Options) -> str:
    try:
        publish(root, source, chosen)
    except ServingError as error:
        return str(error)
    return ""


@contextmanager
def places(beside: bool) -> Iterator[tuple[Path, Path, Path]]:
    """The repository and two sources. beside: whether the workspace may be beside the repository."""
    # In memory where possible: each publish waits for its file system's disk.
    shared = "/dev/shm"
    folder = Path(tempfile.mkdtemp(prefix="publish-", dir=shared if os.access(shared, os.W_OK) else None))
    try:
        if beside:
            yield folder / "models", folder / "one", folder / "two"
        else:
            with mock.patch.object(Workspace, "_can_stay_beside", return_value=False):
                yield folder / "models", folder / "one", folder / "two"
    finally:
        shutil.rmtree(folder)


def ours(root: Path) -> dict[str, str]:
    return {path: text for path, text in content(root).items() if "/" in path}


@settings(max_examples=200, deadline=None)
@given(sources(), sources(), options(), st.booleans(), st.booleans())
def test_a_server_never_sees_half_a_version(before: Source, source: Source, chosen: Options, beside: bool, exchange: bool) -> None:
    with places(beside) as (root, one, two):
        publish(root, write(one, before))
        onlooker = Onlooker(root, one, write(two, source))
        with onlooker.watching(exchange=exchange):
            done = publish(root, two, chosen)
        assert onlooker.looks or not done
        assert publish(root, two, chosen) == []
        if chosen.prune and not chosen.keep_versions:
            assert ours(root) == content(two)
            assert models(root) == models(two)
        assert {path.name for path in root.parent.iterdir()} == {"models", "one", "two"}
        assert [path.name for path in root.iterdir() if path.is_file()] == [".serving-triton.json"]


@settings(max_examples=150, deadline=None)
@given(sources(), sources(), st.integers(0, 40), st.booleans(), st.booleans())
def test_a_publish_that_fails_midway_is_finished_by_the_next(
    before: Source, source: Source, fail_at: int, beside: bool, exchange: bool
) -> None:
    chosen = dataclasses.replace(PLAIN, prune=True)
    with places(beside) as (root, one, two):
        publish(root, write(one, before))
        onlooker = Onlooker(root, one, write(two, source))
        with onlooker.watching(exchange=exchange, fail_at=fail_at):
            failure = failure_of(root, two, chosen)
        assert failure == "" or "input/output error" in failure
        publish(root, two, chosen)
        assert ours(root) == content(two)
        assert models(root) == models(two)
        assert publish(root, two, chosen) == []
        assert {path.name for path in root.parent.iterdir()} == {"models", "one", "two"}
