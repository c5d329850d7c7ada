# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What publishing promises, the same over every store: a folder, and the servers of tests/support (or real ones, see there)."""

from __future__ import annotations

import json
import os
import random
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.store_contract import LOCK, MANIFEST, PROVIDERS, Publishing, StoreUnderTest, store_under_test

from ansible_collections.serving.triton.plugins.module_utils.core.errors import ConflictError, InputError, ServingError
from ansible_collections.serving.triton.plugins.module_utils.core.wait import Clock

LARGE = 40 * 1024 * 1024


@pytest.fixture(scope="module", params=list(PROVIDERS))
def opened(request: pytest.FixtureRequest) -> Iterator[StoreUnderTest]:
    with store_under_test(request.param) as store:
        yield store


@pytest.fixture
def publishing(opened: StoreUnderTest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Publishing:
    """A publisher with an empty source and an empty place in the store."""
    # Pauses that a polling server needs; none polls here.
    monkeypatch.setattr(Clock, "sleep", lambda _clock, seconds: time.sleep(min(seconds, 0.02)))
    return Publishing(opened.at(f"models-{random.randrange(16**8):08x}"), tmp_path)


def with_models(publishing: Publishing) -> Publishing:
    publishing.add("alpha")
    publishing.add("beta", labels="one two")
    publishing.add_ensemble("chain")
    assert publishing.publish()["changed"]
    return publishing


# --- one run after the other


def new_version(publishing: Publishing) -> None:
    publishing.add("alpha", 2)


def new_model(publishing: Publishing) -> None:
    publishing.add("gamma", 3)


def new_config(publishing: Publishing) -> None:
    (publishing.source / "beta" / "config.pbtxt").write_text('backend: "python"\nmax_batch_size: 4\n')


def model_gone(publishing: Publishing) -> None:
    shutil.rmtree(publishing.source / "beta")


def version_gone(publishing: Publishing) -> None:
    shutil.rmtree(publishing.source / "alpha" / "1")


def label_gone(publishing: Publishing) -> None:
    (publishing.source / "alpha" / "labels.txt").unlink()


def new_label(publishing: Publishing) -> None:
    (publishing.source / "alpha" / "labels.txt").write_text("a")


LIFE: list[tuple[Callable[[Publishing], None], dict[str, Any], list[str]]] = [
    (new_version, {}, ["alpha"]),
    (new_model, {}, ["gamma"]),
    (new_config, {"verify": "digest"}, ["beta"]),
    (new_label, {}, ["alpha"]),
    (label_gone, {}, ["alpha"]),
    (model_gone, {"prune": True}, []),
    (version_gone, {"keep_versions": 1}, ["alpha"]),
]


def test_check_predicts_each_run_and_a_second_run_is_idle(publishing: Publishing) -> None:
    with_models(publishing)
    assert publishing.is_settled()
    for change, options, models in LIFE:
        change(publishing)
        before = publishing.published()
        predicted = publishing.publish(check=True, **options)
        assert publishing.published() == before
        done = publishing.publish(**options)
        assert done == predicted
        assert done["changed"]
        assert done["changed_models"] == models
        assert not publishing.publish(**options)["changed"]
        assert publishing.is_settled()


@pytest.mark.parametrize("verify", ["manifest", "list", "digest"])
def test_an_idle_run_is_idle_however_it_looks(publishing: Publishing, verify: str) -> None:
    with_models(publishing)
    idle = publishing.publish(verify=verify)
    assert not idle["changed"]
    assert idle["actions"] == []
    assert idle["bytes"] == 0


def test_an_empty_version_folder_counts(publishing: Publishing) -> None:
    with_models(publishing)
    assert next(each["versions"] for each in publishing.publish()["models"] if each["name"] == "chain") == [1]
    # No folder markers: Triton takes one for a version.
    assert not any(key.endswith("/") for key in publishing.everything())


# --- content decides


def test_a_published_version_is_immutable(publishing: Publishing) -> None:
    with_models(publishing)
    before = publishing.published()
    (publishing.source / "alpha" / "1" / "weights").write_text("others")
    with pytest.raises(ConflictError, match="publish them as version 2"):
        publishing.publish()
    assert publishing.published() == before
    assert publishing.publish(force=True)["changed_models"] == ["alpha"]
    assert publishing.is_settled()


def test_same_size_and_an_older_time_is_found(publishing: Publishing) -> None:
    with_models(publishing)
    config = publishing.source / "alpha" / "config.pbtxt"
    old = config.stat()
    config.write_text(config.read_text().replace("# 1", "# 7"))
    os.utime(config, ns=(old.st_atime_ns - 10**13, old.st_mtime_ns - 10**13))
    assert config.stat().st_size == old.st_size
    assert publishing.publish()["changed_models"] == ["alpha"]
    assert publishing.is_settled()


def test_a_touched_tree_uploads_nothing(publishing: Publishing) -> None:
    with_models(publishing)
    for path in publishing.source.rglob("*"):
        os.utime(path)
    idle = publishing.publish()
    assert not idle["changed"]
    assert idle["bytes"] == 0


DRIFT: dict[str, Callable[[StoreUnderTest], None]] = {
    "deleted": lambda store: store.delete("alpha/1/weights"),
    "other size": lambda store: store.put("alpha/1/weights", b"broken"),
    "same size": lambda store: store.put("alpha/1/weights", b"x" * len(store.get("alpha/1/weights") or b"")),
    "configuration deleted": lambda store: store.delete("alpha/config.pbtxt"),
    "model deleted": lambda store: [store.delete(key) for key in sorted(store.keys()) if key.startswith("alpha/")] and None,
}


@pytest.mark.parametrize("drift", DRIFT)
def test_what_was_changed_by_hand_is_repaired(publishing: Publishing, drift: str) -> None:
    with_models(publishing)
    DRIFT[drift](publishing.store)
    done = publishing.publish()
    assert done["changed_models"] == ["alpha"]
    assert publishing.is_settled()


# --- what is taken away, and what is not


def test_only_what_was_published_is_pruned(publishing: Publishing) -> None:
    with_models(publishing)
    neighbour = publishing.store.at(f"{publishing.store.url.rsplit('/', 1)[1]}-neighbour")
    foreign = {"alpha/note.txt": b"theirs", "theirs/1/model.py": b"theirs", "loose": b"theirs"}
    for key, data in foreign.items():
        publishing.store.put(key, data)
        neighbour.put(key, data)
    publishing.add("alpha", 2)
    shutil.rmtree(publishing.source / "beta")
    done = publishing.publish(prune=True, keep_versions=1)
    assert done["removed_models"] == ["beta"]
    shutil.rmtree(publishing.source / "alpha" / "1")
    assert publishing.published() == {**publishing.wanted(), **foreign}
    assert Publishing(neighbour, publishing.home).published() == foreign


def test_an_empty_source_takes_nothing_away_unasked(publishing: Publishing) -> None:
    with_models(publishing)
    before = publishing.published()
    shutil.rmtree(publishing.source)
    publishing.source.mkdir()
    with pytest.raises(ServingError, match="allow_empty"):
        publishing.publish(prune=True)
    assert publishing.published() == before
    assert publishing.publish(prune=True, allow_empty=True)["removed_models"] == ["alpha", "beta", "chain"]
    assert publishing.published() == {}


def test_old_versions_go(publishing: Publishing) -> None:
    for version in (1, 2, 3):
        publishing.add("alpha", version)
    publishing.publish(keep_versions=2)
    assert not any(key.startswith("alpha/1/") for key in publishing.published())
    publishing.add("alpha", 4)
    publishing.publish(keep_versions=2)
    for version in (1, 2):
        shutil.rmtree(publishing.source / "alpha" / str(version))
    assert publishing.is_settled()


def test_absent_takes_a_model_a_version_or_all_that_is_ours(publishing: Publishing) -> None:
    with_models(publishing)
    publishing.add("alpha", 2)
    publishing.publish()
    publishing.store.put("theirs/1/model.py", b"theirs")
    gone = publishing.publish(state="absent", models=["alpha"], version=1)
    assert gone["actions"]
    assert not any(key.startswith("alpha/1/") for key in publishing.published())
    assert publishing.publish(state="absent", models=["beta"])["removed_models"] == ["beta"]
    with pytest.raises(ConflictError, match="we did not publish this model"):
        publishing.publish(state="absent", models=["theirs"])
    predicted = publishing.publish(state="absent", check=True)
    assert publishing.publish(state="absent") == predicted
    assert publishing.published() == {"theirs/1/model.py": b"theirs"}
    assert publishing.own() == set()
    assert not publishing.publish(state="absent")["changed"]


def test_somebody_elses_model_is_taken_over_on_request_alone(publishing: Publishing) -> None:
    publishing.add("alpha")
    for key, data in publishing.wanted().items():
        publishing.store.put(key, data)
    with pytest.raises(ConflictError, match="that we did not publish"):
        publishing.publish()
    adopted = publishing.publish(adopt=True)
    assert adopted["changed"]
    assert adopted["bytes"] == 0
    assert publishing.is_settled()


def test_somebody_elses_model_is_overwritten_by_force_alone(publishing: Publishing) -> None:
    publishing.add("alpha")
    publishing.store.put("alpha/1/model.py", b"theirs")
    publishing.store.put("alpha/config.pbtxt", b"")
    with pytest.raises(ConflictError):
        publishing.publish(adopt=True)
    assert publishing.store.get("alpha/1/model.py") == b"theirs"
    publishing.publish(force=True)
    assert publishing.is_settled()


@pytest.mark.parametrize("name", ["mod\u00e8le", "two words", "a+b", "alpha@2"])
def test_a_name_that_triton_cannot_load_is_refused(publishing: Publishing, name: str) -> None:
    publishing.add("alpha")
    publishing.add(name)
    with pytest.raises(InputError):
        publishing.publish()
    assert publishing.everything() == set()
    shutil.rmtree(publishing.source / name)
    (publishing.source / "alpha" / "1" / f"{name}.bin").touch()
    with pytest.raises(InputError):
        publishing.publish()
    assert publishing.everything() == set()


# --- several publishers


def test_of_publishers_at_once_one_wins_and_nothing_is_mixed(publishing: Publishing) -> None:
    if not publishing.store.conditional:
        pytest.skip("this store has no conditional writes: the lease has a test of its own")
    rivals = [Publishing(publishing.store, publishing.home / str(number)) for number in range(3)]
    for number, rival in enumerate(rivals):
        for part in range(5):
            rival.add(f"model{part}", config=f"# {number}\n", rival=str(number))
    barrier = threading.Barrier(len(rivals))
    results: list[Any] = [None] * len(rivals)

    def compete(number: int) -> None:
        barrier.wait(20)
        try:
            results[number] = rivals[number].publish()
        except ServingError as error:
            results[number] = error

    threads = [threading.Thread(target=compete, args=(number,)) for number in range(len(rivals))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    winners = [number for number, result in enumerate(results) if isinstance(result, dict)]
    losers = [result for result in results if not isinstance(result, dict)]
    assert len(winners) == 1, results
    assert all(isinstance(error, ConflictError) and error.remedy for error in losers), losers
    assert rivals[winners[0]].is_settled()


def lock_of(**owner: Any) -> bytes:
    return json.dumps({"token": "t", "time": int(time.time()), **owner}).encode()


def test_a_publisher_elsewhere_is_waited_for(publishing: Publishing) -> None:
    publishing.add("alpha")
    publishing.store.put(LOCK, lock_of(user=7, host="elsewhere", pid=1234))
    with pytest.raises(ConflictError, match=r"somebody else publishes to this repository .*host elsewhere") as caught:
        publishing.publish()
    assert LOCK in caught.value.remedy
    assert publishing.everything() == {LOCK}
    publishing.store.delete(LOCK)
    publishing.publish()
    assert publishing.is_settled()


# --- what dies


def test_a_killed_publish_is_finished_by_the_next(publishing: Publishing) -> None:
    chance = random.Random(3)
    with_models(publishing)
    for version in (2, 3):
        publishing.add("alpha", version, **{f"part{number}": f"{version}" * 1000 for number in range(20)})
        process = publishing.start()
        while process.poll() is None and LOCK not in publishing.own():
            time.sleep(0.001)
        time.sleep(chance.uniform(0, 0.05))
        process.kill()
        process.communicate()
        publishing.publish()
        assert publishing.is_settled()


def test_a_large_file_goes_in_parts_and_is_taken_up_again(publishing: Publishing) -> None:
    publishing.add("alpha")
    weights = publishing.source / "alpha" / "1" / "weights"
    weights.write_bytes(random.Random(1).randbytes(LARGE))
    progress = publishing.home / "progress" / "state.json"
    process = publishing.start(progress_file=str(progress))
    while process.poll() is None and not progress.exists():
        time.sleep(0.001)
    process.kill()
    process.communicate()
    assert publishing.publish()["changed"] or process.returncode == 0
    assert publishing.is_settled()


# --- secrets


def test_no_secret_shows(publishing: Publishing) -> None:
    if not publishing.store.secrets:
        pytest.skip("this store has none")
    publishing.add("alpha")
    process = publishing.start(progress_file=str(publishing.home / "progress"))
    texts = [Path(f"/proc/{process.pid}/cmdline").read_text()]
    output, errors = process.communicate(timeout=60)
    assert json.loads(output)["changed"]
    texts += [output.decode(), errors.decode()]
    (publishing.source / "alpha" / "1" / "weights").write_text("changed")
    failed = publishing.run()
    assert failed["failed"]
    texts += [json.dumps(failed), str(publishing.store.get(MANIFEST))]
    texts += [path.read_text(errors="replace") for path in publishing.home.rglob("*") if path.is_file()]
    for secret in publishing.store.secrets:
        assert not any(secret in text for text in texts)
