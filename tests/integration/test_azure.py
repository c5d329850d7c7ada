# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is special about as://: Triton's URLs and variables, blocks that a later run takes up, folders of hierarchical accounts."""

from __future__ import annotations

import hashlib
import os
import sys
import time
import types
import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from support import azurite_server
from support.azurite_server import ACCOUNT, Azurite
from support.store_contract import UnavailableError as NoServerError
from support.wire import Wire

from ansible_collections.serving.triton.plugins.module_utils.core.errors import InputError, UnavailableError
from ansible_collections.serving.triton.plugins.module_utils.core.wait import Clock
from ansible_collections.serving.triton.plugins.module_utils.repository.publish import SourceFile
from ansible_collections.serving.triton.plugins.module_utils.stores.azure.bucket import AzureBucket, open_bucket
from ansible_collections.serving.triton.plugins.module_utils.stores.azure.client import BLOCK
from ansible_collections.serving.triton.plugins.module_utils.stores.azure.upload import MOST_BLOCKS, block_size
from ansible_collections.serving.triton.plugins.module_utils.stores.base import StoreOptions
from ansible_collections.serving.triton.plugins.module_utils.stores.bucket import PreconditionError, Upload

KEY = "m/1/weights"
NAME = f"repository/{KEY}"
VARIABLES = ("AZURE_STORAGE_KEY", "AZURE_STORAGE_ACCOUNT", "AZURE_STORAGE_SAS_TOKEN", "AZURE_STORAGE_CONNECTION_STRING")
WAYS = ("key", "connection_string", "sas_token", *VARIABLES)


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses between attempts spare a real service; here they would only take time."""
    monkeypatch.setattr(Clock, "sleep", lambda _clock, seconds: time.sleep(min(seconds, 0.02)))


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture(scope="module")
def server() -> Azurite:
    try:
        return azurite_server.azurite()
    except NoServerError as error:
        pytest.skip(f"azure cannot be tested here: {error}")


@pytest.fixture
def container(server: Azurite) -> Iterator[Any]:
    client = server.container(f"models-{uuid.uuid4().hex[:8]}")
    yield client
    client.delete_container()


def bucket(server: Azurite, container: Any, attempts: int = 3, host: str = ACCOUNT, **given: Any) -> AzureBucket:
    options = StoreOptions(providers={"azure": {"endpoint": server.url, **given}}, timeout=10.0, attempts=attempts)
    return open_bucket(f"{host}/{container.container_name}/repository", options)


def keyed(server: Azurite, container: Any, attempts: int = 3, **given: Any) -> AzureBucket:
    return bucket(server, container, attempts, account_key=server.key, **given)


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> Wire:
    return Wire(monkeypatch)


@pytest.fixture
def large(tmp_path: Path) -> SourceFile:
    data = os.urandom(3 * BLOCK + 1000)
    (tmp_path / "weights").write_bytes(data)
    return SourceFile(str(tmp_path / "weights"), len(data), hashlib.sha256(data).hexdigest())


def send(target: AzureBucket, source: SourceFile) -> int:
    """Returns the bytes that were counted."""
    moved: list[int] = []
    target.upload([[Upload(KEY, source)]], lambda _files, size: moved.append(size))
    return sum(moved)


def signature(server: Azurite, container: Any, permission: str = "racwdl") -> str:
    from azure.storage.blob import generate_container_sas  # noqa: PLC0415 - what the fixture skips without

    end = datetime.now(timezone.utc) + timedelta(hours=1)
    return generate_container_sas(ACCOUNT, container.container_name, account_key=server.key, permission=permission, expiry=end)


@pytest.mark.parametrize("way", WAYS)
def test_every_kind_of_credentials_works(way: str, server: Azurite, container: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}
    text = f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={server.key};BlobEndpoint={server.url};"
    if way == "key":
        given = {"account_key": server.key}
    elif way == "sas_token":
        # A token that is given counts for more than a key that lies about.
        monkeypatch.setenv("AZURE_STORAGE_KEY", "d3Jvbmc=")
        given = {"sas_token": f"?{signature(server, container)}"}
    elif way == "AZURE_STORAGE_SAS_TOKEN":
        monkeypatch.setenv(way, signature(server, container))
    elif way == "connection_string":
        given = {"connection_string": text}
    elif way == "AZURE_STORAGE_CONNECTION_STRING":
        monkeypatch.setenv(way, text)
        given = {"endpoint": None}
    else:
        monkeypatch.setenv("AZURE_STORAGE_KEY", server.key)
    if way == "AZURE_STORAGE_ACCOUNT":
        monkeypatch.setenv("AZURE_STORAGE_ACCOUNT", ACCOUNT)
    target = bucket(server, container, **given)
    target.put(KEY, b"1")
    target.put("m/config.pbtxt", b"1")
    # Whether a token allows batches or not.
    target.delete([KEY, "m/config.pbtxt"])
    assert target.list() == []


def test_the_account_may_be_written_as_its_host(server: Azurite, container: Any) -> None:
    target = bucket(server, container, host=f"{ACCOUNT}.blob.core.windows.net", account_key=server.key)
    target.put(KEY, b"1")
    assert target.url == f"as://{ACCOUNT}.blob.core.windows.net/{container.container_name}/repository"
    assert [blob.name for blob in container.list_blobs()] == [NAME]


def test_where_an_account_lies() -> None:
    options = StoreOptions(providers={"azure": {"account_key": "d3Jvbmc="}})
    for host in ("models", "models.blob.core.windows.net"):
        target = open_bucket(f"{host}/container/prefix/", options)
        assert target._azure.endpoint == "https://models.blob.core.windows.net"
    for rest in ("", "account", "account/", "/container"):
        with pytest.raises(InputError, match="account and a container"):
            open_bucket(rest, options)


def test_wrong_credentials_are_explained(server: Azurite, container: Any, wire: Wire) -> None:
    with pytest.raises(UnavailableError, match=r"403.*Check the key") as failure:
        bucket(server, container, account_key="d3Jvbmc=").list()
    assert "d3Jvbmc=" not in str(failure.value)
    with pytest.raises(InputError, match=r"azure\.account_key") as unreadable:
        bucket(server, container, connection_string="AccountKey:secret")
    assert "secret" not in str(unreadable.value)
    token = signature(server, container, "r")
    with pytest.raises(UnavailableError, match="403"):
        bucket(server, container, sas_token=token).put(KEY, b"1")
    wire.break_off(".", 3)
    with pytest.raises(UnavailableError, match="does not answer") as broken:
        bucket(server, container, sas_token=token).list()
    assert "sig=" in token
    assert "sig=" in wire.log[-1]
    assert "sig=" not in str(broken.value)


def test_a_key_of_another_account_is_not_sent(server: Azurite, container: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_STORAGE_KEY", server.key)
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT", "another")
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", f"AccountName=another;AccountKey={server.key}")
    monkeypatch.setitem(sys.modules, "azure.identity", None)
    with pytest.raises(UnavailableError, match=r"no credentials.*AZURE_STORAGE_KEY.*azure-identity"):
        bucket(server, container, endpoint=None)
    with pytest.raises(InputError, match="for the account another"):
        bucket(server, container, connection_string=f"AccountName=another;AccountKey={server.key}")


def test_an_identity_is_used_where_nothing_is_given(server: Azurite, container: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    class Credential:
        def __init__(self, **settings: Any) -> None:
            asked.append(settings)

        def get_token(self, *_scopes: str, **_unused: Any) -> Any:
            raise AssertionError("not asked here")

    monkeypatch.setitem(sys.modules, "azure.identity", types.SimpleNamespace(DefaultAzureCredential=Credential))
    monkeypatch.setenv("AZURE_STORAGE_CLIENT_ID", "the-identity")
    with pytest.raises(InputError, match="without TLS"):
        bucket(server, container)
    bucket(server, container, endpoint=None)
    assert asked == [{"managed_identity_client_id": "the-identity"}]


def test_a_missing_sdk_is_named(server: Azurite, container: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "azure.storage.blob", None)
    with pytest.raises(UnavailableError, match="pip install azure-storage-blob"):
        keyed(server, container)


def test_the_next_run_takes_blocks_up(server: Azurite, container: Any, large: SourceFile, wire: Wire) -> None:
    wire.break_off("comp=block&", 100, after=2)
    with pytest.raises(UnavailableError):
        send(keyed(server, container, 1), large)
    # Nothing is there for a server that polls.
    assert list(container.list_blobs()) == []
    _committed, waiting = container.get_blob_client(NAME).get_block_list("uncommitted")
    assert len(waiting) == 2
    wire.clear()
    assert send(keyed(server, container), large) == large.size - sum(block.size for block in waiting)
    assert wire.count("comp=block&") == 2
    found = container.download_blob(NAME).readall()
    assert hashlib.sha256(found).hexdigest() == large.sha256


def test_blocks_of_other_content_are_not_taken_up(server: Azurite, container: Any, large: SourceFile, wire: Wire, tmp_path: Path) -> None:
    wire.break_off("comp=block&", 100, after=3)
    with pytest.raises(UnavailableError):
        send(keyed(server, container, 1), large)
    wire.clear()
    data = os.urandom(large.size)
    (tmp_path / "other").write_bytes(data)
    other = SourceFile(str(tmp_path / "other"), len(data), hashlib.sha256(data).hexdigest())
    assert send(keyed(server, container), other) == large.size
    assert container.download_blob(NAME).readall() == data


def test_blocks_grow_with_the_file() -> None:
    assert block_size(0) == block_size(BLOCK * MOST_BLOCKS) == BLOCK
    huge = block_size(BLOCK * MOST_BLOCKS + 1)
    assert huge == BLOCK + (1 << 20)
    assert huge * MOST_BLOCKS > BLOCK * MOST_BLOCKS + 1


def test_the_access_tier_is_told(server: Azurite, container: Any, large: SourceFile) -> None:
    target = keyed(server, container, access_tier="Cool")
    target.put("m/config.pbtxt", b"")
    send(target, large)
    assert {blob.blob_tier for blob in container.list_blobs()} == {"Cool"}


def test_folders_of_hierarchical_accounts_are_listed_and_go(server: Azurite, container: Any) -> None:
    # Such an account lists its folders so; Triton takes m/2 as a version, files or not.
    for name in ("repository/m", "repository/m/2", "repository/m/2/variables"):
        container.upload_blob(name, b"", metadata={"hdi_isfolder": "true"})
    container.upload_blob("repository/m/2/model.py", b"")
    target = keyed(server, container)
    assert [each.key for each in target.list()] == ["m/", "m/2/", "m/2/model.py", "m/2/variables/"]
    target.delete(["m/2/", "m/2/model.py", "m/2/variables/"])
    assert [blob.name for blob in container.list_blobs()] == ["repository/m"]


def test_a_download_is_of_one_etag(server: Azurite, container: Any, large: SourceFile, tmp_path: Path) -> None:
    target = keyed(server, container)
    send(target, large)

    def replaced(_files: int, _size: int) -> None:
        container.upload_blob(NAME, b"x" * large.size, overwrite=True)

    with pytest.raises(PreconditionError):
        target.download(KEY, str(tmp_path / "download"), replaced)


def test_objects_with_snapshots_go_too(server: Azurite, container: Any) -> None:
    target = keyed(server, container)
    for key in ("m/1/a", "m/1/b"):
        target.put(key, b"1")
        container.get_blob_client(f"repository/{key}").create_snapshot()
    target.delete(["m/1/a", "m/1/b"])
    assert target.list() == []
