# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the doctor makes of the answers of modules: findings with a remedy each, and one verdict. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from .finding import FAIL, OK, WARN, Finding, first_line
from .service import table

# A file system with less room than this can stop a publish, or a server that writes its log.
LEAST_FREE_BYTES = 512 * 1024**2
SERVICE, MACHINE, CLUSTER = "service", "machine", "cluster"
# The first that was asked for gives the report its kind.
KINDS = (SERVICE, MACHINE, CLUSTER)
_TITLES = {SERVICE: "Triton service", MACHINE: "Machine", CLUSTER: "Cluster"}


def judge_server(answer: Mapping[str, Any]) -> list[Finding]:
    """Findings about liveness, readiness and every model, from a result of module server_info."""
    if answer.get("failed"):
        return [Finding("server", FAIL, first_line(answer), "Start it with the playbook serving.triton.deploy, or read its log.")]
    findings = []
    for replica in answer.get("replicas") or [answer]:
        name = f"server {replica['name']}" if replica.get("name") else "server"
        if not replica.get("live"):
            findings.append(
                Finding(name, FAIL, replica.get("error") or "is not live", "Read the server's log, then run serving.triton.deploy.")
            )
            continue
        version = (replica.get("server") or {}).get("version", "")
        findings.append(Finding(name, OK, f"tritonserver {version} is live"))
        findings += _judge_models(name, replica)
    return findings


def _judge_models(name: str, replica: Mapping[str, Any]) -> list[Finding]:
    models = replica.get("models") or []
    # An entry without a state is a model of the repository that nobody asked the server to load.
    bad = [model for model in models if model.get("state") not in ("READY", "", None)]
    findings = [
        Finding(
            f"model {model['name']}",
            FAIL,
            f"version {model.get('version') or '-'} is {model['state']} on {name}: {model.get('reason') or 'no reason given'}",
            "Mend the model, publish it, and run serving.triton.deploy.",
        )
        for model in bad
        # Triton keeps the versions it replaced in its index.
        if model.get("reason") != "unloaded"
    ]
    ready = {model["name"] for model in models if model.get("state") == "READY"}
    if ready:
        return [*findings, Finding("models", OK, f"{len(ready)} models are ready on {name}")]
    return [*findings, Finding("models", FAIL, f"no model is ready on {name}", "Publish models and run serving.triton.deploy.")]


def judge_platform(server: Mapping[str, Any]) -> list[Finding]:
    """What a platform says of the service that it runs, from the fact triton_server; nothing where the target has no such platform."""
    if not server.get("status"):
        return []
    name = f"service {server.get('name', '')}"
    if server["status"] == "Running":
        return [Finding(name, OK, f"is Running, {server.get('instances', '')}")]
    said = "; ".join(str(line) for line in server.get("trouble") or ())
    detail = f"is {server['status']}: {server.get('message') or 'no reason given'}"
    return [Finding(name, FAIL, detail, said or "Run serving.triton.deploy, or read its events and log.")]


def judge_repository(answer: Mapping[str, Any]) -> list[Finding]:
    """Findings about the published repository, from a result of module model_repository_info."""
    if answer.get("failed"):
        return [Finding("repository", FAIL, first_line(answer), "Publish the models with the playbook serving.triton.models.")]
    findings = [
        Finding(
            f"lint {item['model'] or 'repository'}", {"error": FAIL, "warning": WARN}[item["severity"]], item["message"], item["remedy"]
        )
        for item in answer.get("findings") or ()
        if item["severity"] in ("error", "warning")
    ]
    return [*findings, Finding("repository", OK, f"{len(answer.get('models') or ())} models are published")]


def judge_published(answer: Mapping[str, Any]) -> list[Finding]:
    """Findings about a store, from a result of module model_repository_info about what is published there."""
    remedy = "Publish the models with the playbook serving.triton.models."
    if answer.get("failed"):
        return [Finding("repository", FAIL, first_line(answer), remedy)]
    drift = [each for each in answer.get("drift") or () if each["kind"] != "touched"]
    findings = [Finding(f"repository {each['model']}", FAIL, f"{each['file']} is {each['kind']}", remedy) for each in drift]
    findings += [Finding(f"repository {name}", WARN, "its publish was not finished", remedy) for name in answer.get("pending") or ()]
    if not answer.get("published"):
        return [*findings, Finding("repository", FAIL, "nothing is published there", remedy)]
    count = sum(model["state"] == "published" for model in answer["models"])
    return [*findings, Finding("repository", OK, f"{count} models are published, last by {answer['publisher']} at {answer['time']}")]


def judge_publication(answer: Mapping[str, Any]) -> list[Finding]:
    """Whether the repository holds what the source holds, from a result of module model_repository in check mode."""
    if answer.get("failed"):
        return [Finding("publication", FAIL, first_line(answer), "Follow the message, then run serving.triton.models.")]
    if answer.get("changed"):
        return [Finding("publication", WARN, f"{len(answer['actions'])} changes wait to be published", "Run serving.triton.site.")]
    return [Finding("publication", OK, "the repository holds what the source holds")]


def judge_metrics(answer: Mapping[str, Any]) -> list[Finding]:
    """Whether the metrics endpoint answers Triton's metrics, from a result of ansible.builtin.uri with its content.

    The port answers any path with 200 and an empty body, so the status alone proves nothing.
    """
    if answer.get("failed"):
        return [Finding("metrics", WARN, first_line(answer), "Check the option allow-metrics and the metrics port.")]
    if "nv_inference_" not in str(answer.get("content", "")):
        return [
            Finding("metrics", WARN, "the metrics endpoint has no nv_inference_ metric", "Load a model, and check the path of the URL.")
        ]
    return [Finding("metrics", OK, "metrics are served")]


def judge_monitoring(answer: Mapping[str, Any]) -> list[Finding]:
    """Whether Prometheus scrapes its Triton targets, from a result of ansible.builtin.uri on /api/v1/targets."""
    remedy = "Run serving.triton.monitoring, or read Prometheus' log."
    if answer.get("failed"):
        return [Finding("monitoring", FAIL, first_line(answer), remedy)]
    targets = ((answer.get("json") or {}).get("data") or {}).get("activeTargets") or []
    down = [target for target in targets if target.get("health") == "down"]
    findings = [Finding("monitoring", FAIL, f"{target['scrapeUrl']} is down: {target.get('lastError')}", remedy) for target in down]
    if not targets:
        return [Finding("monitoring", FAIL, "Prometheus has no target", remedy)]
    return findings or [Finding("monitoring", OK, f"{len(targets)} targets are scraped")]


def judge_mounts(mounts: Sequence[Mapping[str, Any]], paths: Sequence[str]) -> list[Finding]:
    """Free room of the file systems that hold the paths, from the fact ansible_mounts."""
    findings = []
    for path in paths:
        holders = [mount for mount in mounts if _holds(str(mount["mount"]), path) and mount.get("size_available") is not None]
        if not holders:
            continue
        mount = max(holders, key=lambda item: len(item["mount"]))
        free = int(mount["size_available"])
        status = OK if free >= LEAST_FREE_BYTES else FAIL
        remedy = "" if status == OK else "Make room, or lower keep_versions and publish with prune."
        findings.append(Finding(f"disk {path}", status, f"{free / 1024**3:.1f} GiB free on {mount['mount']}", remedy))
    return findings


def _holds(mount: str, path: str) -> bool:
    return path == mount or path.startswith(mount.rstrip("/") + "/")


def compose(name: str, findings: Sequence[Finding], finished: str, kind: str = SERVICE) -> dict[str, Any]:
    """The doctor's report of one service, or of a machine. verdict: the worst status of all findings."""
    order = [OK, WARN, FAIL]
    verdict = max((finding.status for finding in findings), key=order.index, default=FAIL)
    told = [asdict(item) for item in findings]
    return {"schema": 1, "service": name, "kind": kind, "finished": finished, "verdict": verdict, "findings": told}


def render(report: Mapping[str, Any]) -> list[str]:
    """The table for people: one line a finding, each remedy below its finding."""
    rows = [("Status", "Check", "Finding")]
    rows += [(item["status"], item["check"], item["detail"]) for item in report["findings"]]
    lines = table(rows)
    text = [f"{_TITLES[report['kind']]} {report['service']}: {report['verdict']}", lines[0]]
    for line, item in zip(lines[1:], report["findings"]):
        text.append(line)
        if item["remedy"]:
            text.append(f"          -> {item['remedy']}")
    if report.get("path"):
        text.append(f"  Report  {report['path']}")
    return text
