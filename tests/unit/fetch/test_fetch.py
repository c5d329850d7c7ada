# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Downloads go on where they broke off, are checked, cached and bounded; a fetched model is idle in a second run."""

from __future__ import annotations

import fcntl
import hashlib
import http.client
import io
import os
import socket
import ssl
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support import file_server
from support.fakes import FakeClock
from support.file_server import FileServer

from ansible_collections.serving.triton.plugins.module_utils.core.errors import ConflictError, InputError, ServingError, UnavailableError
from ansible_collections.serving.triton.plugins.module_utils.core.plan import Plan
from ansible_collections.serving.triton.plugins.module_utils.core.progress import Transfer
from ansible_collections.serving.triton.plugins.module_utils.fetch import fetcher
from ansible_collections.serving.triton.plugins.module_utils.fetch.alone import alone
from ansible_collections.serving.triton.plugins.module_utils.fetch.download import Manners, download, shown
from ansible_collections.serving.triton.plugins.module_utils.fetch.plan import RECORD_FILE, read_record
from ansible_collections.serving.triton.plugins.modules import model_fetch, model_repository

CONTENT = bytes(range(256)) * 1000
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def server() -> Iterator[FileServer]:
    with file_server.running() as state:
        state.files["/model.onnx"] = CONTENT
        yield state


@pytest.fixture
def get(server: FileServer, tmp_path: Path) -> Callable[..., Path]:
    return lambda digest=DIGEST, **more: download(
        f"{server.url}/model.onnx?token=hidden", digest, tmp_path / "cache", Manners(clock=FakeClock(), timeout=5, **more)
    )


def test_a_download_is_cached_by_its_digest(get: Callable[..., Path], server: FileServer) -> None:
    seen: list[Transfer] = []
    path = get(progress=seen.append)
    assert path.read_bytes() == CONTENT
    assert path.name == DIGEST
    assert seen[-1] == Transfer(0, 1, len(CONTENT), len(CONTENT))
    get()
    assert len(server.requests) == 1
    path.write_bytes(b"rotten")
    assert get().read_bytes() == CONTENT


def test_a_broken_download_goes_on_where_it_was(get: Callable[..., Path], server: FileServer) -> None:
    server.breaks = [100_000, 50_000]
    assert get().read_bytes() == CONTENT
    assert [asked for _path, asked, _token in server.requests] == ["", "bytes=100000-", "bytes=150000-"]


def test_a_server_without_ranges_begins_again(get: Callable[..., Path], server: FileServer) -> None:
    server.breaks, server.ranges = [100_000], False
    assert get().read_bytes() == CONTENT


def test_a_rest_of_another_file_is_found_and_fetched_anew(get: Callable[..., Path], server: FileServer, tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    part = tmp_path / "cache" / f"{DIGEST}.part"
    part.write_bytes(b"of another file")
    assert get().read_bytes() == CONTENT
    part.write_bytes(CONTENT + b"too long")
    (tmp_path / "cache" / DIGEST).unlink()
    assert get().read_bytes() == CONTENT


def test_another_content_is_told_with_both_digests(get: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(UnavailableError) as caught:
        get("0" * 64)
    assert DIGEST in str(caught.value)
    assert "0" * 64 in str(caught.value)
    assert "hidden" not in str(caught.value)
    assert not list((tmp_path / "cache").iterdir())


def test_what_may_pass_is_tried_again_within_bounds(get: Callable[..., Path], server: FileServer) -> None:
    server.statuses = [503, 429]
    assert get().read_bytes() == CONTENT
    server.statuses = [503] * 3
    with pytest.raises(UnavailableError, match="503") as caught:
        get("1" * 64, attempts=3)
    assert "Tried 3 times" in caught.value.remedy


def test_a_refusal_is_final(get: Callable[..., Path], server: FileServer) -> None:
    server.statuses = [404, 403]
    for remedy in ("URL", "token"):
        with pytest.raises(UnavailableError, match="status 40") as caught:
            get()
        assert remedy in caught.value.remedy
    assert len(server.requests) == 2


def test_nobody_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="cannot be reached"):
        download("http://127.0.0.1:9/x", DIGEST, tmp_path, Manners(attempts=2, clock=FakeClock(), timeout=2))


@pytest.mark.parametrize("error", [ssl.SSLError("bad record mac"), ssl.SSLEOFError("closed"), socket.timeout("slow"), TimeoutError("slow")])
def test_a_connection_that_breaks_below_http_is_tried_again(
    get: Callable[..., Path], server: FileServer, monkeypatch: pytest.MonkeyPatch, error: OSError
) -> None:
    failures = [error]
    read = http.client.HTTPResponse.read

    def broken(answer: http.client.HTTPResponse, *size: int) -> bytes:
        if failures:
            raise failures.pop()
        return read(answer, *size)

    monkeypatch.setattr(http.client.HTTPResponse, "read", broken)
    assert get().read_bytes() == CONTENT
    assert len(server.requests) == 2


def test_of_two_downloads_of_the_same_one_waits_for_the_other(get: Callable[..., Path], server: FileServer, tmp_path: Path) -> None:
    seen: list[int] = []

    def meanwhile(state: Any) -> None:
        """A second run, while the first one writes."""
        if not seen:
            seen.append(state.bytes)
            with pytest.raises(ConflictError, match="another run works on it"):
                get()

    assert get(progress=meanwhile).read_bytes() == CONTENT
    assert seen
    assert len(server.requests) == 1
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [DIGEST]


def test_a_download_that_another_run_ended_is_taken(get: Callable[..., Path], server: FileServer, tmp_path: Path) -> None:
    class Waiting(FakeClock):
        def sleep(self, seconds: float) -> None:
            super().sleep(seconds)
            (tmp_path / "cache" / DIGEST).write_bytes(CONTENT)
            os.close(holder)

    (tmp_path / "cache").mkdir()
    holder = os.open(tmp_path / "cache" / f"{DIGEST}.part", os.O_RDWR | os.O_CREAT)
    fcntl.flock(holder, fcntl.LOCK_EX)
    assert download(f"{server.url}/model.onnx", DIGEST, tmp_path / "cache", Manners(clock=Waiting())).read_bytes() == CONTENT
    assert server.requests == []
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [DIGEST]


def test_a_certificate_that_is_refused_is_told_wherever_it_is_met(get: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    error = ssl.SSLCertVerificationError(1, "no")
    error.verify_message, error.reason = "self-signed", "CERTIFICATE_VERIFY_FAILED"

    def broken(answer: http.client.HTTPResponse, *size: int) -> bytes:
        raise error

    monkeypatch.setattr(http.client.HTTPResponse, "read", broken)
    with pytest.raises(UnavailableError, match="its certificate is not trusted: self-signed"):
        get()


def test_a_token_is_not_sent_to_where_a_url_redirects(server: FileServer, tmp_path: Path) -> None:
    server.redirects["/moved"] = f"{server.url}/model.onnx"
    download(f"{server.url}/moved", DIGEST, tmp_path / "cache", Manners(headers={"Authorization": "Bearer secret"}, clock=FakeClock()))
    assert [token for _path, _range, token in server.requests] == ["Bearer secret", ""]


def test_urls_are_shown_without_secrets() -> None:
    assert shown("https://user:pass@host:8443/a/b.onnx?sig=abc#x") == "https://host:8443/a/b.onnx"


class Kitchen:
    """A folder of models that is fetched into, by the module's own code."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.dest = folder / "models"

    def run(self, check: bool = False, **options: Any) -> Plan:
        spec = {name: each.get("default") for name, each in model_fetch.argument_spec().items()}
        given = {"name": "net", "dest": str(self.dest), "cache": str(self.folder / "cache"), **options}
        fetcher = model_fetch.build({**spec, **given}, lambda _state: None)
        plan = fetcher.plan(fetcher.observe())
        if plan and not check:
            fetcher.apply(plan)
            assert not [path for path in self.dest.iterdir() if path.name.startswith(".serving-triton-fetch-")]
        return plan

    def tree(self) -> dict[str, bytes]:
        found = (path for path in self.dest.rglob("*") if path.is_file() and path.name != RECORD_FILE)
        return {path.relative_to(self.dest).as_posix(): path.read_bytes() for path in found}


@pytest.fixture
def kitchen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kitchen:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    return Kitchen(tmp_path)


def test_a_url_is_fetched_once(kitchen: Kitchen, server: FileServer) -> None:
    given = {"url": f"{server.url}/model.onnx", "sha256": DIGEST.upper()}
    predicted = kitchen.run(check=True, **given)
    assert not server.requests
    assert not kitchen.dest.exists()
    assert kitchen.run(**given).describe() == predicted.describe() == [f"fetch model net from {server.url}/model.onnx"]
    assert kitchen.tree() == {"net/1/model.onnx": CONTENT}
    assert not kitchen.run(**given)
    assert len(server.requests) == 1
    # Removed by hand: mended, from the cache.
    (kitchen.dest / "net/1/model.onnx").unlink()
    assert kitchen.run(**given)
    assert kitchen.tree() == {"net/1/model.onnx": CONTENT}
    assert len(server.requests) == 1


def mine(kitchen: Kitchen, path: str) -> None:
    (kitchen.dest / path).parent.mkdir(parents=True, exist_ok=True)
    (kitchen.dest / path).write_bytes(b"mine, trained for a week")


@pytest.mark.parametrize("place", ["net/1/model.onnx", "net/1/more.bin"])
def test_what_was_not_fetched_is_not_replaced(kitchen: Kitchen, server: FileServer, place: str) -> None:
    given = {"url": f"{server.url}/model.onnx", "sha256": DIGEST}
    mine(kitchen, place)
    for check in (True, False):
        with pytest.raises(ConflictError, match=f"{place} was not fetched by this module. Move what you want to keep"):
            kitchen.run(check=check, **given)
    assert (kitchen.tree(), server.requests) == ({place: b"mine, trained for a week"}, [])
    plan = kitchen.run(**given, force=True)
    assert f"{place}  sha256:" in plan.before
    assert kitchen.tree() == {"net/1/model.onnx": CONTENT}
    assert not kitchen.run(**given)


def test_what_was_changed_since_it_was_fetched_is_not_replaced(kitchen: Kitchen, server: FileServer) -> None:
    server.files["/new.onnx"] = b"new"
    given = {"url": f"{server.url}/model.onnx", "sha256": DIGEST}
    kitchen.run(**given)
    mine(kitchen, "net/1/model.onnx")
    for options in (given, {"url": f"{server.url}/new.onnx", "sha256": hashlib.sha256(b"new").hexdigest()}):
        with pytest.raises(ConflictError, match=r"net/1/model.onnx was changed since it was fetched"):
            kitchen.run(**options)
    assert kitchen.tree() == {"net/1/model.onnx": b"mine, trained for a week"}
    assert kitchen.run(**given, force=True)
    assert kitchen.tree() == {"net/1/model.onnx": CONTENT}


def test_what_an_archive_would_replace_is_seen_before_anything_changes(kitchen: Kitchen, server: FileServer) -> None:
    """Its configuration is known only when it is unpacked."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name in ("net/config.pbtxt", "net/3/model.onnx"):
            archive.addfile(tarfile.TarInfo(name))
    server.files["/a.tar"] = buffer.getvalue()
    mine(kitchen, "net/config.pbtxt")
    before = kitchen.tree()
    with pytest.raises(ConflictError, match=r"net/config.pbtxt was not fetched by this module"):
        kitchen.run(url=f"{server.url}/a.tar", sha256=hashlib.sha256(buffer.getvalue()).hexdigest())
    assert kitchen.tree() == before


def test_what_a_folder_would_replace_is_seen_before_and_the_same_is_no_conflict(kitchen: Kitchen, tmp_path: Path) -> None:
    for path in ("config.pbtxt", "2/model.onnx"):
        (tmp_path / "net" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "net" / path).write_bytes(b"mine, trained for a week")
    mine(kitchen, "net/1/model.onnx")
    mine(kitchen, "net/config.pbtxt")
    given = {"src": str(tmp_path / "net")}
    (tmp_path / "net/config.pbtxt").write_bytes(b"theirs")
    with pytest.raises(ConflictError, match=r"net/config.pbtxt was not fetched"):
        kitchen.run(check=True, **given)
    (tmp_path / "net/config.pbtxt").write_bytes(b"mine, trained for a week")
    kitchen.run(**given)
    assert set(kitchen.tree()) == {"net/config.pbtxt", "net/1/model.onnx", "net/2/model.onnx"}


@pytest.mark.parametrize("fuse", range(3))
def test_a_fetch_that_dies_is_finished_by_the_next(kitchen: Kitchen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fuse: int) -> None:
    source = tmp_path / "net"
    for text in (b"first", b"second"):
        for path in ("config.pbtxt", "1/model.onnx"):
            (source / path).parent.mkdir(parents=True, exist_ok=True)
            (source / path).write_bytes(text)
        if text == b"first":
            kitchen.run(src=str(source))
    left, real = [fuse], os.replace

    def dying(old: Any, new: Any) -> None:
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        real(old, new)

    with monkeypatch.context() as patched:
        patched.setattr(fetcher.os, "replace", dying)
        with pytest.raises(KeyboardInterrupt):
            kitchen.run(src=str(source))
    assert kitchen.run(src=str(source))
    assert kitchen.tree() == {"net/config.pbtxt": b"second", "net/1/model.onnx": b"second"}
    assert not kitchen.run(src=str(source))
    assert "coming" not in (kitchen.dest / RECORD_FILE).read_text()


def test_of_two_runs_that_change_a_folder_one_waits_for_the_other(
    kitchen: Kitchen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model.onnx").write_bytes(b"content")
    given = {"src": str(tmp_path / "model.onnx")}
    kitchen.dest.mkdir()
    clock = FakeClock()
    monkeypatch.setattr(fetcher, "Clock", lambda: clock)
    with alone(kitchen.dest / fetcher.LOCK_FILE, 0, clock):
        with pytest.raises(ConflictError, match="another run works on it, for more than 120 seconds"):
            kitchen.run(**given)
        assert kitchen.tree().keys() == {fetcher.LOCK_FILE}
    assert sum(clock.naps) == fetcher.PATIENCE
    assert kitchen.run(**given)
    assert kitchen.tree() == {"net/1/model.onnx": b"content"}
    assert kitchen.run(state="absent")
    assert not list(kitchen.dest.iterdir())


def test_versions_live_beside_each_other(kitchen: Kitchen, server: FileServer) -> None:
    server.files["/new.onnx"] = b"new"
    one = {"url": f"{server.url}/model.onnx", "sha256": DIGEST}
    two = {"url": f"{server.url}/new.onnx", "sha256": hashlib.sha256(b"new").hexdigest(), "version": 2}
    kitchen.run(**one)
    (kitchen.dest / "net/config.pbtxt").write_text("mine")
    kitchen.run(**two)
    assert kitchen.tree() == {"net/1/model.onnx": CONTENT, "net/2/model.onnx": b"new", "net/config.pbtxt": b"mine"}
    assert not kitchen.run(**one)
    assert not kitchen.run(**two)
    assert kitchen.run(state="absent", version=2).describe() == ["remove version 2 of model net"]
    assert not kitchen.run(state="absent", version=2)
    assert not kitchen.run(**one)
    assert kitchen.run(state="absent").describe() == ["remove model net"]
    assert kitchen.tree() == {}
    assert not (kitchen.dest / RECORD_FILE).exists()
    assert not kitchen.run(state="absent")


def test_an_archive_is_unpacked_and_replaced_whole(kitchen: Kitchen, server: FileServer) -> None:
    for content in (b"first", b"second"):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
            info = tarfile.TarInfo("inception/frozen.pb")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        server.files["/a.tgz"] = buffer.getvalue()
        kitchen.run(url=f"{server.url}/a.tgz", sha256=hashlib.sha256(buffer.getvalue()).hexdigest())
        assert kitchen.tree() == {"net/1/model.graphdef": content}


def test_a_wrong_digest_leaves_everything_as_it_is(kitchen: Kitchen, server: FileServer) -> None:
    kitchen.run(url=f"{server.url}/model.onnx", sha256=DIGEST)
    with pytest.raises(ServingError, match="expected 0000"):
        kitchen.run(url=f"{server.url}/model.onnx", sha256="0" * 64)
    assert kitchen.tree() == {"net/1/model.onnx": CONTENT}


def test_a_folder_of_this_machine_is_taken(kitchen: Kitchen, tmp_path: Path) -> None:
    snapshot = tmp_path / "snapshot"
    (snapshot / "onnx").mkdir(parents=True)
    (tmp_path / "blob").write_bytes(b"weights")
    # As the hub's cache keeps snapshots.
    (snapshot / "onnx/model.onnx").symlink_to(tmp_path / "blob")
    (snapshot / "config.json").write_text("{}")
    given = {"src": str(snapshot)}
    assert kitchen.run(**given)
    assert kitchen.tree() == {"net/1/model.onnx": b"weights"}
    assert not (kitchen.dest / "net/1/model.onnx").is_symlink()
    assert not kitchen.run(**given)
    (tmp_path / "blob").write_bytes(b"better!")
    assert kitchen.run(**given)
    assert kitchen.tree() == {"net/1/model.onnx": b"better!"}


def test_a_published_repository_is_a_source(kitchen: Kitchen, tmp_path: Path) -> None:
    source = tmp_path / "source"
    for version in ("1", "2"):
        (source / "net" / version).mkdir(parents=True)
        (source / "net" / version / "model.onnx").write_text(version)
    (source / "net/config.pbtxt").write_text('backend: "onnxruntime"')
    spec = {name: each.get("default") for name, each in model_repository.argument_spec().items()}
    published = tmp_path / "published"
    publisher = model_repository.build({**spec, "src": str(source), "repository": str(published), "lint": False, "digest_cache": ""})
    publisher.apply(publisher.plan(publisher.observe()))
    (published / "net/1/stray.txt").write_text("not published")
    assert kitchen.run(repository=str(published))
    expected = {path.relative_to(source).as_posix(): path.read_bytes() for path in source.rglob("*") if path.is_file()}
    assert kitchen.tree() == expected
    assert not kitchen.run(repository=str(published))
    (published / "net/2/model.onnx").write_text("x")
    kitchen.run(state="absent")
    with pytest.raises(UnavailableError, match="the manifest has"):
        kitchen.run(repository=str(published))
    assert kitchen.run(repository=f"file://{published}", version=1)
    assert set(kitchen.tree()) == {"net/1/model.onnx", "net/config.pbtxt"}
    with pytest.raises(InputError, match="has no version 7"):
        kitchen.run(repository=str(published), version=7)
    with pytest.raises(InputError, match="no model other"):
        kitchen.run(repository=str(published), name="other")


@pytest.mark.parametrize(
    ("options", "where"),
    [
        ({"url": "ftp://x/y", "sha256": DIGEST}, "url"),
        ({"url": "https://x/y", "sha256": "abc"}, "sha256"),
        ({"src": "/x", "version": 0}, "version"),
        ({"src": "/x", "file": "a/b"}, "file"),
        ({"src": "/x", "name": "a/b"}, "models"),
        ({"src": "/no/such/place"}, "/no/such/place"),
    ],
)
def test_wrong_options_are_told(kitchen: Kitchen, options: dict[str, Any], where: str) -> None:
    with pytest.raises(InputError) as caught:
        kitchen.run(**options)
    assert caught.value.where == where


def test_a_damaged_record_is_no_record() -> None:
    for text in ("", "[]", '{"models": {"a": {}}}', '{"models": {"a": {"identity": "x", "files": {"../x": "y"}}}}'):
        assert read_record(text) == {}


def test_the_cache_that_cannot_be_written_is_told(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UnavailableError, match="cannot be kept"):
        download(f"{server.url}/model.onnx", DIGEST, tmp_path / "file" / "cache", Manners(clock=FakeClock()))
