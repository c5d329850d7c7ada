# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The module model_repository as Ansible runs it: check predicts the run, a second run is idle, absent undoes it, faults harm nothing."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support import ansible_runs
from support.tritonserver import ADD_SUB_CODE, write_add_sub, write_ensemble

from ansible_collections.serving.triton.plugins.module_utils.stores.base import StoreOptions
from ansible_collections.serving.triton.plugins.module_utils.stores.registry import open_store

FQCN = "serving.triton.model_repository"
MODULE = "ansible_collections.serving.triton.plugins.modules.model_repository"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    root = tmp_path / "source"
    write_add_sub(root)
    write_ensemble(root, "ensemble")
    return root


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return tmp_path / "models"


def publish(source: Path | None, repository: Path, *, check: bool = False, **options: Any) -> dict[str, Any]:
    args = {"repository": str(repository), "digest_cache": str(repository.parent / "digests.json"), **options}
    if source:
        args["src"] = str(source)
    return ansible_runs.run_module(FQCN, args, check=check, diff=True)


def files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()} if root.exists() else {}


def without_manifest(root: Path) -> dict[str, bytes]:
    return {path: each for path, each in files(root).items() if "/" in path}


def promised(result: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in result.items() if key != "invocation"}


def new_version(source: Path, repository: Path) -> None:
    write_add_sub(source, version=2)
    config = source / "add_sub" / "config.pbtxt"
    config.write_text(config.read_text() + 'parameters { key: "a" value { string_value: "b" } }\n')


def new_model(source: Path, repository: Path) -> None:
    write_add_sub(source, "more")


def drift(source: Path, repository: Path) -> None:
    (repository / "add_sub" / "2" / "model.py").write_text("broken")


def nothing(source: Path, repository: Path) -> None:
    """Only the options change."""


# What happens to a source or a repository, one after the other, and the options of the publish that follows.
LIFE: list[tuple[Callable[[Path, Path], None], dict[str, Any]]] = [
    (nothing, {}),
    (new_version, {}),
    (new_model, {"keep_versions": 1}),
    (drift, {"verify": "digest"}),
    (nothing, {"mode": "0600"}),
]


def test_check_predicts_the_run_and_a_second_run_is_idle(source: Path, repository: Path) -> None:
    for change, options in LIFE:
        change(source, repository)
        before = files(repository)
        predicted = publish(source, repository, check=True, **options)
        assert files(repository) == before
        done = publish(source, repository, **options)
        assert promised(predicted) == promised(done)
        assert done["changed"]
        assert done["actions"]
        idle = publish(source, repository, **options)
        assert not idle["changed"]
        assert idle["actions"] == []
        assert idle["diff"]["before"] == idle["diff"]["after"]
    assert json.loads((repository / ".serving-triton.json").read_text())["schema"] == 1
    assert without_manifest(repository) == files(source)
    assert (repository / "ensemble" / "1").is_dir()


def test_absent_undoes_it(source: Path, repository: Path) -> None:
    publish(source, repository)
    predicted = publish(None, repository, state="absent", check=True)
    assert without_manifest(repository)
    done = publish(None, repository, state="absent")
    assert promised(predicted) == promised(done)
    assert done["removed_models"] == ["add_sub", "ensemble"]
    assert not repository.exists()
    assert not publish(None, repository, state="absent")["changed"]


def test_models_with_errors_are_refused_before_anything_is_changed(source: Path, repository: Path) -> None:
    publish(source, repository)
    before = files(repository)
    write_add_sub(source, "more")
    (source / "more" / "config.pbtxt").write_text('name: "other"\nmax_batch_size: "many"\n')
    refused = publish(source, repository)
    assert refused["failed"]
    assert "more/config.pbtxt" in refused["msg"]
    assert {finding["model"] for finding in refused["findings"] if finding["severity"] == "error"} == {"more"}
    assert files(repository) == before


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"repository": "ftp://host/models"}, "no store serves ftp:// yet; supported are a path and as://, file://, gs://, oss://, s3://"),
        ({"repository": "relative/models"}, "not absolute"),
        ({"models": ["../etc"]}, "'../etc' cannot be a model's name"),
        ({"models": ["add_sup"]}, "Did you mean add_sub?"),
        ({"mode": "rw-r--r--"}, "is not an octal mode"),
        ({"keep_versions": -1}, "keep_versions: -1 is below 0"),
        ({"models": ["add_sub"], "version": 9}, "the source has no version 9 of add_sub"),
        ({"owner": "nobody-of-that-name"}, "no such account"),
    ],
)
def test_input_that_cannot_work_is_told(source: Path, repository: Path, options: dict[str, Any], words: str) -> None:
    failed = ansible_runs.run_module(FQCN, {"src": str(source), "repository": str(repository), **options})
    assert failed["failed"]
    assert words in failed["msg"]
    assert failed["remedy"]
    assert not repository.exists()


def test_the_source_is_never_published_into_itself(source: Path) -> None:
    before = files(source)
    for place in (source, source / "inner", source.parent):
        assert "source" in publish(source, place)["msg"]
    assert files(source) == before


def test_a_version_changed_in_place_is_refused_with_the_next_number(source: Path, repository: Path) -> None:
    publish(source, repository)
    before = files(repository)
    (source / "add_sub" / "1" / "model.py").write_text(ADD_SUB_CODE + "\n# changed\n")
    failed = publish(source, repository)
    assert "version 1 is published and its files differ: model.py; publish them as version 2" in failed["msg"]
    assert failed["conflicts"][0]["path"] == "add_sub/1"
    assert files(repository) == before


def test_a_second_publisher_is_refused_while_the_first_works(source: Path, repository: Path) -> None:
    with open_store(str(repository), StoreOptions()).publishing():
        failed = publish(source, repository)
    assert f"somebody else publishes to this repository (user {os.geteuid()}" in failed["msg"]
    assert not publish(source, repository).get("failed")


def test_two_publishers_at_once_leave_one_whole_repository(source: Path, repository: Path) -> None:
    payload = {"ANSIBLE_MODULE_ARGS": {"src": str(source), "repository": str(repository), "lint": False, "digest_cache": ""}}
    processes = [
        subprocess.Popen([sys.executable, "-m", MODULE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=ansible_runs.environment())
        for _unused in range(3)
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(json.dumps(payload).encode())
        process.stdin.close()
        process.stdin = None
    results = [json.loads(process.communicate(timeout=60)[0]) for process in processes]
    assert any(not result.get("failed") for result in results)
    for result in results:
        assert not result.get("failed") or "somebody else publishe" in result["msg"], result
    assert not publish(source, repository)["changed"]
    assert without_manifest(repository) == files(source)


# --- a disk that fails


def run_limited(source: Path, repository: Path, limit: int) -> dict[str, Any]:
    """The module in a process that may not write files beyond so many bytes."""
    payload = {"ANSIBLE_MODULE_ARGS": {"src": str(source), "repository": str(repository), "lint": False, "digest_cache": ""}}
    done = subprocess.run(
        [sys.executable, "-m", MODULE], input=json.dumps(payload), capture_output=True, text=True, check=False, timeout=60,
        env=ansible_runs.environment(), preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )  # fmt: skip
    return dict(json.loads(done.stdout))


def test_a_file_that_cannot_be_written_to_its_end_harms_nothing(source: Path, repository: Path) -> None:
    publish(source, repository)
    before = files(repository)
    write_add_sub(source, version=2)
    (source / "add_sub" / "2" / "weights").write_bytes(os.urandom(3_000_000))
    failed = run_limited(source, repository, 2_000_000)
    assert "larger than the file system or the user's limit" in failed["msg"]
    assert files(repository) == before
    assert {path.name for path in repository.parent.iterdir()} <= {"source", "models", "digests.json"}
    assert not publish(source, repository).get("failed")


# Runs the module in a mount namespace of its own, where the repository lies on a small or read-only file system.
_IN_NAMESPACE = """
import runpy, subprocess, sys
kind, folder, trust = sys.argv[1:4]
MOUNTS = {
    "small": [["-t", "tmpfs", "-o", "size=24m", "tmpfs", folder]],
    "bound": [["--bind", folder, folder]],
    "read-only": [["--bind", folder, folder], ["-o", "remount,ro,bind", folder]],
}
for mount in MOUNTS[kind]:
    subprocess.run(["mount", *mount], check=True)
from ansible_collections.serving.triton.plugins.module_utils.stores.posix import store as posix
if trust == "blind":
    # As on a file system that does not say how much is free.
    posix.check_space = lambda folder, needed, count: None
sys.argv = ["model_repository"]
runpy.run_module("ansible_collections.serving.triton.plugins.modules.model_repository", run_name="__main__")
"""


def in_namespace(kind: str, source: Path, folder: Path, repository: Path, trust: str = "looks") -> dict[str, Any]:
    payload = {"ANSIBLE_MODULE_ARGS": {"src": str(source), "repository": str(repository), "lint": False, "digest_cache": ""}}
    done = subprocess.run(
        ["unshare", "--mount", sys.executable, "-c", _IN_NAMESPACE, kind, str(folder), trust],
        input=json.dumps(payload), capture_output=True, text=True, check=False, timeout=60, env=ansible_runs.environment(),
    )  # fmt: skip
    assert done.stdout, done.stderr
    return dict(json.loads(done.stdout))


def may_mount() -> bool:
    return subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False, timeout=20).returncode == 0


needs_mounts = pytest.mark.skipif(not may_mount(), reason="may not make a mount namespace (needs root)")


@needs_mounts
@pytest.mark.parametrize(("trust", "words"), [("looks", "the file system has"), ("blind", "the file system is full. Free space")])
def test_a_full_disk_is_told(source: Path, tmp_path: Path, trust: str, words: str) -> None:
    (source / "add_sub" / "1" / "weights").write_bytes(os.urandom(30_000_000))
    folder = tmp_path / "mounted"
    folder.mkdir()
    failed = in_namespace("small", source, folder, folder / "models", trust)
    assert words in failed["msg"], failed
    assert failed["errno"] == "ENOSPC"


@needs_mounts
def test_a_read_only_disk_is_told(source: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mounted"
    folder.mkdir()
    failed = in_namespace("read-only", source, folder, folder / "models")
    assert "mounted read-only. Publish from a machine that mounts it read-write" in failed["msg"]
    assert list(folder.iterdir()) == []


@needs_mounts
def test_a_mount_point_is_published_to_from_inside(source: Path, tmp_path: Path) -> None:
    root = tmp_path / "mounted" / "models"
    root.mkdir(parents=True)
    assert in_namespace("bound", source, root, root)["changed"]
    # The bind mount shows the same folder: what was published there is here.
    assert without_manifest(root) == files(source)
    assert sorted(path.name for path in root.iterdir()) == [".serving-triton.json", "add_sub", "ensemble"]
    assert [path.name for path in root.parent.iterdir()] == ["models"]


def test_an_empty_source_empties_the_repository_only_where_that_is_allowed(source: Path, repository: Path, tmp_path: Path) -> None:
    publish(source, repository)
    there = files(repository)
    empty = tmp_path / "empty"
    empty.mkdir()
    refused = publish(empty, repository, prune=True)
    assert refused["failed"]
    assert "every model" in refused["msg"]
    assert "allow_empty" in refused["msg"]
    assert files(repository) == there
    assert "holds no model" in publish(empty, repository, allow_empty=True)["msg"]
    assert publish(empty, repository, prune=True, allow_empty=True)["removed_models"] == ["add_sub", "ensemble"]
    assert not without_manifest(repository)


def test_versions_that_a_configuration_names_outlive_keep_versions(source: Path, repository: Path) -> None:
    for version in (2, 3):
        write_add_sub(source, version=version)
    config = source / "add_sub" / "config.pbtxt"
    config.write_text(config.read_text() + "version_policy { specific { versions: [ 1 ] } }\n")
    publish(source, repository, keep_versions=1, models=["add_sub"])
    assert sorted(path.name for path in (repository / "add_sub").iterdir() if path.is_dir()) == ["1", "3"]
