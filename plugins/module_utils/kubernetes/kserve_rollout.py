# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Waits until KServe serves what an InferenceService asks for, and tells why it does not."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..core.errors import ServingError
from .kserve import PODS, SERVERLESS
from .kserve_cluster import Made, complaints, look
from .rollout import DONE, GOING, STUCK, Verdict, condition, explain, in_trouble, judge, new_pods
from .service import Waiting, failed_rollout, patiently, with_logs, with_models


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


def wait(waiting: Waiting, goal: Goal) -> tuple[Made, Verdict]:
    """Returns when it serves. Raises UnavailableError, or DeadlineError, whose texts say why it does not."""
    cluster = waiting.cluster

    def once() -> tuple[Made, Verdict]:
        made = look(cluster, goal.name, goal.namespace)
        made = replace(made, observed=with_models(cluster, made.release, made.observed))
        return made, assess(made, goal)

    def failure(kind: type[ServingError], made: Made, text: str) -> ServingError:
        observed = with_logs(cluster, made.release, made.observed)
        return failed_rollout(kind, made.release, text, [*complaints(made, observed.events), *explain(observed)])

    return patiently(once, waiting, failure)
