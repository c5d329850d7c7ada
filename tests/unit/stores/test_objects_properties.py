# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whatever is published over whatever in an object store, dying anywhere: it converges, and no server can meet half a version."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib

from hypothesis import given, settings
from hypothesis import strategies as st
from support.fakes import FakeClock
from support.memory_bucket import MemoryBucket
from support.memory_store import DiedError
from support.publish_sources import CONTENTS, Source, options, sources, wanted

from ansible_collections.serving.triton.plugins.module_utils.repository.manifest import ModelTree
from ansible_collections.serving.triton.plugins.module_utils.repository.publish import Options, SourceFile
from ansible_collections.serving.triton.plugins.module_utils.repository.publish_steps import served_versions
from ansible_collections.serving.triton.plugins.module_utils.stores.base import StoreOptions
from ansible_collections.serving.triton.plugins.module_utils.stores.objects import KEEP, ObjectStore
from ansible_collections.serving.triton.plugins.module_utils.stores.publisher import Manners, Publisher

PLAIN = Options(force=True)


def publish(bucket: MemoryBucket, source: Source | None, chosen: Options = PLAIN) -> list[str]:
    clock = FakeClock()
    store = ObjectStore(bucket, StoreOptions(list_all=chosen.verify != "manifest"), clock)
    publisher = Publisher(store, source, chosen, Manners(clock=clock))
    plan = publisher.plan(publisher.observe())
    if plan:
        publisher.apply(plan)
    return plan.describe()


def revive(bucket: MemoryBucket) -> None:
    """The dead publisher is told from a living one by its lock's age alone: in a test it is this very process."""
    bucket.fuse = None
    bucket.objects.pop(".serving-triton.lock", None)


def held(bucket: MemoryBucket) -> dict[str, str]:
    """Every published file → digest; an empty version → ""."""
    files = {key: hashlib.sha256(each).hexdigest() for key, each in bucket.objects.items() if "/" in key and not key.endswith(KEEP)}
    folders = {key.rsplit("/", 1)[0] for key in bucket.objects if key.endswith(KEEP)}
    return {**files, **{folder: "" for folder in folders if not any(key.startswith(f"{folder}/") for key in files)}}


class Onlooker:
    """Looks at a bucket as a polling server does, after each write: what it would load must be whole."""

    def __init__(self, bucket: MemoryBucket, before: Source, after: Source) -> None:
        self.bucket, self.before, self.after = bucket, before, after
        bucket.watch = self.look

    def look(self) -> None:
        # A new model is hidden by what it lacks, and a version whose number is overwritten cannot be hidden.
        for name in {*self.before} & {*self.after}:
            if self.before[name].versions.keys() & self.after[name].versions.keys():
                continue
            self._look(name)

    def _look(self, name: str) -> None:
        there: dict[int, dict[str, str]] = {}
        for key, data in self.bucket.objects.items():
            first, slash, rest = key.removeprefix(f"{name}/").partition("/")
            if key.startswith(f"{name}/") and slash and first.isdecimal():
                there.setdefault(int(first), {}).update({} if rest == KEEP else {rest: hashlib.sha256(data).hexdigest()})
        config = self.bucket.objects.get(f"{name}/config.pbtxt", b"").decode()
        for number in served_versions(config, there) or ():
            if number in self.after[name].versions:
                assert there[number] == digests(self.after[name], number), f"half of {name}/{number} under {config!r}"


def digests(tree: ModelTree[SourceFile], number: int) -> dict[str, str]:
    return {path: each.sha256 for path, each in tree.versions[number].items()}


@settings(max_examples=300, deadline=None)
@given(sources(), sources(), options(), st.booleans())
def test_a_publish_reaches_what_is_asked_for_and_then_rests(before: Source, source: Source, chosen: Options, conditional: bool) -> None:
    bucket = MemoryBucket(CONTENTS, conditional=conditional)
    publish(bucket, before)
    assert held(bucket) == wanted(before, {}, PLAIN)
    publish(bucket, source, chosen)
    assert held(bucket) == wanted(source, before, chosen)
    writes = len(bucket.log)
    assert publish(bucket, source, chosen) == []
    assert publish(bucket, source, dataclasses.replace(chosen, verify="digest")) == []
    assert len(bucket.log) == writes


@settings(max_examples=300, deadline=None)
@given(sources(), sources(), options(), st.integers(0, 60))
def test_a_publish_that_dies_is_finished_by_the_next(before: Source, source: Source, chosen: Options, fuse: int) -> None:
    bucket = MemoryBucket(CONTENTS)
    publish(bucket, before)
    bucket.fuse = fuse
    with contextlib.suppress(DiedError):
        publish(bucket, source, chosen)
    revive(bucket)
    publish(bucket, source, chosen)
    assert held(bucket) == wanted(source, before, chosen)
    assert publish(bucket, source, chosen) == []


@settings(max_examples=300, deadline=None)
@given(sources(), sources(), st.integers(0, 80))
def test_no_server_meets_half_a_version(before: Source, source: Source, fuse: int) -> None:
    bucket = MemoryBucket(CONTENTS)
    publish(bucket, before)
    Onlooker(bucket, before, source)
    bucket.fuse = fuse
    with contextlib.suppress(DiedError):
        publish(bucket, source)
    revive(bucket)
    publish(bucket, source)
    assert held(bucket) == wanted(source, before, PLAIN)


@settings(max_examples=100, deadline=None)
@given(sources(), sources(), st.integers(0, 60))
def test_absent_takes_away_all_that_is_ours_also_after_a_death(before: Source, source: Source, fuse: int) -> None:
    bucket = MemoryBucket(CONTENTS)
    bucket.put("foreign/1/model.py", b"theirs")
    publish(bucket, before)
    bucket.fuse = fuse
    with contextlib.suppress(DiedError):
        publish(bucket, source)
    revive(bucket)
    publish(bucket, None)
    assert bucket.objects == {"foreign/1/model.py": b"theirs"}
    assert publish(bucket, None) == []
