# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whether the nodes of a cluster show their GPUs, and sentences on why they do not. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from .device_plugin import GPU, PREFIX, Config, Need, hint, needs, stale
from .gpu_nodes import CONFIG_LABEL, has_gpu, is_device_plugin, labels_of, name_of, resources
from .rollout import DONE, GOING, STUCK, Observed, Verdict, combined, explain, in_trouble, is_ready, judge, of_pod, staying
from .sizing import tolerated

Object = Mapping[str, Any]
NO_GPUS = "no node of the cluster shows a GPU of NVIDIA's"
_EFFECTS = ("NoSchedule", "NoExecute")
# What the DaemonSet controller tolerates by itself.
_BUILTIN = "node.kubernetes.io/"


@dataclass(frozen=True)
class Wanted:
    """configs: by name; empty where somebody else's plugin serves the nodes, whose configuration is not known. default: the name of the
    one for nodes without a label. named: nodes that have GPUs whatever the cluster says. required: whether there must be one."""

    configs: Mapping[str, Config] = field(default_factory=dict)
    default: str = ""
    named: Sequence[str] = ()
    required: bool = True


@dataclass(frozen=True)
class Seen:
    """nodes: of the cluster. looks: our workloads, by kind and name. policies: of the GPU operator. logs: pod → its last lines."""

    nodes: Sequence[Object]
    looks: Mapping[str, Observed] = field(default_factory=dict)
    policies: Sequence[Object] = ()
    events: Sequence[Object] = ()
    logs: Mapping[str, str] = field(default_factory=dict)


def gpu_nodes(seen: Seen, wanted: Wanted) -> list[Object]:
    """Nodes that are to show GPUs: those that are ready."""
    return [node for node in seen.nodes if is_ready(node) and (name_of(node) in wanted.named or has_gpu(node))]


def lacking(node: Object, wanted: Wanted) -> list[str]:
    """What a node does not show yet."""
    labels, status = labels_of(node), node.get("status") or {}
    if not wanted.configs:
        return [] if any(resources(node).values()) else [f"none of {PREFIX}*"]
    name = labels.get(CONFIG_LABEL) or wanted.default
    if name not in wanted.configs:
        return [f"its label {CONFIG_LABEL} names the configuration {name}, which is not described"]
    config = wanted.configs[name]
    old = stale(config, labels)
    return [each for each in [old, *(need.lack(status) for need in needs(config, labels))] if each]


def asked_of(node: Object, wanted: Wanted) -> Need:
    """What a pod that wants one GPU of a node asks for."""
    config = wanted.configs.get(labels_of(node).get(CONFIG_LABEL) or wanted.default, Config())
    shown = resources(node)
    found = next((need for need in needs(config, labels_of(node)) if shown.get(need.resource)), None)
    return found or Need(next((name for name, count in shown.items() if count), GPU), 0)


def decide(seen: Seen, wanted: Wanted) -> Verdict:
    """STUCK is what hardly passes by itself: pods in trouble, and nodes that show nothing although everything runs."""
    workloads = combined({name: judge(each) for name, each in seen.looks.items()})
    found = gpu_nodes(seen, wanted)
    lacks = [node for node in found if lacking(node, wanted)]
    waits = [f"the ClusterPolicy {name_of(each)} is {_state(each) or 'new'}" for each in seen.policies if _state(each) != "ready"]
    text = f"{len(found) - len(lacks)} of {len(found)} nodes show their GPUs" if found else NO_GPUS
    if workloads.state != DONE:
        text = f"{text}; {workloads.text}"
    if found and not lacks and not waits and workloads.state == DONE:
        return Verdict(DONE, text)
    bad = [name for name, pod in _plugin_pods(seen, lacks) if is_ready(pod)]
    stuck = workloads.state == STUCK or (workloads.state == DONE and not waits)
    return Verdict(STUCK if stuck else GOING, "; ".join([text, *waits]), bad=(*workloads.bad, *bad))


def _state(policy: Object) -> str:
    return str((policy.get("status") or {}).get("state") or "")


def plugin_of(seen: Seen) -> Observed | None:
    """Our device plugin."""
    return next((each for each in seen.looks.values() if each.deployment is not None and _is_plugin(each.deployment)), None)


def _is_plugin(value: Object) -> bool:
    return "template" in value["spec"] and is_device_plugin(value)


def _plugin_pods(seen: Seen, nodes: Sequence[Object]) -> Iterator[tuple[str, Object]]:
    """The plugin's pods on these nodes, by their names."""
    plugin, names = plugin_of(seen), {name_of(node) for node in nodes}
    for pod in staying(plugin.pods) if plugin else ():
        if pod["spec"].get("nodeName") in names:
            yield name_of(pod), pod


def blamed(seen: Seen, wanted: Wanted) -> list[Object]:
    """Pods whose logs tell why nodes lack GPUs."""
    return [pod for _name, pod in _plugin_pods(seen, [node for node in gpu_nodes(seen, wanted) if lacking(node, wanted)])]


def container_of(pod: Object) -> str:
    """The plugin's own container: that beside which others bring its configuration."""
    names = [str(each["name"]) for each in pod["spec"].get("containers") or ()]
    return next((name for name in names if not name.endswith(("-sidecar", "-init"))), names[0] if names else "")


# --- sentences


def explanation(seen: Seen, wanted: Wanted) -> list[str]:
    """A text for each node that lacks GPUs, then for other pods in trouble."""
    lacks = [node for node in gpu_nodes(seen, wanted) if lacking(node, wanted)]
    found = [_of_node(node, seen, wanted) for node in lacks]
    told = {name for name, _pod in _plugin_pods(seen, lacks)}
    for look in seen.looks.values():
        rest = [pod for pod in staying(look.pods) if name_of(pod) not in told]
        if any(in_trouble(pod, {}) for pod in rest):
            found += explain(replace(look, pods=rest))
    return found


def _of_node(node: Object, seen: Seen, wanted: Wanted) -> str:
    texts = [f"node {name_of(node)}: {', '.join(lacking(node, wanted))}"]
    pods = dict(_plugin_pods(seen, [node]))
    for name, pod in pods.items():
        told = ["it runs"] if is_ready(pod) else []
        told += [each for each in of_pod(pod, Observed(events=seen.events, logs=seen.logs)) if not told or "log: " in each]
        texts.append(f"pod {name}: {'; '.join(told)}")
        texts += [each for each in [hint(seen.logs.get(name, ""))] if each]
    if not pods:
        texts.append(_absence(node, plugin_of(seen), seen.events))
    return ". ".join(text.rstrip(".") for text in texts if text)


def _absence(node: Object, plugin: Observed | None, events: Sequence[Object]) -> str:
    """Why no pod of the plugin is on a node."""
    if plugin is None or plugin.deployment is None:
        return ""
    name, spec = name_of(plugin.deployment), plugin.deployment["spec"]["template"]["spec"]
    refused = [str(each.get("message") or "") for each in events if each.get("reason") == "FailedCreate" and _is_about(each, name)]
    if refused:
        return f"DaemonSet {name} makes no pods: {refused[-1]}"
    taints = [taint for taint in node["spec"].get("taints") or () if taint["effect"] in _EFFECTS and not taint["key"].startswith(_BUILTIN)]
    open_ones = [taint for taint in taints if not any(tolerated(taint, each) for each in spec.get("tolerations") or ())]
    if open_ones:
        told = ", ".join(f"{taint['key']}={taint.get('value', '')}:{taint['effect']}" for taint in open_ones)
        return f"No pod of DaemonSet {name} is there, since it does not tolerate {told}: add a toleration"
    return (
        f"No pod of DaemonSet {name} is there, since the node's labels do not match: node feature discovery has to find the GPU, or the "
        "label nvidia.com/gpu.present=true says that there is one"
    )


def _is_about(event: Object, daemon_set: str) -> bool:
    about = event.get("involvedObject") or {}
    return about.get("kind") == "DaemonSet" and about.get("name") == daemon_set
