# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Reads what belongs to one release, and waits for its rollout: of this collection's chart, or of the workloads of any other."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from ..core.errors import DeadlineError, ServingError, UnavailableError
from ..core.progress import Stage
from ..core.wait import Clock
from .cluster import Cluster, Object, part
from .rollout import (
    DEPLOYMENT,
    DONE,
    GOING,
    PLURALS,
    STUCK,
    Model,
    Observed,
    Verdict,
    combined,
    explain,
    is_ready,
    judge,
    new_pods,
    staying,
)  # fmt: skip

LOG_LINES = 20
# Seconds between two looks at a rollout, and pods that are asked for their logs and models.
_PAUSE = 1.0
_ASKED = 5
_PORTS: Mapping[str, int] = {"http": 8000, "grpc": 8001, "metrics": 8002}


@dataclass(frozen=True)
class Release:
    """name, namespace: of the Helm release. key_header: the header of the restricted APIs.

    label, value: what tells its objects; without a value the release's name. container: the server's. ports: where a pod names none.
    """

    name: str
    namespace: str
    key_header: str = "triton-key"
    label: str = "app.kubernetes.io/instance"
    value: str = ""
    container: str = "triton"
    ports: Mapping[str, int] = field(default_factory=lambda: dict(_PORTS))

    @property
    def selector(self) -> str:
        return f"{self.label}={self.value or self.name}"

    def core(self, plural: str) -> str:
        return f"/api/v1/namespaces/{part(self.namespace)}/{plural}"

    def apps(self, plural: str) -> str:
        return f"/apis/apps/v1/namespaces/{part(self.namespace)}/{plural}"


def observe(cluster: Cluster, release: Release) -> Observed:
    """Deployment, replica sets and pods."""
    labels = {"labelSelector": release.selector}
    deployment = next(iter(cluster.items(release.apps("deployments"), **labels)), None)
    sets = _owned(cluster.items(release.apps("replicasets"), **labels), [deployment] if deployment else [])
    # Not those of `helm test`, which have the same labels.
    return Observed(deployment, sets, _owned(cluster.items(release.core("pods"), **labels), sets))


def _owned(values: Sequence[Object], owners: Sequence[Object]) -> list[Object]:
    uids = {each["metadata"]["uid"] for each in owners}
    return [each for each in values if any(owner["uid"] in uids for owner in each["metadata"].get("ownerReferences") or ())]


def key_of(cluster: Cluster, release: Release, seen: Observed) -> str:
    """The key of the restricted APIs, from the Secret that the pods mount; empty where there is none."""
    template = ((seen.deployment or {}).get("spec") or {}).get("template") or {}
    for volume in (template.get("spec") or {}).get("volumes") or ():
        source = volume.get("secret")
        if volume["name"] == "key" and source:
            secret = cluster.get(f"{release.core('secrets')}/{part(source['secretName'])}") or {}
            items = source.get("items") or [{"key": "key"}]
            return base64.b64decode((secret.get("data") or {}).get(items[0]["key"], "")).decode().strip()
    return ""


# --- what a pod says


def with_models(cluster: Cluster, release: Release, seen: Observed) -> Observed:
    """Adds the indexes of new pods whose container runs and which are not ready, asked through the API server."""
    pods = [pod for pod in new_pods(seen) if not is_ready(pod) and _runs(pod, release.container)][:_ASKED]
    if not pods:
        return seen
    key = key_of(cluster, release, seen)
    return replace(seen, index={pod["metadata"]["name"]: index_of(cluster, release, pod, key) for pod in pods})


def _runs(pod: Object, container: str) -> bool:
    statuses = (pod.get("status") or {}).get("containerStatuses") or ()
    return any(each["name"] == container and (each.get("state") or {}).get("running") for each in statuses)


def index_of(cluster: Cluster, release: Release, pod: Object, key: str) -> list[Model]:
    """A pod's repository index; empty where it cannot be had."""
    path = f"{release.core('pods')}/http:{part(pod['metadata']['name'])}:{port_of(pod, 'http', release)}/proxy/v2/repository/index"
    try:
        status, data = cluster.ask("POST", path, {}, headers={release.key_header: key} if key else {})
        found = json.loads(data) if status == 200 else []
    except (ServingError, ValueError):
        return []
    return [Model(each.get("name", ""), each.get("version", ""), each.get("state", ""), each.get("reason", "")) for each in found]


def port_of(pod: Object, name: str, release: Release) -> int:
    ports = [port for container in pod["spec"]["containers"] for port in container.get("ports") or ()]
    return next((int(port["containerPort"]) for port in ports if port.get("name") == name), release.ports[name])


def with_logs(cluster: Cluster, release: Release, seen: Observed) -> Observed:
    """Adds events, and the last lines of what the containers that are in the way have printed."""
    logs = {}
    for pod in [each for each in new_pods(seen) if not is_ready(each)][:_ASKED]:
        logs[pod["metadata"]["name"]] = log_of(cluster, release, pod, *_blamed(pod))
    return replace(seen, logs=logs, events=cluster.items(release.core("events")))


def log_of(cluster: Cluster, release: Release, pod: Object, container: str, again: bool = False) -> str:
    """The last lines of a container; again: of the run before, where it was started again since. Empty where they cannot be had."""
    path = f"{release.core('pods')}/{part(pod['metadata']['name'])}/log"
    for previous in ("true", "false") if again else ("false",):
        try:
            status, data = cluster.ask("GET", path, container=container, tailLines=str(LOG_LINES), previous=previous)
        except ServingError:
            return ""
        if status == 200 and data.strip():
            return data.decode(errors="replace")
    return ""


def _blamed(pod: Object) -> tuple[str, bool]:
    """The container that is in the way, an init container where that is not done, and whether it was started again."""
    status = pod.get("status") or {}
    for each in status.get("initContainerStatuses") or ():
        if (each.get("state") or {}).get("running") or (each.get("state") or {}).get("waiting") or not each.get("ready", True):
            return str(each["name"]), bool(each.get("restartCount"))
    statuses = [each for each in status.get("containerStatuses") or () if not each.get("ready")]
    if statuses:
        return str(statuses[0]["name"]), bool(statuses[0].get("restartCount"))
    return next((str(each["name"]) for each in pod["spec"]["containers"]), ""), False


# --- waiting


@dataclass(frozen=True)
class Patience:
    """timeout: seconds for the whole rollout. trouble: seconds that pods may be in trouble before it counts as failed."""

    timeout: float
    trouble: float


# What is waited for, by name. A workload that an operator has yet to make is there without an object.
Looks = Mapping[str, Observed]
Look = Callable[[], tuple[Looks, Verdict]]


@dataclass(frozen=True)
class Waiting:
    """Whose rollout is waited for, how long, and who is told how far it is."""

    cluster: Cluster
    release: Release
    patience: Patience
    tell: Callable[[Stage], None]
    clock: Clock = field(default_factory=Clock)


_Found = TypeVar("_Found")


def patiently(
    look: Callable[[], tuple[_Found, Verdict]],
    waiting: Waiting,
    failure: Callable[[type[ServingError], _Found, str], ServingError],
    excuse: Callable[[_Found, Verdict], bool] = lambda _found, _verdict: False,
) -> tuple[_Found, Verdict]:
    """Looks until a verdict is done. Raises what failure makes of UnavailableError, in trouble that lasts, or of DeadlineError.

    excuse: whether trouble is no failure after all.
    """
    clock, patience = waiting.clock, waiting.patience
    begun = clock.now()
    troubled: float | None = None
    while True:
        found, verdict = look()
        now = clock.now()
        if verdict.state == DONE:
            return found, verdict
        troubled = (now if troubled is None else troubled) if verdict.state == STUCK else None
        if verdict.final or (troubled is not None and now - troubled >= patience.trouble):
            if excuse(found, verdict):
                return found, verdict
            raise failure(UnavailableError, found, verdict.text)
        if now - begun >= patience.timeout:
            raise failure(DeadlineError, found, f"{verdict.text} after {patience.timeout:g} s")
        waiting.tell(Stage(verdict.text))
        clock.sleep(_PAUSE)


def wait(waiting: Waiting) -> tuple[Observed, Verdict]:
    """Of the collection's chart: returns when every replica is new and ready. Raises UnavailableError, or DeadlineError, whose texts say
    why they are not."""
    cluster, release = waiting.cluster, waiting.release

    def look() -> tuple[Looks, Verdict]:
        seen = with_models(cluster, release, observe(cluster, release))
        return {release.name: seen}, judge(seen)

    looks, verdict = _wait(waiting, look)
    return looks[release.name], verdict


def wait_for_workloads(waiting: Waiting, wanted: Sequence[tuple[str, str]]) -> Verdict:
    """As `wait`, of workloads by kind and name; of all that Helm made for the release where there are none."""

    def look() -> tuple[Looks, Verdict]:
        looks = observe_workloads(waiting.cluster, waiting.release, wanted)
        return looks, combined({name: _TO_COME if seen.deployment is None else judge(seen) for name, seen in looks.items()})

    return _wait(waiting, look)[1]


_TO_COME = Verdict(GOING, "it is not there yet")


def observe_workloads(cluster: Cluster, release: Release, wanted: Sequence[tuple[str, str]]) -> Looks:
    listed = {kind: cluster.items(release.apps(plural)) for kind, plural in PLURALS.items()}
    sets, pods = cluster.items(release.apps("replicasets")), cluster.items(release.core("pods"))
    names = wanted or [(kind, each["metadata"]["name"]) for kind, values in listed.items() for each in values if _is_of(each, release)]
    found = {}
    for kind, name in names:
        value = next((each for each in listed[kind] if each["metadata"]["name"] == name), None)
        own = _owned(sets, [value]) if value and kind == DEPLOYMENT else []
        found[f"{kind} {name}"] = Observed(value, own, _owned(pods, own or [value] if value else []), kind=kind)
    return found


def _is_of(value: Object, release: Release) -> bool:
    """Helm notes on each object whose it is."""
    return bool((value["metadata"].get("annotations") or {}).get("meta.helm.sh/release-name") == release.name)


def _wait(waiting: Waiting, look: Look) -> tuple[Looks, Verdict]:
    cluster, release = waiting.cluster, waiting.release

    def failure(kind: type[ServingError], looks: Looks, text: str) -> ServingError:
        trouble = [each for seen in looks.values() for each in explain(with_logs(cluster, release, seen))]
        return failed_rollout(kind, release, text, trouble)

    return patiently(look, waiting, failure)


def failed_rollout(kind: type[ServingError], release: Release, text: str, trouble: list[str]) -> ServingError:
    return kind(f"the rollout failed: {text}", where=f"{release.namespace}/{release.name}", remedy="\n".join(trouble), trouble=trouble)


# --- what others need of it


def replicas(pods: Sequence[Object], release: Release, named: Collection[str] | None = None) -> list[dict[str, Any]]:
    """Pods as results tell them. named: those that get requests, None where that is not known: then all that are ready count as such."""
    return [
        {
            "name": pod["metadata"]["name"],
            "address": (pod.get("status") or {}).get("podIP", ""),
            "node": pod["spec"].get("nodeName", ""),
            "ready": is_ready(pod) and (named is None or pod["metadata"]["name"] in named),
            "ports": {name: port_of(pod, name, release) for name in release.ports},
            "restarts": sum(int(each.get("restartCount", 0)) for each in (pod.get("status") or {}).get("containerStatuses") or ()),
        }
        for pod in staying(pods)
    ]
