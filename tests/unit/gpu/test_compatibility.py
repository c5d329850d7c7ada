# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which images run where, which driver an image needs, and the gate."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleFilterError
from hypothesis import given
from hypothesis import strategies as st
from support.gpu_tree import Machine, healthy

from ansible_collections.serving.triton.plugins.filter import gpu_module_kind, triton_driver_for, triton_gpu_problems, triton_images_for
from ansible_collections.serving.triton.plugins.module_utils.gpu import compatibility
from ansible_collections.serving.triton.plugins.module_utils.gpu.info import Request, inspect
from ansible_collections.serving.triton.plugins.module_utils.gpu.versions import compare
from ansible_collections.serving.triton.plugins.plugin_utils.compatibility import table

IMAGE = "nvcr.io/nvidia/tritonserver:24.10-py3"
H100 = {"name": "NVIDIA H100", "generation": "hopper", "compute_capability": "9.0", "datacenter": True, "modules": ["open", "proprietary"]}


def look(machine: Machine) -> dict[str, Any]:
    return inspect(Request(root=str(machine.root)), lambda _command: "")


def row(release: str, info: dict[str, Any]) -> dict[str, Any]:
    return next(each for each in triton_images_for.images(info, all=True) if each["release"] == release)


@pytest.mark.parametrize(
    ("given_", "release"),
    [
        (IMAGE, "24.10"),
        ("registry.local:5000/nvidia/tritonserver:24.10-py3-sdk@sha256:abc", "24.10"),
        ("tritonserver:24.10-vllm-python-py3", "24.10"),
        ("24.10", "24.10"),
        ("24.10-py3", "24.10"),
        ("2.51", "24.10"),
        ("2.51.0", "24.10"),
        ("2.59.1", "25.07"),
        ("tritonserver:2.51", None),
        ("registry.local:5000/own/triton", None),
        ("own/triton:24.10", None),
        ("tritonserver:latest", None),
        ("27.01", None),
        ("", None),
    ],
)
def test_the_release_behind_an_image(given_: str, release: str | None) -> None:
    found = compatibility.release_of(table(), given_)
    assert (found.release if found else None) == release


@pytest.mark.parametrize(
    ("release", "driver", "datacenter", "way"),
    [
        ("24.10", "560.35.05", False, "native"),
        ("24.10", "560.28.02", False, "minor"),
        ("24.10", "550.90.07", False, "minor"),
        ("24.10", "550.90.07", True, "forward"),
        ("24.10", "525.60.12", False, ""),
        ("24.10", "470.256.02", True, "forward"),
        ("24.10", "470.256.02", False, ""),
        ("25.10", "570.86.15", True, "forward"),
        ("25.10", "570.86.15", False, ""),
        ("25.10", "580.65.06", False, "native"),
        ("26.06", "580.95.05", False, "minor"),
        ("26.06", "580.95.05", True, "forward"),
        ("26.06", "575.57.08", True, ""),
        ("26.08", "570.86.15", True, ""),
    ],
)
def test_how_a_driver_satisfies_a_release(release: str, driver: str, datacenter: bool, way: str) -> None:
    told = row(
        release, {"driver": driver, "gpus": [{**H100, "generation": "turing", "compute_capability": "7.5", "datacenter": datacenter}]}
    )
    assert (told["runs"], told["via"]) == (bool(way), way)
    assert bool(told["reasons"]) == (way in ("", "minor"))


def test_an_old_gpu_and_a_new_one() -> None:
    old = triton_images_for.images({"driver": "580.95.05", "gpus": ["pascal"]})
    assert [each["release"] for each in old][:3] == ["24.12", "24.11", "24.10"]
    assert "the least compute capability of release 24.12 is not known" in old[0]["reasons"][0]
    assert "compute capability 6.0" in row("25.10", {"driver": "580.95.05", "gpus": ["pascal"]})["reasons"][0]
    new = triton_images_for.images({"driver": "615.61", "gpus": ["blackwell"]}, variant="vllm-python-py3")
    assert [new[0]["image"], new[-1]["release"]] == ["nvcr.io/nvidia/tritonserver:26.10-vllm-python-py3", "25.01"]
    assert "needs CUDA 12.8 or newer" in row("24.10", {"driver": "615.61", "gpus": ["blackwell"]})["reasons"][0]
    assert triton_images_for.images({"driver": "615.61", "gpus": []}) == []
    assert triton_images_for.images({"driver": "", "gpus": ["ada"]}) == []


def test_the_driver_for_a_release() -> None:
    told = triton_driver_for.driver(IMAGE, [H100])
    assert {key: told[key] for key in ("release", "version", "cuda", "least", "native", "recommended", "kind")} == {
        "release": "24.10",
        "version": "2.51",
        "cuda": "12.6",
        "least": "525.60.13",
        "native": "560.28.03",
        "recommended": 620,
        "kind": "open",
    }
    ways = {each["branch"]: each["via"] for each in told["branches"]}
    assert (ways[535], ways[550], ways[545], ways[580]) == ("forward", "forward", "minor", "native")
    assert 470 not in ways, "R470 does not know Hopper"
    assert triton_driver_for.driver("23.10", ["volta"])["recommended"] == 580
    assert triton_driver_for.driver("23.10", ["volta"])["kind"] == "proprietary"
    assert triton_driver_for.driver("26.08")["recommended"] == 620


@pytest.mark.parametrize(
    ("image", "gpus", "message"),
    [
        ("25.10", ["pascal"], r"25.10: .* needs 7.5 or more. Take release 24.10, the newest that these GPUs run."),
        ("24.10", ["blackwell"], r"needs CUDA 12.8 or newer.*Take release 26.10"),
        ("24.10", ["volta", "blackwell"], r"needs CUDA 12.8.*Take other GPUs"),
        ("26.08", ["maxwell"], r"capability 5.0.*Take other GPUs"),
        ("27.05", [], r"27.05: this release of Triton is not known. Give an image of tritonserver, a release from 23.03 to 26.10"),
        ("24.10", ["rubin"], r"'rubin' is no generation of GPUs. Give one of fermi, .*blackwell."),
        ("24.10", "ada", r"'ada' is no list of GPUs"),
    ],
)
def test_when_no_driver_does_the_error_says_why_and_what_would(image: str, gpus: Any, message: str) -> None:
    with pytest.raises(AnsibleFilterError, match=message):
        triton_driver_for.driver(image, gpus)


@pytest.mark.parametrize(
    ("gpus", "branch", "kind"),
    [
        ([], "", "open"),
        ([], 535, "proprietary"),
        (["turing", "hopper"], "", "open"),
        (["turing"], 550, "proprietary"),
        (["turing"], "560.35.05", "open"),
        (["volta", "turing"], "", "proprietary"),
        (["volta"], 580, "proprietary"),
        (["blackwell"], 570, "open"),
        ([{"name": "GH200", "generation": "hopper", "modules": ["open"]}], 535, "open"),
        ([{"name": "X1000", "generation": "", "modules": []}], 620, "open"),
    ],
)
def test_the_kind_of_module(gpus: list[Any], branch: Any, kind: str) -> None:
    assert gpu_module_kind.kind(gpus, branch) == kind


@pytest.mark.parametrize(
    ("gpus", "branch", "message"),
    [
        (
            ["volta", "blackwell"],
            "",
            r"no kernel module of any driver branch .*blackwell GPU: from branch 570 open.*volta GPU: up to branch 580",
        ),
        (["volta"], 595, r"no kernel module of driver branch 595"),
        (["blackwell"], 550, r"no kernel module of driver branch 550"),
        (["ada"], "latest", r"'latest' is no driver branch"),
    ],
)
def test_no_kind_of_module(gpus: Sequence[str], branch: Any, message: str) -> None:
    with pytest.raises(AnsibleFilterError, match=message):
        gpu_module_kind.kind(gpus, branch)


def kinds(problems: list[dict[str, str]]) -> list[str]:
    return [each["kind"] for each in problems]


def test_the_gate_is_open(tmp_path: Path) -> None:
    info = look(healthy(tmp_path))
    assert triton_gpu_problems.found(IMAGE, info, engine="podman", devices=["all"]) == []
    assert triton_gpu_problems.found("own/image:1", info, engine="docker", devices=["0"]) == []


def test_the_gate_says_what_where_and_what_next(tmp_path: Path) -> None:
    none = triton_gpu_problems.found(IMAGE, look(Machine(tmp_path / "none")))
    assert [each["what"] for each in none] == ["GPUs are asked for, and this machine has none of NVIDIA"]
    bare = triton_gpu_problems.found(IMAGE, look(Machine(tmp_path / "bare").gpu("ada")))
    assert (kinds(bare), bare[0]["remedy"]) == (["driver"], "Install it with the role serving.triton.gpu_driver.")
    old = look(healthy(tmp_path / "old", "geforce", "470.256.02", "proprietary"))
    message = (
        f"{IMAGE}: release 24.10 with CUDA 12.6 needs driver 525 or newer, and here is 470.256.02. "
        "Install driver branch 620, or take another machine: no image is known to run here."
    )
    assert [each["message"] for each in triton_gpu_problems.found(IMAGE, old)] == [message]
    pascal = triton_gpu_problems.found("25.10", look(healthy(tmp_path / "pascal", "pascal", "580.95.05", "proprietary")))
    assert (kinds(pascal), pascal[0]["remedy"]) == (["image"], f"Take the image {IMAGE}, the newest that is known to run here.")


def test_the_gate_judges_the_image_before_there_is_a_driver(tmp_path: Path) -> None:
    """A host whose driver comes later is told at once that its GPU will not do."""
    found = triton_gpu_problems.found("25.10", look(Machine(tmp_path).gpu("volta")))
    assert kinds(found) == ["driver", "image"]
    assert found[1]["remedy"] == f"Take the image {IMAGE}, the newest that is known to run here."


def test_the_gate_sees_what_is_pending(tmp_path: Path) -> None:
    machine = healthy(tmp_path).upgrade("550.90.07", "560.35.05")
    found = triton_gpu_problems.found(IMAGE, look(machine))
    assert (kinds(found), found[0]["remedy"]) == (["driver"], "Reboot the machine.")


def test_the_gate_wants_the_fabric_manager_of_the_driver(tmp_path: Path) -> None:
    found = triton_gpu_problems.found(IMAGE, look(healthy(tmp_path).switch("hopper").dpkg({"nvidia-fabricmanager-550": "550.54.15-1"})))
    assert kinds(found) == ["driver"]
    assert found[0]["what"] == "the NVSwitches need the fabric manager 550.90.07, and the installed one is 550.54.15"


def test_the_gate_wants_the_fabric_manager_to_run(tmp_path: Path) -> None:
    machine = healthy(tmp_path).switch("hopper").dpkg({"nvidia-fabricmanager-550": "550.90.07-1"})
    assert triton_gpu_problems.found(IMAGE, look(machine)) == []
    (found,) = triton_gpu_problems.found(IMAGE, look(machine.processes("sshd")))
    assert found["what"] == "the NVSwitches need the fabric manager 550.90.07, and it does not run"
    assert "nvidia-fabricmanager.service" in found["remedy"]
    assert triton_gpu_problems.found(IMAGE, look(machine.processes("nv-fabricmanager"))) == []


@pytest.mark.parametrize(
    ("devices", "driver", "settings", "whats"),
    [
        (["5"], "550.90.07", {}, ["no CDI specification names the device nvidia.com/gpu=5, only 0, all"]),
        (["all"], "550.54.15", {}, ["it is for driver 550.54.15, and 550.90.07 is loaded"]),
        (["all"], "550.90.07", {"features": {"cdi": False}}, ["docker is configured not to resolve CDI devices"]),
    ],
)
def test_the_gate_looks_at_cdi(devices: list[str], driver: str, settings: dict[str, Any], whats: list[str], tmp_path: Path) -> None:
    info = look(healthy(tmp_path).cdi(driver, "0", "all").docker(**settings))
    found = triton_gpu_problems.found(IMAGE, info, engine="docker", devices=devices)
    assert ([each["what"] for each in found], set(kinds(found))) == (whats, {"cdi"})


def test_the_gate_misses_a_specification(tmp_path: Path) -> None:
    machine = healthy(tmp_path)
    (machine.root / "etc/cdi/nvidia.yaml").unlink()
    assert kinds(triton_gpu_problems.found(IMAGE, look(machine), engine="podman", devices=["all"])) == ["cdi"]
    assert triton_gpu_problems.found(IMAGE, look(machine)) == []


drivers = st.builds(
    "{}.{}.{:02d}".format, st.sampled_from([each.branch for each in table().branches]), st.integers(0, 200), st.integers(0, 99)
)
releases = st.sampled_from(table().releases)
consumer = st.sampled_from([["maxwell"], ["pascal"], ["volta"], ["turing"], ["ampere"], ["ada"], ["blackwell"], ["turing", "ada"]])


@given(releases, drivers, drivers, consumer)
def test_a_newer_driver_never_runs_less(release: compatibility.Release, one: str, other: str, names: list[str]) -> None:
    """Without forward compatibility, which is for certain branches alone."""
    older, newer = (one, other) if compare(one, other) <= 0 else (other, one)
    gpus = compatibility.gpus_of(names)
    before, after = (compatibility.judge(release, gpus, driver) for driver in (older, newer))
    assert after["runs"] >= before["runs"]
    assert (after["via"] == "native") >= (before["via"] == "native")


@given(releases, releases, drivers, consumer)
def test_an_older_release_asks_for_no_newer_driver(
    one: compatibility.Release, other: compatibility.Release, driver: str, names: list[str]
) -> None:
    older, newer = sorted((one, other), key=lambda each: each.release)
    gpus = compatibility.gpus_of(names)
    if not compatibility.against_driver(newer, gpus, driver):
        assert not compatibility.against_driver(older, gpus, driver)


@given(releases, consumer)
def test_what_is_recommended_runs_the_release(release: compatibility.Release, names: list[str]) -> None:
    gpus = compatibility.gpus_of(names)
    if list(compatibility.against_gpus(release, gpus)):
        return
    told = compatibility.driver_for(table(), release.release, gpus)
    assert compatibility.judge(release, gpus, str(told["recommended"]))["runs"]
    assert compatibility.module_kind(table(), gpus, str(told["recommended"])) == told["kind"]
    assert all(compatibility.judge(release, gpus, each["least"])["runs"] for each in told["branches"])


@pytest.mark.parametrize("module", [gpu_module_kind, triton_driver_for, triton_gpu_problems, triton_images_for])
def test_the_options_of_a_filter_are_documented_by_the_names_of_its_arguments(module: Any) -> None:
    document = yaml.safe_load(module.DOCUMENTATION)
    code = module.FilterModule().filters()[document["name"]].__code__
    assert list(code.co_varnames[1 : code.co_argcount]) == [option for option in document["options"] if option != "_input"]
