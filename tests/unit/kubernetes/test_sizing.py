# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Shared memory, the time of a start, how replicas are replaced, and GPUs that are free."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.serving.triton.plugins.filter import chart_sizing, spare_gpus
from ansible_collections.serving.triton.plugins.module_utils.kubernetes import sizing

GPU = "nvidia.com/gpu"


@pytest.mark.parametrize(("instances", "mebibytes"), [(0, 128), (1, 128), (2, 192), (10, 704)])
def test_shared_memory(instances: int, mebibytes: int) -> None:
    assert sizing.shared_memory_mebibytes(instances) == mebibytes


@pytest.mark.parametrize(("size", "seconds"), [(0, 300), (1, 301), (50_000_000, 301), (50_000_001, 302), (40_000_000_000, 1100)])
def test_the_time_of_a_start(size: int, seconds: int) -> None:
    assert sizing.startup_seconds(size) == seconds


@pytest.mark.parametrize(("replicas", "surge", "seconds"), [(1, 0, 900), (4, 1, 1800), (4, 2, 1200), (5, 2, 1500), (0, 0, 900)])
def test_the_time_of_a_rollout(replicas: int, surge: int, seconds: int) -> None:
    assert sizing.rollout_seconds(300, replicas, surge) == seconds


@pytest.mark.parametrize(
    ("replicas", "gpus", "spare", "one_node", "surge", "unavailable"),
    [
        (3, 0, 0, False, "25%", 0),
        (3, 1, 0, False, 0, 1),
        (3, 1, 2, False, 2, 0),
        (3, 2, 3, False, 1, 0),
        (3, 4, 3, False, 0, 1),
        (2, 1, 8, False, 2, 0),
        (3, 0, 0, True, 0, 1),
        (3, 1, 8, True, 0, 1),
    ],
)
def test_replicas_are_replaced_as_gpus_allow(  # noqa: PLR0917
    replicas: int, gpus: int, spare: int, one_node: bool, surge: object, unavailable: int
) -> None:
    assert sizing.rollout(replicas, gpus, spare, one_node=one_node) == {"maxSurge": surge, "maxUnavailable": unavailable}


def node(name: str, gpus: int = 4, **spec: Any) -> dict[str, Any]:
    status = {"allocatable": {GPU: str(gpus)}, "conditions": [{"type": "Ready", "status": spec.pop("ready", "True")}]}
    return {"metadata": {"name": name, "labels": spec.pop("labels", {})}, "spec": spec, "status": status}


def pod(gpus: int, node_name: str | None = "a", phase: str = "Running", before: int = 0) -> dict[str, Any]:
    def container(count: int) -> dict[str, Any]:
        return {"name": "c", "resources": {"limits": {GPU: count}}}

    spec = {"containers": [container(gpus)], "initContainers": [container(before)], "nodeName": node_name}
    return {"metadata": {"name": "p"}, "spec": spec, "status": {"phase": phase}}


TAINT = {"key": GPU, "value": "present", "effect": "NoSchedule"}


@pytest.mark.parametrize(
    ("nodes", "pods", "asked", "spare"),
    [
        ([node("a")], [], {}, 4),
        ([node("a"), node("b", 2)], [pod(3)], {}, 3),
        # Two GPUs that are on two nodes do no good to a replica of two.
        ([node("a"), node("b")], [pod(3, "a"), pod(3, "b")], {"count": 2}, 0),
        ([node("a", 8)], [pod(1)], {"count": 3}, 6),
        ([node("a")], [pod(4, phase="Succeeded"), pod(1, phase="Failed")], {}, 4),
        ([node("a")], [pod(0, before=2)], {}, 2),
        # Who waits comes first.
        ([node("a")], [pod(3, None, "Pending")], {}, 1),
        ([node("a")], [pod(8, None, "Pending")], {}, 0),
        ([node("a", unschedulable=True), node("b", ready="False"), node("c", 1)], [], {}, 1),
        ([node("a", labels={"zone": "x"}), node("b", 2, labels={"zone": "y"})], [], {"node_selector": {"zone": "y"}}, 2),
        ([node("a", taints=[TAINT])], [], {}, 0),
        ([node("a", taints=[TAINT])], [], {"tolerations": [{"key": GPU, "operator": "Exists"}]}, 4),
        ([node("a", taints=[TAINT])], [], {"tolerations": [{"key": GPU, "value": "present", "effect": "NoSchedule"}]}, 4),
        ([node("a", taints=[TAINT])], [], {"tolerations": [{"key": GPU, "value": "other"}]}, 0),
        ([node("a", taints=[TAINT])], [], {"tolerations": [{"operator": "Exists", "effect": "NoExecute"}]}, 0),
        ([node("a", taints=[TAINT])], [], {"tolerations": [{"operator": "Exists"}]}, 4),
        ([node("a", taints=[{"key": "x", "effect": "PreferNoSchedule"}])], [], {}, 4),
        ([node("a")], [], {"resource": "nvidia.com/mig-1g.5gb"}, 0),
        ([], [], {}, 0),
    ],
)
def test_spare_gpus(nodes: list[Any], pods: list[Any], asked: dict[str, Any], spare: int) -> None:
    assert spare_gpus.FilterModule().filters()["spare_gpus"](nodes, pods=pods, **asked) == spare


def test_a_sidecar_holds_its_gpus_beside_the_others() -> None:
    both = pod(1, before=2)
    both["spec"]["initContainers"][0]["restartPolicy"] = "Always"
    assert sizing.requested(both["spec"], GPU) == 3


def test_no_gpu_is_no_question() -> None:
    with pytest.raises(AnsibleFilterError, match="count: must be 1 or more"):
        spare_gpus.spare_gpus([], [], count=0)


def test_what_a_repository_wants_of_the_chart() -> None:
    sized = chart_sizing.FilterModule().filters()["chart_sizing"](
        {"bytes": 8_000_000_000, "python_instances": 4}, replicas=4, gpus=1, spare=2
    )
    assert sized == {
        "values": {"modelRepository": {"bytes": 8_000_000_000}, "sharedMemory": {"pythonInstances": 4}, "rollout": {"spareGpus": 2}},
        "startup_seconds": 460,
        "rollout_seconds": 600 + 2 * 460,
        "shm_mebibytes": 320,
        "rollout": {"maxSurge": 2, "maxUnavailable": 0},
    }


@pytest.mark.parametrize(
    ("startup", "seconds"),
    [({"budgetSeconds": 2000}, 2000), ({"baseSeconds": 1000, "bytesPerSecond": 1_000_000}, 9000), ({"periodSeconds": 5}, 460)],
)
def test_the_probe_of_the_values_gives_the_time_of_a_start(startup: dict[str, int], seconds: int) -> None:
    sized = chart_sizing.chart_sizing({"bytes": 8_000_000_000}, replicas=2, startup=startup)
    assert (sized["startup_seconds"], sized["rollout_seconds"]) == (seconds, 600 + 2 * seconds)
