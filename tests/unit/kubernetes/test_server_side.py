# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the Kubernetes stand-in refuses, fills in, selects and decodes. The texts are those of a real API server, 1.36."""

from __future__ import annotations

import base64
import copy
from typing import Any

import pytest
from support.kubernetes import admission, defaults, protobuf, selectors, tables, validation
from support.kubernetes.errors import ApiError
from support.kubernetes.queries import check_query, continued
from support.kubernetes.resources import Registry, Resource, version_order
from support.kubernetes.schemas import Schemas, canonical_quantity, examine, normalize, quantity, supported_versions
from support.kubernetes.store import Store
from support.kubernetes.triton import parse_options, pre_stop_seconds

SCHEMAS = Schemas("1.36")
REGISTRY = Registry(SCHEMAS.has)


def resource(api_version: str, kind: str) -> Resource:
    found = REGISTRY.of_kind(api_version, kind)
    assert found
    return found


def deployment(**pod: Any) -> dict[str, Any]:
    labels = {"app": "a"}
    spec = {"containers": [{"name": "main", "image": "a:1"}], **pod}
    template = {"metadata": {"labels": labels}, "spec": spec}
    value = {"metadata": {"name": "a"}, "spec": {"selector": {"matchLabels": labels}, "template": template}}
    return {"apiVersion": "apps/v1", "kind": "Deployment", **value}


def problems(api_version: str, kind: str, value: dict[str, Any]) -> list[str]:
    defaults.fill(resource(api_version, kind), value)
    return [f"{cause.field}: {cause.message}" for cause in validation.problems(resource(api_version, kind), value, None)]


# --- versions


def test_old_and_new_versions_serve_what_they_have() -> None:
    oldest, newest = supported_versions()[0], supported_versions()[-1]
    assert Registry(Schemas(oldest).has).of_kind("batch/v1", "Job")
    assert Registry(Schemas("1.30").has).of_kind("resource.k8s.io/v1", "DeviceClass") is None
    assert Registry(Schemas(newest).has).of_kind("resource.k8s.io/v1", "DeviceClass")


def test_versions_of_a_group_have_an_order() -> None:
    assert sorted(["v1beta1", "v2", "v1alpha1", "v1", "v1beta2"], key=version_order) == ["v2", "v1", "v1beta2", "v1beta1", "v1alpha1"]


# --- schemas


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("1000m", "1"),
        ("0.5", "500m"),
        (2, "2"),
        ("1024Mi", "1Gi"),
        ("1500Mi", "1500Mi"),
        ("1e3", "1k"),
        (0.1, "100m"),
        ("0", "0"),
        ("x", "x"),
    ],
)
def test_quantities_are_kept_in_their_canonical_form(written: Any, kept: str) -> None:
    assert canonical_quantity(written) == kept
    if written != "x":
        assert quantity(written) == quantity(kept)


def test_what_is_no_quantity_is_not_read() -> None:
    value = deployment(containers=[{"name": "a", "image": "a", "resources": {"limits": {"cpu": "many"}}}])
    with pytest.raises(ValueError, match="quantities must match the regular expression"):
        normalize(SCHEMAS.of(resource("apps/v1", "Deployment")), value, [])


def test_fields_that_are_unknown_missing_or_of_a_wrong_type_are_told_apart() -> None:
    value = deployment(containers=[{"name": "main", "image": "a", "imagePullpolicy": "Always"}])
    assert examine(SCHEMAS, resource("apps/v1", "Deployment"), value).unknown == ["spec.template.spec.containers[0].imagePullpolicy"]
    value = deployment()
    value["spec"]["replicas"] = "two"
    assert "cannot unmarshal string" in examine(SCHEMAS, resource("apps/v1", "Deployment"), value).undecodable[0]
    del value["spec"]["selector"], value["spec"]["replicas"]
    assert examine(SCHEMAS, resource("apps/v1", "Deployment"), value).causes[0].field == "spec.selector"


def test_custom_resources_are_pruned_and_get_their_defaults() -> None:
    schema = {
        "type": "object",
        "properties": {
            "spec": {
                "type": "object",
                "properties": {"size": {"type": "integer"}, "mode": {"type": "string", "default": "fast"}, "free": {"type": "object"}},
            }
        },
    }
    schema["properties"]["spec"]["properties"]["free"]["x-kubernetes-preserve-unknown-fields"] = True  # type: ignore[index]
    custom = Resource("example.com", "v1", "toys", "Toy", True, schema=schema)
    unknown: list[str] = []
    value = {"apiVersion": "example.com/v1", "kind": "Toy", "metadata": {"name": "a"}, "spec": {"size": 1, "sise": 2, "free": {"any": 1}}}
    kept = normalize(SCHEMAS.of(custom), value, unknown, custom=True)
    assert unknown == ["spec.sise"]
    assert kept["spec"] == {"size": 1, "mode": "fast", "free": {"any": 1}}


# --- validation


@pytest.mark.parametrize(
    ("pod", "told"),
    [
        (
            {"containers": [{"name": "a", "image": "a", "volumeMounts": [{"name": "x", "mountPath": "/x"}]}]},
            'volumeMounts[0].name: Not found: "x"',
        ),
        ({"containers": [{"name": "A_B", "image": "a"}]}, "RFC 1123 label"),
        ({"containers": [{"name": "a", "image": "a"}, {"name": "a", "image": "b"}]}, "Duplicate value"),
        ({"containers": [{"name": "a", "image": "a", "ports": [{"name": "much-too-long-name", "containerPort": 1}]}]}, "15 characters"),
        ({"containers": [{"name": "a", "image": "a", "readinessProbe": {}}]}, "must specify a handler type"),
        ({"containers": [{"name": "a", "image": "a", "livenessProbe": {"exec": {}, "successThreshold": 2}}]}, "must be 1"),
        (
            {"containers": [{"name": "a", "image": "a", "resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}}]},
            "less than or equal",
        ),
        ({"containers": [{"name": "a", "image": "a", "resources": {"requests": {"nvidia.com/gpu": 1}}}]}, "Limit must be set"),
        ({"containers": [{"name": "a", "image": "a", "resources": {"limits": {"nvidia.com/gpu": "500m"}}}]}, "must be an integer"),
        ({"containers": [{"name": "a", "image": "a", "resources": {"limits": {"gpu": 1}}}]}, "fully qualified"),
        ({"tolerations": [{"operator": "Exists", "key": "a", "value": "b"}]}, "value must be empty"),
        ({"restartPolicy": "Never"}, "supported values"),
        ({"containers": [{"name": "a", "image": "a", "imagePullPolicy": "No"}]}, 'values: "Always", "IfNotPresent", "Never"'),
        ({"containers": [{"name": "a", "image": "a", "lifecycle": {"preStop": {}}}]}, "preStop: Required value: must specify a handler"),
        (
            {"containers": [{"name": "a", "image": "a", "lifecycle": {"preStop": {"sleep": {"seconds": 60}}}}]},
            "preStop.sleep: Invalid value: 60: must be non-negative and less than terminationGracePeriodSeconds (30)",
        ),
        ({"containers": [{"name": "a", "image": "a", "livenessProbe": {"exec": {}, "periodSeconds": -1}}]}, "greater than or equal to 0"),
        (
            {"containers": [{"name": "a", "image": "a", "livenessProbe": {"exec": {}, "grpc": {"port": 1}}}]},
            "livenessProbe.grpc: Forbidden: may not specify more than 1 handler type",
        ),
        (
            {"containers": [{"name": "a", "image": "a", "securityContext": {"privileged": True, "allowPrivilegeEscalation": False}}]},
            "cannot set `allowPrivilegeEscalation` to false and `privileged` to true",
        ),
        ({"securityContext": {"seccompProfile": {"type": "None"}}}, 'values: "Localhost", "RuntimeDefault", "Unconfined"'),
        ({"securityContext": {"runAsUser": -1}}, "must be between 0 and 2147483647"),
        ({"tolerations": [{"operator": "Is", "key": "a"}]}, 'values: "Equal", "Exists"'),
        ({"nodeSelector": {"a b": "c"}}, "nodeSelector: Invalid value"),
        (
            {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}}},
            "must have at least one node selector term",
        ),
        ({"topologySpreadConstraints": [{"maxSkew": 1, "whenUnsatisfiable": "No"}]}, 'values: "DoNotSchedule", "ScheduleAnyway"'),
        ({"volumes": [{"name": "a", "emptyDir": {}, "hostPath": {"path": "/a"}}]}, "volumes[0].hostPath: Forbidden: may not specify more"),
    ],
)
def test_pods_that_the_server_would_refuse(pod: dict[str, Any], told: str) -> None:
    assert any(told in each for each in problems("apps/v1", "Deployment", deployment(**pod)))
    assert problems("apps/v1", "Deployment", deployment()) == []


@pytest.mark.parametrize(
    ("api_version", "kind", "value", "told"),
    [
        ("v1", "Service", {"spec": {"ports": [{"port": 1}, {"port": 2}]}}, "spec.ports[0].name: Required value"),
        ("v1", "Service", {"spec": {"type": "NodePort", "ports": [{"port": 1, "nodePort": 80}]}}, "30000-32767"),
        ("v1", "Service", {"spec": {"type": "Other", "ports": [{"port": 1}]}}, '"ClusterIP", "ExternalName", "LoadBalancer", "NodePort"'),
        ("v1", "Service", {"spec": {"type": "ExternalName"}}, "spec.externalName: Required value"),
        ("v1", "Service", {"spec": {"ports": [{"port": 1}], "externalTrafficPolicy": "Local"}}, "externally-accessible services"),
        ("v1", "Service", {"spec": {"ports": [{"port": 1}], "loadBalancerClass": "a/b"}}, "may only be used when `type` is 'LoadBalancer'"),
        ("v1", "Secret", {"type": "kubernetes.io/dockerconfigjson"}, "data[.dockerconfigjson]: Required value"),
        ("v1", "Secret", {"type": "kubernetes.io/dockercfg", "stringData": {".dockercfg": "{"}}, "<secret contents redacted>"),
        ("v1", "ConfigMap", {"data": {"a": "b"}, "binaryData": {"a": "Yg=="}}, "duplicate of key present in binaryData"),
        ("v1", "PersistentVolume", {"spec": {"capacity": {"storage": "1Gi"}}}, "spec: Required value: must specify a volume type"),
        ("v1", "PersistentVolumeClaim", {"spec": {}}, "spec.accessModes: Required value: at least 1 access mode is required"),
        ("v1", "PersistentVolumeClaim", {"spec": {"accessModes": ["All"]}}, 'supported values: "ReadOnlyMany"'),
        ("networking.k8s.io/v1", "NetworkPolicy", {"spec": {"ingress": [{"from": [{}]}]}}, "spec.ingress[0].from[0]: Required value"),
        ("batch/v1", "CronJob", {"spec": {"schedule": "daily"}}, "expected exactly 5 fields, found 1: [daily]"),
        ("autoscaling/v2", "HorizontalPodAutoscaler", {"spec": {"maxReplicas": 2}}, "apiVersion must specify API group"),
        ("v1", "ConfigMap", {"data": {"a/b": "c"}}, "valid config key"),
        ("v1", "ConfigMap", {"data": {"a": "b" * (1024 * 1024 + 1)}}, "may not be more than 1048576 bytes"),
        ("v1", "ConfigMap", {"metadata": {"name": "a", "annotations": {"a": "b" * (256 * 1024)}}}, "may not be more than 262144 bytes"),
        (
            "autoscaling/v2",
            "HorizontalPodAutoscaler",
            {"spec": {"minReplicas": 3, "maxReplicas": 2}},
            "greater than or equal to `minReplicas`",
        ),
        ("policy/v1", "PodDisruptionBudget", {"spec": {"minAvailable": 1, "maxUnavailable": 1}}, "cannot be both set"),
        ("batch/v1", "Job", {"spec": {"template": {"spec": {"containers": [{"name": "a", "image": "a"}]}}}}, "valid values"),
    ],
)
def test_other_kinds_that_the_server_would_refuse(api_version: str, kind: str, value: dict[str, Any], told: str) -> None:
    assert any(told in each for each in problems(api_version, kind, {"metadata": {"name": "a"}, "kind": kind, **value}))


def test_what_is_accepted_with_a_warning() -> None:
    twice = [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]
    value = deployment(containers=[{"name": "main", "image": "a", "env": twice}])
    told = list(validation.warnings(resource("apps/v1", "Deployment"), value))
    assert told == ['spec.template.spec.containers[0].env[1]: hides previous definition of "A", which may be dropped when using apply']
    assert not list(validation.warnings(resource("apps/v1", "Deployment"), deployment()))


def test_selectors_and_strategies_of_deployments() -> None:
    value = deployment()
    value["spec"]["template"]["metadata"]["labels"] = {"app": "b"}
    assert any("does not match template" in each for each in problems("apps/v1", "Deployment", value))
    value = deployment()
    value["spec"]["strategy"] = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 0}}
    assert any("may not be 0" in each for each in problems("apps/v1", "Deployment", value))
    changed = deployment()
    changed["spec"]["selector"] = {"matchLabels": {"app": "b"}}
    causes = validation.problems(resource("apps/v1", "Deployment"), changed, deployment())
    assert any("field is immutable" in cause.message for cause in causes)


def test_claims_grow_and_do_not_shrink() -> None:
    def claim(size: str, **spec: Any) -> dict[str, Any]:
        return {"metadata": {"name": "a"}, "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}, **spec}}

    kind, bound = resource("v1", "PersistentVolumeClaim"), {"status": {"phase": "Bound"}}
    assert not validation.problems(kind, claim("2Gi"), claim("1Gi") | bound)
    assert "can not be less" in validation.problems(kind, claim("500Mi"), claim("1Gi") | bound)[0].message
    assert "for bound claims" in validation.problems(kind, claim("2Gi"), claim("1Gi"))[0].message
    assert "immutable" in validation.problems(kind, claim("1Gi", storageClassName="b"), claim("1Gi", storageClassName="a"))[0].message


def test_a_service_leaves_the_ports_of_its_former_type_behind() -> None:
    store = Store()
    gate, kind = admission.Admission(store), resource("v1", "Service")
    value = {"metadata": {"name": "a", "namespace": "b"}, "spec": {"type": "NodePort", "ports": [{"port": 80}]}}
    defaults.fill(kind, value)
    gate.admit(kind, value, None, lambda _warning: None)
    assert value["spec"]["ports"][0]["nodePort"] == 30000
    assert value["spec"]["clusterIP"].startswith("10.96.")
    changed = copy.deepcopy(value)
    changed["spec"]["type"] = "ClusterIP"
    gate.admit(kind, changed, value, lambda _warning: None)
    assert "nodePort" not in changed["spec"]["ports"][0]
    assert not validation.problems(kind, changed, value)


def test_pod_security_names_every_violation() -> None:
    spec = {"containers": [{"name": "main", "image": "a", "securityContext": {"privileged": True}}], "hostNetwork": True}
    told = " ".join(admission.violations(spec, "restricted"))
    for each in ("host namespaces", "privileged", "allowPrivilegeEscalation", "capabilities", "runAsNonRoot", "seccompProfile"):
        assert each in told
    security = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    pod = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    fine = {"securityContext": pod, "containers": [{"name": "main", "image": "a", "securityContext": security}]}
    assert list(admission.violations(fine, "restricted")) == []


# --- defaults


def test_defaults_of_what_a_chart_writes() -> None:
    probe = {"httpGet": {"port": 8000}}
    limits = {"limits": {"nvidia.com/gpu": "1"}}
    main = {"name": "main", "image": "a", "readinessProbe": probe, "resources": limits, "ports": [{"containerPort": 80}]}
    value = deployment(
        containers=[main],
        volumes=[{"name": "models", "secret": {"secretName": "a"}}, {"name": "scratch"}],
    )
    defaults.fill(resource("apps/v1", "Deployment"), value)
    pod = value["spec"]["template"]["spec"]
    main = pod["containers"][0]
    assert (main["imagePullPolicy"], main["terminationMessagePolicy"], main["ports"][0]["protocol"]) == ("Always", "File", "TCP")
    assert main["readinessProbe"]["failureThreshold"] == 3
    assert main["readinessProbe"]["httpGet"] == {"port": 8000, "path": "/", "scheme": "HTTP"}
    assert "requests" not in main["resources"], "limits are requests in pods alone"
    assert pod["volumes"] == [{"name": "models", "secret": {"secretName": "a", "defaultMode": 420}}, {"name": "scratch", "emptyDir": {}}]
    assert value["spec"]["strategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}}
    secret = {"metadata": {"name": "a"}, "stringData": {"key": "text"}}
    defaults.fill(resource("v1", "Secret"), secret)
    assert secret == {"metadata": {"name": "a"}, "type": "Opaque", "data": {"key": base64.b64encode(b"text").decode()}}


@pytest.mark.parametrize(
    ("resources", "kind"),
    [
        ({}, "BestEffort"),
        ({"limits": {"nvidia.com/gpu": "1"}}, "BestEffort"),
        ({"requests": {"cpu": "1"}}, "Burstable"),
        ({"limits": {"cpu": "1"}}, "Burstable"),
        ({"limits": {"cpu": "1", "memory": "1Gi"}}, "Guaranteed"),
    ],
)
def test_a_pod_has_its_class_from_the_start(resources: dict[str, Any], kind: str) -> None:
    value = {"metadata": {"name": "a"}, "spec": {"containers": [{"name": "a", "image": "a", "resources": resources}]}}
    defaults.fill(resource("v1", "Pod"), value)
    assert value["status"] == {"phase": "Pending", "qosClass": kind}
    assert value["spec"]["containers"][0]["resources"].get("requests") == (resources.get("requests") or resources.get("limits"))


def test_a_job_finds_its_pods_from_the_start() -> None:
    value = {"metadata": {"name": "a", "uid": "u"}, "spec": {"template": {"spec": {"containers": []}}}}
    defaults.fill(resource("batch/v1", "Job"), value)
    assert value["spec"]["selector"] == {"matchLabels": {"batch.kubernetes.io/controller-uid": "u"}}
    assert value["spec"]["template"]["metadata"]["labels"]["batch.kubernetes.io/job-name"] == "a"


def test_what_is_empty_or_unknown_is_not_kept() -> None:
    """As Kubernetes' own structures write themselves; what was 0 gets the default."""
    main = {
        "name": "main", "image": "a", "args": [], "env": [{"name": "A", "value": ""}], "stdin": False, "workingDir": "",
        "resources": {"limits": {}}, "securityContext": {}, "readinessProbe": {"exec": {"command": ["a"]}, "periodSeconds": 0},
    }  # fmt: skip
    value = deployment(containers=[main], nodeSelector={}, hostNetwork=False, affinity={}, tolerations=[], unknown=1)
    value["spec"].update(minReadySeconds=0, paused=False, replicas=0)
    value["metadata"].update(labels={}, annotations={"a": ""})
    kept = normalize(SCHEMAS.of(resource("apps/v1", "Deployment")), value, [])
    spec = kept["spec"]["template"]["spec"]
    probe = {"exec": {"command": ["a"]}}
    container = {"name": "main", "image": "a", "env": [{"name": "A"}], "resources": {}, "securityContext": {}, "readinessProbe": probe}
    assert spec == {"containers": [container], "affinity": {}}
    assert (kept["spec"]["replicas"], kept["metadata"]) == (0, {"name": "a", "annotations": {"a": ""}})
    assert {"minReadySeconds", "paused"}.isdisjoint(kept["spec"])
    claim = {"metadata": {"name": "a"}, "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": ""}}
    assert normalize(SCHEMAS.of(resource("v1", "PersistentVolumeClaim")), claim, [])["spec"]["storageClassName"] == ""


# --- selectors


@pytest.mark.parametrize(
    ("expression", "selected"),
    [
        ("", True), ("app=a", True), ("app==a", True), ("app!=a", False), ("app in (a,b)", True), ("app notin (a, b)", False),
        ("app", True),
        ("!app", False), ("tier", False), ("!tier", True), ("tier!=x", True), ("app=a,tier=x", False),
    ],
)  # fmt: skip
def test_label_selectors(expression: str, selected: bool) -> None:
    assert selectors.labels(expression)({"metadata": {"labels": {"app": "a"}}}) is selected


def test_field_selectors_and_bad_ones() -> None:
    pod = {"metadata": {"name": "a"}, "spec": {"unschedulable": True}, "status": {"phase": "Running"}}
    assert selectors.fields(("", "nodes"), "metadata.name=a,spec.unschedulable=true")(pod)
    assert not selectors.fields(("", "pods"), "status.phase!=Running")(pod)
    with pytest.raises(ApiError, match="is not a known field selector"):
        selectors.fields(("", "configmaps"), "data.a=b")
    with pytest.raises(ApiError, match="unable to parse"):
        selectors.labels("a b c")


# --- queries


@pytest.mark.parametrize(
    ("verb", "query", "code", "told"),
    [
        ("list", {"limit": "x"}, 400, 'parsing "x": invalid syntax'),
        ("watch", {"resourceVersion": "x"}, 400, "invalid resource version"),
        ("list", {"resourceVersionMatch": "Exact"}, 422, "forbidden unless resourceVersion is provided"),
        ("create", {"dryRun": "yes"}, 422, 'CreateOptions.meta.k8s.io "" is invalid: dryRun'),
        ("update", {"fieldValidation": "strict"}, 422, 'supported values: "", "Ignore", "Strict", "Warn"'),
        ("patch", {"force": "true"}, 422, "may not be specified for non-apply patch"),
    ],
)
def test_queries_that_the_server_would_refuse(verb: str, query: dict[str, str], code: int, told: str) -> None:
    with pytest.raises(ApiError) as caught:
        check_query(verb, query)
    assert caught.value.code == code
    assert told in caught.value.message


def test_an_apply_needs_a_manager_and_a_continuation_what_the_server_gave() -> None:
    check_query("patch", {"fieldManager": "a", "force": "true", "dryRun": "All", "fieldValidation": "Warn"}, applies=True)
    with pytest.raises(ApiError, match="fieldManager: Required value"):
        check_query("patch", {}, applies=True)
    with pytest.raises(ApiError, match="invalid continue token"):
        continued("foo")


# --- protobuf and tables


def test_a_secret_is_read_from_protobuf() -> None:
    def field(number: int, data: bytes) -> bytes:
        return bytes([number << 3 | 2, len(data)]) + data

    metadata = field(1, field(1, b"release") + field(3, b"demo") + field(11, field(1, b"owner") + field(2, b"helm")))
    secret = metadata + field(2, field(1, b"release") + field(2, b"\x00\xff")) + field(3, b"helm.sh/release.v1")
    body = protobuf.MAGIC + field(1, field(1, b"v1") + field(2, b"Secret")) + field(2, secret)
    assert protobuf.decode(body) == {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "release", "namespace": "demo", "labels": {"owner": "helm"}},
        "data": {"release": "AP8="},
        "type": "helm.sh/release.v1",
    }
    with pytest.raises(ApiError, match="does not read a Pod"):
        protobuf.decode(protobuf.MAGIC + field(1, field(1, b"v1") + field(2, b"Pod")))


def test_printer_columns_follow_their_paths() -> None:
    value = {"status": {"conditions": [{"type": "Ready", "status": "True"}], "urls": ["a", "b"]}}
    assert tables.at_path(value, '.status.conditions[?(@.type=="Ready")].status') == "True"
    assert tables.at_path(value, ".status.urls[1]") == "b"
    assert tables.at_path(value, ".spec.none") == ""


# --- containers that really run


def test_the_servers_options_are_those_of_the_container() -> None:
    words = ["tritonserver", "--model-repository=/models", "--load-model", "a", "--load-model=b", "--strict-readiness"]
    assert parse_options(words) == {"model-repository": "/models", "load-model": ["a", "b"], "strict-readiness": "true"}
    assert parse_options(["-c", "exec tritonserver --http-port=8000 --log-verbose=1"]) == {"http-port": "8000", "log-verbose": "1"}


def test_how_long_a_hook_sleeps() -> None:
    assert pre_stop_seconds({"sleep": {"seconds": 3}}) == 3
    assert pre_stop_seconds({"exec": {"command": ["/bin/sh", "-c", "sleep 15"]}}) == 15
    assert pre_stop_seconds({}) == 0
