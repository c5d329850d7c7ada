# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""An S3 server for tests: moto behind `s3_shim.py`, or the real one that the environment names.

SERVING_TRITON_TEST_S3_ENDPOINT (https://host:port), SERVING_TRITON_TEST_S3_BUCKET and AWS's own variables (credentials, AWS_REGION,
AWS_CA_BUNDLE) name a real server. Everything is done below a prefix of this run and removed at its end.
"""

from __future__ import annotations

import dataclasses
import json
import os
import ssl
import subprocess
import sys
import urllib.request
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from support.certificates import Certificates
from support.store_contract import UnavailableError

SHIM = Path(__file__).with_name("s3_shim.py")
ENDPOINT = os.environ.get("SERVING_TRITON_TEST_S3_ENDPOINT", "")
BUCKET = os.environ.get("SERVING_TRITON_TEST_S3_BUCKET", "models-bucket")
REGION = "eu-central-1"
PUBLISHER = ("AKIAPUBLISHER0000000", "publisher/secret+canary9f2c7d41")
OBSERVER = ("AKIAOBSERVER00000000", "observer/secret+canary0a1b2c3d")
TEMPORARY = ("ASIATEMPORARY0000000", "temporary/secret+canary5e6f", "temporary/token+canary7a8b==")
START_SECONDS = 60


@dataclasses.dataclass
class S3Server:
    """A running shim. endpoint: its URL."""

    endpoint: str
    process: subprocess.Popen[str]
    ca: Path | None = None

    def _control(self, method: str, path: str, body: bytes | None = None) -> dict[str, Any]:
        context = ssl.create_default_context(cafile=str(self.ca)) if self.ca else None
        request = urllib.request.Request(f"{self.endpoint}/-/{path}", data=body, method=method)
        with urllib.request.urlopen(request, timeout=20, context=context) as answer:
            return dict(json.loads(answer.read()))

    def settings(self, **changes: Any) -> None:
        """Changes `s3_shim.Settings` and forgets what was counted."""
        self._control("PUT", "settings", json.dumps(changes).encode())

    def state(self) -> dict[str, Any]:
        """counts: operation → requests; refused: texts; touched: "bucket/key" or prefix; uploads: neither completed nor aborted.

        Uploads without a part do not count: one whose begin was never answered is known to nobody, and occupies nothing.
        """
        return self._control("GET", "state")

    def counts(self) -> dict[str, int]:
        return dict(self.state()["counts"])


@contextmanager
def s3_server(certificates: Certificates | None = None) -> Iterator[S3Server]:
    """Starts a shim with an empty bucket; https with certificates."""
    settings = {
        "identities": {PUBLISHER[0]: [PUBLISHER[1]], OBSERVER[0]: [OBSERVER[1]], TEMPORARY[0]: list(TEMPORARY[1:])},
        "observers": [OBSERVER[0]],
        "certificate": str(certificates.server) if certificates else "",
        "key": str(certificates.server_key) if certificates else "",
    }
    # moto asks the environment for its own settings, and boto3 inside of it for credentials.
    env = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "MOTO_"))}
    process = subprocess.Popen([sys.executable, str(SHIM)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(json.dumps(settings) + "\n")
        process.stdin.flush()
        port = process.stdout.readline().strip()
        if not port:
            raise UnavailableError("the S3 server did not start; its error is above")
        server = S3Server(f"{'https' if certificates else 'http'}://127.0.0.1:{port}", process, certificates.ca if certificates else None)
        observer(server.endpoint, server.ca).create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
        yield server
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def observer(endpoint: str, ca: Path | None = None, pair: tuple[str, str] | None = OBSERVER) -> Any:
    """boto3's client, as somebody else has it. pair: None for the environment's credentials."""
    config = Config(
        s3={"addressing_style": "path"}, retries={"total_max_attempts": 5, "mode": "standard"}, connect_timeout=10, read_timeout=60
    )
    keys = {"aws_access_key_id": pair[0], "aws_secret_access_key": pair[1], "region_name": REGION} if pair else {}
    return boto3.client("s3", endpoint_url=endpoint or None, config=config, verify=str(ca) if ca else None, **keys)


class S3UnderTest:
    """See `store_contract.StoreUnderTest`. server: None for a real one."""

    conditional = True
    provider = "s3"

    def __init__(self, client: Any, endpoint: str, place: str, server: S3Server | None, base: str = "") -> None:
        self._client, self._endpoint, self._base = client, endpoint, base
        self.server = server
        self.bucket, self.prefix = BUCKET, f"{base}{place}"
        self.url = f"s3://{endpoint}/{BUCKET}/{self.prefix}" if endpoint else f"s3://{BUCKET}/{self.prefix}"
        ours = {"region": REGION, "access_key": PUBLISHER[0], "secret_key": PUBLISHER[1]}
        self.module_options: Mapping[str, Any] = {"s3": ours} if server else {}
        if server and server.ca:
            self.module_options = {**self.module_options, "ca_path": str(server.ca)}
        self.environment: Mapping[str, str] = {}
        self.secrets: Sequence[str] = (PUBLISHER[1],) if server else tuple(filter(None, [os.environ.get("AWS_SECRET_ACCESS_KEY")]))

    def at(self, place: str) -> S3UnderTest:
        return S3UnderTest(self._client, self._endpoint, place, self.server, self._base)

    def through(self, endpoint: str) -> S3UnderTest:
        """The same repository, by a proxy in front of the server."""
        return S3UnderTest(self._client, endpoint, self.prefix[len(self._base) :], self.server, self._base)

    def put(self, key: str, data: bytes) -> None:
        self._client.put_object(Bucket=self.bucket, Key=f"{self.prefix}/{key}", Body=data)

    def get(self, key: str) -> bytes | None:
        try:
            return bytes(self._client.get_object(Bucket=self.bucket, Key=f"{self.prefix}/{key}")["Body"].read())
        except self._client.exceptions.NoSuchKey:
            return None

    def keys(self) -> set[str]:
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=f"{self.prefix}/")
        return {each["Key"][len(self.prefix) + 1 :] for page in pages for each in page.get("Contents", [])}

    def delete(self, key: str) -> None:
        self._client.delete_object(Bucket=self.bucket, Key=f"{self.prefix}/{key}")

    def sweep(self) -> None:
        """Removes everything of this run."""
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=self._base)
        for key in [each["Key"] for page in pages for each in page.get("Contents", [])]:
            self._client.delete_object(Bucket=self.bucket, Key=key)


@contextmanager
def open_store_under_test() -> Iterator[S3UnderTest]:
    if ENDPOINT:
        client = observer(ENDPOINT, pair=None)
        store = S3UnderTest(client, ENDPOINT, "models", None, f"serving-triton-test-{uuid.uuid4().hex[:8]}/")
        try:
            yield store
        finally:
            with suppress(Exception):
                store.sweep()
        return
    with s3_server() as server:
        yield S3UnderTest(observer(server.endpoint), server.endpoint, "models", server)
