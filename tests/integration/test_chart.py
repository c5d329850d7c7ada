# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The chart, rendered by the real helm 3 and helm 4: valid on the oldest and the newest Kubernetes, safe, and what its values say."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from support.charts import pod_security, schemas
from support.charts.cases import KEY, NEWEST, VALUES, oldest, with_key
from support.charts.render import CHART, NAMESPACE, RELEASE, RefusedError, Rendered, example, helm, least, render

Object = dict[str, Any]


@pytest.fixture(scope="module")
def old() -> dict[str, Rendered]:
    """Every case by helm 3 for the oldest Kubernetes."""
    return {name: render(with_key(values), "helm3", oldest(name)) for name, values in VALUES.items()}


@pytest.fixture(scope="module")
def new() -> dict[str, Rendered]:
    """Every case by helm 4 for the newest Kubernetes."""
    return {name: render(with_key(values), "helm4", NEWEST) for name, values in VALUES.items()}


every_case = pytest.mark.parametrize("name", VALUES)


# --- any cluster takes it


@every_case
def test_it_is_valid(name: str, old: dict[str, Rendered], new: dict[str, Rendered]) -> None:
    assert not [each for thing in old[name].objects for each in schemas.problems(thing, oldest(name))]
    assert not [each for thing in new[name].objects for each in schemas.problems(thing, NEWEST)]
    # helm 3 sorts by kind as helm 4 does, and nothing depends on the version.
    assert old[name].objects == new[name].objects


@pytest.mark.parametrize(
    ("thing", "complaint"),
    [
        ({"apiVersion": "autoscaling/v2beta1", "kind": "HorizontalPodAutoscaler"}, "has no"),
        ({"apiVersion": "policy/v1beta1", "kind": "PodDisruptionBudget"}, "has no"),
        ({"apiVersion": "example.com/v1", "kind": "Thing"}, "has no"),
        ({"apiVersion": "v1", "kind": "ConfigMap", "daat": {}}, "daat"),
        ({"apiVersion": "v1", "kind": "Pod", "spec": {"containers": [{"name": "a", "imag": "b"}]}}, "imag"),
        ({"apiVersion": "monitoring.coreos.com/v1", "kind": "PrometheusRule", "metadata": {}, "spec": {"group": []}}, "group"),
    ],
)
def test_what_is_wrong_is_found(thing: Object, complaint: str) -> None:
    assert complaint in str(schemas.problems({"metadata": {}, **thing}, NEWEST))


# What a volume of the user's choice keeps from level restricted.
NOT_RESTRICTED = {"onprem-conda-nodeports", "onprem-nfs-traefik", "mig", "cache on the node"}


@every_case
def test_pods_pass_pod_security_restricted(name: str, new: dict[str, Rendered]) -> None:
    pods = [new[name].pod["spec"], *(pod["spec"] for pod in new[name].all("Pod"))]
    found = [problem for spec in pods for problem in pod_security.restricted(spec)]
    if name in NOT_RESTRICTED:
        assert found
        assert all(problem.startswith(("volume models", "volume cache")) for problem in found)
    else:
        assert not found


@pytest.mark.parametrize(
    "change",
    [
        {"hostNetwork": True},
        {"volumes": [{"name": "a", "nfs": {}}]},
        {"securityContext": {"runAsNonRoot": True}},
        {"containers": [{"name": "a", "securityContext": {"privileged": True}}]},
        {"containers": [{"name": "a", "ports": [{"hostPort": 1}]}]},
    ],
)
def test_an_unsafe_pod_is_found(change: Object, new: dict[str, Rendered]) -> None:
    assert pod_security.restricted({**new["least"].pod["spec"], **change})


@every_case
def test_names_labels_and_selectors_fit_together(name: str, new: dict[str, Rendered]) -> None:
    rendered = new[name]
    labels = rendered.pod["metadata"]["labels"].items()
    selectors = [thing["spec"]["selector"] for thing in rendered.all("Service")]
    selectors += [thing["spec"]["selector"]["matchLabels"] for thing in rendered.all("PodDisruptionBudget") + rendered.all("Deployment")]
    selectors += [thing["spec"]["podSelector"]["matchLabels"] for thing in rendered.all("NetworkPolicy")]
    assert all(selector.items() <= labels for selector in selectors)
    tests = [pod["metadata"]["labels"].items() for pod in rendered.all("Pod")]
    assert not [selector for selector in selectors for pod in tests if selector.items() <= pod]
    assert all(len(thing["metadata"]["name"]) <= 63 for thing in rendered.objects)
    names = [(thing["kind"], thing["metadata"]["name"]) for thing in rendered.objects]
    assert len(set(names)) == len(names)


@every_case
def test_every_mount_has_its_volume_and_every_secret_its_place(name: str, new: dict[str, Rendered]) -> None:
    rendered = new[name]
    spec = rendered.pod["spec"]
    mounts = [mount for each in [*spec.get("initContainers", ()), *spec["containers"]] for mount in each.get("volumeMounts", ())]
    assert {mount["name"] for mount in mounts} == set(rendered.volumes)
    server = [mount["mountPath"] for mount in rendered.server["volumeMounts"]]
    assert len(set(server)) == len(server)
    # A mount inside of a ConfigMap's or Secret's own cannot be made.
    assert not [(inner, outer) for inner in server for outer in server if inner.startswith(f"{outer}/")]
    claims = {thing["metadata"]["name"] for thing in rendered.all("PersistentVolumeClaim")} | {"models"}
    assert {each["persistentVolumeClaim"]["claimName"] for each in rendered.volumes.values() if "persistentVolumeClaim" in each} <= claims


@every_case
def test_every_container_has_each_variable_once(name: str, new: dict[str, Rendered]) -> None:
    """A name that is there twice is refused by server-side apply, and merged wrongly by helm 3."""
    specs = [new[name].pod["spec"], *(pod["spec"] for pod in new[name].all("Pod"))]
    for container in [each for spec in specs for each in [*spec.get("initContainers", ()), *spec["containers"]]]:
        names = [each["name"] for each in container.get("env", ())]
        assert len(set(names)) == len(names), container["name"]


def test_what_users_give_of_the_environment_wins(new: dict[str, Rendered]) -> None:
    server = new["variables given twice"].environment
    plain = {"HOME": "/home/rel", "HF_HOME": "/hub", "NVIDIA_VISIBLE_DEVICES": "all", "GOOGLE_APPLICATION_CREDENTIALS": "/google.json"}
    assert {name: server[name] for name in (*plain, "TWICE")} == {**plain, "TWICE": "2"}
    keys = {"AWS_REGION": "region", "AWS_ACCESS_KEY_ID": "id", "TRITON_CLOUD_CREDENTIAL_PATH": "path", "AZURE_STORAGE_KEY": "azure"}
    assert {name: server[name] for name in keys} == {name: {"secretKeyRef": {"name": "theirs", "key": key}} for name, key in keys.items()}
    assert (server["AWS_DEFAULT_REGION"], server["XDG_CACHE_HOME"]) == ("eu-central-1", "/cache")
    (copier,) = new["variables given twice"].pod["spec"]["initContainers"]
    # A variable may refer to those before it alone.
    assert copier["env"][-1] == {"name": "RCLONE_AZUREBLOB_KEY", "value": "$(AZURE_STORAGE_KEY)"}
    assert {each["name"]: each for each in copier["env"]}["HOME"]["value"] == "/home/rel"
    region = new["variables of the role"].environment
    assert region["AWS_DEFAULT_REGION"] == {"secretKeyRef": {"name": "vision-secrets", "key": "AWS_DEFAULT_REGION"}}
    assert region["AWS_REGION"] == "eu-central-1"


@pytest.mark.parametrize("which", ["helm3", "helm4"])
def test_helm_lint_is_content(which: str) -> None:
    said = helm(["lint", "--strict", "--quiet", str(CHART)], example("monitoring"), which)
    assert "[ERROR]" not in said
    assert "[WARNING]" not in said


# --- what is refused, and how


def copied(url: str, *, more: Object | None = None, **credentials: Any) -> Object:
    """Values of a copy before the start."""
    return {"modelRepository": {"volume": {"emptyDir": {}}, "sync": {"url": url}}, "credentials": credentials, **(more or {})}


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({}, "nothing says where the models are"),
        (least(image={"tagg": "24.10-py3"}), "tagg"),
        (least(probes={"startup": {"models": ["digits"]}}), "models"),
        (least(server={"options": {"log-verbos": 1}}), "log-verbos"),
        (least(server={"options": {"model-control-mode": "explicitly"}}), "model-control-mode"),
        (least(server={"options": {"http-port": 1}}), "http-port"),
        ({"modelRepository": {"url": "ftp://models"}}, "modelRepository"),
        ({"modelRepository": {"volume": {"nfs": {"server": "a", "path": "/b"}, "emptyDir": {}}}}, "volume"),
        ({"modelRepository": {"url": "s3://a", "volume": {"emptyDir": {}}}}, "url and volume are both given"),
        ({"modelRepository": {"volume": {"emptyDir": {}}}}, "nothing fills it"),
        ({"modelRepository": {"url": "s3://a", "sync": {"url": "s3://b"}}}, "no volume to copy into"),
        ({"modelRepository": {"volume": {"emptyDir": {}}, "sync": {"url": "ftp://b"}}}, "no URL of a store"),
        ({"modelRepository": {"volume": {"emptyDir": {}}, "sync": {"url": "oss://b"}}}, "modelRepository.sync.endpoint"),
        (least(credentials={"existingSecretKeys": {"A": "a"}}), "credentials.existingSecretKeys: nothing says of which Secret"),
        (copied("s3://a/b", file={"existingSecret": "a"}), "credentials.file: only Triton can read it"),
        (copied("as://a/b", file={"content": "{}"}), "credentials.file: only Triton can read it"),
        (copied("as://a/b", existingSecret="a"), "rclone, which reads modelRepository.sync.url, has to be told what the Secret holds"),
        (least(server={"launcher": False}), "restrictedApis: needs server.launcher"),
        (least(restrictedApis={"apis": ["health"]}), "health cannot be restricted"),
        (least(tls={"enabled": True}), "no certificate"),
        (least(terminationGracePeriodSeconds=45), "terminationGracePeriodSeconds"),
        (least(autoscaling={"type": "hpa"}), "nothing to scale by"),
        (least(autoscaling={"type": "hpa", "cpuUtilization": 1, "minReplicas": 0}), "at least"),
        (least(autoscaling={"type": "hpa", "cpuUtilization": 1, "minReplicas": 5}), "minReplicas is more than maxReplicas"),
        (least(autoscaling={"type": "keda", "queueMicroseconds": 1}), "autoscaling.keda.prometheus"),
        (least(podDisruptionBudget={"enabled": True, "minAvailable": 1, "maxUnavailable": 1}), "exclude each other"),
        (least(monitoring={"serviceMonitor": {"enabled": True}, "podMonitor": {"enabled": True}}), "scrape every replica twice"),
        (least(server={"options": {"allow-http": False}}), "probes ask over HTTP"),
        (least(image={"tag": "23.10-py3"}), "does not know --http-restricted-api"),
        (least(image={"tag": "22.05"}, restrictedApis={"enabled": False}), "does not know --metrics-config"),
        (least(image={"tag": "23.12-py3"}, server={"grpcMaxConnectionAge": 1}), "does not know --grpc-max-connection-age"),
        (least(rollout={"maxSurge": 0, "maxUnavailable": "0%"}), "no replica can be replaced"),
        (least(rollout={"maxUnavailable": 0}), "no replica can be replaced"),
        (least(gatewayApi={"enabled": True}), "no Gateway"),
        (least(istio={"enabled": True, "jwt": {"issuer": "https://a"}}), "tests: the pod of helm test has no token"),
        ({"modelRepository": {"volume": {"image": {"reference": "a"}}}}, "mounts no images as volumes"),
    ],
)
def test_bad_values_are_refused_with_a_reason(values: Object, complaint: str) -> None:
    with pytest.raises(RefusedError) as refused:
        render(values, version="1.30")
    assert complaint in str(refused.value).replace("\n", " ")


IDENTITY = {"serviceAccount": {"annotations": {"azure.workload.identity/client-id": "a"}}}


@pytest.mark.parametrize(
    ("values", "authenticates"),
    [
        # Triton reads a store too, with its file.
        ({"modelRepository": {"volume": {"emptyDir": {}}, "sync": {"url": "gs://a"}, "extra": ["s3://b"]},
          "credentials": {"file": {"content": "{}"}}}, "env_auth=true"),
        (copied("s3://a", file={"content": "{}"}, existingSecret="a"), "env_auth=true"),
        (copied("as://a/b", existingSecret="a", existingSecretKeys={"AZURE_STORAGE_KEY": "k"}), ":azureblob,account=a:b"),
        (copied("as://a/b", existingSecret="a", existingSecretKeys={"AZURE_CLIENT_SECRET": "s"}), "env_auth=true"),
        (copied("as://a/b", existingSecret="a", more=IDENTITY), "env_auth=true"),
        (copied("as://a/b", existingSecret="a", more={"extraEnv": [{"name": "AZURE_CLIENT_SECRET", "value": "s"}]}), "env_auth=true"),
    ],
)  # fmt: skip
def test_credentials_that_may_do_are_taken(values: Object, authenticates: str) -> None:
    (copier,) = render(values).pod["spec"]["initContainers"]
    assert authenticates in copier["args"][1]


def test_an_old_image_is_taken_without_what_it_does_not_know() -> None:
    rendered = render(least(image={"tag": "23.10-py3"}, restrictedApis={"enabled": False}))
    assert not [each for each in rendered.arguments if "restricted" in each or "max-connection-age" in each]
    assert not rendered.all("Secret")


# --- the repository and its credentials


def test_a_role_of_the_cloud_needs_no_secret(new: dict[str, Rendered]) -> None:
    rendered = new["eks-irsa"]
    assert rendered.one("ServiceAccount")["metadata"]["annotations"]["eks.amazonaws.com/role-arn"].endswith("role/triton-models")
    assert rendered.pod["spec"]["serviceAccountName"] == rendered.one("ServiceAccount")["metadata"]["name"]
    assert {rendered.environment[name] for name in ("AWS_REGION", "AWS_DEFAULT_REGION")} == {"eu-central-1"}
    assert not [name for name, value in rendered.environment.items() if "KEY" in name or isinstance(value, dict)]
    assert "envFrom" not in rendered.server
    assert [thing["metadata"]["name"] for thing in rendered.all("Secret")] == [f"{RELEASE}-triton-key"]
    assert "--model-repository=s3://models-of-mine/production" in rendered.arguments


def test_keys_become_a_secret_of_the_release(new: dict[str, Rendered]) -> None:
    rendered = new["aws-keys"]
    secret = rendered.one("Secret", "-credentials")
    plain = {name: base64.b64decode(value).decode() for name, value in secret["data"].items()}
    assert plain == {
        "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        "AWS_SESSION_TOKEN": "FwoGZXIvYXdzEXAMPLE",
    }
    for name in plain:
        assert rendered.environment[name] == {"secretKeyRef": {"name": secret["metadata"]["name"], "key": name}}
    # A changed key means new pods.
    assert "checksum/secrets" in rendered.pod["metadata"]["annotations"]


def test_secrets_are_in_secrets_alone(new: dict[str, Rendered]) -> None:
    rendered = new["all kinds of credentials"]
    others = json.dumps([thing for thing in rendered.objects if thing["kind"] != "Secret"])
    assert not [word for word in ("secret-1", "secret-2", "service_account", "AKIA", KEY) if word in others]
    assert rendered.environment["GOOGLE_APPLICATION_CREDENTIALS"] == "/serving-triton/credentials/gcs.json"
    assert rendered.environment["TRITON_CLOUD_CREDENTIAL_PATH"] == "/serving-triton/credentials/credential.json"
    files = rendered.volumes["credentials"]["secret"]["items"]
    assert [each["key"] for each in files] == ["credential.json", "gcs.json"]


def test_a_secret_that_exists_is_used_as_it_is(new: dict[str, Rendered]) -> None:
    whole, chosen, file = new["pvc-cached-copy"], new["eks-fil-istio"], new["credential-file"]
    assert whole.server["envFrom"] == [{"secretRef": {"name": "minio-reader"}}]
    assert chosen.environment["AWS_SESSION_TOKEN"] == {"secretKeyRef": {"name": "fil-models", "key": "session_token"}}
    assert file.environment["TRITON_CLOUD_CREDENTIAL_PATH"] == "/serving-triton/credential-file/credential.json"
    assert file.volumes["credential-file"] == {"name": "credential-file", "secret": {"secretName": "triton-credentials"}}
    assert [each for each in file.arguments if each.startswith("--model-repository")] == [
        "--model-repository=s3://team-a/models",
        "--model-repository=gs://team-b/models",
    ]


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("onprem-nfs-traefik", {"nfs": {"server": "10.0.0.20", "path": "/srv/models"}}),
        ("onprem-conda-nodeports", {"hostPath": {"path": "/srv/model-repository", "type": "Directory"}}),
        ("keda", {"persistentVolumeClaim": {"claimName": "models"}}),
        ("mig", {"image": {"reference": "registry.example.com/models/vision:7", "pullPolicy": "IfNotPresent"}}),
        ("efs", {"persistentVolumeClaim": {"claimName": "rel-triton-models"}}),
        ("azure-copy", {"emptyDir": {"sizeLimit": "20Gi"}}),
    ],
)
def test_the_models_come_from_any_volume(name: str, source: Object, new: dict[str, Rendered]) -> None:
    rendered = new[name]
    assert rendered.volumes["models"] == {"name": "models", **source}
    mount = next(each for each in rendered.server["volumeMounts"] if each["name"] == "models")
    assert mount["readOnly"] is True
    assert f"--model-repository={mount['mountPath']}" in rendered.arguments


@pytest.mark.parametrize(
    ("name", "driver", "handle"),
    [
        ("efs", "efs.csi.aws.com", "fs-0123456789abcdef0::fsap-0123456789abcdef0"),
        ("cephfs", "cephfs.csi.ceph.com", "inference-rel-triton-models"),
        ("any driver", "s3.csi.aws.com", "models"),
    ],
)
def test_a_drivers_volume_is_bound_to_its_claim(name: str, driver: str, handle: str, new: dict[str, Rendered]) -> None:
    volume, claim = new[name].one("PersistentVolume", "-models"), new[name].one("PersistentVolumeClaim", "-models")
    assert volume["spec"]["csi"]["driver"] == driver
    assert volume["spec"]["csi"]["volumeHandle"] == handle
    assert "namespace" not in volume["metadata"]
    assert volume["spec"]["claimRef"] == {"namespace": NAMESPACE, "name": claim["metadata"]["name"]}
    assert claim["spec"]["volumeName"] == volume["metadata"]["name"]
    assert claim["spec"]["accessModes"] == volume["spec"]["accessModes"]
    assert (claim["spec"]["storageClassName"], volume["spec"]["persistentVolumeReclaimPolicy"]) == ("", "Retain")


@pytest.mark.parametrize(
    ("name", "remote"),
    [
        (
            "pvc-cached-copy",
            ':s3,provider=Other,env_auth=true,region=us-east-1,endpoint="https://minio.storage.svc:9000":models/production',
        ),
        ("plain http store", ':s3,provider=Other,env_auth=true,endpoint="http://minio:9000":models/production'),
        ("ephemeral", ":s3,provider=AWS,env_auth=true:models/production"),
        ("gcs copied", ":gcs,env_auth=true,bucket_policy_only=true:models/production"),
        ("azure-copy", ":azureblob,account=modelsofmine,env_auth=true:models/production"),
        ("azure by key", ":azureblob,account=mine:models/production"),
        ("oss copied", ':s3,provider=Alibaba,env_auth=true,endpoint="oss-cn-hangzhou.aliyuncs.com":models/production'),
    ],
)
def test_models_are_copied_before_the_server_starts(name: str, remote: str, new: dict[str, Rendered]) -> None:
    container = new[name].pod["spec"]["initContainers"][-1]
    assert container["args"][:3] == ["sync" if name == "pvc-cached-copy" else "copy", remote, "/models"]
    assert container["volumeMounts"][1] == {"name": "models", "mountPath": "/models"}


def test_what_copies_models_has_the_mounts_that_users_add() -> None:
    """A store's credentials may be a file of a volume of theirs."""
    mount = {"name": "google", "mountPath": "/google"}
    values = {
        "modelRepository": {"volume": {"emptyDir": {}}, "sync": {"url": "gs://models"}},
        "extraVolumes": [{"name": "google", "emptyDir": {}}],
        "extraVolumeMounts": [mount],
    }
    assert mount in render(values, "helm4", NEWEST).pod["spec"]["initContainers"][-1]["volumeMounts"]


def test_a_claim_may_outlive_the_release(new: dict[str, Rendered]) -> None:
    kept, gone = (
        new["pvc-cached-copy"].one("PersistentVolumeClaim", end)["metadata"].get("annotations", {}) for end in ("-models", "-cache")
    )
    assert kept == {"helm.sh/resource-policy": "keep"}
    assert not gone


def test_caches_are_always_at_the_same_path(new: dict[str, Rendered]) -> None:
    rendered = new["pvc-cached-copy"]
    assert {"name": "cache", "mountPath": "/cache"} in rendered.server["volumeMounts"]
    assert [rendered.environment[name] for name in ("XDG_CACHE_HOME", "CUDA_CACHE_PATH")] == ["/cache", "/cache/cuda"]
    assert new["cache in the pod"].volumes["cache"] == {"name": "cache", "emptyDir": {}}


# --- the server


def test_the_server_is_started_by_its_launcher(new: dict[str, Rendered]) -> None:
    rendered = new["least"]
    assert "command" not in rendered.server, "the image's entrypoint stays"
    assert rendered.server["args"] == ["python3", "/serving-triton/config/launch.py", "/serving-triton/config/config.json"]
    assert rendered.launch["argv"][0] == "/opt/tritonserver/bin/tritonserver"
    assert {
        "--model-control-mode=explicit", "--load-model=*", "--exit-on-error=false", "--exit-timeout-secs=30", "--http-port=8000",
        "--grpc-max-connection-age=10000", "--metrics-config=summary_latencies=true",
        "--backend-config=python,shm-region-prefix-name=triton-python-",
    } <= set(rendered.arguments)  # fmt: skip
    assert rendered.launch["shared_memory"] == "triton-python-"


@pytest.mark.parametrize(
    ("values", "age"),
    [
        ({"drainSeconds": 30}, ["--grpc-max-connection-age=20000"]),
        ({"drainSeconds": 0}, ["--grpc-max-connection-age=300000"]),
        ({"server": {"grpcMaxConnectionAge": 7000}}, ["--grpc-max-connection-age=7000"]),
        ({"server": {"grpcMaxConnectionAge": None}}, []),
    ],
)
def test_grpc_connections_end_before_a_replica_that_drains(values: Object, age: list[str]) -> None:
    assert [each for each in render(least(**values)).arguments if "connection-age" in each] == age


def test_without_launcher_the_server_is_called_itself(new: dict[str, Rendered]) -> None:
    server = new["no launcher"].server
    assert server["command"] == ["/entrypoint"]
    assert server["args"][0] == "/opt/tritonserver/bin/tritonserver"
    assert "--load-model=*" in server["args"]


def test_the_key_is_read_from_its_secret(new: dict[str, Rendered]) -> None:
    rendered = new["least"]
    what = "model-repository,shared-memory,trace,logging:triton-key="
    assert rendered.launch["key_arguments"] == [f"--grpc-restricted-protocol={what}", f"--http-restricted-api={what}"]
    assert base64.b64decode(rendered.one("Secret", "-key")["data"]["key"]).decode() == KEY
    mounted = new["secure"].volumes["key"]["secret"]
    assert mounted == {"secretName": "triton-admin", "items": [{"key": "token", "path": "key"}]}
    assert not new["secure"].all("Secret")
    assert rendered.volumes["key"]["secret"]["items"] == [{"key": "key", "path": "key"}]


def test_a_made_key_is_one_and_the_same_in_its_secret_and_in_the_checksum() -> None:
    first, second = render(least()), render(least())
    keys = [each.one("Secret", "-key")["data"]["key"] for each in (first, second)]
    assert len(base64.b64decode(keys[0])) == 40
    assert keys[0] != keys[1]
    sums = [each.pod["metadata"]["annotations"]["checksum/secrets"] for each in (first, second)]
    assert sums[0] != sums[1]


def test_tls_ends_at_the_server(new: dict[str, Rendered]) -> None:
    rendered = new["secure"]
    assert {"--grpc-use-ssl=true", "--grpc-use-ssl-mutual=true", "--grpc-root-cert=/serving-triton/tls/ca.crt"} <= set(rendered.arguments)
    certificate = rendered.one("Certificate")["spec"]
    assert certificate["secretName"] == rendered.volumes["tls"]["secret"]["secretName"] == "rel-triton-tls"
    assert {"rel-triton", "rel-triton.inference.svc.cluster.local", "rel-triton-headless.inference.svc"} <= set(certificate["dnsNames"])


def test_a_conda_environment_is_copied_from_its_image(new: dict[str, Rendered]) -> None:
    rendered = new["onprem-conda-nodeports"]
    container = rendered.pod["spec"]["initContainers"][0]
    assert container["image"] == "registry.example.com/ml/triton-conda-env:0.2.6"
    assert container["command"] == ["cp", "/python-3-8.tar.gz", "/serving-triton/conda-pack/"]
    assert {"name": "conda-pack", "mountPath": "/conda-pack", "readOnly": True} in rendered.server["volumeMounts"]


# --- resources and placement


def test_cpu_alone(new: dict[str, Rendered]) -> None:
    rendered = new["onprem-conda-nodeports"]
    assert rendered.server["resources"]["limits"] == {}
    assert rendered.environment["NVIDIA_VISIBLE_DEVICES"] == "void"
    assert [each["key"] for each in rendered.pod["spec"]["tolerations"]] == ["dedicated"]
    selector = rendered.pod["spec"]["nodeSelector"]
    assert selector == {"kubernetes.io/arch": "amd64", "node-role.example.com/inference": "true"}
    assert rendered.pod["spec"]["imagePullSecrets"] == [{"name": "registry-example"}]


@pytest.mark.parametrize(
    ("name", "resource"),
    [("least", "nvidia.com/gpu"), ("mig", "nvidia.com/mig-1g.5gb"), ("gke-workload-identity", "nvidia.com/gpu.shared")],
)
def test_gpus_and_slices_of_them(name: str, resource: str, new: dict[str, Rendered]) -> None:
    rendered = new[name]
    assert rendered.server["resources"]["limits"] == {resource: 1}
    assert "NVIDIA_VISIBLE_DEVICES" not in rendered.environment
    assert {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"} in rendered.pod["spec"]["tolerations"]


def test_placement(new: dict[str, Rendered]) -> None:
    spec = new["mig"].pod["spec"]
    assert (spec["runtimeClassName"], spec["priorityClassName"]) == ("nvidia", "inference")
    (spread,) = new["gke-workload-identity"].pod["spec"]["topologySpreadConstraints"]
    assert spread["labelSelector"]["matchLabels"] == {"app.kubernetes.io/instance": RELEASE}
    (usual,) = spec["topologySpreadConstraints"]
    assert (usual["topologyKey"], usual["whenUnsatisfiable"]) == ("kubernetes.io/hostname", "ScheduleAnyway")


def test_what_users_add(new: dict[str, Rendered]) -> None:
    rendered = new["everything extra"]
    assert rendered.environment["RELEASE"] == RELEASE
    assert rendered.server["resources"] == {
        "requests": {"cpu": "2", "memory": "8Gi"},
        "limits": {"memory": "16Gi"},
        "claims": [{"name": "gpu"}],
    }
    assert [each["name"] for each in rendered.pod["spec"]["containers"]] == ["triton", "proxy"]
    assert {"rel-more", "text"} <= {each["metadata"]["name"] for each in rendered.all("ConfigMap")}


def test_openshift_gives_users_itself(new: dict[str, Rendered]) -> None:
    found = render(least(), more=["--api-versions", "security.openshift.io/v1"])
    for context in (new["openshift"].pod["spec"]["securityContext"], found.pod["spec"]["securityContext"]):
        assert context == {"runAsNonRoot": True, "fsGroupChangePolicy": "OnRootMismatch", "seccompProfile": {"type": "RuntimeDefault"}}
    assert new["least"].pod["spec"]["securityContext"]["runAsUser"] == 1000


def test_workload_identity_of_azure_is_asked_for(new: dict[str, Rendered]) -> None:
    assert new["azure-copy"].pod["metadata"]["labels"]["azure.workload.identity/use"] == "true"


# --- starting, stopping, replacing


def test_probes(new: dict[str, Rendered]) -> None:
    several, one, any_model = (new[name].server for name in ("eks-irsa", "least", "several models"))
    assert several["livenessProbe"]["httpGet"] == {"path": "/v2/health/live", "port": "http"}
    assert one["startupProbe"]["httpGet"] == {"path": "/v2/health/ready", "port": "http"}
    # 300 s, and 8 GB at 50 MB/s.
    assert several["startupProbe"]["failureThreshold"] * several["startupProbe"]["periodSeconds"] == 460
    assert one["readinessProbe"]["httpGet"]["path"] == "/v2/health/live", "a load on all replicas leaves them in the Service"
    assert any_model["startupProbe"]["httpGet"]["path"] == "/v2/health/live"
    assert any_model["readinessProbe"]["exec"]["command"][1:] == ["/serving-triton/config/ready.py", "8000", "5", "digits", "forest:2"]
    tuned = new["eks-fil-istio"].server["livenessProbe"]
    assert (tuned["initialDelaySeconds"], tuned["failureThreshold"]) == (10, 60)


@pytest.mark.parametrize(("model", "path"), [("digits", "/v2/models/digits/ready"), ("digits:2", "/v2/models/digits/versions/2/ready")])
def test_one_model_is_asked_for_by_the_kubelet(model: str, path: str) -> None:
    assert render(least(probes={"readiness": {"models": [model]}})).server["readinessProbe"]["httpGet"]["path"] == path


@pytest.mark.parametrize(
    ("startup", "readiness", "path"),
    [("all", [], "ready"), ("tried", [], "live"), ("all", ["digits"], "live"), ("tried", ["digits"], "live")],
)
def test_a_start_is_over_when_all_models_are_loaded_or_tried(startup: str, readiness: list[str], path: str) -> None:
    server = render(least(probes={"startup": {"models": startup}, "readiness": {"models": readiness}})).server
    assert server["startupProbe"]["httpGet"] == {"path": f"/v2/health/{path}", "port": "http"}
    assert "models" not in server["startupProbe"]


def test_a_replica_drains_and_then_has_time_to_finish(new: dict[str, Rendered]) -> None:
    rendered = new["least"]
    assert rendered.server["lifecycle"]["preStop"]["exec"]["command"] == ["sleep", "15"]
    assert rendered.pod["spec"]["terminationGracePeriodSeconds"] == 15 + 30 + 15
    assert "lifecycle" not in new["recreate"].server


@pytest.mark.parametrize(
    ("name", "strategy"),
    [
        ("least", {"maxSurge": 0, "maxUnavailable": 1}),
        ("eks-irsa", {"maxSurge": 1, "maxUnavailable": 0}),
        ("onprem-conda-nodeports", {"maxSurge": "25%", "maxUnavailable": 0}),
        ("one node", {"maxSurge": 0, "maxUnavailable": 1}),
        ("one node by a driver", {"maxSurge": 0, "maxUnavailable": 1}),
        ("rolling by hand", {"maxSurge": 0, "maxUnavailable": "50%"}),
        ("no surge by hand", {"maxSurge": 0, "maxUnavailable": 1}),
        ("no surge in a rolling update", {"maxSurge": "0%", "maxUnavailable": 1}),
    ],
)
def test_replicas_are_replaced_as_gpus_allow(name: str, strategy: Object, new: dict[str, Rendered]) -> None:
    assert new[name].one("Deployment")["spec"]["strategy"] == {"type": "RollingUpdate", "rollingUpdate": strategy}


def test_recreate(new: dict[str, Rendered]) -> None:
    spec = new["recreate"].one("Deployment")["spec"]
    assert spec["strategy"] == {"type": "Recreate"}
    assert spec["progressDeadlineSeconds"] == 600 + 300 + 5


def test_a_budget_for_disruptions(new: dict[str, Rendered]) -> None:
    assert new["eks-irsa"].one("PodDisruptionBudget")["spec"]["maxUnavailable"] == 1
    least_available = new["onprem-conda-nodeports"].one("PodDisruptionBudget")["spec"]
    assert least_available["minAvailable"] == 1
    assert "maxUnavailable" not in least_available


# --- scaling


@every_case
def test_replicas_belong_to_the_autoscaler_where_there_is_one(name: str, new: dict[str, Rendered]) -> None:
    scaled = new[name].all("HorizontalPodAutoscaler") + new[name].all("ScaledObject")
    assert ("replicas" in new[name].one("Deployment")["spec"]) is not bool(scaled)
    assert [thing["spec"]["scaleTargetRef"]["name"] for thing in scaled] == [new[name].one("Deployment")["metadata"]["name"]] * len(scaled)


def test_hpa(new: dict[str, Rendered]) -> None:
    fil = new["eks-fil-istio"].one("HorizontalPodAutoscaler")["spec"]
    assert (fil["minReplicas"], fil["maxReplicas"]) == (2, 6)
    assert fil["metrics"] == [
        {
            "type": "Object",
            "object": {
                "describedObject": {"apiVersion": "v1", "kind": "Service", "name": "dcgm-exporter"},
                "metric": {"name": "DCGM_FI_DEV_GPU_UTIL"},
                "target": {"type": "Value", "value": "80"},
            },
        }
    ]
    queue = new["onprem-nfs-traefik"].one("HorizontalPodAutoscaler")["spec"]["metrics"]
    assert queue == [
        {"type": "Pods", "pods": {"metric": {"name": "avg_time_queue_us"}, "target": {"type": "AverageValue", "averageValue": "50"}}}
    ]
    kinds = [each["type"] for each in new["hpa by everything"].one("HorizontalPodAutoscaler")["spec"]["metrics"]]
    assert kinds == ["ContainerResource", "Pods", "Pods", "External"]


def test_keda(new: dict[str, Rendered]) -> None:
    spec = new["keda"].one("ScaledObject")["spec"]
    assert (spec["pollingInterval"], spec["cooldownPeriod"]) == (30, 120)
    (trigger,) = spec["triggers"]
    assert trigger["metadata"]["threshold"] == "50000"
    labels = '{service="rel-triton",namespace=~"inference|"}'
    assert trigger["metadata"]["query"] == (
        f"sum(rate(nv_inference_queue_duration_us{labels}[1m])) / (sum(rate(nv_inference_request_success{labels}[1m])) > 0) or vector(0)"
    )
    assert [each["type"] for each in new["keda by everything"].one("ScaledObject")["spec"]["triggers"]] == [
        "cpu",
        "prometheus",
        "prometheus",
        "cron",
    ]


# --- networks


def ports(service: Object) -> dict[str, int]:
    return {each["name"]: each.get("nodePort", each["port"]) for each in service["spec"]["ports"]}


def test_services(new: dict[str, Rendered]) -> None:
    fixed = new["onprem-conda-nodeports"].one("Service", "triton")
    assert (fixed["spec"]["type"], ports(fixed)) == ("NodePort", {"http": 31000, "grpc": 31001, "metrics": 31002})
    balanced = new["eks-irsa"].one("Service", "triton")
    assert set(ports(balanced)) == {"http", "grpc"}, "metrics are not for everyone"
    assert balanced["spec"]["loadBalancerSourceRanges"] == ["10.0.0.0/8"]
    assert "metrics" in ports(new["load balancer with metrics"].one("Service", "triton"))
    headless = new["least"].one("Service", "-headless")
    assert (headless["spec"]["clusterIP"], ports(headless)) == ("None", {"http": 8000, "grpc": 8001, "metrics": 8002})
    protocols = {each["name"]: each["appProtocol"] for each in new["gateway-api"].one("Service", "triton")["spec"]["ports"]}
    assert protocols["grpc"] == "kubernetes.io/h2c"


def test_istio(new: dict[str, Rendered]) -> None:
    rendered = new["eks-fil-istio"]
    servers = {each["port"]["number"]: each["port"]["protocol"] for each in rendered.one("Gateway")["spec"]["servers"]}
    assert servers == {80: "HTTP", 31400: "GRPC"}
    routes = {
        each["match"][0]["port"]: each["route"][0]["destination"]["port"]["number"]
        for each in rendered.one("VirtualService")["spec"]["http"]
    }
    assert routes == {80: 8000, 31400: 8001}
    assert rendered.one("DestinationRule")["spec"]["trafficPolicy"]["loadBalancer"] == {"simple": "LEAST_REQUEST"}
    assert rendered.pod["metadata"]["labels"]["sidecar.istio.io/inject"] == "true"
    passed = new["istio passes tls on"].one("VirtualService")["spec"]
    assert passed["gateways"] == ["istio-system/public"]
    assert passed["tcp"][0]["route"][0]["destination"]["port"]["number"] == 8001
    assert {"RequestAuthentication", "AuthorizationPolicy", "EnvoyFilter"} <= {each["kind"] for each in new["istio in full"].objects}


def test_traefik_speaks_h2c(new: dict[str, Rendered]) -> None:
    http, grpc = (new["onprem-nfs-traefik"].one("IngressRoute", end)["spec"] for end in ("-http", "-grpc"))
    assert (http["entryPoints"], http["routes"][0]["services"][0]["scheme"]) == (["triton-http"], "http")
    assert (grpc["entryPoints"], grpc["routes"][0]["services"][0]["scheme"]) == (["triton-grpc"], "h2c")
    assert grpc["routes"][0]["services"][0]["port"] == 8001
    assert new["traefik with tls"].one("IngressRoute", "-grpc")["spec"]["routes"][0]["services"][0]["scheme"] == "https"


def test_ingresses_and_routes(new: dict[str, Rendered]) -> None:
    http, grpc = (new["nginx"].one("Ingress", end) for end in ("-http", "-grpc"))
    backends = [each["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]["port"]["name"] for each in (http, grpc)]
    assert backends == ["http", "grpc"]
    assert grpc["metadata"]["annotations"] == {"nginx.ingress.kubernetes.io/backend-protocol": "GRPC"}
    route = new["gateway-api"].one("GRPCRoute")["spec"]
    assert route["parentRefs"] == [{"name": "public", "namespace": "gateways", "sectionName": "https"}]
    assert route["rules"][0]["backendRefs"] == [{"name": "rel-triton", "port": 8001}]
    assert new["gateway-api"].one("HTTPRoute")["spec"]["rules"][0]["backendRefs"][0]["port"] == 8000
    own = new["gateway of its own"]
    # One host for both: a Gateway would take one of two routes.
    assert not own.all("GRPCRoute")
    grpc_path, rest_path = own.one("HTTPRoute")["spec"]["rules"]
    assert grpc_path["matches"] == [{"path": {"type": "PathPrefix", "value": "/inference.GRPCInferenceService"}}]
    assert [each["backendRefs"][0]["port"] for each in (grpc_path, rest_path)] == [8001, 8000]
    assert own.one("HTTPRoute")["spec"]["parentRefs"] == [{"name": own.one("Gateway")["metadata"]["name"]}]


def test_strangers_stay_out(new: dict[str, Rendered]) -> None:
    spec = new["secure"].one("NetworkPolicy")["spec"]
    asked, scraped = spec["ingress"]
    assert [each["port"] for each in asked["ports"]] == [8000, 8001]
    assert {"namespaceSelector": {"matchLabels": {"triton": "client"}}} in asked["from"]
    assert [each["port"] for each in scraped["ports"]] == [8002]
    assert spec["policyTypes"] == ["Ingress", "Egress"]


# --- monitoring and the test


def test_the_monitors_give_the_labels_that_rules_and_dashboard_expect(new: dict[str, Rendered]) -> None:
    (endpoint,) = new["monitoring"].one("ServiceMonitor")["spec"]["endpoints"]
    assert {each["targetLabel"]: each["replacement"] for each in endpoint["relabelings"]} == {"job": "triton", "service": "rel-triton"}
    chosen = new["monitoring"].one("ServiceMonitor")["spec"]["selector"]["matchLabels"].items()
    assert [each["metadata"]["name"] for each in new["monitoring"].all("Service") if chosen <= each["metadata"]["labels"].items()] == [
        "rel-triton-headless"
    ]
    alone = new["no headless"]
    assert alone.one("ServiceMonitor")["spec"]["selector"]["matchLabels"].items() <= alone.one("Service")["metadata"]["labels"].items()
    elsewhere = new["monitored elsewhere"]
    assert elsewhere.one("PodMonitor")["metadata"]["namespace"] == "monitoring"
    assert elsewhere.one("PodMonitor")["spec"]["namespaceSelector"] == {"matchNames": [NAMESPACE]}
    assert elsewhere.pod["metadata"]["annotations"]["prometheus.io/port"] == "8002"


def test_each_release_has_a_dashboard_of_its_own(new: dict[str, Rendered]) -> None:
    (text,) = new["monitoring"].one("ConfigMap", "-dashboard")["data"].values()
    board = json.loads(text)
    assert board["uid"].startswith("triton-")
    assert len(board["uid"]) <= 40
    assert board["title"] == f"Triton {NAMESPACE}/{RELEASE}"
    mine = new["monitored elsewhere"].one("ConfigMap", "-dashboard")
    assert json.loads(mine["data"]["mine.json"])["title"] == 'Vision "A"'
    assert mine["metadata"]["labels"]["grafana_dashboard"] == "1"


def test_helm_test_asks_the_service(new: dict[str, Rendered]) -> None:
    pod = new["everything extra"].one("Pod")
    assert pod["metadata"]["annotations"]["helm.sh/hook"] == "test"
    (container,) = pod["spec"]["containers"]
    assert container["command"] == ["python3", "/test/inference.py", "http://rel-triton:8000", "/test/requests.json"]
    requests = json.loads(new["everything extra"].one("ConfigMap", "-test")["data"]["requests.json"])
    assert requests["requests"] == [{"model": "digits", "body": {"inputs": []}, "expect": [{"name": "y", "data": [1]}]}]
    assert not render(least(tests={"enabled": False})).all("Pod")


def test_helm_test_runs_wherever_the_image_does(new: dict[str, Rendered]) -> None:
    """Without the selector of GPUs' nodes, and where all nodes are such nodes."""
    toleration = {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
    gke = new["gke-workload-identity"].one("Pod")["spec"]
    assert (gke.get("nodeSelector"), gke["tolerations"]) == (None, [toleration])
    arm = render(least(nodeSelector={"kubernetes.io/arch": "arm64", "disk": "ssd"}))
    assert arm.one("Pod")["spec"]["nodeSelector"] == {"kubernetes.io/arch": "arm64"}
    onprem = new["onprem-conda-nodeports"]
    assert onprem.one("Pod")["spec"]["nodeSelector"] == {"kubernetes.io/arch": "amd64"}
    assert onprem.one("Pod")["spec"]["tolerations"] == onprem.pod["spec"]["tolerations"]
