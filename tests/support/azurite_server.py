# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Azurite, Microsoft's emulator of Azure Blob Storage: installed from npm into the checkout's cache on first use, one a test process.

It checks the shared key's signature, SAS tokens, ETag conditions, block lists and the MD5 of what is put.
"""

from __future__ import annotations

import atexit
import base64
import fcntl
import functools
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from azure.core.exceptions import ResourceNotFoundError
from azure.storage.blob import ContainerClient

from support.store_contract import UnavailableError

# The newest that runs with Debian 13's Node.js, which is 20; later ones want 22.
VERSION = "3.35.0"
OLDEST_NODE = 18
CACHE = Path(__file__).resolve().parents[2] / ".cache" / "npm" / f"azurite-{VERSION}"
ACCOUNT = "publisher"
INSTALL_SECONDS = 300
START_SECONDS = 60


@functools.cache
def program() -> list[str] | UnavailableError:
    """The command that runs Azurite's blob service, or why there is none: npm takes a minute to give up, which is enough once."""
    try:
        return _program()
    except UnavailableError as error:
        return error


def _program() -> list[str]:
    node, npm = shutil.which("node"), shutil.which("npm")
    if not node or not npm:
        raise UnavailableError("Azurite needs Node.js and npm, which are not on PATH")
    told = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=60, check=False).stdout.strip()
    if int(told.lstrip("v").partition(".")[0] or 0) < OLDEST_NODE:
        raise UnavailableError(f"Azurite needs Node.js {OLDEST_NODE} or newer, and this is {told}")
    main = CACHE / "node_modules" / "azurite" / "dist" / "src" / "blob" / "main.js"
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (CACHE / ".ready").exists():
            _install(npm)
            (CACHE / ".ready").touch()
    return [node, str(main)]


def _install(npm: str) -> None:
    # What an installation that was broken off left there.
    shutil.rmtree(CACHE / "node_modules", ignore_errors=True)
    command = [npm, "install", "--prefix", str(CACHE), "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"]
    try:
        done = subprocess.run(
            [*command, f"azurite@{VERSION}"], cwd=CACHE, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise UnavailableError(f"npm did not install azurite@{VERSION} within {INSTALL_SECONDS} s") from error
    if done.returncode:
        raise UnavailableError(f"npm cannot install azurite@{VERSION} (offline?): {done.stderr.strip()[-300:]}")


class Azurite:
    """url: the account's. key: the account's."""

    def __init__(self) -> None:
        command = program()
        if isinstance(command, UnavailableError):
            raise command
        self.key = base64.b64encode(secrets.token_bytes(32)).decode()
        port = _free_port()
        self.url = f"http://127.0.0.1:{port}/{ACCOUNT}"
        arguments = ["--inMemoryPersistence", "--silent", "--disableTelemetry", "--skipApiVersionCheck", "--extentMemoryLimit", "1024"]
        place = ["--blobHost", "127.0.0.1", "--blobPort", str(port)]
        environment = {**os.environ, "AZURITE_ACCOUNTS": f"{ACCOUNT}:{self.key}"}
        # A file: nobody reads a pipe, and a full one would stop it.
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the process
        self._process = subprocess.Popen(
            [*command, *arguments, *place],
            cwd=CACHE,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )
        self._wait()

    def _wait(self) -> None:
        end = time.monotonic() + START_SECONDS
        while self._process.poll() is None and time.monotonic() < end:
            try:
                urllib.request.urlopen(f"{self.url}?comp=list", timeout=5).close()
            except urllib.error.HTTPError:
                # It refuses who does not sign: it is there.
                return
            except OSError:
                time.sleep(0.1)
        self.stop()
        self._log.seek(0)
        raise UnavailableError(f"Azurite does not start: {self._log.read()[-300:].decode(errors='replace')}")

    def stop(self) -> None:
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(10)
            return
        self._process.kill()
        self._process.wait(10)

    def container(self, name: str) -> ContainerClient:
        """A container, made where it is not there yet."""
        client = ContainerClient(self.url, name, credential={"account_name": ACCOUNT, "account_key": self.key})
        if not client.exists():
            client.create_container()
        return client


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@functools.cache
def azurite() -> Azurite:
    """The one of this test process, stopped at its end."""
    server = Azurite()
    atexit.register(server.stop)
    return server


# --- the contract suite


class AzureUnderTest:
    """See `store_contract.StoreUnderTest`."""

    conditional = True

    def __init__(
        self, container: ContainerClient, root: str, options: Mapping[str, Any], environment: Mapping[str, str], secret: Sequence[str]
    ) -> None:
        self._container = container
        # as://account/container/prefix
        self._base, _slash, last = root.rpartition("/")
        self._place = "/".join([*root.split("/")[4:-1], last])
        self.url = root
        self.module_options, self.environment, self.secrets = options, environment, secret

    def at(self, place: str) -> AzureUnderTest:
        return AzureUnderTest(self._container, f"{self._base}/{place}", self.module_options, self.environment, self.secrets)

    def put(self, key: str, data: bytes) -> None:
        self._container.upload_blob(f"{self._place}/{key}", data, overwrite=True)

    def get(self, key: str) -> bytes | None:
        with suppress(ResourceNotFoundError):
            return self._container.download_blob(f"{self._place}/{key}").readall()
        return None

    def keys(self) -> set[str]:
        return {name.removeprefix(f"{self._place}/") for name in self._container.list_blob_names(name_starts_with=f"{self._place}/")}

    def delete(self, key: str) -> None:
        with suppress(ResourceNotFoundError):
            self._container.delete_blob(f"{self._place}/{key}")


@contextmanager
def open_store_under_test() -> Iterator[AzureUnderTest]:
    """Azurite, or the container that SERVING_TRITON_AZURE_URL names (as://account/container/prefix), with the key in AZURE_STORAGE_KEY."""
    if real := os.environ.get("SERVING_TRITON_AZURE_URL", "").rstrip("/"):
        host, name, *prefix = real.removeprefix("as://").split("/")
        account, key = host.partition(".")[0], os.environ.get("AZURE_STORAGE_KEY", "")
        if not key:
            raise UnavailableError("SERVING_TRITON_AZURE_URL needs AZURE_STORAGE_KEY")
        credential = {"account_name": account, "account_key": key}
        container = ContainerClient(f"https://{account}.blob.core.windows.net", name, credential=credential)
        place = "/".join([*prefix, f"contract-{uuid.uuid4().hex[:8]}"])
        try:
            yield AzureUnderTest(container, f"as://{host}/{name}/{place}/models", {}, {"AZURE_STORAGE_KEY": key}, (key,))
        finally:
            for blob in container.list_blob_names(name_starts_with=f"{place}/"):
                container.delete_blob(blob)
        return
    server = azurite()
    container = server.container(f"models-{uuid.uuid4().hex[:8]}")
    options = {"azure": {"endpoint": server.url}}
    yield AzureUnderTest(
        container, f"as://{ACCOUNT}/{container.container_name}/models", options, {"AZURE_STORAGE_KEY": server.key}, (server.key,)
    )
    container.delete_container()
