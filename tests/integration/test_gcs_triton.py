# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A real tritonserver reads gs:// through Google's client for C++, with the same account file, and polls it while it is published to."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import ansible_runs
from support.gcs_server import GcsServer, serve
from support.tritonserver import TritonServer, python_versions, write_add_sub

NEWEST = "2.51"


@pytest.fixture
def store() -> Iterator[GcsServer]:
    with serve("models") as server:
        yield server


def index(server: TritonServer) -> dict[str, str]:
    """name/version → state, of what the server holds."""
    request = urllib.request.Request(f"{server.http}/v2/repository/index", data=b"{}", method="POST")
    with urllib.request.urlopen(request, timeout=10) as answer:
        return {f"{each['name']}/{each.get('version', '')}": each.get("state", "") for each in json.load(answer)}


def wait_for(server: TritonServer, wanted: dict[str, str]) -> None:
    end = time.monotonic() + 60
    while index(server) != wanted:
        assert time.monotonic() < end, f"{index(server)} stays; the server says:\n{server.log[-2000:]}"
        time.sleep(0.3)


@pytest.mark.skipif(NEWEST not in python_versions(), reason=f"tritonserver {NEWEST} runs no python models with this interpreter")
def test_a_polling_server_follows_what_is_published(store: GcsServer, tmp_path: Path) -> None:
    account = store.write_credentials(tmp_path / "account.json")
    source = tmp_path / "source"
    options = {"repository": "gs://models/production", "gcs": {"endpoint": store.url, "credentials_file": str(account)}}

    def publish(**more: Any) -> None:
        result = ansible_runs.run_module("serving.triton.model_repository", {**options, "digest_cache": "", **more})
        assert not result.get("failed"), result
        assert result["changed"]

    write_add_sub(source)
    publish(src=str(source))
    environment = {"CLOUD_STORAGE_EMULATOR_ENDPOINT": store.url, "GOOGLE_APPLICATION_CREDENTIALS": str(account)}
    with TritonServer("gs://models/production", NEWEST, mode="poll", options={"repository-poll-secs": 1}, env=environment) as server:
        wait_for(server, {"add_sub/1": "READY"})
        write_add_sub(source, version=2)
        publish(src=str(source))
        # Its version policy is Triton's own: the newest one serves.
        wait_for(server, {"add_sub/1": "UNAVAILABLE", "add_sub/2": "READY"})
        write_add_sub(source, "other")
        publish(src=str(source))
        wait_for(server, {"add_sub/1": "UNAVAILABLE", "add_sub/2": "READY", "other/1": "READY"})
        publish(models=["add_sub"], state="absent")
        wait_for(server, {"other/1": "READY"})
    # The server proved who it is: by the signature of the account's key.
    assert len(store.tokens) >= 2
