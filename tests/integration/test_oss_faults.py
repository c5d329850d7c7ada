# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The OSS store while a third of all requests go wrong, behind TLS, and at a host of the bucket's own."""

from __future__ import annotations

import hashlib
import random
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock
from urllib.parse import urlsplit

import pytest
from support.certificates import make_certificates, tls_front
from support.oss_server import Fault, OssServer

from ansible_collections.serving.triton.plugins.module_utils.core.errors import TransientError, UnavailableError
from ansible_collections.serving.triton.plugins.module_utils.core.wait import Clock, RetryPolicy
from ansible_collections.serving.triton.plugins.module_utils.repository.publish import SourceFile
from ansible_collections.serving.triton.plugins.module_utils.stores.base import StoreOptions
from ansible_collections.serving.triton.plugins.module_utils.stores.bucket import PreconditionError, Upload
from ansible_collections.serving.triton.plugins.module_utils.stores.oss import upload as oss_upload
from ansible_collections.serving.triton.plugins.module_utils.stores.oss.bucket import OssBucket, open_bucket
from ansible_collections.serving.triton.plugins.module_utils.stores.oss.client import OssClient
from ansible_collections.serving.triton.plugins.module_utils.stores.oss.place import locate

pytestmark = pytest.mark.integration
KIB = 1 << 10


@pytest.fixture
def server() -> Iterator[OssServer]:
    with OssServer(page=40) as running:
        running.make("models")
        yield running


class Instant(Clock):
    def sleep(self, seconds: float) -> None:
        """Takes no time."""


class Storm:
    """Faults of every kind for a third of the requests, until there were `most`."""

    def __init__(self, seed: int, most: int) -> None:
        self._random = random.Random(seed)
        self._most, self._mutex = most, threading.Lock()
        self.count = 0

    def __call__(self, method: str, target: str) -> Fault | None:
        with self._mutex:
            if self.count == self._most or self._random.random() > 1 / 3:
                return None
            self.count += 1
            return self._random.choice(
                [
                    Fault(status=503),
                    Fault(status=500, code="InternalError"),
                    Fault(status=503, code="QpsLimitExceeded"),
                    Fault("reset"),
                    Fault("lost"),
                    Fault("truncate"),
                ]
            )


def test_two_hundred_faults_lose_nothing(server: OssServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oss_upload, "MULTIPART_SIZE", 512 * KIB)
    monkeypatch.setattr(oss_upload, "_IN_MEMORY", 64 * KIB)
    monkeypatch.setattr(oss_upload, "part_size", lambda _size: 128 * KIB)
    options = StoreOptions(providers={"oss": server.options()}, timeout=10)
    client = OssClient(locate("models/triton", options.providers["oss"]), options, RetryPolicy(attempts=14, base=0.0005, cap=0.002))
    bucket = OssBucket(client, options, Instant())
    storm = Storm(20, 220)
    monkeypatch.setattr(server, "fault", storm)
    chance = random.Random(7)
    rounds = 0
    while storm.count < 220:
        rounds += 1
        files = {}
        for number in range(24):
            size = chance.choice([0, 100, 8 * KIB, 100 * KIB, 700 * KIB])
            path = tmp_path / f"{rounds}-{number}"
            path.write_bytes(chance.randbytes(size))
            files[f"m{number % 5}/{rounds}/{number}"] = SourceFile(str(path), size, hashlib.sha256(path.read_bytes()).hexdigest())
        chains = [[Upload(key, files[key]) for key in list(files)[start::6]] for start in range(6)]
        stamps = bucket.upload(chains, lambda _files, _bytes: None)
        assert {each.key: each.stamp for each in bucket.list()} == stamps
        assert {key: bucket.digest(key) for key in files} == {key: each.sha256 for key, each in files.items()}
        stamp = bucket.put("lock", b"mine", if_absent=True)
        with pytest.raises(PreconditionError):
            bucket.put("lock", b"yours", if_absent=True)
        assert (found := bucket.read("lock")) is not None
        assert (found.data, found.stamp) == (b"mine", stamp)
        for key in list(files)[:6]:
            bucket.download(key, str(tmp_path / "back"), lambda _files, _bytes: None)
            assert (tmp_path / "back").read_bytes() == Path(files[key].path).read_bytes()
            (tmp_path / "back").unlink()
        bucket.delete([*files, "lock"])
        assert bucket.list() == []
    assert storm.count == 220
    # An upload whose first answer was lost is begun twice; the one that nobody knows of holds nothing.
    assert not any(each.parts for each in server.buckets.all["models"].uploads.values())


def test_certificates_are_checked(server: OssServer, tmp_path: Path) -> None:
    certificates = make_certificates(tmp_path)
    port = urlsplit(server.endpoint).port or 0
    with tls_front(port, certificates.server, certificates.server_key) as address:
        given = server.options(endpoint=address)

        def connect(**more: Any) -> OssBucket:
            return open_bucket("models/triton", StoreOptions(providers={"oss": given}, timeout=10, attempts=2, **more))

        with pytest.raises(UnavailableError, match=r"certificate of .* is refused"):
            connect().list()
        assert connect(ca_path=str(certificates.ca)).list() == []
        assert connect(validate_certs=False).list() == []


@pytest.mark.parametrize("version", ["v1", "v4"])
def test_a_bucket_is_reached_at_a_host_of_its_own(server: OssServer, version: str) -> None:
    port = urlsplit(server.endpoint).port
    asked = []
    real = socket.getaddrinfo

    def resolve(host: Any, *arguments: Any, **keywords: Any) -> Any:
        asked.append(host)
        return real("127.0.0.1", *arguments, **keywords)

    given = server.options(endpoint=f"http://oss.example.test:{port}", signature_version=version)
    with mock.patch.object(socket, "getaddrinfo", resolve):
        bucket = open_bucket("models/a b", StoreOptions(providers={"oss": given}, attempts=1))
        bucket.put("m/x y", b"1")
        assert [each.key for each in bucket.list()] == ["m/x y"]
    assert set(asked) == {"models.oss.example.test"}
    assert server.buckets.all["models"].live().keys() == {"a b/m/x y"}


def test_a_proxy_is_used_and_netrc_is_not(server: OssServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "netrc").write_text("default login somebody password else\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("http_proxy", server.endpoint)
    given = server.options(endpoint="http://oss.example.test")
    bucket = open_bucket("models/triton", StoreOptions(providers={"oss": given}, attempts=1))
    assert bucket.put("m/x", b"1") == bucket.list()[0].stamp
    monkeypatch.setenv("no_proxy", "example.test")
    with pytest.raises(TransientError, match="does not answer"):
        open_bucket("models/triton", StoreOptions(providers={"oss": given}, attempts=1, timeout=5)).list()
