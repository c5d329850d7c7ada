# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is special about gs://: credentials, generations, and upload sessions that a later run takes up."""

from __future__ import annotations

import hashlib
import os
import re
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.gcs_server import Fault, GcsServer, serve

from ansible_collections.serving.triton.plugins.module_utils.core.errors import InputError, UnavailableError
from ansible_collections.serving.triton.plugins.module_utils.core.wait import Clock
from ansible_collections.serving.triton.plugins.module_utils.repository.publish import SourceFile
from ansible_collections.serving.triton.plugins.module_utils.stores.base import StoreOptions
from ansible_collections.serving.triton.plugins.module_utils.stores.bucket import PreconditionError, Upload
from ansible_collections.serving.triton.plugins.module_utils.stores.gcs.bucket import GcsBucket, open_bucket
from ansible_collections.serving.triton.plugins.module_utils.stores.gcs.upload import BLOCK

KEY = "m/1/weights"
NAME = f"repository/{KEY}"


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses between attempts spare a real service; here they would only take time."""
    monkeypatch.setattr(Clock, "sleep", lambda _clock, seconds: time.sleep(min(seconds, 0.02)))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for variable in ("STORAGE_EMULATOR_HOST", "GOOGLE_APPLICATION_CREDENTIALS"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "serving.triton" / "uploads"


@pytest.fixture
def server() -> Iterator[GcsServer]:
    with serve("models") as running:
        yield running


@pytest.fixture
def account(server: GcsServer, tmp_path: Path) -> Path:
    return server.write_credentials(tmp_path / "account.json")


def bucket(server: GcsServer, attempts: int = 3, **given: Any) -> GcsBucket:
    options = StoreOptions(providers={"gcs": {"endpoint": server.url, **given}}, timeout=10.0, attempts=attempts)
    return open_bucket("models/repository", options)


@pytest.fixture
def large(tmp_path: Path) -> SourceFile:
    data = os.urandom(3 * BLOCK + 1000)
    (tmp_path / "weights").write_bytes(data)
    return SourceFile(str(tmp_path / "weights"), len(data), hashlib.sha256(data).hexdigest())


def send(target: GcsBucket, source: SourceFile) -> int:
    """Returns the bytes that were counted."""
    moved: list[int] = []
    target.upload([[Upload(KEY, source)]], lambda _files, size: moved.append(size))
    return sum(moved)


def stored(server: GcsServer) -> str:
    return hashlib.sha256(server.buckets["models"][NAME].data).hexdigest()


def test_a_stamp_is_the_generation(server: GcsServer, account: Path) -> None:
    found = bucket(server, credentials_file=str(account)).put(KEY, b"1")
    assert found == str(server.buckets["models"][NAME].generation)
    with pytest.raises(InputError, match="no generation"):
        bucket(server, credentials_file=str(account)).put(KEY, b"1", if_stamp="0x8D")


def test_who_pays_is_told(server: GcsServer, account: Path, large: SourceFile) -> None:
    target = bucket(server, credentials_file=str(account), project="payer")
    target.put("m/config.pbtxt", b"")
    send(target, large)
    assert target.read("m/config.pbtxt")
    assert target.digest(KEY) == large.sha256
    target.list()
    target.delete([KEY])
    # A session was begun for who pays.
    asked = [line for line in server.log if not re.search("/token|upload_id=", line)]
    assert len(asked) >= 6
    assert not [line for line in asked if "userProject=payer" not in line]


def test_storage_class_and_key_are_told(server: GcsServer, account: Path, large: SourceFile) -> None:
    target = bucket(server, credentials_file=str(account), storage_class="NEARLINE", kms_key_name="projects/p/keyRings/r/cryptoKeys/k")
    target.put("m/config.pbtxt", b"")
    send(target, large)
    classes = {blob.properties.get("storageClass") for blob in server.buckets["models"].values()}
    begun = [line for line in server.log if line.startswith("POST /upload")]
    assert classes == {"NEARLINE"}
    assert len(begun) == 2
    assert all("kmsKeyName=projects" in line for line in begun)


@pytest.mark.parametrize("way", ["file", "default", "emulator", "anonymous"])
def test_every_kind_of_credentials_works(way: str, account: Path, server: GcsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}
    server.anonymous = way in ("emulator", "anonymous")
    if way == "file":
        given = {"credentials_file": str(account)}
    elif way == "default":
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(account))
    elif way == "emulator":
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
        given = {"endpoint": None}
    else:
        given = {"anonymous": True}
    bucket(server, **given).put(KEY, b"1")
    assert bool(server.tokens) is not server.anonymous
    # Nothing was asked for that an account may not be allowed.
    assert not [line for line in server.log if re.search(r"/b/models(\?|$)", line)]


def test_wrong_credentials_are_explained(server: GcsServer, tmp_path: Path) -> None:
    forged = server.write_credentials(tmp_path / "forged.json", forged=True)
    with pytest.raises(UnavailableError, match=r"Invalid JWT Signature\. .*Check the account and its key"):
        bucket(server, credentials_file=str(forged)).list()
    with pytest.raises(UnavailableError, match="the bucket is not public"):
        bucket(server, anonymous=True).list()
    with pytest.raises(InputError, match="there is no such file"):
        bucket(server, credentials_file=str(tmp_path / "missing"))
    (tmp_path / "broken.json").write_text('{"type": "service_account", "private_key": "secret-text"}')
    with pytest.raises(InputError, match="no credentials that Google") as failure:
        bucket(server, credentials_file=str(tmp_path / "broken.json"))
    assert "secret-text" not in str(failure.value)


def test_a_refusal_says_which_role_is_missing(server: GcsServer, account: Path) -> None:
    server.faults.append(Fault("^POST /upload", 403))
    with pytest.raises(UnavailableError, match=r"403.*roles/storage\.objectUser"):
        bucket(server, credentials_file=str(account)).put(KEY, b"1")


@pytest.mark.parametrize("fault", [503, 429, "drop", "cut"])
def test_what_may_pass_is_tried_again(fault: int | str, server: GcsServer, account: Path, large: SourceFile, tmp_path: Path) -> None:
    target = bucket(server, credentials_file=str(account))
    requests = ("^POST .*multipart", "^PUT", "^POST .*resumable", "^GET .*pageToken|^GET .*prefix", "^GET /download", "^DELETE")
    server.faults += [Fault(pattern, fault) for pattern in requests]
    target.put("m/config.pbtxt", b"name: 'm'")
    assert send(target, large) == large.size
    assert stored(server) == large.sha256
    assert len(target.list()) == 2
    found = target.read("m/config.pbtxt")
    assert found
    assert found.data == b"name: 'm'"
    server.faults.append(Fault("^GET /download", fault, 2))
    assert target.digest(KEY) == large.sha256
    target.delete([KEY])
    assert NAME not in server.buckets["models"]


def test_attempts_are_bounded(server: GcsServer, account: Path) -> None:
    server.faults.append(Fault("^GET .*prefix", 503, 100))
    with pytest.raises(UnavailableError, match=r"503.*Tried 2 times"):
        bucket(server, 2, credentials_file=str(account)).list()
    assert len([line for line in server.log if "prefix" in line]) == 2


def test_a_server_may_keep_a_part_of_a_block(server: GcsServer, account: Path, large: SourceFile) -> None:
    server.keep = 3 << 20
    assert send(bucket(server, credentials_file=str(account)), large) == large.size
    assert stored(server) == large.sha256


def test_the_next_run_takes_a_session_up(server: GcsServer, account: Path, large: SourceFile, cache: Path) -> None:
    server.faults.append(Fault("^PUT", "none", 2))
    server.faults.append(Fault("^PUT", "cut", 100))
    with pytest.raises(UnavailableError):
        send(bucket(server, 1, credentials_file=str(account)), large)
    (kept,) = cache.iterdir()
    # Who has it may write.
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert stat.S_IMODE(cache.stat().st_mode) == 0o700
    assert "upload_id=" in kept.read_text()
    server.faults.clear()
    assert send(bucket(server, credentials_file=str(account)), large) == BLOCK + 1000
    assert stored(server) == large.sha256
    assert len(server.sessions) == 1
    assert not list(cache.iterdir())


def test_a_session_that_is_gone_begins_anew(server: GcsServer, account: Path, large: SourceFile, cache: Path) -> None:
    server.faults += [Fault("^PUT", "none", 1), Fault("^PUT", 410, 1)]
    assert send(bucket(server, credentials_file=str(account)), large) == large.size
    assert len(server.sessions) == 2
    # Completed by a run that died before it noted that: somebody may have put something else there since.
    (finished, session) = list(server.sessions.items())[-1]
    cache.mkdir(parents=True, exist_ok=True)
    server.buckets["models"].clear()
    server.faults.append(Fault("^PUT", "cut", 100))
    with pytest.raises(UnavailableError):
        send(bucket(server, 1, credentials_file=str(account)), large)
    server.faults.clear()
    (kept,) = cache.iterdir()
    kept.write_text(kept.read_text().rpartition("=")[0] + f"={finished}")
    assert send(bucket(server, credentials_file=str(account)), large) == large.size
    assert stored(server) == large.sha256
    assert session.made


def test_without_a_cache_folder_it_uploads_all_the_same(
    server: GcsServer, account: Path, large: SourceFile, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert send(bucket(server, credentials_file=str(account)), large) == large.size


def test_a_download_is_of_one_generation(server: GcsServer, account: Path, large: SourceFile, tmp_path: Path) -> None:
    target = bucket(server, credentials_file=str(account))
    send(target, large)

    def replace(_files: int, _size: int) -> None:
        server.write("models", {"name": NAME}, {}, b"x" * large.size)

    with pytest.raises(PreconditionError):
        target.download(KEY, str(tmp_path / "download"), replace)


def test_no_bucket_is_told() -> None:
    with pytest.raises(InputError, match="gs://bucket/prefix"):
        open_bucket("", StoreOptions())
