# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How a release is reached from outside of its cluster: the endpoint for each way in. Pure.

pod: the replicas' own addresses, where the network of pods is routed.
proxy: HTTP to each replica through the API server, which passes no gRPC.
service, nodeport, loadbalancer: one address for all replicas, so models cannot be loaded on each and replicas are not told apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..core.errors import InputError

AUTO, POD, PROXY, SERVICE, NODEPORT, LOADBALANCER = "auto", "pod", "proxy", "service", "nodeport", "loadbalancer"
WAYS = (AUTO, POD, PROXY, SERVICE, NODEPORT, LOADBALANCER)
EACH = (POD, PROXY)


@dataclass(frozen=True)
class Known:
    """namespace, replicas, services, nodes: as `inspect` tells them. server, headers: of the API server; headers hold its credentials.

    key_headers: of the restricted APIs. grpc: the scheme, grpc or grpcs.
    """

    namespace: str
    replicas: Sequence[Mapping[str, Any]]
    services: Sequence[Mapping[str, Any]]
    nodes: Sequence[str]
    server: str
    headers: Mapping[str, str] = field(default_factory=dict)
    key_headers: Mapping[str, str] = field(default_factory=dict)
    grpc: str = "grpc"


def choose(way: str, pods_answer: bool) -> str:
    """What auto comes to: pods where they answer, else the API server, which every caller reaches."""
    return way if way != AUTO else POD if pods_answer else PROXY


def endpoint(way: str, known: Known) -> dict[str, Any]:
    """`triton_endpoint`; empty while no replica is ready. Raises InputError for a way that the release does not offer."""
    ready = [each for each in known.replicas if each["ready"]]
    if not ready:
        return {}
    if way == PROXY:
        return _through_proxy(known, ready)
    if way == POD:
        replicas = [{"name": each["name"], **_urls(each["address"], each["ports"], known.grpc)} for each in ready]
        return {**_without_name(replicas[0]), "headers": dict(known.key_headers), "replicas": replicas}
    return {**_of_service(way, known), "headers": dict(known.key_headers)}


def _without_name(replica: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in replica.items() if key != "name"}


def _through_proxy(known: Known, ready: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    base = f"{known.server}/api/v1/namespaces/{known.namespace}/pods"
    replicas = [{"name": each["name"], "http": f"{base}/http:{each['name']}:{each['ports']['http']}/proxy"} for each in ready]
    return {"http": replicas[0]["http"], "headers": {**known.headers, **known.key_headers}, "replicas": replicas}


def _urls(address: str, ports: Mapping[str, int], grpc: str) -> dict[str, str]:
    host = f"[{address}]" if ":" in address else address
    found = {"http": f"http://{host}:{ports['http']}", "grpc": f"{grpc}://{host}:{ports['grpc']}"}
    return {**found, "metrics": f"http://{host}:{ports['metrics']}/metrics"} if "metrics" in ports else found


def _of_service(way: str, known: Known) -> dict[str, str]:
    service = next(iter(known.services), None)
    address, ports = "", {}
    if service and way == SERVICE:
        address, ports = service["address"], service["ports"]
    elif service and way == LOADBALANCER:
        address, ports = service["balancer"], service["ports"]
    elif service and way == NODEPORT:
        address, ports = next(iter(known.nodes), ""), service["node_ports"]
    if not address or not {"http", "grpc"} <= ports.keys():
        kind = service["type"] if service else "none"
        raise InputError(f"the release has no {way} to be reached by (its Service is of type {kind})", where="access", remedy=_REMEDY)
    # Behind one address nobody knows which replica's metrics these are.
    return _urls(address, {name: port for name, port in ports.items() if name != "metrics"}, known.grpc)


_REMEDY = "Set service.type in the values, wait until the load balancer has an address, or choose another way in."
