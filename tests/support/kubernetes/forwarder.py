# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Service addresses that really answer: connections are handed to ready pods in turn, as kube-proxy does."""

from __future__ import annotations

import itertools
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from .api import Value
from .controllers.cluster_wide import SERVICES, SLICES
from .controllers.manager import Item, Manager
from .store import Change


class Forwarder:
    """Listens for every port of every service: on its cluster address, and for NodePorts and load balancers on 127.0.0.1."""

    def __init__(self, manager: Manager, place: Callable[[str], str]) -> None:
        """place: where the process of a pod's address listens, raises OSError."""
        self._manager, self._place = manager, place
        self._listeners: dict[tuple[str, int], Listener] = {}
        manager.handle(SERVICES, self.service)
        manager.followers.append(self._of_slices)

    def _of_slices(self, change: Change) -> Iterator[Item]:
        if change.key == SLICES:
            labels = change.value["metadata"].get("labels") or {}
            yield Item(SERVICES, change.value["metadata"]["namespace"], labels.get("kubernetes.io/service-name", ""))

    def service(self, item: Item, value: Value | None) -> None:
        wanted = dict(self._places(value)) if value else {}
        owner = f"{item.namespace}/{item.name}"
        for place, listener in list(self._listeners.items()):
            if listener.owner == owner and place not in wanted:
                self._listeners.pop(place).close()
        for place, backends in wanted.items():
            if place not in self._listeners:
                self._listeners[place] = Listener(owner, place)
            self._listeners[place].backends = backends

    def _places(self, service: Value) -> Iterator[tuple[tuple[str, int], list[tuple[str, int]]]]:
        slice_ = self._manager.api.find(SLICES, service["metadata"]["namespace"], f"{service['metadata']['name']}-slice") or {}
        addresses = [each["addresses"][0] for each in slice_.get("endpoints") or [] if each["conditions"]["ready"]]
        numbers = {each.get("name", ""): each["port"] for each in slice_.get("ports") or []}
        for port in service["spec"].get("ports") or []:
            number = numbers.get(port.get("name", ""))
            backends = [(self._place(address), number) for address in addresses if number and address.startswith("127.")]
            if service["spec"].get("clusterIP", "").startswith("127."):
                yield (service["spec"]["clusterIP"], port["port"]), backends
            if port.get("nodePort"):
                yield ("127.0.0.1", port["nodePort"]), backends

    def close(self) -> None:
        for each in self._listeners.values():
            each.close()


class Listener:
    """One address and port. backends: where connections go, in turn; none: they are refused."""

    def __init__(self, owner: str, place: tuple[str, int]) -> None:
        self.owner = owner
        self.backends: list[tuple[str, int]] = []
        self._turn = itertools.count()
        self._socket = socket.create_server(place, backlog=128)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client = self._socket.accept()[0]
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        backends = list(self.backends)
        with client, suppress(OSError):
            if not backends:
                return
            with socket.create_connection(backends[next(self._turn) % len(backends)], 5) as backend:
                for each in (client, backend):
                    each.settimeout(None)
                    each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                back = threading.Thread(target=pump, args=(backend, client), daemon=True)
                back.start()
                pump(client, backend)
                back.join(60)

    def close(self) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


def pump(source: Any, target: Any) -> None:
    """Bytes one way until there are no more."""
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)
