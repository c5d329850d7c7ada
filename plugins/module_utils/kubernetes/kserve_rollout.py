# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Waits until KServe serves what an InferenceService asks for, and tells why it does not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from ..core.errors import DeadlineError, ServingError, UnavailableError
from ..core.progress import Stage
from ..core.wait import Clock
from .cluster import Cluster
from .kserve import PODS, SERVERLESS
from .kserve_cluster import Made, complaints, look
from .rollout import DONE, GOING, STUCK, Verdict, condition, explain, in_trouble, judge, new_pods
from .service import Patience, with_logs, with_models

_PAUSE = 1.0


@dataclass(frozen=True)
class Goal:
    """name, namespace: of the InferenceService. pods: the annotation that tells which pods are wanted. replicas: how many at least.

    canary: share of requests; None for all.
    """

    name: str
    namespace: str
    pods: str
    replicas: int = 1
    canary: int | None = None


def assess(made: Made, goal: Goal) -> Verdict:
    """Pure, of what was seen."""
    if made.service is None:
        return Verdict(STUCK, "there is no InferenceService", final=True)
    if made.annotations.get(PODS) != goal.pods:
        refused = (made.status.get("modelStatus") or {}).get("transitionStatus") == "InvalidSpec"
        failed = condition(made.service, "PredictorReady").get("reason") == "ReconcileFailed"
        return Verdict(STUCK if refused or failed else GOING, "KServe has made nothing of it yet")
    verdict = _of_revision(made, goal) if made.mode == SERVERLESS else _of_deployment(made, goal)
    if verdict.state == DONE and condition(made.service, "Ready").get("status") != "True":
        return Verdict(GOING, f"{verdict.text}, and the InferenceService is not ready yet")
    return verdict


def _of_deployment(made: Made, goal: Goal) -> Verdict:
    verdict = judge(made.observed)
    wanted = int(((made.observed.deployment or {}).get("spec") or {}).get("replicas", 1))
    # The autoscaler brings a new Deployment to the least number.
    return (
        Verdict(GOING, f"{wanted} of {goal.replicas} replicas are there") if verdict.state == DONE and wanted < goal.replicas else verdict
    )


def _of_revision(made: Made, goal: Goal) -> Verdict:
    knative = made.knative or {}
    status = knative.get("status") or {}
    if int(status.get("observedGeneration", 0)) < int(knative["metadata"].get("generation", 0)):
        return Verdict(GOING, "Knative has not seen it yet")
    created, ready = status.get("latestCreatedRevisionName", ""), status.get("latestReadyRevisionName", "")
    if created != ready or condition(knative, "Ready").get("status") != "True":
        bad = tuple(pod["metadata"]["name"] for pod in new_pods(made.observed) if in_trouble(pod, made.observed.index))
        failed = condition(knative, "Ready").get("status") == "False"
        return Verdict(STUCK if bad or failed else GOING, f"revision {created} is not ready", bad=bad)
    share = sum(int(each.get("percent") or 0) for each in made.component.get("traffic") or () if each.get("revisionName") == ready)
    wanted = 100 if goal.canary is None else goal.canary
    # The first revision of all gets everything, whatever the share.
    alone = made.component.get("latestRolledoutRevision") == ready and share == 100
    if share != wanted and not alone:
        return Verdict(GOING, f"revision {ready} gets {share} of {wanted} percent of the requests")
    return Verdict(DONE, f"revision {ready} is ready and gets {share} percent of the requests")


def wait(
    cluster: Cluster, goal: Goal, patience: Patience, tell: Callable[[Stage], None], clock: Clock | None = None
) -> tuple[Made, Verdict]:
    """Returns when it serves. Raises UnavailableError, or DeadlineError, whose texts say why it does not."""
    clock = clock or Clock()
    begun = clock.now()
    troubled: float | None = None
    while True:
        made = look(cluster, goal.name, goal.namespace)
        made = replace(made, observed=with_models(cluster, made.release, made.observed))
        verdict = assess(made, goal)
        now = clock.now()
        if verdict.state == DONE:
            return made, verdict
        troubled = (now if troubled is None else troubled) if verdict.state == STUCK else None
        if verdict.final or (troubled is not None and now - troubled >= patience.trouble):
            raise _failure(UnavailableError, cluster, made, verdict.text)
        if now - begun >= patience.timeout:
            raise _failure(DeadlineError, cluster, made, f"{verdict.text} after {patience.timeout:g} s")
        tell(Stage(verdict.text))
        clock.sleep(_PAUSE)


def _failure(kind: type[ServingError], cluster: Cluster, made: Made, text: str) -> ServingError:
    observed = with_logs(cluster, made.release, made.observed)
    trouble = [*complaints(made, observed.events), *explain(observed)]
    where = f"{made.release.namespace}/{made.release.name}"
    return kind(f"the rollout failed: {text}", where=where, remedy="\n".join(trouble), trouble=trouble)
