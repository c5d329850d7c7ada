# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The molecule scenarios, on machines with a real systemd in podman. The quick one runs always, the others by `make molecule`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support import machines

ALL = os.environ.get("SERVING_TRITON_TEST_MOLECULE") == "all"

in_podman = pytest.mark.skipif(bool(machines.missing()), reason=f"scenario left out: {machines.missing()}")
slow = pytest.mark.skipif(not ALL, reason="takes long: `make molecule` runs it")


@in_podman
def test_container_toolkit(tmp_path: Path) -> None:
    with machines.scenario("container_toolkit", tmp_path, timeout=900) as play:
        machines.keep(play, "container_toolkit_state")


@in_podman
@slow
def test_gpu_driver(tmp_path: Path) -> None:
    with machines.scenario("gpu_driver", tmp_path, timeout=7200) as play:
        machines.keep(play, "gpu_driver_state")
