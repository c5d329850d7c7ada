# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the driver says: NVIDIA's own binding with a library of ours, and the output of nvidia-smi."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from support import ansible_runs

from ansible_collections.serving.triton.plugins.module_utils.gpu import nvml

SOURCE = Path(__file__).resolve().parents[2] / "support" / "fake_nvml.c"
ASK = (
    "import dataclasses, json; from ansible_collections.serving.triton.plugins.module_utils.gpu.nvml import ask; "
    "print(json.dumps(dataclasses.asdict(ask(lambda command: ''))))"
)
MIG_H100 = {
    "name": "NVIDIA H100 80GB HBM3",
    "uuid": "GPU-2",
    "compute_capability": "9.0",
    "memory_mib": 81559,
    "mig": {
        "capable": True,
        "enabled": True,
        "pending": True,
        "devices": [{"uuid": "MIG-3", "profile": "3g.40gb", "memory_mib": 40320, "gpu_instance": 2, "compute_instance": 0}],
    },
}
CSV = """\
00000000:01:00.0, Tesla M60, GPU-1, 7680, [N/A], [N/A], 5.2
00000000:02:00.0, NVIDIA H100 80GB HBM3, GPU-2, 81559, Enabled, Disabled, 9.0
"""
LISTING = """\
GPU 0: Tesla M60 (UUID: GPU-1)
GPU 1: NVIDIA H100 80GB HBM3 (UUID: GPU-2)
  MIG 3g.40gb     Device  0: (UUID: MIG-3)
  MIG 1c.3g.40gb  Device  1: (UUID: MIG-4)
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a libnvidia-ml.so.1 that is loaded as the driver's is."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler to build the library with")
    folder = tmp_path_factory.mktemp("nvml")
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-Wall", "-Werror", "-o", str(folder / "libnvidia-ml.so.1"), str(SOURCE)], check=True, timeout=60
    )
    return folder


def ask(library: Path, mode: str = "") -> dict[str, Any]:
    environment = {**os.environ, "LD_LIBRARY_PATH": str(library), "FAKE_NVML": mode, "PYTHONPATH": str(ansible_runs.collections_path())}
    done = subprocess.run([sys.executable, "-c", ASK], capture_output=True, text=True, timeout=60, check=True, env=environment)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_nvml_is_asked(library: Path) -> None:
    told = ask(library)
    assert (told["source"], told["problem"], told["cuda"]) == ("nvml", "", "12.4")
    assert told["gpus"] == {
        "0000:01:00.0": {"name": "NVIDIA L4", "uuid": "GPU-1", "compute_capability": "8.9", "memory_mib": 23034},
        "0000:02:00.0": MIG_H100,
    }


def test_an_upgrade_without_a_reboot_is_told(library: Path) -> None:
    told = ask(library, "mismatch")
    assert (told["source"], told["gpus"]) == ("none", {})
    assert "mismatch" in told["problem"]


def test_a_gpu_that_fell_off_the_bus_does_not_hide_the_others(library: Path) -> None:
    told = ask(library, "lost")
    assert list(told["gpus"]) == ["0000:01:00.0"]
    assert told["problem"].startswith("GPU 1: ")


def test_without_a_library_there_is_a_problem_and_no_crash(tmp_path: Path) -> None:
    told = ask(tmp_path)
    assert told["source"] == "none"
    assert told["problem"]


OLD_CSV = "\n".join(line.rpartition(",")[0] for line in CSV.splitlines())


def smi(command: Sequence[str]) -> str:
    version = "NVIDIA-SMI version  : 550.54.15\nCUDA Version        : 12.4\n"
    return {"--query-gpu": CSV, "--version": version, "--list-gpus": LISTING}[command[1].split("=", maxsplit=1)[0]]


def old_smi(command: Sequence[str]) -> str:
    """As 470 answers: it knows neither --version nor the field compute_cap."""
    return {"--query-gpu": "" if "compute_cap" in command[1] else OLD_CSV, "--query": "    CUDA Version      : 11.4\n"}.get(
        command[1].split("=")[0], ""
    )


def test_nvidia_smi_is_asked_where_python_has_no_binding() -> None:
    with mock.patch.dict(sys.modules, {"pynvml": None}):
        told = nvml.ask(smi)
        nothing = nvml.ask(lambda command: "")
    assert (told.source, told.cuda, told.problem) == ("nvidia-smi", "12.4", "")
    assert told.gpus["0000:01:00.0"]["mig"] == {"capable": False, "enabled": None, "pending": None, "devices": []}
    assert told.gpus["0000:02:00.0"]["memory_mib"] == 81559
    mig = told.gpus["0000:02:00.0"]["mig"]
    assert (mig["enabled"], mig["pending"]) == (True, False)
    assert [(each["profile"], each["uuid"]) for each in mig["devices"]] == [("3g.40gb", "MIG-3"), ("1c.3g.40gb", "MIG-4")]
    assert (nothing.source, nothing.gpus) == ("none", {})
    assert "pynvml" in nothing.problem


def test_an_nvidia_smi_that_is_old_is_asked_less() -> None:
    with mock.patch.dict(sys.modules, {"pynvml": None}):
        told = nvml.ask(old_smi)
    assert (told.cuda, told.gpus["0000:01:00.0"]["memory_mib"]) == ("11.4", 7680)
    assert "compute_capability" not in told.gpus["0000:01:00.0"], "the chip's stays"


@pytest.mark.parametrize(
    ("bus", "address"), [("00000000:17:00.0", "0000:17:00.0"), ("0008:01:00.0", "0008:01:00.0"), ("00000000:C1:00.0", "0000:c1:00.0")]
)
def test_addresses_are_those_of_sysfs(bus: str, address: str) -> None:
    assert nvml.address_of(bus) == address
