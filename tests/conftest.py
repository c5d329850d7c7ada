# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What all tests share. `from support.… import …` reaches tests/support; the collection is imported under its full name."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent
sys.dont_write_bytecode = True
sys.path.insert(0, str(TESTS))

from support import ansible_runs, tritonserver  # noqa: E402 - needs the path above
from support.eas_gateway import EasGateway  # noqa: E402
from support.eas_server import EasServer  # noqa: E402
from support.eascmd import Eascmd  # noqa: E402

if str(ansible_runs.collections_path()) not in sys.path:
    sys.path.insert(0, str(ansible_runs.collections_path()))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything below tests/integration is marked as such; what takes long is left to `make test-long`, and counted at the end."""
    later = pytest.mark.skip(reason="takes long: `make test-long` runs it")
    for item in items:
        if (TESTS / "integration") in item.path.parents:
            item.add_marker("integration")
        if item.get_closest_marker("long") and not os.environ.get("SERVING_TRITON_TEST_LONG"):
            item.add_marker(later)


@pytest.fixture(params=tritonserver.python_versions(), scope="session")
def triton_version(request: pytest.FixtureRequest) -> str:
    """Each version of tritonserver that can run python models with this interpreter; a test that takes it runs once a version."""
    return str(request.param)


@pytest.fixture(scope="session")
def sample_repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with the models add_sub and broken. Read only: copy it to change it."""
    root = tmp_path_factory.mktemp("repository")
    tritonserver.write_add_sub(root)
    tritonserver.write_broken(root)
    return root


@pytest.fixture(scope="session")
def add_sub_server(triton_version: str, sample_repository: Path) -> Iterator[tritonserver.TritonServer]:
    """A server of each version in explicit mode with add_sub loaded. Tests that load or unload leave add_sub READY."""
    with tritonserver.TritonServer(sample_repository, triton_version, mode="explicit", options={"load-model": "add_sub"}) as server:
        yield server


@pytest.fixture
def eas_server() -> Iterator[EasServer]:
    """A stand-in for EAS without services."""
    with EasServer() as server:
        yield server
        assert server.crashes == []


@pytest.fixture
def eascmd(tmp_path: Path) -> Eascmd:
    """A stand-in for EAS's command line client, in a folder of its own."""
    folder = tmp_path / "eascmd"
    folder.mkdir()
    return Eascmd(folder)


@pytest.fixture(scope="session")
def newest_server(sample_repository: Path) -> Iterator[tritonserver.TritonServer]:
    """A server of the newest version with add_sub loaded. Tests leave it as it is."""
    version = tritonserver.python_versions()[-1]
    with tritonserver.TritonServer(sample_repository, version, mode="explicit", options={"load-model": "add_sub"}) as server:
        yield server


@pytest.fixture
def eas_gateway(eas_server: EasServer, newest_server: tritonserver.TritonServer) -> Iterator[EasGateway]:
    """The gateway of `eas_server`: its running services are served by a real tritonserver."""
    with EasGateway(eas_server, newest_server.http, newest_server.metrics) as gateway:
        yield gateway
