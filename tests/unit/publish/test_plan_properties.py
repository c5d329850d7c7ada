# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whatever is published over whatever: the plan reaches what was asked for, and a second plan is empty."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib

from hypothesis import given, settings
from hypothesis import strategies as st
from support.fakes import FakeClock
from support.memory_store import KEEP, DiedError, MemoryStore
from support.publish_sources import CONTENTS, Source, options, sources, wanted

from ansible_collections.serving.triton.plugins.module_utils.repository.publish import Observed, Options
from ansible_collections.serving.triton.plugins.module_utils.stores.publisher import Manners, Publisher

PLAIN = Options(force=True)


def publish(store: MemoryStore, source: Source | None, chosen: Options = PLAIN) -> list[str]:
    publisher = Publisher(store, source, chosen, Manners(clock=FakeClock()))
    plan = publisher.plan(publisher.observe())
    if plan:
        publisher.apply(plan)
    return plan.describe()


def held(store: MemoryStore) -> dict[str, str]:
    """Every published file → digest; an empty version → ""."""
    files = {key: hashlib.sha256(each).hexdigest() for key, each in store.objects.items() if "/" in key and not key.endswith(KEEP)}
    folders = {key.rsplit("/", 1)[0] for key in store.objects if key.endswith(KEEP)}
    return {**files, **{folder: "" for folder in folders if not any(key.startswith(f"{folder}/") for key in files)}}


@settings(max_examples=300, deadline=None)
@given(sources(), sources(), options(), st.booleans())
def test_a_publish_reaches_what_is_asked_for_and_then_rests(before: Source, source: Source, chosen: Options, replaces: bool) -> None:
    store = MemoryStore(CONTENTS, replaces=replaces)
    publish(store, before)
    assert held(store) == wanted(before, {}, PLAIN)
    publish(store, source, chosen)
    assert held(store) == wanted(source, before, chosen)
    assert publish(store, source, chosen) == []
    writes = store.writes
    assert publish(store, source, dataclasses.replace(chosen, verify="digest")) == []
    assert store.writes == writes


@settings(max_examples=300, deadline=None)
@given(sources(), sources(), options(), st.integers(0, 60), st.booleans())
def test_a_publish_that_dies_is_finished_by_the_next(before: Source, source: Source, chosen: Options, fuse: int, replaces: bool) -> None:
    store = MemoryStore(CONTENTS, replaces=replaces)
    publish(store, before)
    store.fuse = fuse
    with contextlib.suppress(DiedError):
        publish(store, source, chosen)
    store.fuse = None
    publish(store, source, dataclasses.replace(chosen, force=False) if before == source else chosen)
    assert held(store) == wanted(source, before, chosen)
    assert publish(store, source, chosen) == []


@settings(max_examples=100, deadline=None)
@given(sources(), sources(), st.integers(0, 60))
def test_absent_takes_away_all_that_is_ours_also_after_a_death(before: Source, source: Source, fuse: int) -> None:
    store = MemoryStore(CONTENTS)
    store.objects["foreign/1/model.py"] = b"theirs"
    store.stamps["foreign/1/model.py"] = 0
    publish(store, before)
    store.fuse = fuse
    with contextlib.suppress(DiedError):
        publish(store, source)
    store.fuse = None
    publish(store, None)
    assert store.objects == {"foreign/1/model.py": b"theirs"}
    assert publish(store, None) == []


@settings(max_examples=100, deadline=None)
@given(sources(), sources(), options())
def test_a_plan_is_a_function_of_what_is_seen(before: Source, source: Source, chosen: Options) -> None:
    store = MemoryStore(CONTENTS)
    publish(store, before)
    publisher = Publisher(store, source, chosen, Manners(clock=FakeClock()))
    seen: Observed = publisher.observe()
    writes = store.writes
    first, second = publisher.plan(seen), publisher.plan(seen)
    assert (first.actions, first.diff(), first.manifest) == (second.actions, second.diff(), second.manifest)
    assert store.writes == writes
    assert bool(first.diff()["before"] == first.diff()["after"]) or first
