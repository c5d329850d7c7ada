# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Builds the Grafana dashboard of role monitoring with Grafana's own SDK.

    python tests/support/build_dashboard.py            write roles/monitoring/files/triton.json
    python tests/support/build_dashboard.py --check    fail when that file is not what this script builds

The dashboard asks for Triton's own metrics and not for recorded ones: it works with any Prometheus that scrapes Triton.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from grafana_foundation_sdk.builders import dashboard as boards
from grafana_foundation_sdk.builders import prometheus, stat, statetimeline, timeseries
from grafana_foundation_sdk.builders.common import StackingConfig, VizLegendOptions, VizTooltipOptions
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import (
    BigValueColorMode,
    BigValueGraphMode,
    LegendDisplayMode,
    LegendPlacement,
    SortOrder,
    StackingMode,
    TooltipDisplayMode,
    VisibilityMode,
)
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLinkType,
    DataSourceRef,
    Threshold,
    ThresholdsMode,
    VariableRefresh,
    VariableSort,
)

OUTPUT = Path(__file__).resolve().parents[2] / "roles" / "monitoring" / "files" / "triton.json"
SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
SERVER = 'job=~"$job", instance=~"$instance"'
MODEL = f'{SERVER}, model=~"$model"'
RATE = "[$__rate_interval]"
LEGEND = "{{model}}:{{version}}"
Query = tuple[str, str]


# --- PromQL


def rate(metric: str, by: str = "model, version", selector: str = MODEL) -> str:
    total = f"rate({metric}{{{selector}}}{RATE})"
    return f"sum by ({by}) ({total})" if by else f"sum({total})"


def share(part: str, whole: str) -> str:
    return f"{part} / ({whole} > 0)"


OK = "nv_inference_request_success"
FAILED = "nv_inference_request_failure"
EXECUTED = "nv_inference_exec_count"


def seconds(metric: str, per: str = OK) -> str:
    """Average seconds of a duration counter, which counts microseconds."""
    return share(f"{rate(metric)} / 1e6", rate(per))


# --- panels


def targets(panel: Any, queries: Sequence[Query]) -> Any:
    for letter, (expression, legend) in zip("ABCDEF", queries):
        panel = panel.with_target(prometheus.Dataquery().expr(expression).legend_format(legend).ref_id(letter).datasource(SOURCE))
    return panel


def thresholds(steps: Sequence[tuple[float | None, str]]) -> list[Threshold]:
    return [Threshold(value=value, color=colour) for value, colour in steps or [(None, "text")]]


def graph(title: str, description: str, unit: str, *queries: Query, span: int = 8, stacked: bool = False, top: float | None = None) -> Any:
    panel = (
        timeseries.Panel().title(title).description(description).unit(unit).datasource(SOURCE).span(span).height(8).min(0)
        .line_width(1).fill_opacity(25 if stacked else 6).show_points(VisibilityMode.NEVER)
        .legend(VizLegendOptions().display_mode(LegendDisplayMode.LIST).placement(LegendPlacement.BOTTOM).show_legend(True))
        .tooltip(VizTooltipOptions().mode(TooltipDisplayMode.MULTI).sort(SortOrder.DESCENDING))
    )  # fmt: skip
    if stacked:
        panel = panel.stacking(StackingConfig().mode(StackingMode.NORMAL))
    return targets(panel if top is None else panel.max(top), queries)


def number(title: str, description: str, unit: str, expression: str, *steps: tuple[float | None, str]) -> Any:
    panel = (
        stat.Panel().title(title).description(description).unit(unit).datasource(SOURCE).span(4).height(4)
        .color_mode(BigValueColorMode.VALUE).graph_mode(BigValueGraphMode.AREA)
        .thresholds(boards.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(thresholds(steps)))
    )  # fmt: skip
    return targets(panel, [(expression, "")])


def timeline(title: str, description: str, expression: str, legend: str, span: int = 12) -> Any:
    panel = (
        statetimeline.Panel().title(title).description(description).datasource(SOURCE).span(span).height(8)
        .show_value(VisibilityMode.NEVER).merge_values(True).fill_opacity(70)
        .thresholds(boards.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(thresholds([(None, "green")])))
    )  # fmt: skip
    return targets(panel, [(expression, legend)])


def overview() -> list[Any]:
    everything = f"{rate(OK, '')} + {rate(FAILED, '')}"
    bad = (None, "green"), (0.01, "yellow"), (0.1, "red")
    return [
        number("Servers up", "Tritons that Prometheus can scrape.", "short", f"sum(up{{{SERVER}}})", (None, "red"), (1, "green")),
        number("Model versions", "Loaded model versions, on all servers.", "short", f"count({OK}{{{MODEL}}})", (None, "red"), (1, "green")),
        number("Requests", "Answered and failed.", "reqps", everything),
        number(
            "Failed",
            "Share of requests that Triton failed. Neither malformed requests count, nor errors that a Python model answers with.",
            "percentunit",
            share(rate(FAILED, ""), everything),
            *bad,
        ),
        number(
            "Average latency",
            "From arrival to answer, inside of Triton.",
            "s",
            share(f"{rate('nv_inference_request_duration_us', '')} / 1e6", rate(OK, "")),
        ),
        number(
            "Waiting",
            "Requests that wait for a model instance. Triton 2.39 counts too many with dynamic batching.",
            "short",
            f"sum(nv_inference_pending_request_count{{{MODEL}}})",
        ),
    ]


def requests() -> list[Any]:
    failures = rate(FAILED)
    return [
        graph("Requests", "Answered requests.", "reqps", (rate(OK), LEGEND)),
        graph(
            "Failures by reason",
            "REJECTED: queue full, or waited too long. BACKEND: the model failed. Triton 2.39 gives no reason.",
            "reqps",
            (f'{rate(FAILED, "model, reason")} > 0 or label_replace({rate(FAILED, "")}, "model", "all", "", "")', "{{model}} {{reason}}"),
        ),
        graph("Failed share", "Failed of all requests.", "percentunit", (share(failures, f"{rate(OK)} + {failures}"), LEGEND), top=1),
    ]


def latency() -> list[Any]:
    quantiles = f'max by (model, quantile) (nv_inference_request_summary_us{{{MODEL}, quantile=~"0.5|0.95|0.99"}} >= 0) / 1e6'
    steps = (("queue", "queue"), ("compute_input", "input"), ("compute_infer", "infer"), ("compute_output", "output"))
    return [
        graph("Average latency", "From arrival to answer, inside of Triton.", "s", (seconds("nv_inference_request_duration_us"), LEGEND)),
        graph(
            "Latency quantiles",
            "Needs --metrics-config=summary_latencies=true; none for models with a response cache. Of several servers the slowest.",
            "s",
            (quantiles, "{{model}} p{{quantile}}"),
        ),
        graph(
            "Where time goes",
            "Average seconds of a request in each step, summed over the chosen models.",
            "s",
            *((share(f"{rate(f'nv_inference_{step}_duration_us', '')} / 1e6", rate(OK, "")), name) for step, name in steps),
            stacked=True,
        ),
    ]


def batching() -> list[Any]:
    batch = share(rate("nv_inference_count"), rate(EXECUTED))
    hits, misses = rate("nv_cache_num_hits_per_model"), rate("nv_cache_num_misses_per_model")
    return [
        graph(
            "Batch size",
            "Inferences of one execution. 1 with dynamic batching switched on means that requests do not meet.",
            "short",
            (batch, LEGEND),
        ),
        graph("Executions", "Calls of the model's backend.", "ops", (rate(EXECUTED), LEGEND)),
        graph(
            "Time in the queue", "Average seconds before a request is computed.", "s", (seconds("nv_inference_queue_duration_us"), LEGEND)
        ),
        graph(
            "Queue's share of latency",
            "Above a half, more instances or larger batches pay.",
            "percentunit",
            (share(rate("nv_inference_queue_duration_us"), rate("nv_inference_request_duration_us")), LEGEND),
            top=1,
        ),
        graph(
            "Waiting requests",
            "Requests that wait for a model instance. Triton 2.39 counts too many with dynamic batching.",
            "short",
            (f"sum by (model) (nv_inference_pending_request_count{{{MODEL}}})", "{{model}}"),
        ),
        graph(
            "Cache hits",
            "Share of requests that the response cache answered. Only models with the cache switched on.",
            "percentunit",
            (share(hits, f"{hits} + {misses}"), LEGEND),
            top=1,
        ),
    ]


def models() -> list[Any]:
    alerts = f'max by (alertname, severity, instance, model) (ALERTS{{alertname=~"Triton.+", {SERVER}}})'
    return [
        timeline(
            "Loaded models",
            "A model that is loaded has series; a gap is an unloaded model or an unreachable server.",
            f"count by (instance, model, version) ({OK}{{{MODEL}}})",
            "{{instance}} {{model}}:{{version}}",
        ),
        timeline(
            "Alerts",
            "Pending and firing. Empty while there are none, or without the rules of serving.triton.",
            alerts,
            "{{alertname}} {{severity}} {{instance}} {{model}}",
        ),
    ]


def host() -> list[Any]:
    pool = "nv_pinned_memory_pool"
    return [
        graph("CPU", "Of the whole host.", "percentunit", (f"nv_cpu_utilization{{{SERVER}}}", "{{instance}}"), top=1),
        graph(
            "Host memory",
            "In use, of the whole host.",
            "percentunit",
            (f"nv_cpu_memory_used_bytes{{{SERVER}}} / nv_cpu_memory_total_bytes{{{SERVER}}}", "{{instance}}"),
            top=1,
        ),
        graph(
            "Pinned memory pool",
            "In use. When it is full, copies to the GPU become slow.",
            "percentunit",
            (share(f"{pool}_used_bytes{{{SERVER}}}", f"{pool}_total_bytes{{{SERVER}}}"), "{{instance}}"),
            top=1,
        ),
    ]


def gpu() -> list[Any]:
    name = "{{instance}} {{gpu_uuid}}"
    return [
        graph("GPU utilization", "", "percentunit", (f"nv_gpu_utilization{{{SERVER}}}", name), top=1),
        graph(
            "GPU memory",
            "In use.",
            "percentunit",
            (f"nv_gpu_memory_used_bytes{{{SERVER}}} / nv_gpu_memory_total_bytes{{{SERVER}}}", name),
            top=1,
        ),
        graph("GPU power", "", "watt", (f"nv_gpu_power_usage{{{SERVER}}}", name), (f"nv_gpu_power_limit{{{SERVER}}}", f"{name} limit")),
    ]


# --- the dashboard


def variable(name: str, query: str, all_value: str = "") -> Any:
    built = (
        boards.QueryVariable(name).label(name.capitalize()).datasource(SOURCE).query(query).refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.ALPHABETICAL_ASC).multi(True).include_all(True)
    )  # fmt: skip
    return built.all_value(all_value) if all_value else built


def dashboard() -> Any:
    board = (
        boards.Dashboard("Triton Inference Server").uid("serving-triton").tags(["triton", "serving.triton"])
        .description("Requests, latency, batching, models and resources of NVIDIA Triton Inference Server.")
        .refresh("30s").time("now-1h", "now").timezone("browser").tooltip(DashboardCursorSync.CROSSHAIR).editable()
        .link(boards.DashboardLink("What the alerts mean").type(DashboardLinkType.LINK).target_blank(True)
              .url("https://github.com/serving-triton/serving.triton/blob/main/docs/monitoring.md"))
        .with_variable(boards.DatasourceVariable("datasource").label("Data source").type("prometheus"))
        .with_variable(variable("job", f"label_values({OK}, job)"))
        .with_variable(variable("instance", f'label_values({OK}{{job=~"$job"}}, instance)'))
        .with_variable(variable("model", f"label_values({OK}{{{SERVER}}}, model)", ".+"))
    )  # fmt: skip
    rows = {"Requests": requests, "Latency": latency, "Batching and queueing": batching, "Models and alerts": models, "Host": host}
    for panel in overview():
        board = board.with_panel(panel)
    for title, panels in rows.items():
        board = board.with_row(boards.Row(title))
        for panel in panels():
            board = board.with_panel(panel)
    # Collapsed: it is empty where Triton sees no GPU.
    folded = boards.Row("GPU").collapsed(True)
    for panel in gpu():
        folded = folded.with_panel(panel)
    return numbered(board.with_row(folded).build())


def numbered(board: Any) -> Any:
    """Panels with identifiers that stay the same, so that links to one of them survive."""
    for place, panel in enumerate(board.panels, start=1):
        panel.id_val = place
        for inner, folded in enumerate(getattr(panel, "panels", None) or [], start=1):
            folded.id_val = 100 * place + inner
    return board


def main() -> int:
    text = JSONEncoder(sort_keys=True, indent=1).encode(dashboard()) + "\n"
    if "--check" not in sys.argv:
        OUTPUT.write_text(text, encoding="utf-8")
    elif OUTPUT.read_text(encoding="utf-8") != text:
        print(f"{OUTPUT} is not what this script builds. Run it without --check.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
