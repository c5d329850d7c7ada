# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the role device_plugin makes of its variables and of what it found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar

ROLE = Path(__file__).resolve().parents[3] / "roles" / "device_plugin"
NOBODY: dict[str, list[str]] = {"plugin": [], "operator": [], "exporter": [], "discovery": []}
FOUND = {
    "others": NOBODY,
    "kinds": [],
    "monitor_labels": {},
    "documents": {"default": {"version": "v1"}},
    "needs_documents": False,
    "mig_strategies": ["none"],
}


def value(name: str, found: Any = None, **known: Any) -> Any:
    """A variable of the role. found: what the look at the cluster told; known: the role's variables, without their prefix."""
    loader = DataLoader()
    files = [ROLE / "defaults" / "main.yml", ROLE / "vars" / "main.yml"]
    variables = {key: each for path in files for key, each in loader.load_from_file(str(path), trusted_as_template=True).items()}
    variables |= {f"device_plugin_{key}": each for key, each in known.items()}
    variables["__device_plugin_before"] = {**FOUND, **(found or {})}
    return Templar(loader, variables).template(variables[f"__device_plugin_{name}"])


def test_one_configuration_is_an_option_and_several_are_files() -> None:
    plain = value("values")
    assert plain["migStrategy"] == "none"
    assert "config" not in plain
    shared = value("values", {"needs_documents": True})
    # The option would go before what the files say.
    assert "migStrategy" not in shared
    assert shared["config"]["default"] == "default"
    assert yaml.safe_load(shared["config"]["map"]["default"]) == {"version": "v1"}
    named = value("values", node_configs={"gpu-1": "default"}, method="operator")
    assert named["devicePlugin"]["config"]["create"] is True
    assert named["mig"] == {"strategy": "none"}


def test_everything_comes_from_a_mirror() -> None:
    mirror = {"image_registry": "mirror.example.com/n", "image_pull_secrets": ["pull"]}
    plugin = value("values", **mirror)
    assert plugin["image"]["repository"] == "mirror.example.com/n/nvidia/k8s-device-plugin"
    assert plugin["nfd"]["image"]["repository"] == "mirror.example.com/n/nfd/node-feature-discovery"
    assert plugin["imagePullSecrets"] == [{"name": "pull"}]
    assert value("dcgm_values", **mirror)["image"]["repository"] == "mirror.example.com/n/nvidia/k8s/dcgm-exporter"
    assert value("smoke_image", **mirror).startswith("mirror.example.com/n/nvidia/k8s/cuda-sample:")
    operator = value("values", method="operator", **mirror)
    assert operator["toolkit"] == {"enabled": False, "repository": "mirror.example.com/n/nvidia/k8s", "imagePullSecrets": ["pull"]}
    assert operator["driver"]["manager"] == {"repository": "mirror.example.com/n/nvidia/cloud-native"}
    assert value("repository") == "https://nvidia.github.io/k8s-device-plugin"
    for chart in ("/srv/charts/nvidia-device-plugin-0.20.0.tgz", "oci://mirror.example.com/charts/nvidia-device-plugin"):
        assert value("repository", chart=chart) == ""
    assert value("repository", repository="https://mirror.example.com/charts") == "https://mirror.example.com/charts"


def test_what_others_have_is_not_put_there_again() -> None:
    discovery = {"others": {**NOBODY, "discovery": ["Deployment nfd/nfd-master"], "exporter": ["DaemonSet monitoring/dcgm-exporter"]}}
    assert value("values")["nfd"]["enabled"] is True
    assert value("values", discovery)["nfd"]["enabled"] is False
    assert value("values", discovery)["gfd"]["enabled"] is True
    assert value("values", nfd="never")["gfd"]["enabled"] is False
    assert value("wants_dcgm") is True
    assert value("wants_dcgm", discovery) is False
    assert value("wants_dcgm", method="operator") is False
    assert value("values", discovery, method="operator")["dcgmExporter"]["enabled"] is False
    assert value("unwanted", discovery) == ["nvidia-gpu/gpu-operator", "nvidia-dcgm/dcgm-exporter"]


def test_the_exporter_is_scraped_where_there_is_an_operator() -> None:
    assert value("dcgm_values")["serviceMonitor"]["enabled"] is False
    assert value("dcgm_values", {"kinds": ["ServiceMonitor"]})["serviceMonitor"]["enabled"] is True
    assert value("dcgm_values", {"kinds": ["ServiceMonitor"]}, monitoring="never")["serviceMonitor"]["enabled"] is False
    release = {"kinds": ["ServiceMonitor"], "monitor_labels": {"release": "stack", "team": "a"}}
    assert value("dcgm_values", release, monitoring_labels={"team": "b"})["serviceMonitor"]["additionalLabels"] == {
        "release": "stack",
        "team": "b",
    }
    # The user's own word is the last one.
    assert value("dcgm_values", dcgm_values={"serviceMonitor": {"enabled": True}})["serviceMonitor"]["enabled"] is True


def test_the_default_configuration_is_described_once() -> None:
    assert value("described", sharing="mps", replicas=2)["default"]["replicas"] == 2
    assert value("described", configs={"a": {}}, default_config="a") == {"a": {}}
    assert value("says_twice", configs={"a": {}}, default_config="a", sharing="mps") is True
    assert value("says_twice", configs={"a": {}}, sharing="mps") is False
