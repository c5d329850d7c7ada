# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The chart rendered by the real helm, without a cluster."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ..kubernetes import tools

CHART = Path(__file__).resolve().parents[3] / "roles" / "server_kubernetes" / "files" / "chart"
EXAMPLES = {path.stem: path for path in sorted((CHART / "examples").glob("*.yaml"))}
# The least that the chart wants to know.
LEAST = {"modelRepository": {"url": "s3://models/production"}}
RELEASE, NAMESPACE = "rel", "inference"
# helm writes nothing to the user's home, and asks nobody.
_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "HOME": tempfile.gettempdir(), "KUBECONFIG": "/dev/null"}

Object = dict[str, Any]


class RefusedError(Exception):
    """helm does not render these values; the message is helm's."""


@dataclass(frozen=True)
class Rendered:
    """The objects of one release."""

    objects: Sequence[Object]

    def all(self, kind: str) -> list[Object]:
        return [each for each in self.objects if each["kind"] == kind]

    def one(self, kind: str, suffix: str = "") -> Object:
        """The only object of a kind; with a suffix, of those whose name ends so."""
        found = [each for each in self.all(kind) if each["metadata"]["name"].endswith(suffix)]
        assert len(found) == 1, [f"{each['kind']}/{each['metadata']['name']}" for each in self.objects]
        return found[0]

    @property
    def pod(self) -> Object:
        """The server's pod, as its Deployment has it."""
        return dict(self.one("Deployment")["spec"]["template"])

    @property
    def server(self) -> Object:
        return next(each for each in self.pod["spec"]["containers"] if each["name"] == "triton")

    @property
    def volumes(self) -> dict[str, Object]:
        return {each["name"]: each for each in self.pod["spec"]["volumes"]}

    @property
    def environment(self) -> dict[str, Any]:
        """The server's variables: values, or where they come from."""
        return {each["name"]: each.get("value", each.get("valueFrom")) for each in self.server["env"]}

    @property
    def launch(self) -> Object:
        """What launch.py reads."""
        return dict(yaml.safe_load(self.one("ConfigMap", "-config")["data"]["config.json"]))

    @property
    def arguments(self) -> list[str]:
        return list(self.launch["argv"][1:])


def helm(arguments: Sequence[str], values: Mapping[str, Any] | None = None, which: str = "helm3") -> str:
    """What a helm command says. values: handed over as a file on its stdin. Raises RefusedError."""
    command = [str(tools.folder(which) / "helm"), *arguments, *(["--values", "-"] if values is not None else [])]
    # As JSON: YAML of one version would be read by another, and y is true in some.
    text = None if values is None else json.dumps(dict(values))
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=120, check=False, env=_ENVIRONMENT)
    if done.returncode or done.stderr:
        raise RefusedError(done.stderr + done.stdout)
    return done.stdout


def render(values: Mapping[str, Any], which: str = "helm3", version: str = "1.36", more: Sequence[str] = ()) -> Rendered:
    """The objects of a release of these values. which: helm3 or helm4; version: Kubernetes'."""
    arguments = ["template", RELEASE, str(CHART), "--namespace", NAMESPACE, "--kube-version", f"{version}.0", *more]
    objects = yaml.load_all(helm(arguments, values, which), Loader=yaml.CSafeLoader)
    return Rendered([each for each in objects if each])


def least(**values: Any) -> dict[str, Any]:
    """Values with the least that the chart wants."""
    return {**LEAST, **values}


def example(name: str) -> dict[str, Any]:
    return dict(yaml.safe_load(EXAMPLES[name].read_text(encoding="utf-8")))
