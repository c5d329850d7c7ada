# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What has to agree with the chart: its schema, the filters that compute for it, the rules, the dashboard, the launcher, old values."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from support import prometheus
from support.charts import legacy, schemas
from support.charts.cases import NEWEST
from support.charts.render import CHART, EXAMPLES, RefusedError, Rendered, least, render

from ansible_collections.serving.triton.plugins.module_utils.kubernetes import sizing
from ansible_collections.serving.triton.plugins.module_utils.server import options

ROLES = CHART.parents[2]
DEFAULTS: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
SCHEMA: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))


# --- the schema


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    return SCHEMA["definitions"]["volume"] if "$ref" in schema else schema


def closed(schema: dict[str, Any], where: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every object of the schema that lists its properties, by its path."""
    schema = resolved(schema)
    if "properties" in schema:
        yield where, schema
        for name, inner in schema["properties"].items():
            yield from closed(inner, f"{where}.{name}")
    if isinstance(schema.get("items"), dict):
        yield from closed(schema["items"], f"{where}[]")


def test_every_object_of_ours_is_closed_and_every_value_is_described() -> None:
    found = dict(closed(SCHEMA))
    assert len(found) > 50
    assert [where for where, schema in found.items() if schema.get("additionalProperties") is not False] == []
    undescribed = [
        f"{where}.{name}"
        for where, schema in found.items()
        for name, inner in schema["properties"].items()
        if not resolved(inner).get("description") and not where.endswith("imagePullSecrets[]")
    ]
    assert undescribed == []


def test_an_open_object_says_whose_it_is() -> None:
    """What Kubernetes or another project describes is handed on as it is; what is a mapping of texts says so; nothing else is open."""
    open_ones = [
        (f"{where}.{name}", inner)
        for where, schema in closed(SCHEMA)
        for name, inner in ((name, resolved(inner)) for name, inner in schema["properties"].items())
        if inner.get("type") == "object" and "properties" not in inner and "additionalProperties" not in inner
    ]
    theirs = ("As Kubernetes has it.", "has it.", "have it.", "has them.", "Helm's own", "V2's JSON.", "for small models.")
    assert [where for where, inner in open_ones if not any(word in inner["description"] for word in theirs)] == []


def names(values: dict[str, Any], where: str = "") -> Iterator[str]:
    for key, value in values.items():
        yield f"{where}.{key}"
        if isinstance(value, dict):
            yield from names(value, f"{where}.{key}")


def test_values_and_schema_have_the_same_names() -> None:
    described = {f"{where}.{name}" for where, schema in closed(SCHEMA) for name in schema["properties"]}
    # What has no default: Helm's own, the kinds of volumes, tritonserver's options, requests and limits, names in lists.
    optional = (".global", ".server.options.", ".modelRepository.volume.", ".cache.volume.", ".resources.claims", "[]")
    known = set(names(DEFAULTS))
    assert [name for name in sorted(described - known) if not any(part in name for part in optional)] == []
    free = (
        ".podSecurityContext.",
        ".securityContext.",
        ".resources.",
        ".labels.",
        ".gatewaySelector.",
        ".metrics-config.",
    )
    assert [name for name in sorted(known - described) if not any(part in name for part in free)] == []


def test_the_defaults_keep_the_schema_and_a_typo_anywhere_does_not() -> None:
    validator = jsonschema.Draft7Validator(SCHEMA)
    assert not [error.message for error in validator.iter_errors(DEFAULTS)]
    for where, _schema in closed(SCHEMA):
        if "[]" in where or ".volume." in where:
            continue
        values: dict[str, Any] = {}
        inner = values
        for part in where.split(".")[1:]:
            inner = inner.setdefault(part, {})
        inner["a-typo"] = 1
        assert [error for error in validator.iter_errors(values) if "a-typo" in error.message], where


def test_the_schema_knows_tritonservers_options() -> None:
    known = SCHEMA["properties"]["server"]["properties"]["options"]["properties"].keys()
    decided = set(options.KNOWN) - known
    assert known <= options.KNOWN.keys()
    assert decided == {
        "help", "model-repository", "model-store", "http-port", "grpc-port", "metrics-port", "exit-timeout-secs",
        "grpc-max-connection-age", "grpc-max-connection-age-grace", "http-restricted-api", "grpc-restricted-protocol",
        "grpc-use-ssl", "grpc-use-ssl-mutual", "grpc-server-cert", "grpc-server-key", "grpc-root-cert",
    }  # fmt: skip


def test_every_value_is_documented_beside_it() -> None:
    """Each block of values.yaml has a comment, and every example says what it is for."""
    for path in EXAMPLES.values():
        assert path.read_text(encoding="utf-8").startswith("# "), path.name
    keys = [line for line in (CHART / "values.yaml").read_text(encoding="utf-8").splitlines() if line and line[0].isalpha()]
    assert len(keys) == len(DEFAULTS)


# --- tritonserver's options are rendered as by the filter triton_args

OPTIONS: dict[str, Any] = {
    "model-control-mode": "explicit",
    "load-model": ["a", "b"],
    "exit-on-error": True,
    "strict-readiness": False,
    "log-verbose": 1,
    "log-format": "ISO8601",
    "pinned-memory-pool-byte-size": 268435456,
    "response-cache-byte-size": 10_000_000_000,
    "metrics-interval-ms": 1500.5,
    "disable-auto-complete-config": True,
    "id": None,
    "backend-config": {"python": {"shm-default-byte-size": 1048576, "shm-region-prefix-name": "mine"}, "default-max-batch-size": 4},
    "cache-config": {"local": {"size": 1048576}},
    "metrics-config": {"summary_latencies": "true"},
    "trace-config": [{"level": "OFF"}, "rate=100"],
    "cuda-memory-pool-byte-size": {0: 67108864},
    "rate-limit-resource": {"R1": 10, "R2": {0: 5}},
    "grpc-infer-response-compression-level": "low",
}
CHARTS_OWN = (
    "model-repository",
    "http-port",
    "grpc-port",
    "metrics-port",
    "exit-timeout-secs",
    "grpc-max-connection-age",
    "grpc-max-connection-age-grace",
)


def test_options_are_rendered_as_everywhere() -> None:
    rendered = [each for each in render(least(server={"options": OPTIONS})).arguments if each[2:].partition("=")[0] not in CHARTS_OWN]
    assert sorted(rendered) == sorted(options.triton_args(OPTIONS))
    assert [each for each in rendered if "load-model" in each] == ["--load-model=a", "--load-model=b"]


@pytest.mark.parametrize(
    ("given", "loads"),
    [({"load-model": []}, []), ({"model-control-mode": "none"}, []), ({"model-control-mode": "poll"}, []), ({}, ["--load-model=*"])],
)
def test_what_is_loaded_at_the_start(given: dict[str, Any], loads: list[str]) -> None:
    assert [each for each in render(least(server={"options": given})).arguments if "load-model=" in each] == loads


# --- numbers are computed as by the filters

CLAIM = {"newClaim": {"size": "1Gi"}}
DRIVER = {"persistentVolume": {"source": {"csi": {"driver": "ebs.csi.aws.com", "volumeHandle": "vol-1"}}}}


@pytest.mark.parametrize(
    ("size", "instances", "replicas", "gpus", "spare", "volume", "modes"),
    [
        (0, 0, 1, 1, 0, CLAIM, []),
        (1, 1, 3, 1, 2, CLAIM, []),
        (12_345_678_901, 7, 2, 2, 5, CLAIM, ["ReadWriteMany"]),
        (1 << 40, 100, 4, 0, 0, CLAIM, []),
        (5, 2, 2, 1, 9, CLAIM, ["ReadWriteOnce"]),
        (5, 2, 2, 0, 0, DRIVER, ["ReadWriteOnce"]),
        (5, 2, 2, 0, 0, DRIVER, []),
    ],
)
def test_numbers_are_the_filters(  # noqa: PLR0917
    size: int, instances: int, replicas: int, gpus: int, spare: int, volume: dict[str, Any], modes: list[str]
) -> None:
    given = {"accessModes": modes} if modes else {}
    values = {
        "modelRepository": {"volume": {kind: {**source, **given} for kind, source in volume.items()}, "bytes": size},
        "sharedMemory": {"pythonInstances": instances},
        "replicaCount": replicas,
        "gpu": {"count": gpus},
        "rollout": {"spareGpus": spare},
        "probes": {"startup": {"periodSeconds": 1}},
    }
    rendered = render(values)
    startup = sizing.startup_seconds(size)
    assert rendered.volumes["shm"]["emptyDir"] == {"medium": "Memory", "sizeLimit": f"{sizing.shared_memory_mebibytes(instances)}Mi"}
    assert rendered.server["startupProbe"]["failureThreshold"] == startup
    spec = rendered.one("Deployment")["spec"]
    assert spec["strategy"]["rollingUpdate"] == sizing.rollout(replicas, gpus, spare, one_node=modes == ["ReadWriteOnce"])
    assert spec["progressDeadlineSeconds"] == sizing.PULL_SECONDS + startup


# --- one source for the launcher, the rules and the dashboard


@pytest.mark.parametrize(
    ("copy", "source"),
    [
        ("launch.py", ROLES / "server_host" / "files" / "launch.py"),
        ("rules.yml.j2", ROLES / "monitoring" / "templates" / "rules.yml.j2"),
        ("dashboard.json", ROLES / "monitoring" / "files" / "triton.json"),
    ],
)
def test_what_another_role_has_too_is_the_same(copy: str, source: Path) -> None:
    """Helm reads nothing outside of a chart, so it has copies. Copy the source over when this fails, and raise the chart's version."""
    assert (CHART / "files" / copy).read_bytes() == source.read_bytes()


def groups(rendered: Rendered) -> list[dict[str, Any]]:
    return list(rendered.one("PrometheusRule")["spec"]["groups"])


def of_the_role(**changed: Any) -> list[dict[str, Any]]:
    """The role's own groups. Helm writes the number 1.0 as 1."""
    return list(yaml.safe_load(re.sub(r"(> \d+)\.0\b", r"\1", prometheus.rules(**changed)))["groups"])


def test_the_rules_are_those_of_the_role_monitoring() -> None:
    thresholds = DEFAULTS["monitoring"]["prometheusRule"]["thresholds"]
    changed = {name: value + 1 for name, value in thresholds.items()}
    snake = {name: "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name) for name in thresholds}
    variables = {f"monitoring_alert_{snake[name]}": value for name, value in thresholds.items()}
    assert variables == {name: value for name, value in prometheus.variables().items() if name.startswith("monitoring_alert_")}
    plain = render(least(monitoring={"prometheusRule": {"enabled": True}}))
    assert groups(plain) == of_the_role()
    other = render(
        least(
            monitoring={
                "job": "vision",
                "prometheusRule": {"enabled": True, "thresholds": changed, "rateWindow": "120s", "runbookUrl": "https://x"},
            }
        )
    )
    shifted = {name: value + 1 for name, value in variables.items()}
    shifted |= {"monitoring_job": "vision", "__monitoring_rate_window": "120s", "monitoring_runbook_url": "https://x"}
    assert groups(other) == of_the_role(**shifted)


@pytest.fixture(scope="module")
def promtool() -> str:
    try:
        return str(prometheus.program("promtool"))
    except prometheus.NoPrometheusError as error:
        pytest.skip(str(error))


def test_promtool_takes_the_rules(promtool: str, tmp_path: Path) -> None:
    rule = {"name": "mine", "rules": [{"record": "mine:rate", "expr": "sum(triton:success:rate)"}]}
    rendered = render(least(monitoring={"prometheusRule": {"enabled": True, "extraGroups": [rule]}}))
    path = tmp_path / "rules.yml"
    path.write_text(json.dumps({"groups": groups(rendered)}), encoding="utf-8")
    done = subprocess.run([promtool, "check", "rules", str(path)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "SUCCESS" in done.stdout


# --- what KEDA asks Prometheus

EXPORTER = 'service="dcgm-exporter",job="dcgm-exporter"'
# A scrape keeps the exporter's labels as exported_…, or honors them; an idle GPU has those of the exporter's own pod.
KEPT = f'{EXPORTER},namespace="gpu-operator",pod="dcgm-exporter-x2f5k"'
IDLE = f"DCGM_FI_DEV_GPU_UTIL{{{KEPT}}}"


def kept(pod: str, namespace: str = "inference") -> str:
    return f'DCGM_FI_DEV_GPU_UTIL{{{KEPT},exported_namespace="{namespace}",exported_pod="{pod}"}}'


def honored(pod: str, namespace: str = "inference") -> str:
    return f'DCGM_FI_DEV_GPU_UTIL{{{EXPORTER},namespace="{namespace}",pod="{pod}"}}'


def waiting(name: str, service: str, more: str = "") -> str:
    return f'nv_inference_{name}{{service="{service}"{more}}}'


def queries(**values: Any) -> list[str]:
    keda = {"type": "keda", "queueMicroseconds": 1000, "gpuUtilization": 80, "keda": {"prometheus": "http://prometheus:9090"}}
    rendered = render(least(autoscaling=keda, **values))
    return [each["metadata"]["query"] for each in rendered.one("ScaledObject")["spec"]["triggers"]]


QUEUE, SUCCESS = "queue_duration_us", "request_success"
LONG = "x" * 49
GPU_POD = "rel-triton-7d9c5b8f6-x2f5k"
GPU_OTHERS = {
    "rel-triton-b-7d9c5b8f6-x2f5k": "inference", "rel-triton-b-0": "inference", "rel-triton-7d9c5b8f6-aaaaa": "elsewhere"
}  # fmt: skip


@pytest.mark.parametrize(
    ("number", "values", "series", "expected"),
    [
        (1, {}, {kept(GPU_POD): 90, IDLE: 1, **{kept(pod, there): 5 for pod, there in GPU_OTHERS.items()}}, 90),
        (1, {}, {honored(GPU_POD): 90, IDLE: 1, **{honored(pod, there): 5 for pod, there in GPU_OTHERS.items()}}, 90),
        (1, {"fullnameOverride": LONG}, {kept(f"{LONG}-7d9c5b8fx2f5k"): 70, kept(f"{LONG}-b-7d9c5b8f6-x2f5k"): 5}, 70),
        # Two seconds of requests a minute, each of which waited half a second.
        (0, {}, {waiting(QUEUE, "rel-triton"): "0+1000000x9", waiting(SUCCESS, "rel-triton"): "0+2x9"}, 500000),
        (
            0,
            {},
            {
                waiting(name, "rel-triton", f',namespace="{namespace}"'): f"0+{step}x9"
                for namespace, queued in (("inference", 1000), ("elsewhere", 9000))
                for name, step in ((QUEUE, queued), (SUCCESS, 1))
            },
            1000,
        ),
        (0, {"monitoring": {"service": "vision"}}, {waiting(QUEUE, "rel-triton"): "0+9x9"}, 0),
    ],
)
def test_prometheus_answers_keda_of_this_release_alone(  # noqa: PLR0917
    number: int, values: dict[str, Any], series: dict[str, Any], expected: float, promtool: str, tmp_path: Path
) -> None:
    case = {
        "interval": "15s",
        "input_series": [{"series": name, "values": each if isinstance(each, str) else f"{each}x9"} for name, each in series.items()],
        "promql_expr_test": [{"expr": f"round({queries(**values)[number]})", "eval_time": "2m", "exp_samples": [{"value": expected}]}],
    }
    path = tmp_path / "tests.yml"
    path.write_text(json.dumps({"tests": [case]}), encoding="utf-8")
    done = subprocess.run([promtool, "test", "rules", str(path)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


# --- values of other charts


@pytest.mark.parametrize("name", legacy.CASES)
def test_translated_values_are_rendered_and_valid(name: str) -> None:
    rendered = render(legacy.CASES[name]["new"])
    assert not [each for thing in rendered.objects for each in schemas.problems(thing, NEWEST)]


def test_old_values_themselves_are_refused() -> None:
    with pytest.raises(RefusedError, match="imageName"):
        render(legacy.CASES["aws"]["old"])
