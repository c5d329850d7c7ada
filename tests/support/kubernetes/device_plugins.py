# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Nodes with GPUs of the stand-in: small charts with the names of NVIDIA's, and what their pods do on the nodes.

As the real ones do, node feature discovery labels nodes, and the plugin reads the configuration that its node's label names, makes the
node show its resources, and labels it with what GPU feature discovery counts.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from .api import Value
from .controllers.manager import NODES, PODS, Item
from .repositories import Chart
from .standin import StandIn

CONFIG_LABEL = "nvidia.com/device-plugin.config"
FOUND_LABEL = "feature.node.kubernetes.io/pci-10de.present"
GPU = "nvidia.com/gpu"
PLUGIN_IMAGE, DISCOVERY_IMAGE, EXPORTER_IMAGE = "k8s-device-plugin", "node-feature-discovery", "dcgm-exporter"
_DAEMONS = """
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: {{ .Release.Name }}%(suffix)s, namespace: {{ .Release.Namespace }}}
spec:
  selector: {matchLabels: {app: {{ .Release.Name }}%(suffix)s}}
  template:
    metadata:
      labels: {app: {{ .Release.Name }}%(suffix)s}
      annotations: {values: {{ .Values | toJson | sha256sum }}}
    spec:
      %(pod)s
"""
_ENABLED = "{{- if .Values.nfd.enabled }}\n%s\n{{- end }}"
_PLUGIN = """affinity: {{ .Values.affinity | toJson }}
      tolerations: {{ .Values.tolerations | toJson }}
      containers:
        - name: nvidia-device-plugin-ctr
          image: {{ .Values.image.repository }}:v{{ .Chart.Version }}
          env:
            - {name: MIG_STRATEGY, value: {{ .Values.migStrategy | quote }}}
            - {name: DEFAULT_CONFIG, value: {{ .Values.config.default | quote }}}
            - {name: CONFIGS, value: {{ .Values.config.map | toJson | quote }}}
      volumes: [{name: sockets, hostPath: {path: /var/lib/kubelet/device-plugins}}]"""
_DISCOVERY = """tolerations: {{ .Values.nfd.worker.tolerations | toJson }}
      containers: [{name: worker, image: registry.k8s.io/nfd/node-feature-discovery:v0.19.0}]"""
_EXPORTER = """affinity: {{ .Values.affinity | toJson }}
      tolerations: {{ .Values.tolerations | toJson }}
      containers: [{name: exporter, image: {{ .Values.image.repository }}:{{ .Chart.Version }}}]"""
_MONITOR = """
{{- if .Values.serviceMonitor.enabled }}
apiVersion: monitoring.coreos.com/v1
kind: ServiceMonitor
metadata: {name: {{ .Release.Name }}, labels: {{ .Values.serviceMonitor.additionalLabels | toJson }}}
spec: {}
{{- end }}
"""


def _daemons(pod: str, suffix: str = "") -> str:
    return _DAEMONS % {"pod": pod, "suffix": suffix}


def charts(folder: Path, definition: Mapping[str, Any]) -> dict[str, str]:
    """Packs the charts, and returns their paths by name. definition: a custom resource definition of node feature discovery."""
    image = {"repository": "nvcr.io/nvidia/k8s-device-plugin"}
    plugin = Chart(
        "nvidia-device-plugin", "0.20.0",
        {"plugin.yaml": _daemons(_PLUGIN), "nfd.yaml": _ENABLED % _daemons(_DISCOVERY, "-nfd-worker")},
        {"nfd.yaml": json.dumps(definition)},
        {"image": image, "config": {"default": "", "map": {}}, "migStrategy": "", "nfd": {"enabled": True, "worker": {}}},
    )  # fmt: skip
    exporter = Chart(
        "dcgm-exporter", "4.8.2", {"daemons.yaml": _daemons(_EXPORTER), "monitor.yaml": _MONITOR}, {},
        {"image": {"repository": "nvcr.io/nvidia/k8s/dcgm-exporter"}, "serviceMonitor": {"enabled": True}},
    )  # fmt: skip
    found = {}
    for chart in (plugin, exporter):
        path = folder / f"{chart.name}-{chart.version}.tgz"
        path.write_bytes(chart.pack())
        found[chart.name] = str(path)
    return found


class DevicePlugins:
    """gpus: node → its GPUs."""

    def __init__(self, stand_in: StandIn, gpus: Mapping[str, int]) -> None:
        self._stand_in, self._gpus = stand_in, gpus
        self._manager = stand_in._manager
        self._pods: dict[Item, Value] = {}
        self._lock = threading.RLock()
        stand_in.behave(PLUGIN_IMAGE, "ready", on_ready=self._serve)
        stand_in.behave(DISCOVERY_IMAGE, "ready", on_ready=self._discover)
        self._manager.handle(PODS, self._pod)
        self._manager.handle(NODES, self._node)

    def fail(self, log: str) -> None:
        """The plugin's pods crash from now on, and the kubelet has no more of their devices."""
        pods, self._pods = list(self._pods.values()), {}
        for pod in pods:
            self._stand_in.set_allocatable(pod["spec"]["nodeName"], **{GPU: "0", f"{GPU}.shared": "0"})
        self._stand_in.behave(PLUGIN_IMAGE, "crash", log=log, exit_code=1, restarts=2)

    def _discover(self, pod: Value) -> None:
        node = pod["spec"]["nodeName"]
        if node in self._gpus:
            self._label(node, {FOUND_LABEL: "true"})

    def _serve(self, pod: Value) -> None:
        self._pods[Item(PODS, pod["metadata"]["namespace"], pod["metadata"]["name"])] = pod
        self._show(pod)

    def _pod(self, item: Item, pod: Value | None) -> None:
        if pod is None and item in self._pods:
            node = self._pods.pop(item)["spec"]["nodeName"]
            if not any(each["spec"]["nodeName"] == node for each in self._pods.values()):
                self._stand_in.set_allocatable(node, **{GPU: "0"})

    def _node(self, item: Item, node: Value | None) -> None:
        """Another label is another configuration."""
        for pod in list(self._pods.values()):
            if node is not None and pod["spec"]["nodeName"] == item.name:
                self._show(pod)

    def _show(self, pod: Value) -> None:
        name = pod["spec"]["nodeName"]
        node = self._stand_in.get("v1", "Node", name)
        count = self._gpus.get(name, 0)
        if node is None or not count:
            return
        config = self._config(pod, node)
        if config is None:
            return
        shared = config.get("sharing", {})
        replicated = next(iter(shared.values()), {"resources": []})
        replicas = next((each["replicas"] for each in replicated["resources"] if each["name"] == GPU), 1)
        self._label(name, {f"{GPU}.count": str(count), f"{GPU}.replicas": str(replicas)})
        amounts = {GPU: str(count * replicas)}
        if replicated.get("renameByDefault"):
            amounts = {GPU: "0", f"{GPU}.shared": str(count * replicas)}
        if not amounts.items() <= node["status"]["allocatable"].items():
            self._stand_in.set_allocatable(name, **amounts)

    @staticmethod
    def _config(pod: Value, node: Value) -> dict[str, Any] | None:
        """None for a name that the plugin does not know."""
        container = pod["spec"]["containers"][0]
        given = {each["name"]: each.get("value", "") for each in container["env"]}
        configs = json.loads(given["CONFIGS"])
        name = node["metadata"]["labels"].get(CONFIG_LABEL, given["DEFAULT_CONFIG"])
        return (yaml.safe_load(configs[name]) if name in configs else None) if configs else {}

    def _label(self, name: str, labels: Mapping[str, str]) -> None:
        node = self._stand_in.get("v1", "Node", name)
        if node is not None and not labels.items() <= node["metadata"]["labels"].items():
            self._manager.api.edit(self._manager.resource(NODES), node, lambda one: one["metadata"]["labels"].update(labels))
