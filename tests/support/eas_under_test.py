# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The EAS that tests run against: the stand-in, or the real one where the environment names it.

SERVING_TRITON_EAS_ENDPOINT (pai-eas.<region>.aliyuncs.com) names it, with the SDK's own ALIBABA_CLOUD_ACCESS_KEY_ID, …_SECRET and
ALIBABA_CLOUD_SECURITY_TOKEN. SERVING_TRITON_EAS_REGION is needed where the endpoint does not tell the region. SERVING_TRITON_EAS_CONFIG is
the path of a service's JSON that the account can deploy; its name is not used. SERVING_TRITON_EASCMD is the path of the real client.
Services that tests make are named st_<random>_…, cost money while they run, and are deleted in the end.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from alibabacloud_eas20210701.client import Client
from alibabacloud_eas20210701.models import ListServicesRequest
from alibabacloud_tea_openapi.exceptions import ClientException
from alibabacloud_tea_openapi.models import Config

from .eas_server import ACCESS_KEY, SECRET, EasServer
from .eascmd import Eascmd

TRITON = {
    "processor": "triton",
    "processor_params": ["--model-repository=oss://models/triton", "--allow-http=true"],
    "metadata": {"instance": 1, "cpu": 4, "gpu": 1, "memory": 10000, "rpc": {"keepalive": 3000}},
}


def triton_config(name: str, instance: int = 1, **metadata: Any) -> dict[str, Any]:
    """A service of the processor triton that the stand-in deploys."""
    config = deepcopy(TRITON)
    config["metadata"].update(name=name, instance=instance, **metadata)  # type: ignore[attr-defined]
    return config


def client(endpoint: str, region: str, identity: str = ACCESS_KEY, secret: str = SECRET, token: str = "") -> Any:
    """The official SDK's client; by http where the endpoint is a stand-in."""
    plain = endpoint.removeprefix("http://")
    keys = {"access_key_id": identity, "access_key_secret": secret, "security_token": token or None}
    protocol = "http" if plain != endpoint or plain.startswith("127.") else "https"
    return Client(Config(endpoint=plain, protocol=protocol, region_id=region, **keys))


@dataclass
class EasUnderTest:
    """endpoint: a URL for the stand-in, a host for the real one. environment: the credentials. prefix: of all services' names.

    config: a service's JSON without a name. eascmd: the client's path, None where the real one is not here. server, tool: the stand-ins,
    None for the real ones. wait: options with which a module waits.
    """

    endpoint: str
    region: str
    environment: Mapping[str, str]
    eascmd: Path | None
    config: dict[str, Any]
    wait: Mapping[str, float]
    prefix: str = ""
    server: EasServer | None = None
    tool: Eascmd | None = None
    secrets: list[str] = field(default_factory=list)

    @property
    def real(self) -> bool:
        return self.server is None

    def options(self, backend: str) -> dict[str, Any]:
        """Of a module that is to use this EAS by this backend."""
        tool = {"eascmd_path": str(self.eascmd)} if self.eascmd else {}
        return {"backend": backend, "endpoint": self.endpoint, "region": self.region, **tool, **self.wait}

    def name(self, suffix: str) -> str:
        return f"{self.prefix}{suffix}"

    def service(self, suffix: str, **metadata: Any) -> dict[str, Any]:
        """The JSON of a service of this name."""
        config = deepcopy(self.config)
        config.pop("name", None)
        config["metadata"] = {**config.get("metadata", {}), "name": self.name(suffix), **metadata}
        return config

    def sdk(self) -> Any:
        """The official SDK's client, to look past our code."""
        names = ("ALIBABA_CLOUD_ACCESS_KEY_ID", "ALIBABA_CLOUD_ACCESS_KEY_SECRET", "ALIBABA_CLOUD_SECURITY_TOKEN")
        return client(self.endpoint, self.region, *(self.environment.get(name, "") for name in names))

    def describe(self, name: str) -> dict[str, Any] | None:
        """What DescribeService tells, None of a service that is not there. A poll."""
        try:
            found: dict[str, Any] = self.sdk().describe_service(self.region, name).body.to_map()
        except ClientException as error:
            if error.code == "InvalidService.NotFound":
                return None
            raise
        return found

    def remove_all(self) -> None:
        """Deletes what the tests made, and waits until it is gone."""
        sdk = self.sdk()
        rows = sdk.list_services(ListServicesRequest(filter=self.prefix)).body.services or []
        names = [row.service_name for row in rows if row.service_name.startswith(self.prefix)]
        for name in names:
            sdk.delete_service(self.region, name)
        end = time.monotonic() + self.wait["wait_timeout"]
        while any(self.describe(name) for name in names):
            if time.monotonic() > end:
                raise AssertionError(f"EAS still has some of {names}")
            time.sleep(self.wait["wait_interval"])


@contextmanager
def open_eas_under_test() -> Iterator[EasUnderTest]:
    """The real EAS where the environment names it, else the stand-ins."""
    if endpoint := os.environ.get("SERVING_TRITON_EAS_ENDPOINT"):
        real = _real(endpoint)
        try:
            yield real
        finally:
            real.remove_all()
        return
    with EasServer() as server, tempfile.TemporaryDirectory(prefix="eascmd-") as folder:
        tool = Eascmd(Path(folder))
        wait = {"wait_interval": 0.02, "wait_timeout": 60.0}
        given = (server.url, server.region, server.environment, tool.path, deepcopy(TRITON), wait)
        yield EasUnderTest(*given, server=server, tool=tool, secrets=[SECRET])
        assert server.crashes == []


def _real(endpoint: str) -> EasUnderTest:
    environment = {name: value for name, value in os.environ.items() if name.startswith("ALIBABA_CLOUD_")}
    region = os.environ.get("SERVING_TRITON_EAS_REGION") or endpoint.split(".")[1]
    config = json.loads(Path(os.environ["SERVING_TRITON_EAS_CONFIG"]).read_text(encoding="utf-8"))
    tool = os.environ.get("SERVING_TRITON_EASCMD")
    wait = {"wait_interval": 5.0 if "//" not in endpoint else 0.02, "wait_timeout": 1800.0}
    secrets = [value for name, value in environment.items() if name.endswith(("_SECRET", "_TOKEN"))]
    prefix = f"st_{uuid.uuid4().hex[:8]}_"
    return EasUnderTest(endpoint, region, environment, Path(tool) if tool else None, config, wait, prefix, secrets=secrets)
