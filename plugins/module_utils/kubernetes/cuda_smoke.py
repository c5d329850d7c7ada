# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A CUDA program in a pod on each node with GPUs: whether a container really gets one."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..core.errors import UnavailableError
from ..core.progress import Stage
from . import gpu_nodes, sizing
from .cluster import Cluster, Object
from .device_plugin import hint
from .gpu_rollout import Seen, Wanted, asked_of
from .gpu_rollout import gpu_nodes as nodes_with_gpus
from .rollout import Observed, in_trouble, of_pod
from .service import Release, Waiting, log_of

CONTAINER = "cuda"
PASSED, FAILED, WAITING = "passed", "failed", "waiting"
_LABELS = {"app.kubernetes.io/name": "cuda-smoke", "app.kubernetes.io/managed-by": "serving.triton"}
_TOLERATED = {"key": "nvidia.com/gpu", "operator": "Exists"}
_NOBODY = 65534
_PAUSE = 1.0


@dataclass(frozen=True)
class Program:
    """image, command: what runs, and exits with 0. each: on every node with GPUs, or on one. The others: as a pod has them."""

    image: str
    command: Sequence[str] = ()
    each: bool = True
    runtime_class: str = ""
    tolerations: Sequence[Object] = ()
    pull_secrets: Sequence[str] = ()


@dataclass(frozen=True)
class Place:
    """A node, and the resource that a pod asks for there; why: none can run there now."""

    node: str
    resource: str = ""
    why: str = ""


@dataclass
class Run:
    """A pod on its way. text: what is said of it at its end."""

    place: Place
    pod: str
    state: str = WAITING
    text: str = ""
    log: str = ""
    since: float | None = field(default=None, repr=False)


# --- pure


def places(nodes: Sequence[Object], pods: Sequence[Object], wanted: Wanted, program: Program) -> list[Place]:
    """Where pods can run, and where not; one place that can, where one is enough. nodes, pods: of the cluster."""
    found = [_place(node, pods, wanted, program) for node in nodes_with_gpus(Seen(nodes), wanted)]
    free = [each for each in found if not each.why]
    return found if program.each or not free else free[:1]


def _place(node: Object, pods: Sequence[Object], wanted: Wanted, program: Program) -> Place:
    name, need = gpu_nodes.name_of(node), asked_of(node, wanted)
    if not sizing.usable(node, sizing.Wanted(need.resource, 1, {}, [_TOLERATED, *program.tolerations])):
        return Place(name, need.resource, "it is cordoned, or has a taint that is not tolerated")
    held = sum(
        sizing.requested(pod["spec"], need.resource)
        for pod in pods
        if pod["spec"].get("nodeName") == name and (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed")
    )
    if gpu_nodes.resources(node).get(need.resource, 0) - held < 1:
        return Place(name, need.resource, f"all of its {need.resource} are in use")
    return Place(name, need.resource)


def manifest(release: Release, place: Place, program: Program, seconds: int) -> dict[str, Any]:
    """A pod with no more rights than a program needs. The scheduler places it, so that the kubelet finds its GPU free."""
    field_of = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [place.node]}]}
    affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [field_of]}}}
    container: dict[str, Any] = {
        "name": CONTAINER,
        "image": program.image,
        "resources": {"limits": {place.resource: 1, "cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "100m", "memory": "128Mi"}},
        "securityContext": {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}},
    }
    spec: dict[str, Any] = {
        "restartPolicy": "Never",
        "activeDeadlineSeconds": seconds,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 1,
        "affinity": affinity,
        "tolerations": [_TOLERATED, *program.tolerations],
        "securityContext": {
            "runAsNonRoot": True, "runAsUser": _NOBODY, "runAsGroup": _NOBODY, "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [{**container, **({"command": list(program.command)} if program.command else {})}],
    }  # fmt: skip
    spec.update({"runtimeClassName": program.runtime_class} if program.runtime_class else {})
    spec.update({"imagePullSecrets": [{"name": each} for each in program.pull_secrets]} if program.pull_secrets else {})
    labels = {**_LABELS, "app.kubernetes.io/instance": release.name}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"generateName": "cuda-smoke-", "labels": labels}, "spec": spec}


def outcome(pod: Object | None, log: str) -> tuple[str, str]:
    """How it is, and a sentence."""
    if pod is None:
        return FAILED, "somebody removed its pod"
    status = pod.get("status") or {}
    if status.get("phase") == "Succeeded" and not re.search(r"(?i)test failed", log):
        return PASSED, "CUDA works"
    if status.get("phase") in ("Succeeded", "Failed"):
        told = [str(each) for each in (status.get("reason"), status.get("message")) if each]
        return FAILED, ": ".join(told) or "the program failed"
    return WAITING, ""


def advice(log: str) -> str:
    """What to do about a program that failed."""
    if re.search(r"(?i)driver version is insufficient|forward compatibility was attempted", log):
        return "The node's driver is too old for the CUDA of this image: upgrade it with the role gpu_driver, or take an older image"
    if re.search(r"(?i)no CUDA-capable device|CUDA_ERROR_NO_DEVICE|libcuda|libnvidia-ml", log):
        return (
            "The container has no GPU: NVIDIA's runtime is not the node's default. Configure it with the role container_toolkit, or name "
            "its RuntimeClass"
        )
    return hint(log)


# --- the run


def smoke(watch: Waiting, wanted: Wanted, program: Program) -> list[dict[str, Any]]:
    """What became of each node. Its pods are gone in the end, those of a run that was killed before too. Raises UnavailableError."""
    cluster, release = watch.cluster, watch.release
    _clean(cluster, release)
    found = places(cluster.items("/api/v1/nodes"), cluster.items("/api/v1/pods"), wanted, program)
    runs: list[Run] = []
    try:
        for place in found:
            if not place.why:
                pod = manifest(release, place, program, int(watch.patience.timeout))
                runs.append(Run(place, gpu_nodes.name_of(cluster.create(release.core("pods"), pod))))
        _watch(watch, runs)
    finally:
        _clean(cluster, release)
    results = [_result(each, "skipped", each.why) for each in found if each.why]
    results += [_result(each.place, each.state, each.text) for each in runs]
    trouble = [f"node {each.place.node}: {each.text}" for each in runs if each.state != PASSED]
    if trouble:
        what = f"a CUDA program failed on {len(trouble)} of {len(runs)} nodes"
        raise UnavailableError(what, where=f"{release.namespace}/{release.name}", remedy="\n".join(trouble), nodes=results, trouble=trouble)
    return results


def _result(place: Place, state: str, text: str) -> dict[str, str]:
    return {"node": place.node, "resource": place.resource, "state": state, "text": text}


def _clean(cluster: Cluster, release: Release) -> None:
    labels = ",".join(f"{key}={value}" for key, value in {**_LABELS, "app.kubernetes.io/instance": release.name}.items())
    cluster.delete(release.core("pods"), labelSelector=labels)


def _watch(watch: Waiting, runs: Sequence[Run]) -> None:
    """Returns when each has passed or failed."""
    end = watch.clock.now() + watch.patience.timeout
    while True:
        pods = {gpu_nodes.name_of(each): each for each in watch.cluster.items(watch.release.core("pods"))}
        for run in (each for each in runs if each.state == WAITING):
            _look(watch, run, pods.get(run.pod))
        left = [each for each in runs if each.state == WAITING]
        if not left:
            return
        if watch.clock.now() >= end:
            for run in left:
                _fail(watch, run, pods.get(run.pod), f"not done after {watch.patience.timeout:g} s")
            return
        watch.tell(Stage(f"{len(runs) - len(left)} of {len(runs)} nodes have run a CUDA program"))
        watch.clock.sleep(_PAUSE)


def _look(watch: Waiting, run: Run, pod: Object | None) -> None:
    ended = (pod or {}).get("status", {}).get("phase") in ("Succeeded", "Failed")
    run.log = log_of(watch.cluster, watch.release, pod, CONTAINER) if pod and ended else ""
    run.state, run.text = outcome(pod, run.log)
    if run.state == FAILED:
        _fail(watch, run, pod, run.text)
    if run.state != WAITING or pod is None:
        return
    now = watch.clock.now()
    run.since = (now if run.since is None else run.since) if in_trouble(pod, {}) else None
    if run.since is not None and now - run.since >= watch.patience.trouble:
        _fail(watch, run, pod, "its pod does not start")


def _fail(watch: Waiting, run: Run, pod: Object | None, text: str) -> None:
    run.state = FAILED
    run.text = "; ".join([text, *_details(watch, pod, run.log)])


def _details(watch: Waiting, pod: Object | None, log: str) -> Iterator[str]:
    if pod is None:
        return
    seen = Observed(events=watch.cluster.items(watch.release.core("events")), logs={gpu_nodes.name_of(pod): log})
    yield from (each for each in of_pod(pod, seen) if each != "it runs and is not ready")
    told = advice(log)
    if told:
        yield told
