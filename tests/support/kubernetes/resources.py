# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which resources the server serves: the built-in ones, and those that CustomResourceDefinitions add."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")

# group/version, plural, kind, scope, and what differs from the rule: short names, categories, subresources, verbs.
_BUILT_IN = """
v1 bindings Binding namespaced verbs=create
v1 componentstatuses ComponentStatus cluster short=cs verbs=get,list
v1 configmaps ConfigMap namespaced short=cm
v1 endpoints Endpoints namespaced short=ep
v1 events Event namespaced short=ev
v1 limitranges LimitRange namespaced short=limits
v1 namespaces Namespace cluster short=ns sub=finalize,status verbs=create,delete,get,list,patch,update,watch
v1 nodes Node cluster short=no sub=proxy,status
v1 persistentvolumeclaims PersistentVolumeClaim namespaced short=pvc sub=status
v1 persistentvolumes PersistentVolume cluster short=pv sub=status
v1 pods Pod namespaced short=po in=all sub=attach,binding,ephemeralcontainers,eviction,exec,log,portforward,proxy,resize,status
v1 podtemplates PodTemplate namespaced
v1 replicationcontrollers ReplicationController namespaced short=rc in=all sub=scale,status
v1 resourcequotas ResourceQuota namespaced short=quota sub=status
v1 secrets Secret namespaced
v1 serviceaccounts ServiceAccount namespaced short=sa sub=token
v1 services Service namespaced short=svc in=all sub=proxy,status
apiregistration.k8s.io/v1 apiservices APIService cluster in=api-extensions sub=status
apps/v1 controllerrevisions ControllerRevision namespaced
apps/v1 daemonsets DaemonSet namespaced short=ds in=all sub=status
apps/v1 deployments Deployment namespaced short=deploy in=all sub=scale,status
apps/v1 replicasets ReplicaSet namespaced short=rs in=all sub=scale,status
apps/v1 statefulsets StatefulSet namespaced short=sts in=all sub=scale,status
authentication.k8s.io/v1 selfsubjectreviews SelfSubjectReview cluster verbs=create
authentication.k8s.io/v1 tokenreviews TokenReview cluster verbs=create
authorization.k8s.io/v1 localsubjectaccessreviews LocalSubjectAccessReview namespaced verbs=create
authorization.k8s.io/v1 selfsubjectaccessreviews SelfSubjectAccessReview cluster verbs=create
authorization.k8s.io/v1 selfsubjectrulesreviews SelfSubjectRulesReview cluster verbs=create
authorization.k8s.io/v1 subjectaccessreviews SubjectAccessReview cluster verbs=create
autoscaling/v2 horizontalpodautoscalers HorizontalPodAutoscaler namespaced short=hpa in=all sub=status
batch/v1 cronjobs CronJob namespaced short=cj in=all sub=status
batch/v1 jobs Job namespaced in=all sub=status
certificates.k8s.io/v1 certificatesigningrequests CertificateSigningRequest cluster short=csr sub=approval,status
networking.k8s.io/v1 ingressclasses IngressClass cluster
networking.k8s.io/v1 ingresses Ingress namespaced short=ing sub=status
networking.k8s.io/v1 ipaddresses IPAddress cluster short=ip
networking.k8s.io/v1 networkpolicies NetworkPolicy namespaced short=netpol
networking.k8s.io/v1 servicecidrs ServiceCIDR cluster sub=status
policy/v1 poddisruptionbudgets PodDisruptionBudget namespaced short=pdb sub=status
rbac.authorization.k8s.io/v1 clusterrolebindings ClusterRoleBinding cluster
rbac.authorization.k8s.io/v1 clusterroles ClusterRole cluster
rbac.authorization.k8s.io/v1 rolebindings RoleBinding namespaced
rbac.authorization.k8s.io/v1 roles Role namespaced
storage.k8s.io/v1 csidrivers CSIDriver cluster
storage.k8s.io/v1 csinodes CSINode cluster
storage.k8s.io/v1 csistoragecapacities CSIStorageCapacity namespaced
storage.k8s.io/v1 storageclasses StorageClass cluster short=sc
storage.k8s.io/v1 volumeattachments VolumeAttachment cluster sub=status
storage.k8s.io/v1 volumeattributesclasses VolumeAttributesClass cluster short=vac
admissionregistration.k8s.io/v1 mutatingadmissionpolicies MutatingAdmissionPolicy cluster in=api-extensions
admissionregistration.k8s.io/v1 mutatingadmissionpolicybindings MutatingAdmissionPolicyBinding cluster in=api-extensions
admissionregistration.k8s.io/v1 mutatingwebhookconfigurations MutatingWebhookConfiguration cluster in=api-extensions
admissionregistration.k8s.io/v1 validatingadmissionpolicies ValidatingAdmissionPolicy cluster in=api-extensions sub=status
admissionregistration.k8s.io/v1 validatingadmissionpolicybindings ValidatingAdmissionPolicyBinding cluster in=api-extensions
admissionregistration.k8s.io/v1 validatingwebhookconfigurations ValidatingWebhookConfiguration cluster in=api-extensions
apiextensions.k8s.io/v1 customresourcedefinitions CustomResourceDefinition cluster short=crd,crds in=api-extensions sub=status
scheduling.k8s.io/v1 priorityclasses PriorityClass cluster short=pc
coordination.k8s.io/v1 leases Lease namespaced
node.k8s.io/v1 runtimeclasses RuntimeClass cluster
discovery.k8s.io/v1 endpointslices EndpointSlice namespaced
resource.k8s.io/v1 deviceclasses DeviceClass cluster
resource.k8s.io/v1 resourceclaims ResourceClaim namespaced sub=status
resource.k8s.io/v1 resourceclaimtemplates ResourceClaimTemplate namespaced
resource.k8s.io/v1 resourceslices ResourceSlice cluster
flowcontrol.apiserver.k8s.io/v1 flowschemas FlowSchema cluster sub=status
flowcontrol.apiserver.k8s.io/v1 prioritylevelconfigurations PriorityLevelConfiguration cluster sub=status
"""
# subresource → its kind and verbs; the rest has the resource's kind and can be got, patched and updated.
_SUBRESOURCES = {
    "attach": ("PodAttachOptions", ("create", "get")),
    "binding": ("Binding", ("create",)),
    "eviction": ("Eviction", ("create",)),
    "exec": ("PodExecOptions", ("create", "get")),
    "finalize": ("Namespace", ("update",)),
    "log": ("Pod", ("get",)),
    "portforward": ("PodPortForwardOptions", ("create", "get")),
    "proxy": ("", ("create", "delete", "get", "patch", "update")),
    "scale": ("Scale", ("get", "patch", "update")),
    "token": ("TokenRequest", ("create",)),
}
# Subresources whose kind belongs to another group than the resource's.
SUBRESOURCE_GROUPS = {"scale": ("autoscaling", "v1"), "eviction": ("policy", "v1"), "token": ("authentication.k8s.io", "v1")}


@dataclass(frozen=True)
class Resource:
    """One resource in one version. schema: the openAPIV3Schema of a custom one. columns: its additionalPrinterColumns.

    scale_paths: where a custom one keeps spec.replicas, status.replicas and its selector.
    """

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool
    singular: str = ""
    verbs: Sequence[str] = VERBS
    short_names: Sequence[str] = ()
    categories: Sequence[str] = ()
    subresources: Mapping[str, tuple[str, Sequence[str]]] = field(default_factory=dict)
    schema: Mapping[str, Any] | None = None
    columns: Sequence[Mapping[str, Any]] = ()
    scale_paths: Mapping[str, str] = field(default_factory=dict)

    @property
    def custom(self) -> bool:
        return self.schema is not None

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def key(self) -> tuple[str, str]:
        """Where objects are kept: one place for all versions."""
        return self.group, self.plural

    @property
    def qualified(self) -> str:
        return f"{self.plural}.{self.group}" if self.group else self.plural


def version_order(version: str) -> tuple[int, int, int]:
    """Sorts versions as the API does: v2, v1, v1beta1, v1alpha1."""
    found = re.fullmatch(r"v(\d+)(?:(alpha|beta)(\d+))?", version)
    if not found:
        return 3, 0, 0
    stage = {None: 0, "beta": 1, "alpha": 2}[found[2]]
    return stage, -int(found[1]), -int(found[3] or 0)


class Registry:
    """All resources that are served now. served: tells for (group, version, kind) whether this version of Kubernetes has it."""

    def __init__(self, known: Any) -> None:
        self._all: dict[tuple[str, str, str], Resource] = {}
        for resource in _built_in():
            if resource.group == "" or known(resource.group, resource.version, resource.kind):
                self.add(resource)

    def add(self, resource: Resource) -> None:
        self._all[resource.group, resource.version, resource.plural] = resource

    def remove(self, group: str, plural: str) -> None:
        for key in [key for key in self._all if (key[0], key[2]) == (group, plural)]:
            del self._all[key]

    def get(self, group: str, version: str, plural: str) -> Resource | None:
        return self._all.get((group, version, plural))

    def preferred(self, group: str, plural: str) -> Resource:
        """The resource in its best version. Raises LookupError."""
        found = [each for each in self._all.values() if each.key == (group, plural)]
        if not found:
            raise LookupError(f"{plural}.{group} is not served")
        return min(found, key=lambda each: version_order(each.version))

    def of_kind(self, api_version: str, kind: str) -> Resource | None:
        """The resource whose objects say this of themselves; any version of the group will do."""
        group = api_version.rpartition("/")[0]
        found = [each for each in self._all.values() if (each.group, each.kind) == (group, kind)]
        return min(found, key=lambda each: (each.api_version != api_version, version_order(each.version)), default=None)

    def groups(self) -> list[str]:
        return sorted({each.group for each in self._all.values() if each.group})

    def versions(self, group: str) -> list[str]:
        return sorted({each.version for each in self._all.values() if each.group == group}, key=version_order)

    def of(self, group: str, version: str) -> list[Resource]:
        return sorted((each for each in self._all.values() if (each.group, each.version) == (group, version)), key=lambda each: each.plural)

    def __iter__(self) -> Iterator[Resource]:
        return iter(list(self._all.values()))


def from_definition(definition: Mapping[str, Any]) -> Iterator[Resource]:
    """The resources that a CustomResourceDefinition adds, one a served version."""
    spec = definition["spec"]
    names = spec["names"]
    for version in spec["versions"]:
        if not version.get("served", True):
            continue
        extra = version.get("subresources") or {}
        yield Resource(
            spec["group"], version["name"], names["plural"], names["kind"], spec["scope"] == "Namespaced",
            singular=names.get("singular") or names["kind"].lower(),
            short_names=tuple(names.get("shortNames", ())),
            categories=tuple(names.get("categories", ())),
            subresources={name: _subresource(name, names["kind"]) for name in ("status", "scale") if name in extra},
            schema=(version.get("schema") or {}).get("openAPIV3Schema") or {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
            columns=tuple(version.get("additionalPrinterColumns", ())),
            scale_paths=extra.get("scale") or {},
        )  # fmt: skip


def _subresource(name: str, kind: str) -> tuple[str, Sequence[str]]:
    if name == "proxy":
        return f"{kind}ProxyOptions", _SUBRESOURCES[name][1]
    return _SUBRESOURCES.get(name, (kind, ("get", "patch", "update")))


def _built_in() -> Iterator[Resource]:
    for line in _BUILT_IN.strip().splitlines():
        api_version, plural, kind, scope, *rest = line.split()
        extra = {name: tuple(value.split(",")) for name, _equals, value in (each.partition("=") for each in rest)}
        group, _slash, version = api_version.rpartition("/")
        yield Resource(
            group, version, plural, kind, scope == "namespaced",
            singular=kind.lower(),
            verbs=extra.get("verbs", VERBS),
            short_names=extra.get("short", ()),
            categories=extra.get("in", ()),
            subresources={name: _subresource(name, kind) for name in extra.get("sub", ())},
        )  # fmt: skip
