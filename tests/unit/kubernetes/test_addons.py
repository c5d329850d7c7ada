# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whose an addon is, and what the role cluster_addons makes of its variables and of what it found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar

from ansible_collections.serving.triton.plugins.module_utils.kubernetes.addons import ADDONS, Seen, whose

ROLES = Path(__file__).resolve().parents[3] / "roles"
ROLE = ROLES / "cluster_addons"


def helm(release: str, namespace: str) -> dict[str, Any]:
    return {"annotations": {"meta.helm.sh/release-name": release, "meta.helm.sh/release-namespace": namespace}}


def controller(namespace: str, name: str, image: str, **metadata: Any) -> dict[str, Any]:
    containers = [{"image": image}]
    return {"metadata": {"namespace": namespace, "name": name, **metadata}, "spec": {"template": {"spec": {"containers": containers}}}}


def api(name: str, **metadata: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, **metadata}, "spec": {"service": {"namespace": "kube-system", "name": "metrics-server"}}}


SERVED = "APIService v1beta1.metrics.k8s.io, served by kube-system/metrics-server"
OPERATOR = "quay.io/prometheus-operator/prometheus-operator@sha256:0"


@pytest.mark.parametrize(
    ("addon", "seen", "others"),
    [
        ("metrics-server", Seen(), ""),
        ("metrics-server", Seen([api("v1beta1.metrics.k8s.io")]), SERVED),
        # An API that the cluster itself serves has no service.
        ("metrics-server", Seen([{"metadata": {"name": "v1beta1.metrics.k8s.io"}, "spec": {}}]), ""),
        ("kube-prometheus-stack", Seen([], [controller("m", "op", OPERATOR)]), "Deployment m/op"),
        ("kube-prometheus-stack", Seen([], [controller("m", "r", "quay.io/p/prometheus-config-reloader:v1")]), ""),
        ("kube-prometheus-stack", Seen([], [controller("openshift-monitoring", "prometheus-operator", "quay.io/o/release@sha256:0")]),
         "Deployment openshift-monitoring/prometheus-operator"),
        ("istio", Seen([], [controller("i", "istiod-1-29", "docker.io/istio/pilot:1.29.0", **helm("istiod-canary", "i"))]),
         "Deployment i/istiod-1-29 of Helm release istiod-canary"),
    ],
)  # fmt: skip
def test_what_somebody_else_runs_is_found(addon: str, seen: Seen, others: str) -> None:
    assert whose(ADDONS[addon], seen) == {"ours": {}, "others": others}


def test_our_own_is_not_somebody_elses() -> None:
    mine = api("v1beta1.metrics.k8s.io", **helm("metrics-server", "kube-system"))
    assert whose(ADDONS["metrics-server"], Seen([mine], records={"metrics-server": "kube-system"})) == {
        "ours": {"metrics-server": "kube-system"}, "others": ""}  # fmt: skip
    # The same name in another namespace is another release.
    assert whose(ADDONS["metrics-server"], Seen([mine], records={"metrics-server": "other"}))["others"]


def value(name: str, **known: Any) -> Any:
    """A variable of the role; known: variables, the role's own included, without their common prefix."""
    loader = DataLoader()
    files = [ROLE / "defaults" / "main.yml", ROLE / "vars" / "main.yml"]
    variables = {key: each for path in files for key, each in loader.load_from_file(str(path), trusted_as_template=True).items()}
    variables |= {f"__cluster_addons{key}" if key.startswith("_") else f"cluster_addons_{key}": each for key, each in known.items()}
    return Templar(loader, variables).template(variables[f"__cluster_addons_{name}"])


def before(**addons: Any) -> dict[str, Any]:
    nothing = {"ours": {}, "others": "", "objects": [], "definitions": []}
    names = {name: {**nothing, **addons.get(name.replace("-", "_"), {})} for name in ADDONS}
    return {"addons": names, "prometheus": [], "namespaces": [], "denied": []}


def test_the_adapters_rules_are_the_metrics_of_the_chart() -> None:
    chart = yaml.safe_load((ROLES / "server_kubernetes" / "files" / "chart" / "values.yaml").read_text())
    names = {rule["name"]["as"] for rule in value("rules")}
    assert {chart["autoscaling"]["queueMetric"], chart["autoscaling"]["gpuMetric"]} <= names
    ports = {each["port"] for each in value("gateway_values")["service"]["ports"]}
    assert {chart["istio"]["httpPort"], chart["istio"]["grpcPort"], chart["istio"]["httpsPort"]} <= ports
    assert chart["monitoring"]["dashboard"]["labels"] == {"grafana_dashboard": "1"}


def test_an_idle_gpu_does_not_hide_the_pods_that_use_others() -> None:
    """The adapter takes the last rule that finds any series. Those of an idle GPU have no exported_pod, and the exporter's own as pod."""
    asked = [rule["seriesQuery"] for rule in value("rules") if {"resource": "pod"} in rule["resources"]["overrides"].values()]
    by_pod, by_exported_pod = (each for each in asked if "DCGM" in each)
    assert 'exported_pod=""' in by_pod
    assert 'exported_pod!=""' in by_exported_pod


@pytest.mark.parametrize(
    ("known", "url"),
    [
        ({"install": ["prometheus-adapter", "kube-prometheus-stack"]}, ("http://prometheus-operated.monitoring.svc", 9090, "")),
        ({"prometheus_url": "https://thanos.example.com/api/"}, ("https://thanos.example.com", 0, "/api")),
        ({"_before": {**before(), "prometheus": ["observe"]}}, ("http://prometheus-operated.observe.svc", 9090, "")),
    ],
)
def test_the_adapter_asks_the_prometheus_that_there_is(known: dict[str, Any], url: tuple[str, int, str]) -> None:
    asked = value("adapter_values", **{"install": ["prometheus-adapter"], "_before": before(), **known})["prometheus"]
    assert (asked["url"], asked["port"], asked["path"]) == url


def test_charts_come_from_a_folder_a_mirror_or_their_makers() -> None:
    base = {"install": ["keda"], "_before": before()}
    assert value("sources", **base)[0]["repository"] == "https://kedacore.github.io/charts"
    assert value("sources", **base, mirror="https://mirror/charts")[0]["repository"] == "https://mirror/charts"
    assert value("sources", **base, mirror="oci://mirror/charts/")[0]["chart"] == "oci://mirror/charts/keda"
    assert value("sources", **base, archives="/srv/charts", keda_version="2.0.0")[0]["chart"] == "/srv/charts/keda-2.0.0.tgz"


def test_what_others_run_is_not_made_and_what_is_ours_goes_in_reverse() -> None:
    foreign = before(istio={"others": "Deployment"})
    assert [each["name"] for each in value("wanted", install=["istio", "metrics-server"], _before=foreign)] == ["metrics-server"]
    assert [each["name"] for each in value("wanted", install=["istio"], istio_gateway=False, _before=before())] == ["istio-base", "istiod"]
    ours = {"istio-base": "istio-system", "istiod": "istio-system"}
    found = before(istio={"ours": ours}, metrics_server={"ours": {"metrics-server": "kube-system"}})
    assert [each["name"] for each in value("ours", _before=found)] == ["istiod", "istio-base", "metrics-server"]
    assert [each["name"] for each in value("ours", install=["metrics-server"], _before=found)] == ["metrics-server"]


def test_definitions_that_others_use_stay_unless_asked() -> None:
    used = {"kind": "ScaledObject", "api_version": "keda.sh/v1alpha1", "namespace": "ml", "name": "vision"}
    found = before(keda={"ours": {"keda": "keda"}, "definitions": ["scaledobjects.keda.sh"], "objects": [used]})
    assert value("definitions", _before=found) == []
    assert "ScaledObject ml vision" in value("kept", _before=found)[0]
    assert value("definitions", _before=found, delete_objects=True) == ["scaledobjects.keda.sh"]
    unused = before(keda={"ours": {"keda": "keda"}, "definitions": ["scaledobjects.keda.sh"]})
    assert value("definitions", _before=unused) == ["scaledobjects.keda.sh"]
