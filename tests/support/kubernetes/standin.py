# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The stand-in put together: an API server, its controllers and its nodes, on a port of loopback."""

from __future__ import annotations

import base64
import ipaddress
import json
import shutil
import ssl
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from cryptography import x509

from ..certificates import Authority
from .access import MASTERS, Access
from .api import Api, Request, Value
from .containers import Network
from .controllers.cluster_wide import ApiServices, Autoscalers, Budgets, CustomResources, Garbage, Namespaces, Services, Volumes
from .controllers.kubelet import Behaviour, Kubelet
from .controllers.manager import NODES, Manager, condition
from .controllers.workloads import Workloads
from .forwarder import Forwarder
from .resources import Registry
from .routes import Routes
from .schemas import Schemas, supported_versions
from .server import Fault, Front, Logged
from .store import Store

NEWEST = supported_versions()[-1]
NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")
# A node as it is with nothing said about it.
_CAPACITY = {"cpu": "16", "memory": "64Gi", "pods": "110", "ephemeral-storage": "100Gi"}
_ADMIN_RULES = [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]
# Neither secrets nor what is of the whole cluster.
_VIEW_RULES = [
    {"apiGroups": [group], "resources": resources.split(), "verbs": ["get", "list", "watch"]}
    for group, resources in {
        "": "bindings configmaps endpoints events limitranges namespaces persistentvolumeclaims pods pods/log pods/status "
        "replicationcontrollers resourcequotas serviceaccounts services",
        "apps": "controllerrevisions daemonsets deployments deployments/scale replicasets statefulsets",
        "autoscaling": "horizontalpodautoscalers",
        "batch": "cronjobs jobs",
        "discovery.k8s.io": "endpointslices",
        "networking.k8s.io": "ingresses networkpolicies",
        "policy": "poddisruptionbudgets",
    }.items()
]


class StandIn:
    """A cluster. It serves from the start on; `close` ends it. version: of Kubernetes, one of `schemas.supported_versions()`.
    forward: give services addresses of loopback that lead to pods which really run. hide: show addresses of pods that nobody can reach, as
    from outside of a cluster; port-forward and the proxy lead to them all the same.

    images: pattern → `Behaviour` (use `behave`). faults: list of `Fault`. log: of `Logged` requests. statuses: kind of a custom resource
    → function of the object that returns its status (use `operate`). metrics: see `Autoscalers` (use `measure`).
    """

    def __init__(self, version: str = "1.36", *, forward: bool = False, hide: bool = False) -> None:
        self.version = version
        self.folder = Path(tempfile.mkdtemp(prefix="stand-in-"))
        schemas = Schemas(version)
        self.store = Store()
        self.registry = Registry(schemas.has)
        self.api = Api(self.store, self.registry, schemas)
        self.access = Access(self.store)
        self._manager = Manager(self.api)
        self._network = Network()
        self.kubelet = Kubelet(self._manager, self._network.pod)
        self.kubelet.hide = hide
        self._forwarder = Forwarder(self._manager, self.kubelet.place) if forward else None
        if forward:
            self.api.admission.service_address = self._network.service
        self._custom = CustomResources(self._manager)
        self._services, self._autoscalers = Services(self._manager), Autoscalers(self._manager)
        for controller in (Workloads, Namespaces, Garbage, Volumes, Budgets, ApiServices):
            controller(self._manager)
        self._authority = Authority()
        routes = Routes(
            self.api, self.access, version, lambda pod, container, previous: self.kubelet.log(pod, container, previous=previous)
        )
        self._front = Front(routes, self.kubelet, self._tls())
        self.token = self.access.token("admin", MASTERS)
        self._boot()
        self._manager.start()
        self._thread = threading.Thread(target=self._front.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()

    def _tls(self) -> ssl.SSLContext:
        subjects: list[x509.GeneralName] = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        certificate, key = self._authority.issue("kube-apiserver", subjects)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        with tempfile.TemporaryDirectory() as folder:
            for name, data in (("server.pem", certificate + key), ("ca.pem", self._authority.pem)):
                (Path(folder) / name).write_bytes(data)
            context.load_cert_chain(f"{folder}/server.pem")
            context.load_verify_locations(f"{folder}/ca.pem")
        context.verify_mode = ssl.CERT_OPTIONAL
        return context

    def _boot(self) -> None:
        with self.store.lock:
            for name in NAMESPACES:
                self.add("v1", "Namespace", {"metadata": {"name": name}})
            annotations = {"storageclass.kubernetes.io/is-default-class": "true"}
            metadata = {"name": "standard", "annotations": annotations}
            self.add("storage.k8s.io/v1", "StorageClass", {"metadata": metadata, "provisioner": "stand-in.example/disk"})
            for name, rules in (("cluster-admin", _ADMIN_RULES), ("admin", _ADMIN_RULES), ("view", _VIEW_RULES)):
                self.add("rbac.authorization.k8s.io/v1", "ClusterRole", {"metadata": {"name": name}, "rules": rules})
            for name, number in (("system-node-critical", 2_000_001_000), ("system-cluster-critical", 2_000_000_000)):
                self.add("scheduling.k8s.io/v1", "PriorityClass", {"metadata": {"name": name}, "value": number})
        self.add_node("node-0")

    # --- what tests read

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self._front.server_address[1]}"

    @property
    def faults(self) -> list[Fault]:
        return self._front.faults

    @property
    def images(self) -> dict[str, Behaviour]:
        return self.kubelet.images

    @property
    def log(self) -> list[Logged]:
        with self._front.mutex:
            return list(self._front.log)

    @property
    def failures(self) -> list[str]:
        """Bugs of the stand-in that were met; a test that used it fails with them."""
        return [*self._manager.failures, *self._front.failures]

    def get(self, api_version: str, kind: str, name: str, namespace: str = "") -> Value | None:
        """An object as it is kept."""
        with self.store.lock:
            resource = self.registry.of_kind(api_version, kind)
            return self.store.get(resource.key, namespace, name) if resource else None

    def all(self, api_version: str, kind: str, namespace: str | None = None) -> list[Value]:
        resource = self.registry.of_kind(api_version, kind)
        return self.store.all(resource.key, namespace) if resource else []

    def kubeconfig(self, path: Path, *, token: str | None = None, user: str = "", group: str = "", namespace: str = "default") -> Path:
        """Writes one: of the administrator, of the owner of a token, or of a client certificate's user."""
        credentials: dict[str, str] = {"token": token or self.token}
        if user:
            certificate, key = (base64.b64encode(pem).decode() for pem in self._authority.issue(user, None, group))
            credentials = {"client-certificate-data": certificate, "client-key-data": key}
        cluster = {"server": self.url, "certificate-authority-data": base64.b64encode(self._authority.pem).decode()}
        context = {"cluster": "stand-in", "user": "tester", "namespace": namespace}
        config = {
            "apiVersion": "v1", "kind": "Config", "current-context": "stand-in",
            "clusters": [{"name": "stand-in", "cluster": cluster}], "users": [{"name": "tester", "user": credentials}],
            "contexts": [{"name": "stand-in", "context": context}],
        }  # fmt: skip
        path.touch(0o600)
        path.write_text(json.dumps(config))
        return path

    # --- what tests say

    def behave(self, image: str, behaviour: Behaviour | str = "ready", **more: Any) -> None:
        """What pods with this image (a regular expression) do from now on, those that are there included."""
        self.kubelet.images.pop(image, None)
        self.kubelet.images[image] = behaviour if isinstance(behaviour, Behaviour) else Behaviour(behaviour, **more)
        with self.store.lock:
            self.kubelet.wake()

    def operate(self, kind: str, status: Callable[[Value], Mapping[str, Any] | None]) -> None:
        """Stands for the operator of a custom kind: its status is what the function makes of the object, None for none yet."""
        self._custom.statuses[kind] = status

    def install(self, operator: Callable[[Manager], None]) -> None:
        """Lets an operator handle kinds of its own and bring webhooks."""
        with self.store.lock:
            operator(self._manager)

    def measure(self, **metrics: float) -> None:
        """The values that autoscalers see from now on: cpu=90 (percent), or a metric's name."""
        self._autoscalers.metrics.update(metrics)
        with self.store.lock:
            self._autoscalers.wake()

    def load_balancer(self, address: str) -> None:
        """The address that Services of type LoadBalancer get from now on; "" leaves them pending."""
        self._services.load_balancer = address

    def add(self, api_version: str, kind: str, value: Mapping[str, Any]) -> Value:
        """Adds an object as the system would, past validation, its status included."""
        resource = self.registry.of_kind(api_version, kind)
        assert resource, f"{kind} of {api_version} is not served"
        with self.store.lock:
            return self.api.create(resource, json.loads(json.dumps(value)), Request("internal"))

    def add_node(self, name: str, labels: Mapping[str, str] | None = None, taints: list[dict[str, str]] | None = None, **more: Any) -> None:
        """A node. more: amounts of resources, `**{"nvidia.com/gpu": 4}` among them."""
        labels = {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64", **(labels or {})}
        amounts = {**_CAPACITY, **{key: str(amount) for key, amount in more.items()}}
        told = {
            "architecture": "amd64",
            "operatingSystem": "linux",
            "kubeletVersion": f"v{self.version}.0",
            "containerRuntimeVersion": "stand-in",
        }
        status = {
            "capacity": amounts, "allocatable": amounts, "conditions": [condition("Ready", True, "KubeletReady")], "nodeInfo": told,
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}, {"type": "Hostname", "address": name}],
        }  # fmt: skip
        self.add("v1", "Node", {"metadata": {"name": name, "labels": labels}, "spec": {"taints": taints or []}, "status": status})

    def set_allocatable(self, node: str = "node-0", **amounts: Any) -> None:
        """What a device plugin does: `set_allocatable("node-0", **{"nvidia.com/gpu": 4})`. None takes a resource away."""
        with self.store.lock:
            resource = self.registry.preferred(*NODES)
            value = self.api.get(resource, None, node)
            merged = {**value["status"]["allocatable"], **{name: each and str(each) for name, each in amounts.items()}}
            kept = {name: each for name, each in merged.items() if each is not None}
            self.api.set_status(resource, value, {**value["status"], "allocatable": kept, "capacity": kept})

    def compact(self) -> None:
        """Ends the history of changes: watches of older versions are refused with 410."""
        self.store.compact()

    def settle(self, seconds: float = 10.0) -> None:
        """Waits until the controllers have nothing to do now."""
        end = time.monotonic() + seconds
        while not self._manager.settled():
            assert time.monotonic() < end, "the controllers do not come to rest"
            time.sleep(0.005)

    def close(self) -> None:
        self._front.closing = True
        self._manager.stop()
        self._front.shutdown()
        self._front.server_close()
        self._thread.join(10)
        if self._forwarder:
            self._forwarder.close()
        self.kubelet.close()
        self._network.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> StandIn:
        return self

    def __exit__(self, kind: object, *_unused: object) -> None:
        self.close()
        assert kind or not self.failures, "\n".join(self.failures)
