# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the doctor makes of a cluster that a service runs on, from a result of server_kubernetes_info or server_kserve_info. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .finding import FAIL, OK, WARN, Finding, first_line

_DEPLOY = "Run serving.triton.deploy"


def judge_cluster(answer: Mapping[str, Any]) -> list[Finding]:
    """Findings about the API server, permissions, the release, its replicas and GPUs. An answer without a version is none."""
    if answer.get("failed") or not answer.get("version"):
        remedy = "Check kubeconfig, context and credentials (server_kubernetes_kubeconfig …), and that the API server is reached from here."
        return [Finding("cluster", FAIL, first_line(answer), answer.get("remedy") or remedy)]
    checks = (_server, _permissions, _inference_service if "kserve" in answer else _release, _replicas, _gpus)
    return [finding for check in checks for finding in check(answer)]


def _server(answer: Mapping[str, Any]) -> Iterator[Finding]:
    nodes = len(answer.get("nodes") or ())
    told = f", {nodes} nodes are ready" if nodes else ""
    yield Finding("cluster", OK, f"Kubernetes {answer['version']} answers at {answer['server']}{told}")


def _permissions(answer: Mapping[str, Any]) -> Iterator[Finding]:
    denied = answer.get("denied") or ()
    if denied:
        # Whoever only looks needs none of them.
        remedy = "Have an administrator grant that, before the next deployment by these credentials."
        yield Finding("cluster permissions", WARN, f"the credentials may not {', '.join(denied)}", remedy)
    else:
        yield Finding("cluster permissions", OK, "the credentials may deploy")


def _release(answer: Mapping[str, Any]) -> Iterator[Finding]:
    release = answer["release"]
    if release["status"] == "absent":
        yield Finding("release", FAIL, "there is no release of the chart", f"{_DEPLOY}.")
    elif release["status"] == "deployed":
        yield Finding("release", OK, f"revision {release['revision']} is deployed")
    else:
        served = f"; revision {release['deployed']} was the last that was deployed" if release["deployed"] else ""
        status = FAIL if release["status"] == "failed" else WARN
        yield Finding(
            "release", status, f"revision {release['revision']} is {release['status']}{served}", f"{_DEPLOY}, which goes on from there."
        )


def _inference_service(answer: Mapping[str, Any]) -> Iterator[Finding]:
    service, version = answer["service"], answer["kserve"]["version"]
    if not service:
        yield Finding("inference service", FAIL, "there is no InferenceService", f"{_DEPLOY}.")
    elif service["ready"]:
        yield Finding("inference service", OK, f"KServe {version} says that it is ready".replace("  ", " "))
    else:
        remedy = f"Look at kubectl describe inferenceservice, then: {_DEPLOY}."
        yield Finding("inference service", FAIL, f"KServe says that it is not ready: {service['message'] or 'without a word'}", remedy)


def _replicas(answer: Mapping[str, Any]) -> Iterator[Finding]:
    if answer.get("deployment"):
        remedy = "" if _complete(answer) else f"Look at the pods' events and logs (kubectl describe, kubectl logs), then: {_DEPLOY}."
        yield Finding("replicas", FAIL if remedy else OK, str(answer.get("rollout") or "not known"), remedy)


def _gpus(answer: Mapping[str, Any]) -> Iterator[Finding]:
    if answer.get("spare_gpus") is None:
        return
    if answer["spare_gpus"]:
        yield Finding("cluster gpus", OK, f"{answer['spare_gpus']} are free for one replica more")
    elif _complete(answer):
        yield Finding("cluster gpus", OK, "none is free for one replica more, which every replica that is wanted can do without")
    else:
        yield Finding("cluster gpus", WARN, "none is free for a replica", "Add nodes with GPUs, free some, or ask for fewer replicas.")


def _complete(answer: Mapping[str, Any]) -> bool:
    deployment = answer.get("deployment") or {}
    return bool(deployment) and deployment["ready"] >= deployment["replicas"]
