# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which configurations the device plugin would refuse, what nodes show by them, and which labels nodes get and give back."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ansible_collections.serving.triton.plugins.module_utils.core.errors import InputError
from ansible_collections.serving.triton.plugins.module_utils.kubernetes import gpu_nodes
from ansible_collections.serving.triton.plugins.module_utils.kubernetes.device_plugin import (
    GPU,
    Config,
    Need,
    hint,
    needs,
    parse,
    parse_all,
    same_everywhere,
    stale,
)

CONFIG, PRESENT, MEMORY = gpu_nodes.CONFIG_LABEL, gpu_nodes.PRESENT_LABEL, gpu_nodes.MEMORY


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"sharing": "time-slicing"}, "sharing is time-slicing. It is one of none, time_slicing, mps"),
        ({"strategy": "single"}, "has no option strategy"),
        ({"mig_strategy": "all"}, "mig_strategy is all"),
        ({"replicas": 4}, "has replicas, but shares nothing"),
        ({"sharing": "mps"}, "says not how often"),
        ({"sharing": "time_slicing", "replicas": 1}, "nvidia.com/gpu has 1 replicas"),
        ({"sharing": "time_slicing", "replicas": "many"}, "no whole number"),
        ({"sharing": "mps", "replicas": 49}, "48 clients"),
        ({"sharing": "mps", "replicas": 4, "mig_strategy": "single"}, "MPS does not share MIG devices"),
        ({"sharing": "time_slicing", "resources": {"gpu": 4}}, "gpu is none of NVIDIA's resources"),
        ({"sharing": "time_slicing", "resources": {"nvidia.com/mig-1g.5gb": 2}, "mig_strategy": "single"}, "mig_strategy mixed alone"),
    ],
)
def test_what_the_plugin_refuses_is_told_before(given: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError) as error:
        parse("shared", given)
    assert told in str(error.value)
    assert "device plugin configuration shared" in str(error.value)


def test_a_default_must_be_described_and_names_fit_into_labels() -> None:
    with pytest.raises(InputError, match=r"is not described\. Name one of a, b"):
        parse_all({"a": {}, "b": {}}, "c")
    with pytest.raises(InputError, match="no value of a node's label"):
        parse("a/b", {})
    assert same_everywhere(parse_all({"a": {"mig_strategy": "single"}}, "a"))
    assert not same_everywhere(parse_all({"a": {}, "b": {}}, "a"))
    assert not same_everywhere(parse_all({"a": {"sharing": "mps", "replicas": 2}}, "a"))


def test_a_configuration_is_what_the_plugin_reads() -> None:
    mixed = {"sharing": "time_slicing", "replicas": 4, "resources": {"nvidia.com/mig-1g.5gb": 2}, "mig_strategy": "mixed", "rename": True}
    assert parse("mixed", mixed).document() == {
        "version": "v1", "flags": {"migStrategy": "mixed"},
        "sharing": {"timeSlicing": {"renameByDefault": True, "failRequestsGreaterThanOne": True, "resources": [
            {"name": "nvidia.com/gpu", "replicas": 4}, {"name": "nvidia.com/mig-1g.5gb", "replicas": 2}]}},
    }  # fmt: skip
    assert list(parse("mps", {"sharing": "mps", "replicas": 2}).document()["sharing"]) == ["mps"]
    assert "sharing" not in parse("plain", {}).document()


MIXED = Config(mig_strategy="mixed", sharing="time_slicing", resources={"nvidia.com/mig-1g.5gb": 2})


@pytest.mark.parametrize(
    ("config", "labels", "expected"),
    [
        (Config(), {}, [Need(GPU, 0)]),
        (Config(), {f"{GPU}.count": "8"}, [Need(GPU, 8)]),
        (Config("mps", {GPU: 4}), {f"{GPU}.count": "2"}, [Need(GPU, 8, 4)]),
        (Config("time_slicing", {GPU: 4}, rename=True), {f"{GPU}.count": "2"}, [Need(f"{GPU}.shared", 8, 4)]),
        (
            MIXED,
            {f"{GPU}.count": "2", "nvidia.com/mig-1g.5gb.count": "7", "nvidia.com/mig-3g.20gb.count": "2"},
            [Need("nvidia.com/mig-1g.5gb", 14, 2), Need("nvidia.com/mig-3g.20gb", 2)],
        ),
        (MIXED, {f"{GPU}.count": "2"}, [Need(GPU, 2)]),
    ],
)
def test_nodes_show_what_their_configuration_makes_of_their_devices(config: Config, labels: dict[str, str], expected: list[Need]) -> None:
    assert needs(config, labels) == expected


@pytest.mark.parametrize(
    ("need", "allocatable", "capacity", "told"),
    [
        (Need(GPU, 8), 8, 8, ""),
        (Need(GPU, 8), 6, 8, f"{GPU}: 6 allocatable instead of 8, 2 of 8 are unhealthy"),
        # Of a former configuration, which had more replicas.
        (Need(GPU, 8), 16, 16, f"{GPU}: 16 allocatable instead of 8"),
        (Need(GPU, 0, 4), 12, 12, ""),
        (Need(GPU, 0, 4), 3, 3, f"{GPU}: 3 allocatable instead of 4 or more"),
        (Need(GPU, 0), 0, 0, f"{GPU}: 0 allocatable instead of 1 or more"),
    ],
)
def test_what_a_node_lacks(need: Need, allocatable: int, capacity: int, told: str) -> None:
    assert need.lack({"allocatable": {GPU: str(allocatable)}, "capacity": {GPU: str(capacity)}}) == told


def test_labels_of_a_former_configuration_count_nothing() -> None:
    counted = {f"{GPU}.count": "8", f"{GPU}.replicas": "4"}
    assert stale(Config("time_slicing", {GPU: 4}), counted) == ""
    assert stale(Config(), counted) == "its labels are still those of 4 replicas"
    assert stale(Config(mig_strategy="single"), counted) == "its labels are still those of MIG strategy none"
    assert stale(Config(mig_strategy="single"), {}) == ""


@pytest.mark.parametrize(
    ("log", "told"),
    [
        ("error starting plugins: failed to initialize NVML: ERROR_LIBRARY_NOT_FOUND", "gpu_driver"),
        ("No devices found. Waiting indefinitely.", "container_toolkit"),
        ("Failed to initialize NVML: Driver/library version mismatch, driver/library version mismatch", "reboot the node"),
        ("all devices on the node must be configured with the same migEnabled value", "gpu_driver_mig"),
        ("invalid device maximum allowed replicas exceeded: 20 > 16", "lower the replicas"),
        ("waiting for MPS control daemon", "nvidia.com/mps.capable"),
        ("Registered device plugin with Kubelet", ""),
    ],
)
def test_a_log_tells_what_to_do(log: str, told: str) -> None:
    assert told in hint(log)
    assert bool(hint(log)) == bool(told)


# --- nodes


def node(name: str = "gpu-1", labels: Any = None, memory: Any = None, **allocatable: int) -> dict[str, Any]:
    annotations = {MEMORY: memory if isinstance(memory, str) else json.dumps(memory)} if memory else {}
    return {
        "metadata": {"name": name, "labels": labels or {}, "annotations": annotations},
        "status": {"allocatable": {f"nvidia.com/{key}": str(value) for key, value in allocatable.items()}},
    }


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (node(labels={"feature.node.kubernetes.io/pci-10de.present": "true"}), True),
        (node(labels={"feature.node.kubernetes.io/pci-0302_10de.present": "true"}), True),
        (node(labels={"feature.node.kubernetes.io/pci-8086.present": "true"}), False),
        (node(labels={"cloud.google.com/gke-accelerator": "nvidia-tesla-t4"}), True),
        (node(labels={f"{GPU}.count": "0"}), False),
        (node(gpu=1), True),
        (node(gpu=0), False),
    ],
)
def test_a_node_with_gpus_is_known(value: dict[str, Any], found: bool) -> None:
    assert gpu_nodes.has_gpu(value) is found


def test_a_name_goes_before_selectors_and_selectors_must_agree() -> None:
    wanted = {"gpu-1": "whole", "pool=a": "shared", "zone in (b, c)": "mps"}
    assert gpu_nodes.choose(wanted, ["gpu-1", "gpu-2"], {"pool=a": ["gpu-1", "gpu-2"], "zone in (b, c)": ["gpu-1"]}) == {
        "gpu-1": "whole", "gpu-2": "shared"}  # fmt: skip
    with pytest.raises(InputError, match="gpu-2: is selected by pool=a for shared and by zone"):
        gpu_nodes.choose(wanted, ["gpu-1", "gpu-2"], {"pool=a": ["gpu-2"], "zone in (b, c)": ["gpu-2"]})
    with pytest.raises(InputError, match="gpu-1: is no node of the cluster"):
        gpu_nodes.choose(wanted, ["gpu-2"], {})


@pytest.mark.parametrize(
    ("selector", "fine"),
    [
        ("pool=a", True),
        ("nvidia.com/gpu.family=ampere,nvidia.com/cuda.driver.major!=535", True),
        # Sharing makes of it NVIDIA-A100-SHARED, and the selector would not find the node again.
        ("nvidia.com/gpu.product=NVIDIA-A100", False),
        ("!nvidia.com/gpu.replicas", False),
    ],
)
def test_a_selector_must_not_depend_on_what_it_brings(selector: str, fine: bool) -> None:
    assert gpu_nodes.is_selector(selector)
    if fine:
        gpu_nodes.check_selector(selector)
    else:
        with pytest.raises(InputError, match="changes with the configuration"):
            gpu_nodes.check_selector(selector)


def remembered(value: str, before: str | None = None, label: str = CONFIG) -> dict[str, Any]:
    return {label: {"set": value, "before": before}}


@pytest.mark.parametrize(
    ("value", "wanted", "labels", "memory"),
    [
        (node(), {CONFIG: "a"}, {CONFIG: "a"}, remembered("a")),
        (node(labels={CONFIG: "b"}), {CONFIG: "a"}, {CONFIG: "a"}, remembered("a", "b")),
        # The same by somebody else: his.
        (node(labels={CONFIG: "a"}), {CONFIG: "a"}, None, None),
        (node(labels={CONFIG: "a"}, memory=remembered("a")), {CONFIG: "a"}, None, None),
        (node(labels={CONFIG: "a"}, memory=remembered("a", "x")), {CONFIG: "b"}, {CONFIG: "b"}, remembered("b", "x")),
        (node(labels={CONFIG: "changed"}, memory=remembered("a", "x")), {CONFIG: "a"}, {CONFIG: "a"}, None),
        # No longer named: as it was before.
        (node(labels={CONFIG: "a"}, memory=remembered("a")), {}, {CONFIG: None}, {}),
        (node(labels={CONFIG: "a"}, memory=remembered("a", "b")), {}, {CONFIG: "b"}, {}),
        # Changed by somebody since: his.
        (node(labels={CONFIG: "c"}, memory=remembered("a", "b")), {}, None, {}),
        (node(labels={CONFIG: "c"}, memory="no JSON"), {}, None, {}),
        (node(labels={CONFIG: "c"}), {}, None, None),
    ],
)
def test_labels_are_set_and_given_back(value: dict[str, Any], wanted: Any, labels: Any, memory: Any) -> None:
    found = gpu_nodes.patch(value, wanted)
    assert found.get("labels") == labels
    written = found.get("annotations")
    assert (written and json.loads(written[MEMORY] or "{}")) == memory
    # What was done is not done again.
    merged = {key: each for key, each in {**value["metadata"]["labels"], **(labels or {})}.items() if each is not None}
    kept = {key: each for key, each in {**value["metadata"]["annotations"], **(written or {})}.items() if each is not None}
    assert gpu_nodes.patch({"metadata": {"name": "gpu-1", "labels": merged, "annotations": kept}}, wanted) == {}


def test_only_nodes_that_change_are_told() -> None:
    nodes = [node("gpu-1"), node("gpu-2"), node("cpu-1")]
    assert [each["name"] for each in gpu_nodes.patches(nodes, {"gpu-1": "a"}, ["gpu-2"])] == ["gpu-1", "gpu-2"]
    assert gpu_nodes.patches(nodes, {}, ["gpu-2"])[0]["labels"] == {PRESENT: "true"}


def daemon_set(image: str, path: str = "/var/lib/kubelet/device-plugins", release: str = "", owner: str = "") -> dict[str, Any]:
    annotations = {"meta.helm.sh/release-name": release, "meta.helm.sh/release-namespace": "nvidia-gpu"} if release else {}
    owners = [{"kind": "ClusterPolicy", "uid": owner}] if owner else []
    metadata = {"name": "plugin", "namespace": "kube-system", "annotations": annotations, "ownerReferences": owners}
    pod = {"containers": [{"image": image}], "volumes": [{"name": "sockets", "hostPath": {"path": path}}]}
    return {"metadata": metadata, "spec": {"template": {"spec": pod}}}


def test_a_device_plugin_of_somebody_else_is_known() -> None:
    ours = daemon_set("nvcr.io/nvidia/k8s-device-plugin:v0.20.0", release="nvidia-device-plugin")
    foreign = daemon_set("gke.gcr.io/nvidia-gpu-device-plugin@sha256:1", "/var/lib/kubelet/device-plugins/")
    operand = daemon_set("mirror/nvidia/k8s-device-plugin:v0.20.0", owner="policy")
    policy = {"metadata": {"name": "cluster-policy", "uid": "policy", **daemon_set("", release="gpu-operator")["metadata"]}}
    policy["metadata"]["uid"] = "policy"
    assert all(gpu_nodes.is_device_plugin(each) for each in (ours, foreign, operand))
    # GPU feature discovery has the same image, and does not register with the kubelet.
    assert not gpu_nodes.is_device_plugin(daemon_set("nvcr.io/nvidia/k8s-device-plugin:v0.20.0", "/sys"))
    assert not gpu_nodes.is_device_plugin(daemon_set("rdma-device-plugin"))
    found = list(gpu_nodes.others([ours, foreign, operand], ["nvidia-gpu/nvidia-device-plugin"], [policy]))
    assert found == ["DaemonSet kube-system/plugin", "DaemonSet kube-system/plugin of Helm release nvidia-gpu/gpu-operator"]
    assert list(gpu_nodes.others([operand], ["nvidia-gpu/gpu-operator"], [policy])) == []
