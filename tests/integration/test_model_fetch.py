# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The module model_fetch as Ansible runs it: check predicts the run, a second run is idle, absent undoes it, tokens stay secret."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import ansible_runs, file_server
from support.file_server import FileServer
from support.s3_server import S3UnderTest, open_store_under_test

pytestmark = pytest.mark.integration
FQCN = "serving.triton.model_fetch"
CONTENT = b"weights" * 1000
TOKEN = "Bearer only-for-friends"


@pytest.fixture
def server() -> Iterator[FileServer]:
    with file_server.running() as state:
        state.files["/net.onnx"] = CONTENT
        yield state


@pytest.fixture(scope="module")
def bucket() -> Iterator[S3UnderTest]:
    with open_store_under_test() as store:
        yield store


def fetch(folder: Path, *, check: bool = False, **options: Any) -> dict[str, Any]:
    args = {"name": "net", "dest": str(folder / "models"), "cache": str(folder / "cache"), **options}
    return ansible_runs.run_module(FQCN, args, check=check, diff=True, env={"XDG_CACHE_HOME": str(folder / "home")})


def test_check_run_again_and_absent(server: FileServer, tmp_path: Path) -> None:
    given = {"url": f"{server.url}/net.onnx", "sha256": hashlib.sha256(CONTENT).hexdigest(), "headers": {"Authorization": TOKEN}}
    predicted = fetch(tmp_path, check=True, **given)
    assert not (tmp_path / "models").exists()
    done = fetch(tmp_path, **given)
    assert predicted["changed"]
    assert (predicted["actions"], predicted["diff"]) == (done["actions"], done["diff"])
    assert done["versions"] == [1]
    assert done["files"] == {"1/model.onnx": given["sha256"]}
    assert (tmp_path / "models/net/1/model.onnx").read_bytes() == CONTENT
    assert not fetch(tmp_path, **given)["changed"]
    failed = fetch(tmp_path, **{**given, "sha256": "0" * 64})
    assert failed["failed"]
    assert given["sha256"] in failed["msg"]
    assert "only-for-friends" not in json.dumps([predicted, done, failed])
    assert fetch(tmp_path, state="absent")["changed"]
    assert not (tmp_path / "models/net").exists()
    assert not fetch(tmp_path, state="absent")["changed"]


def test_a_bucket_is_a_source(bucket: S3UnderTest, tmp_path: Path) -> None:
    store = bucket.at("fetch")
    weights = tmp_path / "source/net/1/model.onnx"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(CONTENT)
    publish = {"src": str(tmp_path / "source"), "repository": store.url, "lint": False, "digest_cache": "", **store.module_options}
    done = ansible_runs.run_module("serving.triton.model_repository", publish)
    assert done.get("changed"), done
    store.put("net/1/stray", b"not published")
    given = {"repository": store.url, **store.module_options}
    assert fetch(tmp_path, **given)["changed"]
    assert (tmp_path / "models/net/1/model.onnx").read_bytes() == CONTENT
    assert not (tmp_path / "models/net/1/stray").exists()
    assert not fetch(tmp_path, **given)["changed"]
    told = ansible_runs.run_module("serving.triton.model_repository_info", {**given, "digests": True})
    assert [(each["name"], each["state"]) for each in told["models"]] == [("net", "published")]
    assert told["drift"] == [{"model": "net", "file": "net/1/stray", "kind": "extra"}]


def test_a_token_stays_secret_in_a_playbook(server: FileServer, tmp_path: Path) -> None:
    options = {"name": "net", "dest": str(tmp_path / "models"), "cache": str(tmp_path / "cache"), "headers": {"Authorization": TOKEN}}
    task = {"name": "Fetch", FQCN: {**options, "url": f"{server.url}/net.onnx", "sha256": hashlib.sha256(CONTENT).hexdigest()}}
    play = [{"hosts": "localhost", "gather_facts": False, "connection": "local", "tasks": [task]}]
    run = ansible_runs.run_playbook(play, "localhost,", "-vvv", "--diff", "-e", "ansible_python_interpreter={{ansible_playbook_python}}")
    assert run.changed == 1
    assert "only-for-friends" not in run.stdout.replace(json.dumps(play), "")
