# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The parts that other charts' values have in common, each translated once. Pure."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping

from ..core.errors import InputError
from ..server.options import BOOLEAN, FLAG, KNOWN, REPEATABLE
from .translation import Translation

# What deploy/aws and its kin have where the user's own values belong.
_PLACEHOLDERS = frozenset({"AWS_REGION", "AWS_SECRET_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"})
_SECRETS = {"region": "region", "id": "aws.accessKeyId", "key": "aws.secretAccessKey"}
_PROBE = ("failureThreshold", "initialDelaySeconds", "periodSeconds", "successThreshold", "timeoutSeconds")
_GPU = "nvidia.com/gpu"
# The first releases with --http-restricted-api (2.40), --grpc-max-connection-age (2.42) and --metrics-config (2.33).
_RESTRICTED, _AGE, _SUMMARIES = (23, 11), (24, 1), (23, 4)
# What the chart sets by values of its own.
_DECIDED = {"exit-timeout-secs": "server.exitTimeoutSeconds", "http-port": "server.ports.http", "grpc-port": "server.ports.grpc"}
_DECIDED |= {"metrics-port": "server.ports.metrics", "grpc-max-connection-age": "server.grpcMaxConnectionAge"}

# What the chart has no option of that name for.
_CERTIFICATES = ("grpc-use-ssl", "grpc-use-ssl-mutual", "grpc-server-cert", "grpc-server-key", "grpc-root-cert")
_REMARKS = dict.fromkeys(_CERTIFICATES, "; tls would take the certificate out of a Secret")
# What deploy/k8s-onprem scales by.
QUEUE_METRICS = [
    {"type": "Pods", "pods": {"metric": {"name": "avg_time_queue_us"}, "target": {"type": "AverageValue", "averageValue": 50}}}
]


# --- the image


def image_name(t: Translation) -> None:
    """image.imageName, a whole reference."""
    name = t.get("image.imageName")
    if name:
        rest, _at, digest = str(name).partition("@")
        head, _slash, last = rest.rpartition("/")
        last, _colon, tag = last.partition(":")
        parts = [*head.split("/"), last] if head else [last]
        named = len(parts) > 1 and ("." in parts[0] or ":" in parts[0] or parts[0] == "localhost")
        t.put("image.registry", parts[0] if named else "docker.io")
        t.put("image.repository", "/".join(parts[1:] if named else parts))
        if tag:
            t.put("image.tag", tag)
        if digest:
            t.put("image.digest", digest)
        t.say("image.imageName became image.registry, image.repository and image.tag.")
    t.move("image.pullPolicy", "image.pullPolicy")
    old_server(t)


def image_parts(t: Translation, complete: Callable[[str], str] | None = None, remark: str = "") -> None:
    """image.registry, repository, tag, pullPolicy. complete: what that chart made of the tag."""
    for name in ("registry", "repository", "pullPolicy"):
        t.move(f"image.{name}", f"image.{name}")
    t.move("image.tag", "image.tag", lambda tag: (complete or str)(yaml_tag(tag)), remark)
    old_server(t)


def yaml_tag(tag: object) -> str:
    """YAML reads 22.05 as a number, and 22.10 as 22.1: releases have two digits for the month."""
    text = str(tag)
    return f"{text}0" if isinstance(tag, float) and re.fullmatch(r"\d\d\.\d", text) else text


def old_server(t: Translation) -> None:
    """An old image's server refuses options that it does not know: switch off what this chart adds."""
    found = re.match(r"(\d\d)\.(\d\d)", t.new.get("image", {}).get("tag", ""))
    release = tuple(map(int, found.groups())) if found else (99, 1)
    if release >= _AGE or "grpcMaxConnectionAge" in t.new.get("server", {}):
        return
    t.put("server.grpcMaxConnectionAge", None)
    t.say("The image's tritonserver is too old for --grpc-max-connection-age, so server.grpcMaxConnectionAge is null.")
    if release < _RESTRICTED:
        t.put("restrictedApis.enabled", False)
        t.say("It is too old for --http-restricted-api, so restrictedApis.enabled is off: keep strangers out by networkPolicy.")
    if release < _SUMMARIES:
        t.put("server.options.metrics-config", None)
        t.say("It is too old for --metrics-config: there are no quantiles of latencies.")


def pull_secrets(t: Translation) -> None:
    """imagePullSecrets, as names or as Kubernetes has them."""
    secrets = t.get("imagePullSecrets")
    if secrets:
        names = secrets if isinstance(secrets, list) else [secrets]
        t.put("imagePullSecrets", [each if isinstance(each, dict) else {"name": str(each)} for each in names])
        t.say("imagePullSecrets is the same here.")


def conda_pack(t: Translation, variant: str) -> None:
    """tritonEnv, image.condaPackPath and image.condaPackFileName."""
    if t.get("tritonEnv") is None:
        return
    t.put("condaPack.enabled", True)
    for name in ("registry", "repository", "pullPolicy"):
        t.move(f"tritonEnv.{name}", f"condaPack.image.{name}")
    t.move("tritonEnv.tag", "condaPack.image.tag", lambda tag: f"{yaml_tag(tag)}-{variant}", "as that chart completed it")
    folder = str(t.get("image.condaPackPath", "/conda-pack"))
    t.put("condaPack.sourcePath", folder)
    t.put("condaPack.mountPath", folder)
    t.say("image.condaPackPath became condaPack.sourcePath and condaPack.mountPath. It lies in the pod, no longer in a folder of the node.")
    t.move("image.condaPackFileName", "condaPack.fileName")


# --- the models


def repository(t: Translation, old: str, *, same_path: bool = False) -> None:
    """A repository's URL, or a folder of the nodes. same_path: it is mounted under the same path."""
    where = t.get(old)
    if not where:
        return
    where = str(where)
    if re.match(r"(s3|gs|as)://", where):
        t.put("modelRepository.url", where)
        t.say(f"{old} became modelRepository.url.")
    elif where.startswith("/"):
        t.put("modelRepository.volume", {"hostPath": {"path": where, "type": "DirectoryOrCreate"}})
        if same_path:
            t.put("modelRepository.mountPath", where)
        t.say(f"{old} became modelRepository.volume.hostPath. Pod Security restricted forbids it: a claim would be allowed.")
    else:
        remedy = "Give a URL (s3://, gs://, as://) or an absolute path."
        raise InputError(f"{where!r} is no repository that Triton can read", where=old, remedy=remedy)


def nfs(t: Translation) -> None:
    """image.modelRepositoryServer and image.modelRepositoryPath of deploy/k8s-onprem."""
    server, folder = t.get("image.modelRepositoryServer"), t.get("image.modelRepositoryPath")
    if not server or not folder:
        return
    if "<" in str(server):
        t.say("image.modelRepositoryServer is still that chart's placeholder and was left out: give modelRepository.volume.nfs.")
        return
    t.put("modelRepository.volume", {"nfs": {"server": str(server), "path": str(folder)}})
    t.say("image.modelRepositoryServer and image.modelRepositoryPath became modelRepository.volume.nfs.")


def credentials(t: Translation, token: str) -> None:
    """secret.region, id, key and the session token, all in base64 as those charts want them."""
    for old, new in {**_SECRETS, token: "aws.sessionToken"}.items():
        value = t.get(f"secret.{old}")
        if not value:
            continue
        plain = decoded(str(value))
        if plain in _PLACEHOLDERS:
            t.say(f"secret.{old} is still that chart's placeholder and was left out.")
            continue
        t.put(f"credentials.{new}", plain)
        how = "without its base64" if plain != value else "taken as it is, for it is no base64"
        t.say(f"secret.{old} became credentials.{new}, {how}.")
    if t.get("secret"):
        t.say("The Secret is this release's own now: the fixed name aws-credentials let two releases collide.")


def decoded(value: str) -> str:
    """A text without its base64; as it is where it has none."""
    try:
        plain = base64.b64decode(value, validate=True).decode("ascii")
    except (binascii.Error, ValueError):
        return value
    return plain.rstrip("\n") if plain.rstrip("\n").isprintable() and plain else value


# --- the server


def server_flags(t: Translation) -> None:
    """image.logVerboseLevel and image.allowGPUMetrics."""
    t.move("image.logVerboseLevel", "server.options.log-verbose", int)
    t.move("image.allowGPUMetrics", "server.options.allow-gpu-metrics", bool)


def server_args(t: Translation, old: str) -> None:
    """Arguments of tritonserver as texts, each as --name=value, or a name and a value one after the other."""
    more = []
    for argument in joined([str(each) for each in t.get(old) or []]):
        name, _equals, text = argument.removeprefix("--").partition("=")
        if not _argument(t, name, text):
            more.append(argument)
            t.say(f"--{name} became one of server.arguments{_REMARKS.get(name, '')}.")
    if more:
        t.put("server.arguments", more)
    _control_mode(t)


def joined(words: list[str]) -> list[str]:
    """A value that follows its name joins it."""
    found: list[str] = []
    for word in words:
        if word.startswith("--") or not found or "=" in found[-1]:
            found.append(word)
        else:
            found[-1] += f"={word}"
    return found


def _argument(t: Translation, name: str, text: str) -> bool:
    """One argument; false where no value of the chart stands for it."""
    kind = None if name in REPEATABLE or name in _REMARKS else KNOWN.get(name)
    if name in ("model-repository", "model-store"):
        _repository_argument(t, text)
    elif name in ("http-restricted-api", "grpc-restricted-protocol"):
        _restricted_argument(t, name, text)
    elif name == "load-model":
        t.new.setdefault("server", {}).setdefault("options", {}).setdefault(name, []).append(text)
        t.say(f"--load-model={text} became one of server.options.load-model.")
    elif name in _DECIDED and text.isdigit():
        t.put(_DECIDED[name], int(text))
        t.say(f"--{name} became {_DECIDED[name]}.")
    elif kind is None or name in _DECIDED:
        return False
    else:
        plain = text.lower() != "false" if kind in (BOOLEAN, FLAG) else int(text) if text.isdigit() else text
        t.put(f"server.options.{name}", plain)
        t.say(f"--{name} became server.options.{name}.")
    return True


def _restricted_argument(t: Translation, name: str, text: str) -> None:
    """apis:header=key; the chart gives HTTP and gRPC the same, and keeps the key off the command line."""
    apis, _colon, pair = text.partition(":")
    header, _equals, key = pair.partition("=")
    t.put("restrictedApis", {"enabled": True, "apis": apis.split(","), "header": header, "key": key})
    t.say(f"--{name} became restrictedApis, for HTTP and gRPC alike. The key lies in a Secret now.")


def _control_mode(t: Translation) -> None:
    """Keeps what tritonserver does by itself, where this chart would do something else."""
    options = t.new.setdefault("server", {}).setdefault("options", {})
    if "model-control-mode" not in options:
        options["model-control-mode"] = "none"
        t.say("tritonserver's own default of model-control-mode, none, is kept. With explicit, models are changed without a restart.")
    elif options["model-control-mode"] == "explicit" and "load-model" not in options:
        options["load-model"] = []
        t.say("That server loads nothing by itself, so server.options.load-model is empty. Leave it out to load all at the start.")


def _repository_argument(t: Translation, where: str) -> None:
    new = t.new.setdefault("modelRepository", {})
    if "volume" in new:
        new["mountPath"] = where
        t.say(f"--model-repository became modelRepository.mountPath, {where}.")
    elif "url" in new or where.startswith("/"):
        new.setdefault("extra", []).append(where)
        t.say(f"--model-repository={where} became one of modelRepository.extra. Where it is a path, mount something there by extraVolumes.")
    else:
        new["url"] = where
        t.say("--model-repository became modelRepository.url.")


def gpus(t: Translation) -> None:
    """image.numGpus, and image.numCpus of deploy/aws' kin."""
    t.move("image.numGpus", "gpu.count", int)
    cpus = t.get("image.numCpus")
    if cpus is not None:
        t.put("resources", {"requests": {"cpu": str(cpus)}, "limits": {"cpu": str(cpus)}})
        t.say("image.numCpus became resources.requests.cpu and resources.limits.cpu.")


def resources(t: Translation) -> None:
    """resources as Kubernetes has them; the GPUs become gpu.count."""
    given = t.get("resources")
    if not given:
        return
    limits = dict(given.get("limits") or {})
    requests = {name: value for name, value in (given.get("requests") or {}).items() if name != _GPU}
    count = limits.pop(_GPU, None)
    t.put("resources", {"requests": requests, "limits": limits})
    t.put("gpu.count", int(count or 0))
    t.say(f"resources is the same here, but for {_GPU}, which became gpu.count.")


def probes(t: Translation) -> None:
    """deployment.livenessProbe and deployment.readinessProbe."""
    for old, new in (("livenessProbe", "liveness"), ("readinessProbe", "readiness")):
        for name in _PROBE:
            t.move(f"deployment.{old}.{name}", f"probes.{new}.{name}", int)
    if t.get("deployment"):
        t.say("probes.startup waits for the models now, so initialDelaySeconds and high failureThresholds can go.")


# --- the Services and scaling


def service(t: Translation, default: str) -> None:
    """service.type, which those charts have a default of their own for."""
    kind = t.get("service.type", default)
    t.put("service.type", kind)
    t.say("service.type is the same here.")
    if kind == "LoadBalancer":
        t.say("The load balancer no longer shows the metrics to everyone: service.exposeMetrics brings them back.")


def node_ports(t: Translation, names: Mapping[str, str], first: int) -> None:
    """Fixed ports of the nodes. names: port → its old name below service; first: the first of that chart's own, one after another."""
    fixed = t.get("service.type", "NodePort") == "NodePort"
    for place, (port, old) in enumerate(names.items()):
        if fixed:
            t.fill(f"service.{old}", f"service.nodePorts.{port}", first + place)
        else:
            t.drop(f"service.{old}", "the Service has no ports of the nodes")


def replicas(t: Translation, least: int, most: int) -> None:
    """minReplicaCount and maxReplicaCount. least, most: that chart's own."""
    t.put("autoscaling.type", "hpa")
    t.fill("minReplicaCount", "autoscaling.minReplicas", least)
    t.fill("maxReplicaCount", "autoscaling.maxReplicas", most)


def istio(t: Translation) -> None:
    """Those charts always make a Gateway and a VirtualService."""
    t.put("istio.enabled", True)
    t.say("istio.enabled is on: that chart makes a Gateway and a VirtualService without being asked.")


def disruption_budget(t: Translation) -> None:
    """podDisruptionBudget; where both numbers are given, Kubernetes takes minAvailable alone."""
    t.move("podDisruptionBudget.enabled", "podDisruptionBudget.enabled", bool)
    least = t.move("podDisruptionBudget.minAvailable", "podDisruptionBudget.minAvailable")
    if least is None:
        t.move("podDisruptionBudget.maxUnavailable", "podDisruptionBudget.maxUnavailable")
    else:
        t.drop("podDisruptionBudget.maxUnavailable", "minAvailable is given, and the two exclude each other")
