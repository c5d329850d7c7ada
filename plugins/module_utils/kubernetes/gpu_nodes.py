# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Nodes with GPUs: which they are, which labels they are to have, and which DaemonSets serve them already. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ..core.errors import InputError
from .device_plugin import GPU, PREFIX
from .sizing import quantity

Object = Mapping[str, Any]
CONFIG_LABEL = "nvidia.com/device-plugin.config"
PRESENT_LABEL = "nvidia.com/gpu.present"
# By these the GPU operator tells its DaemonSets where to go. It leaves them behind.
_OPERANDS = "nvidia.com/gpu.deploy."
# What was set on a node, and what was there before.
MEMORY = "serving.triton/device-plugin"
_PCI = re.compile(r"feature\.node\.kubernetes\.io/pci-(?:[0-9a-f]{2,6}_)?10de(?:_[0-9a-f_]+)?\.present")
# What clouds and others say of nodes with NVIDIA's GPUs: a label, and what its value matches.
_TOLD: Mapping[str, str] = {
    PRESENT_LABEL: "true",
    f"{GPU}.count": r"[1-9][0-9]*",
    "feature.node.kubernetes.io/cpu-model.vendor_id": "NVIDIA",
    "cloud.google.com/gke-accelerator": "nvidia.*",
    "k8s.amazonaws.com/accelerator": "(?i)(nvidia|tesla).*",
    "karpenter.k8s.aws/instance-gpu-manufacturer": "nvidia",
    "kubernetes.azure.com/accelerator": "nvidia",
}
# Labels of GPU feature discovery that are the same whatever the plugin's configuration is.
_STABLE = re.compile(r"nvidia\.com/(gpu\.(present|family|machine|mode|compute\.(major|minor))|mig\.capable|cuda\..*|vgpu\..*)")
_SELECTOR = re.compile(r"[=!,(/ ]")
_PLUGIN_IMAGE = re.compile(r"(?i)(k8s-device-plugin|nvidia[a-z-]*device-plugin)")
_DCGM_IMAGE = re.compile(r"(?i)dcgm-exporter")
_PLUGIN_SOCKETS = "/var/lib/kubelet/device-plugins"


def name_of(value: Object) -> str:
    return str(value["metadata"]["name"])


def labels_of(value: Object) -> Mapping[str, str]:
    return value["metadata"].get("labels") or {}


def has_gpu(node: Object) -> bool:
    """Whether something says so: node feature discovery, GPU feature discovery, the cloud, or resources of NVIDIA's that it has."""
    labels = labels_of(node)
    told = any(re.fullmatch(pattern, labels.get(key, "")) for key, pattern in _TOLD.items())
    return told or is_discovered(node) or any(resources(node).values())


def is_discovered(node: Object) -> bool:
    """Whether its labels say it as the device plugin's chart asks for it."""
    labels = labels_of(node)
    return labels.get(PRESENT_LABEL) == "true" or any(value == "true" and _PCI.fullmatch(key) for key, value in labels.items())


def resources(node: Object) -> dict[str, int]:
    """NVIDIA's resources, allocatable."""
    allocatable = (node.get("status") or {}).get("allocatable") or {}
    return {key: quantity(value) for key, value in sorted(allocatable.items()) if key.startswith(PREFIX)}


# --- configurations of nodes


def is_selector(key: str) -> bool:
    """Whether it is a label selector; names of nodes have none of its signs."""
    return bool(_SELECTOR.search(key))


def check_selector(selector: str) -> None:
    """Raises InputError for one whose nodes change with the configuration that they get by it."""
    for key in re.findall(r"nvidia\.com/[A-Za-z0-9._-]+", selector):
        if not _STABLE.fullmatch(key):
            what = f"selects by {key}, which changes with the configuration"
            raise InputError(what, where=selector, remedy="Take a label of your own, nvidia.com/gpu.family, or the nodes' names.")


def choose(wanted: Mapping[str, str], known: Iterable[str], selected: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Node → configuration. wanted: name or selector → configuration; known: all nodes; selected: selector → the nodes it finds.

    A name goes before selectors. Raises InputError for nodes that are not there, and for two selectors that disagree.
    """
    names = {key: config for key, config in wanted.items() if not is_selector(key)}
    missing = sorted(set(names) - set(known))
    if missing:
        remedy = "Name nodes as kubectl get nodes does, or give a label selector such as pool=gpu."
        raise InputError("is no node of the cluster", where=", ".join(missing), remedy=remedy)
    found: dict[str, tuple[str, str]] = {}
    for selector in sorted(selected):
        for node in selected[selector]:
            other = found.setdefault(node, (selector, wanted[selector]))
            if other[1] != wanted[selector] and node not in names:
                what = f"is selected by {other[0]} for {other[1]} and by {selector} for {wanted[selector]}"
                raise InputError(what, where=node, remedy="Make the selectors exclude each other, or name the node.")
    return {**{node: config for node, (_selector, config) in found.items()}, **names}


# --- labels


def wanted_labels(node: str, configs: Mapping[str, str], present: Iterable[str]) -> dict[str, str]:
    """configs: node → configuration. present: nodes that are said to have GPUs where nothing discovers them."""
    found = {CONFIG_LABEL: configs[node]} if node in configs else {}
    return {**found, **({PRESENT_LABEL: "true"} if node in present else {})}


def patch(node: Object, wanted: Mapping[str, str], *, forget_operator: bool = False) -> dict[str, Any]:
    """What to merge into a node's metadata, None for what goes; empty when nothing is to be done.

    What somebody else set to the same stays his. What was there before comes back, unless somebody has changed it since.
    forget_operator: whether labels that a GPU operator leaves go too.
    """
    labels, memory = labels_of(node), _memory(node)
    left = [key for key, value in labels.items() if forget_operator and value == "true" and key.startswith(_OPERANDS)]
    change: dict[str, str | None] = dict.fromkeys(left)
    kept = {}
    for label in sorted({*wanted, *memory}):
        current, remembered = labels.get(label), memory.get(label)
        if label not in wanted:
            if remembered and current == remembered.get("set"):
                change[label] = remembered.get("before")
            continue
        if remembered is None and current == wanted[label]:
            continue
        kept[label] = {"set": wanted[label], "before": remembered.get("before") if remembered else current}
        if current != wanted[label]:
            change[label] = wanted[label]
    found: dict[str, Any] = {"labels": change} if change else {}
    if kept != memory or (not kept and _written(node)):
        found["annotations"] = {MEMORY: json.dumps(kept, sort_keys=True) if kept else None}
    return found


def _written(node: Object) -> str:
    return str((node["metadata"].get("annotations") or {}).get(MEMORY, ""))


def _memory(node: Object) -> dict[str, dict[str, Any]]:
    try:
        found = json.loads(_written(node) or "{}")
    except ValueError:
        return {}
    return {key: each for key, each in found.items() if isinstance(each, dict)} if isinstance(found, dict) else {}


def patches(
    nodes: Iterable[Object], configs: Mapping[str, str], present: Iterable[str], *, forget_operator: bool = False
) -> list[dict[str, Any]]:
    """`name` and what to merge into its metadata, for each node that is to be changed."""
    present = set(present)
    wanted = {name_of(node): (node, wanted_labels(name_of(node), configs, present)) for node in nodes}
    found = {name: patch(node, labels, forget_operator=forget_operator) for name, (node, labels) in wanted.items()}
    return [{"name": name, **each} for name, each in sorted(found.items()) if each]


# --- who serves GPUs


def is_device_plugin(daemon_set: Object) -> bool:
    """Whether it is one of NVIDIA's: by its image, and by the folder of sockets that it registers in."""
    spec = daemon_set["spec"]["template"]["spec"]
    folders = [(each.get("hostPath") or {}).get("path", "").rstrip("/") for each in spec.get("volumes") or ()]
    return _PLUGIN_SOCKETS in folders and _has_image(spec, _PLUGIN_IMAGE)


def is_exporter(daemon_set: Object) -> bool:
    return _has_image(daemon_set["spec"]["template"]["spec"], _DCGM_IMAGE)


def _has_image(spec: Object, pattern: re.Pattern[str]) -> bool:
    return any(pattern.search(each.get("image", "")) for each in spec.get("containers") or ())


def release_of(value: Object) -> str:
    """`namespace/name` of the Helm release that an object belongs to; empty for none."""
    annotations = value["metadata"].get("annotations") or {}
    name = annotations.get("meta.helm.sh/release-name")
    return f"{annotations.get('meta.helm.sh/release-namespace', '')}/{name}" if name else ""


def release_of_operand(value: Object, policies: Sequence[Object]) -> str:
    """The same for what the GPU operator makes: the release of the ClusterPolicy that owns it."""
    owners = {owner["uid"] for owner in value["metadata"].get("ownerReferences") or () if owner.get("kind") == "ClusterPolicy"}
    owner = next((each for each in policies if each["metadata"].get("uid") in owners), None)
    return release_of(owner) if owner else release_of(value)


def told(value: Object, policies: Sequence[Object] = ()) -> str:
    """An object in words, with who brought it."""
    metadata = value["metadata"]
    place = f"{metadata['namespace']}/" if metadata.get("namespace") else ""
    release = release_of_operand(value, policies)
    return f"{value.get('kind', 'DaemonSet')} {place}{metadata['name']}" + (f" of Helm release {release}" if release else "")


def others(values: Iterable[Object], ours: Sequence[str], policies: Sequence[Object] = ()) -> Iterator[str]:
    """Those that belong to none of our releases, in words."""
    for each in values:
        if release_of_operand(each, policies) not in ours:
            yield told(each, policies)
