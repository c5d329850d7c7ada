# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Small manifests and a small chart for tests. The image is one that any cluster can pull and that does nothing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

PAUSE = "registry.k8s.io/pause:3.10"
_CHART = """
apiVersion: v2
name: demo
description: A deployment, a service and a test for tests
version: 0.1.0
"""
_VALUES = f"""
replicas: 1
image: {PAUSE}
hook: false
"""
_TEMPLATE = """
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ .Release.Name }}
  labels: {app.kubernetes.io/instance: {{ .Release.Name }}}
spec:
  {{- with .Values.replicas }}
  replicas: {{ . }}
  {{- end }}
  selector: {matchLabels: {app: {{ .Release.Name }}}}
  template:
    metadata: {labels: {app: {{ .Release.Name }}}}
    spec:
      containers:
        - name: main
          image: {{ .Values.image }}
          ports: [{name: http, containerPort: 8000}]
---
apiVersion: v1
kind: Service
metadata: {name: {{ .Release.Name }}}
spec:
  selector: {app: {{ .Release.Name }}}
  ports: [{name: http, port: 8000, targetPort: http}]
{{- if .Values.hook }}
---
apiVersion: batch/v1
kind: Job
metadata:
  name: {{ .Release.Name }}-hook
  annotations: {helm.sh/hook: pre-upgrade, helm.sh/hook-delete-policy: hook-succeeded}
spec:
  template:
    spec:
      restartPolicy: Never
      containers: [{name: hook, image: "hook:1"}]
{{- end }}
"""
_TEST = """
apiVersion: v1
kind: Pod
metadata: {name: {{ .Release.Name }}-test, annotations: {helm.sh/hook: test, helm.sh/hook-delete-policy: hook-succeeded}}
spec:
  restartPolicy: Never
  containers: [{name: test, image: "test:1"}]
"""


def write_chart(folder: Path) -> Path:
    """A chart with the values replicas (0 leaves it out), image and hook."""
    (folder / "templates").mkdir(parents=True)
    for name, text in (("Chart.yaml", _CHART), ("values.yaml", _VALUES), ("templates/all.yaml", _TEMPLATE), ("templates/test.yaml", _TEST)):
        (folder / name).write_text(text.lstrip())
    return folder


def deployment(name: str = "web", *containers: Mapping[str, Any], replicas: int | None = 1, **pod: Any) -> dict[str, Any]:
    """containers: a container called main of PAUSE when there is none. pod: more of the pod's spec."""
    spec = {"containers": list(containers) or [{"name": "main", "image": PAUSE}], **pod}
    template = {"metadata": {"labels": {"app": name}}, "spec": spec}
    wanted = {} if replicas is None else {"replicas": replicas}
    value = {"selector": {"matchLabels": {"app": name}}, "template": template, **wanted}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": value}


def service(name: str = "web", port: int = 8000, **spec: Any) -> dict[str, Any]:
    value = {"selector": {"app": name}, "ports": [{"name": "http", "port": port}], **spec}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": value}


def custom_definition(group: str, kind: str, plural: str, schema: Mapping[str, Any] | None = None, version: str = "v1") -> dict[str, Any]:
    """A namespaced kind with a status. schema: of its spec; anything when there is none."""
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    properties = {"spec": schema or anything, "status": anything}
    served = {
        "name": version, "served": True, "storage": True, "subresources": {"status": {}},
        "schema": {"openAPIV3Schema": {"type": "object", "properties": properties}},
    }  # fmt: skip
    names = {"kind": kind, "plural": plural, "singular": kind.lower()}
    spec = {"group": group, "scope": "Namespaced", "names": names, "versions": [served]}
    metadata = {"name": f"{plural}.{group}"}
    return {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": metadata, "spec": spec}
