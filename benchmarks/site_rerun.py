# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""site.yml with nothing to change: how long it takes, and how many tasks it runs. A deployment of its own, removed afterwards."""

from __future__ import annotations

import dataclasses
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from support.rolecheck import ROOT, PlaybookRun, Workspace
from support.tritonserver import free_ports

from .common import BenchmarkError, Line, figure, workspace

GOAL_SECONDS = 20


def measure() -> Iterator[Line]:
    with tempfile.TemporaryDirectory(prefix="triton-bench-") as folder:
        # The accounts have to pass.
        Path(folder).chmod(0o755)
        settings = _settings(Path(folder) / "deployment")
        site = dataclasses.replace(workspace(Path(folder) / "work"), inventory=ROOT / "inventories" / "local")
        try:
            _first, first_seconds = _run(site, "site", settings)
            before = _cpu_seconds()
            again, seconds = _run(site, "site", settings)
            cpu = _cpu_seconds() - before
        finally:
            site.run("serving.triton.destroy", variables=settings)
    if again.changed:
        raise BenchmarkError(f"the second run changed something: {sorted(again.changed)}")
    yield figure("site_first", "seconds", first_seconds)
    yield figure("site_rerun", "seconds", seconds, at_most=GOAL_SECONDS)
    yield figure("site_rerun", "cpu_seconds", cpu)
    yield figure("site_rerun", "tasks", len(again.tasks))
    yield Line("ratio", "site_rerun", "first_run", first_seconds / seconds)


def _cpu_seconds() -> float:
    """Of all processes that were started and ended so far."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _settings(folder: Path) -> dict[str, Any]:
    """Ports, folders and (as root) accounts that no other deployment on this machine has."""
    names = ("server_host_http_port", "server_host_grpc_port", "server_host_metrics_port", "monitoring_port")
    places = {"server_host_prefix": "", "monitoring_prefix": "", "triton_repository": "repository", "triton_report_dir": "reports"}
    return {
        **dict(zip(names, free_ports(len(names)))),
        **{name: str(folder / place) for name, place in places.items()},
        "server_host_supervisor": "supervisor",
        "monitoring_supervisor": "supervisor",
        "server_host_user": "triton-bench",
        "monitoring_user": "triton-bench-prom",
    }


def _run(site: Workspace, playbook: str, settings: dict[str, Any]) -> tuple[PlaybookRun, float]:
    began = time.perf_counter()
    run = site.run(f"serving.triton.{playbook}", variables=settings)
    if run.rc:
        raise BenchmarkError(run.tail(30))
    return run, time.perf_counter() - began
