# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The report of one service: composed from the facts that the roles set, rendered for a terminal. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

SCHEMA = 1
PROTOCOLS = ("http", "grpc")


def compose(name: str, facts: Mapping[str, Any], *, finished: str, check_mode: bool) -> dict[str, Any]:
    """One service's report as plain values, without secrets (an endpoint's headers are left out).

    facts: the variables triton_target, triton_server, triton_endpoint, triton_published, triton_verification,
    triton_monitoring and triton_release of the host; each may be missing when its step was not part of the run.
    finished: the time of the report, ISO 8601.
    """
    endpoint = facts.get("triton_endpoint") or {}
    return {
        "schema": SCHEMA,
        "service": name,
        "target": facts.get("triton_target", ""),
        "finished": finished,
        "check_mode": check_mode,
        "server": dict(facts.get("triton_server") or {}),
        "endpoint": {key: endpoint.get(key, "") for key in ("http", "grpc", "metrics")},
        "replicas": len(endpoint.get("replicas") or ()) or (1 if endpoint else 0),
        "repository": (facts.get("triton_published") or {}).get("repository", ""),
        "models": _models(facts.get("triton_published") or {}, facts.get("triton_verification") or {}),
        "verification": {key: value for key, value in (facts.get("triton_verification") or {}).items() if key != "models"},
        "monitoring": dict(facts.get("triton_monitoring") or {}),
        "release": dict(facts.get("triton_release") or {}),
        "notes": list((facts.get("triton_published") or {}).get("notes") or ()),
    }


def _models(published: Mapping[str, Any], verification: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every model that was published or verified, by name."""
    rows: dict[str, dict[str, Any]] = {}
    for model in published.get("models") or ():
        rows[model["name"]] = {"name": model["name"], "versions": model.get("versions", []), "published": model.get("state", "")}
    for model in verification.get("models") or ():
        row = rows.setdefault(model["name"], {"name": model["name"], "versions": [], "published": ""})
        row.update({key: value for key, value in model.items() if key != "name"})
    return [rows[name] for name in sorted(rows)]


def render(report: Mapping[str, Any]) -> list[str]:
    """The lines that a person reads at the end of a run."""
    server = report["server"]
    kind = ", ".join(str(part) for part in (report["target"], server.get("runtime"), _version(server)) if part)
    lines = [f"Triton service {report['service']}" + (f" ({kind})" if kind else "")]
    pairs = [
        ("HTTP", report["endpoint"]["http"]),
        ("gRPC", report["endpoint"]["grpc"]),
        ("Metrics", report["endpoint"]["metrics"]),
        ("Replicas", report["replicas"] if report["replicas"] > 1 else ""),
        ("Instances", server.get("instances", "")),
        ("Repository", report["repository"]),
    ]
    lines += _pairs(pairs)
    lines += _model_table(report["models"])
    lines += _pairs(
        [
            *_latency_loop(report["models"]),
            *_release(report.get("release") or {}),
            *(("Note", note) for note in report.get("notes") or ()),
            ("Verified", _verified(report)),
            ("Monitoring", _monitoring(report["monitoring"])),
            ("Dashboard", report["monitoring"].get("dashboard", "")),
            ("Logs", server.get("logs", "")),
            ("Report", report.get("path", "")),
        ]
    )
    return lines


def render_brief(reports: Sequence[Mapping[str, Any]]) -> list[str]:
    """One line per service, for runs over many of them."""
    rows = [("Service", "Target", "HTTP", "Models", "Verified")]
    rows += [
        (report["service"], report["target"], report["endpoint"]["http"], str(len(report["models"])), _verified(report))
        for report in reports
    ]
    return table(rows)


def table(rows: Sequence[Sequence[str]], indent: str = "  ") -> list[str]:
    """Left-aligned columns, two spaces apart; the first row is the head."""
    widths = [max(len(str(row[column])) for row in rows) for column in range(len(rows[0]))]
    return [indent + "  ".join(str(cell).ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]


def _pairs(pairs: Sequence[tuple[str, object]]) -> list[str]:
    return [f"  {label:<11} {value}" for label, value in pairs if value not in ("", None)]


def _version(server: Mapping[str, Any]) -> str:
    return f"tritonserver {server['version']}" if server.get("version") else ""


def _model_table(models: Sequence[Mapping[str, Any]]) -> list[str]:
    if not models:
        return []
    rows = [("Model", "Version", "State", "Published", "HTTP p50/p99", "gRPC p50/p99", "Verified")]
    for model in models:
        versions = ",".join(str(version) for version in model.get("versions") or [model.get("version", "")])
        latencies = [_latency(model.get(protocol) or {}) for protocol in PROTOCOLS]
        rows.append((model["name"], versions, model.get("state", ""), model["published"], *latencies, model.get("verified", "")))
    return table(rows)


def _latency(latency: Mapping[str, Any]) -> str:
    if latency.get("p50") is None:
        return "-"
    return f"{latency['p50']:.1f}/{latency['p99']:.1f} ms"


def _latency_loop(models: Sequence[Mapping[str, Any]]) -> list[tuple[str, object]]:
    """One line a model and protocol whose requests were repeated: the first latencies, one by one."""
    labels = {"http": "HTTP", "grpc": "gRPC"}
    return [
        ("Latencies", f"{model['name']} over {labels[protocol]} {' '.join(f'{value:.1f}' for value in model[protocol]['latencies'])} ms")
        for model in models
        for protocol in PROTOCOLS
        if (model.get(protocol) or {}).get("latencies")
    ]


def _verified(report: Mapping[str, Any]) -> str:
    verification = report["verification"]
    if not verification.get("requests"):
        return str(verification.get("reason") or "nothing was verified in this run")
    text = f"{verification['models_verified']} models by {verification['requests']} requests"
    return text + f", p50 {verification['p50']:.1f} ms, p99 {verification['p99']:.1f} ms"


def _release(release: Mapping[str, Any]) -> list[tuple[str, object]]:
    """What a release or a rollback came to: one line a model, and why it failed, if it did."""
    lines: list[tuple[str, object]] = []
    for name, each in sorted((release.get("models") or {}).items()):
        before, now = _versions(each.get("served")), _versions(each.get("released"))
        if release.get("result") == "released":
            lines.append(("Released", f"{name} {now or '(version unknown)'}, before {before or 'nothing'}"))
        else:
            gone = f", version {_versions(each['withdrawn'])} withdrawn" if each.get("withdrawn") else ""
            lines.append(("Rolled back", f"{name} to {before or 'nothing'}{gone}"))
    reasons = (("Failed", release.get("reason")), ("Unfinished", release.get("unfinished")))
    return lines + [(label, str(text).splitlines()[0]) for label, text in reasons if text]


def _versions(numbers: Sequence[Any] | None) -> str:
    return ", ".join(str(number) for number in numbers or ())


def _monitoring(monitoring: Mapping[str, Any]) -> str:
    if not monitoring:
        return ""
    if monitoring.get("prometheus"):
        return str(monitoring["prometheus"])
    return f"left out: {monitoring.get('reason') or 'not asked for'}"
