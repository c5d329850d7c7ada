# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What pods do: by configuration of the test, or as real processes.

A pod's images decide (`Behaviour`, by a pattern), or an annotation of the pod: `stand-in/state: crash`, `stand-in/log: …`.
"""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from ..api import Deletion, Value, timestamp
from ..defaults import containers_of
from ..store import Change
from .manager import AT_ONCE, NODES, PODS, Item, Manager, condition, is_going
from .scheduler import Scheduler

ANNOTATION = "stand-in/"
STATES = ("ready", "unready", "starting", "pull-error", "crash", "exit", "unschedulable")


class Process(Protocol):
    """A container that really runs."""

    def ready(self) -> bool: ...

    def exit_code(self) -> int | None: ...

    def stop(self, grace: float) -> None: ...

    def log(self) -> str: ...


@dataclass(frozen=True)
class Behaviour:
    """What the containers of an image do.

    state: ready; unready (runs, its readiness probe fails); starting (runs, its startup probe has not succeeded yet); pull-error
    (ImagePullBackOff); crash (CrashLoopBackOff); exit (ends with exit_code, as the containers of jobs and init containers do anyway);
    unschedulable (Pending, with an event). seconds: until it is ready. log: what it prints. message: what the event or the probe says.
    reason: of the end (Error, OOMKilled, Completed). restarts: how often it was started again. stop_seconds: how long it takes to end.
    on_ready: called once for each pod that becomes ready, with the store's lock held. execute: what exec does, from the pod, the container
    and the command to (exit status, stdout, stderr). start: starts a real process, from the pod, the container and the pod's address.
    initial: whether init containers are started so as well. policy: when to restart, set by the kubelet.
    """

    state: str = "ready"
    seconds: float = 0.0
    log: str = ""
    message: str = ""
    exit_code: int = 0
    reason: str = ""
    restarts: int = 0
    stop_seconds: float = 0.0
    on_ready: Callable[[Value], None] | None = None
    execute: Callable[[Value, Value, list[str]], tuple[int, str, str]] | None = None
    start: Callable[[Value, Value, str], Process] | None = None
    initial: bool = False
    policy: str = ""

    def __post_init__(self) -> None:
        if self.state not in STATES:
            raise ValueError(f"{self.state!r} is none of {', '.join(STATES)}")


@dataclass
class Running:
    """A container of a pod on its node."""

    started: float = field(default_factory=time.monotonic)
    since: str = field(default_factory=timestamp)
    process: Process | None = None
    restarts: int = 0
    last_log: str = ""


class Kubelet:
    """One for all nodes. images: pattern → behaviour, the last that matches counts."""

    def __init__(self, manager: Manager, real_address: Callable[[], str]) -> None:
        self.images: dict[str, Behaviour] = {}
        self.hide = False
        self._real_address = real_address
        self._places: dict[str, str] = {}
        self._manager = manager
        self._scheduler = Scheduler(manager)
        self._running: dict[tuple[str, str], Running] = {}
        self._ending: dict[str, float] = {}
        self._stoppers: dict[str, Stopper] = {}
        self._told_ready: set[str] = set()
        self._addresses: dict[str, str] = {}
        self._count = 0
        manager.handle(PODS, self.pod)
        manager.handle(NODES, self.node)
        manager.followers.append(self._changed)

    # --- configuration

    def behaviour(self, pod: Value, container: Value) -> Behaviour:
        found = Behaviour()
        for pattern, each in self.images.items():
            if re.search(pattern, container.get("image", "")):
                found = each
        told = {
            name.removeprefix(ANNOTATION): value
            for name, value in (pod["metadata"].get("annotations") or {}).items()
            if name.startswith(ANNOTATION)
        }
        kinds: dict[str, Callable[[str], Any]] = {"seconds": float, "exit_code": int, "restarts": int, "stop_seconds": float}
        return replace(found, **{name: kinds.get(name, str)(value) for name, value in told.items()}) if told else found

    def wake(self) -> None:
        """Looks at every pod again."""
        for pod in self._manager.api.store.all(PODS):
            self._manager.enqueue(Item(PODS, pod["metadata"]["namespace"], pod["metadata"]["name"]))

    def address(self, pod: Value) -> str:
        """10.244.0.0/16 for simulated pods. For those that run one of loopback: where they listen, or, with `hide`, where nothing does."""
        uid = pod["metadata"]["uid"]
        if uid not in self._addresses:
            self._count += 1
            number = f"{self._count // 250}.{self._count % 250 + 2}"
            shown = f"10.244.{number}"
            if any(behaviour.start for behaviour in self._behaviours(pod)):
                place = "127.0.0.1" if pod["spec"].get("hostNetwork") else self._real_address()
                shown = f"127.254.{number}" if self.hide else place
                self._places[shown] = place
            self._addresses[uid] = shown
        return self._addresses[uid]

    def place(self, address: str) -> str:
        """Where the process of a pod's address listens. Raises OSError: simulated pods have no ports."""
        if address not in self._places:
            raise ConnectionRefusedError(f"failed to connect to {address or 'a pod without address'}: connection refused")
        return self._places[address]

    def connect(self, pod: Value, port: int) -> socket.socket:
        """A connection to a port of a pod. Raises OSError."""
        return socket.create_connection((self.place((pod.get("status") or {}).get("podIP", "")), port), 5)

    def log(self, pod: Value, container: Value, *, previous: bool = False) -> str:
        running = self._running.get((pod["metadata"]["uid"], container["name"]))
        if running and running.process and not previous:
            return running.process.log()
        if running and previous and running.last_log:
            return running.last_log
        return self.behaviour(pod, container).log

    def execute(self, pod: Value, container: Value, command: list[str]) -> tuple[int, str, str]:
        """What exec answers: exit status, stdout, stderr."""
        run = self.behaviour(pod, container).execute
        if run:
            return run(pod, container, command)
        return 126, "", f"the stand-in runs no command in {container.get('image')}: give its Behaviour `execute`\n"

    def close(self) -> None:
        """Ends all processes."""
        for (uid, _name), each in list(self._running.items()):
            if each.process and uid not in self._stoppers:
                each.process.stop(0)
        for stopper in self._stoppers.values():
            stopper.join()

    def node(self, item: Item, node: Value | None) -> None:
        """The pods of a node that is gone go too."""
        for pod in self._manager.api.store.all(PODS) if node is None else ():
            if pod["spec"].get("nodeName") == item.name:
                self._manager.delete(PODS, pod, AT_ONCE)

    # --- one pod

    def pod(self, item: Item, pod: Value | None) -> None:
        if pod is None or (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
            if pod is not None and is_going(pod):
                self._manager.delete(PODS, pod, AT_ONCE)
            return
        if is_going(pod):
            self._end(item, pod)
            return
        refused = next((each for each in self._behaviours(pod) if each.state == "unschedulable"), None)
        if refused and not pod["spec"].get("nodeName"):
            self._scheduler.refuse(pod, refused.message or "0/1 nodes are available: 1 Insufficient nvidia.com/gpu.")
            return
        placed = self._scheduler.place(item, pod)
        if placed is not None:
            self._run(item, placed)

    def _behaviours(self, pod: Value) -> Iterator[Behaviour]:
        return (self.behaviour(pod, each) for each in pod["spec"]["containers"])

    def _end(self, item: Item, pod: Value) -> None:
        """Stops what runs, and then takes the pod away."""
        uid, grace = pod["metadata"]["uid"], pod["metadata"].get("deletionGracePeriodSeconds") or 0
        slow = max((each.stop_seconds for each in self._behaviours(pod)), default=0.0)
        if uid not in self._ending:
            self._ending[uid] = time.monotonic()
            self._manager.event(pod, "Killing", "Stopping container", component="kubelet")
            processes = self._processes(uid)
            if processes:
                self._stoppers[uid] = Stopper(self._manager, pod, processes, float(grace))
                self._stoppers[uid].start()
        if time.monotonic() - self._ending[uid] < min(slow, grace):
            self._manager.enqueue(item, 0.05)
        elif uid not in self._stoppers:
            self._gone(pod)

    def _processes(self, uid: str) -> list[Process]:
        return [each.process for (owner, _name), each in self._running.items() if owner == uid and each.process]

    def _changed(self, change: Change) -> Iterator[Item]:
        """Ends what a deleted pod left running, and looks at pods that wait for a node when room may have come."""
        uid = change.value["metadata"]["uid"]
        if change.key == PODS and change.type == "DELETED":
            left = self._processes(uid)
            if left and uid not in self._stoppers:
                Stopper(self._manager, change.value, left, 0.0).start()
            for key in [key for key in self._running if key[0] == uid]:
                del self._running[key]
        if change.key == NODES or (change.key == PODS and change.type == "DELETED"):
            for pod in self._manager.api.store.all(PODS):
                if not pod["spec"].get("nodeName"):
                    yield Item(PODS, pod["metadata"]["namespace"], pod["metadata"]["name"])

    def _gone(self, pod: Value) -> None:
        if not pod["metadata"].get("finalizers"):
            self._manager.api.store.delete(self._manager.resource(PODS), pod)

    def _run(self, item: Item, pod: Value) -> None:
        problem = missing_references(self._manager, pod)
        initial: list[tuple[Value, dict[str, Any]]] = []
        for each in pod["spec"].get("initContainers") or []:
            its_turn = not problem and all(state["done"] for _before, state in initial)
            initial.append((each, self._state(pod, each, initial=True) if its_turn else _waiting("PodInitializing")))
        initialized = not problem and all(state["done"] for _each, state in initial)
        mains = [(each, self._state(pod, each) if initialized else _waiting("PodInitializing")) for each in pod["spec"]["containers"]]
        if problem:
            mains = [(each, _waiting(problem[0], problem[1])) for each, _state in mains]
            self._manager.event(pod, problem[2], problem[1], kind="Warning", component="kubelet")
        phase = _phase(pod, [state for _each, state in initial], [state for _each, state in mains])
        ready = initialized and all(state["ready"] for _each, state in mains) and phase == "Running"
        reason = {} if ready else {"reason": "PodCompleted" if phase == "Succeeded" else "ContainersNotReady"}
        waiting = [each["name"] for each, state in mains if not state["ready"]]
        message = f"containers with unready status: [{' '.join(waiting)}]" if not ready else ""
        conditions = [
            condition("PodReadyToStartContainers", True, ""),
            condition("Initialized", initialized, "" if initialized else "ContainersNotInitialized"),
            condition("Ready", ready, reason.get("reason", ""), message),
            condition("ContainersReady", ready, reason.get("reason", ""), message),
            condition("PodScheduled", True, ""),
        ]
        address = self.address(pod)
        status = {
            "phase": phase, "conditions": conditions, "hostIP": "127.0.0.1", "hostIPs": [{"ip": "127.0.0.1"}],
            "podIP": address, "podIPs": [{"ip": address}], "qosClass": pod["status"]["qosClass"],
            "startTime": (pod.get("status") or {}).get("startTime") or timestamp(),
            "initContainerStatuses": [_container_status(each, state) for each, state in initial],
            "containerStatuses": [_container_status(each, state) for each, state in mains],
        }  # fmt: skip
        self._manager.set_status(PODS, pod, status)
        self._after(item, pod, [*initial, *mains], ready=ready)

    def _after(self, item: Item, pod: Value, states: list[tuple[Value, dict[str, Any]]], *, ready: bool) -> None:
        """Events, the call for ready pods, and when to look again."""
        for container, state in states:
            for reason, message, kind in state.get("events", ()):
                self._manager.event(pod, reason, message, kind=kind, component="kubelet")
            if state.get("again") is not None:
                self._manager.enqueue(item, state["again"])
            elif not state["ready"] and state.get("waits_for_reference"):
                self._manager.enqueue(item, 0.3)
            on_ready = self.behaviour(pod, container).on_ready
            mark = f"{pod['metadata']['uid']}/{container['name']}"
            if ready and on_ready and mark not in self._told_ready:
                self._told_ready.add(mark)
                on_ready(pod)

    # --- one container

    def _state(self, pod: Value, container: Value, *, initial: bool = False) -> dict[str, Any]:
        """What a container is at now. done: an init container that lets the next ones start."""
        behaviour = self.behaviour(pod, container)
        running = self._running.setdefault((pod["metadata"]["uid"], container["name"]), Running())
        ends = (initial and container.get("restartPolicy") != "Always") or pod["spec"]["restartPolicy"] != "Always"
        if behaviour.start and (behaviour.initial or not initial):
            policy = "OnFailure" if initial and ends and pod["spec"]["restartPolicy"] == "Always" else pod["spec"]["restartPolicy"]
            return self._real(pod, container, running, replace(behaviour, policy=policy))
        wait = behaviour.seconds - (time.monotonic() - running.started)
        if behaviour.state == "crash" and not initial and pod["spec"]["restartPolicy"] == "Never":
            return _ended(running, replace(behaviour, exit_code=behaviour.exit_code or 1))
        if behaviour.state in _BROKEN:
            return _BROKEN[behaviour.state](pod, container, behaviour, running)
        if wait > 0:
            return {**_started(running, behaviour), "ready": False, "again": wait}
        if behaviour.state == "exit" or (behaviour.state == "ready" and ends):
            return _ended(running, behaviour)
        return (
            _unready(running, behaviour) if behaviour.state in ("unready", "starting") else {**_started(running, behaviour), "done": True}
        )

    def _real(self, pod: Value, container: Value, running: Running, behaviour: Behaviour) -> dict[str, Any]:
        assert behaviour.start is not None
        if running.process is None:
            # An init container may run in a pod whose other containers are simulated.
            address = self.address(pod)
            running.process = behaviour.start(pod, container, self._places.get(address, address))
            running.since = timestamp()
        code = running.process.exit_code()
        if code is not None:
            running.last_log = running.process.log()
            ended = replace(behaviour, exit_code=code, restarts=running.restarts)
            if behaviour.policy == "Never" or (behaviour.policy == "OnFailure" and not code):
                return _ended(running, ended)
            if running.restarts >= 1:
                return {**_crash(pod, container, ended, running), "again": None}
            running.restarts += 1
            running.process = None
            return {**_waiting("ContainerCreating"), "again": 0.1}
        ready = running.process.ready()
        return {**_started(running, replace(behaviour, restarts=running.restarts)), "ready": ready, "again": 0.2}


class Stopper:
    """Stops the processes of a pod beside the controllers' thread, so that a slow end holds nobody up."""

    def __init__(self, manager: Manager, pod: Value, processes: list[Process], grace: float) -> None:
        self._manager, self._pod, self._processes, self._grace = manager, pod, processes, grace
        self._thread = threading.Thread(target=self._stop, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def join(self) -> None:
        self._thread.join(60)

    def _stop(self) -> None:
        for each in self._processes:
            each.stop(self._grace)
        metadata = self._pod["metadata"]
        with self._manager.api.store.lock:
            pod = self._manager.api.find(PODS, metadata["namespace"], metadata["name"])
            if pod and pod["metadata"]["uid"] == metadata["uid"]:
                self._manager.delete(PODS, pod, Deletion(grace=0))


# --- states of containers


def _waiting(reason: str, message: str = "") -> dict[str, Any]:
    told = {"reason": reason, **({"message": message} if message else {})}
    return {"state": {"waiting": told}, "ready": False, "done": False, "waits_for_reference": True}


def _started(running: Running, behaviour: Behaviour) -> dict[str, Any]:
    return {
        "state": {"running": {"startedAt": running.since}},
        "ready": True,
        "done": False,
        "restarts": behaviour.restarts,
        "started": True,
    }


def _terminated(running: Running, behaviour: Behaviour) -> dict[str, Any]:
    reason = behaviour.reason or ("Error" if behaviour.exit_code else "Completed")
    told = {"exitCode": behaviour.exit_code, "reason": reason, "startedAt": running.since, "finishedAt": running.since}
    return {"terminated": {**told, **({"message": behaviour.message} if behaviour.message else {})}}


def _ended(running: Running, behaviour: Behaviour) -> dict[str, Any]:
    return {"state": _terminated(running, behaviour), "ready": False, "done": not behaviour.exit_code, "restarts": behaviour.restarts}


def _unready(running: Running, behaviour: Behaviour) -> dict[str, Any]:
    probe = "Startup" if behaviour.state == "starting" else "Readiness"
    told = f"{probe} probe failed: {behaviour.message or 'HTTP probe failed with statuscode: 503'}"
    started = {**_started(running, behaviour), "ready": False, "started": behaviour.state != "starting"}
    return {**started, "events": [("Unhealthy", told, "Warning")]}


def _pull_error(_pod: Value, container: Value, behaviour: Behaviour, _running: Running) -> dict[str, Any]:
    image = container.get("image", "")
    told = behaviour.message or f'failed to pull and unpack image "{image}": not found'
    events = [("Pulling", f'Pulling image "{image}"', "Normal"), ("Failed", f'Failed to pull image "{image}": {told}', "Warning")]
    events.append(("BackOff", f'Back-off pulling image "{image}"', "Normal"))
    return {**_waiting("ImagePullBackOff", f'Back-off pulling image "{image}": ErrImagePull: {told}'), "events": events}


def _crash(pod: Value, container: Value, behaviour: Behaviour, running: Running) -> dict[str, Any]:
    name = f"{pod['metadata']['name']}_{pod['metadata']['namespace']}({pod['metadata']['uid']})"
    told = f"back-off 10s restarting failed container={container['name']} pod={name}"
    last = _terminated(running, replace(behaviour, exit_code=behaviour.exit_code or 1))
    events = [("BackOff", f"Back-off restarting failed container {container['name']} in pod {name}", "Warning")]
    return {**_waiting("CrashLoopBackOff", told), "last": last, "restarts": behaviour.restarts or 1, "events": events}


_BROKEN = {"pull-error": _pull_error, "crash": _crash}


def _container_status(container: Value, state: Mapping[str, Any]) -> dict[str, Any]:
    image = container.get("image", "")
    told = {"name": container["name"], "image": image, "imageID": f"stand-in://{image}" if "waiting" not in state["state"] else ""}
    counts = {"restartCount": state.get("restarts", 0), "started": state.get("started", state["ready"])}
    ready = state["ready"] or ("terminated" in state["state"] and state["done"])
    return {**told, **counts, "ready": ready, "state": state["state"], "lastState": state.get("last", {})}


def _phase(pod: Value, initial: list[dict[str, Any]], mains: list[dict[str, Any]]) -> str:
    ended = [state["state"].get("terminated") for state in mains]
    if mains and all(ended):
        return "Succeeded" if all(each["exitCode"] == 0 for each in ended if each) else "Failed"
    if pod["spec"]["restartPolicy"] == "Never" and any(state["state"].get("terminated", {}).get("exitCode") for state in initial):
        return "Failed"
    was_started = any("waiting" not in state["state"] or state.get("last") for state in mains)
    return "Running" if was_started else "Pending"


def missing_references(manager: Manager, pod: Value) -> tuple[str, str, str] | None:
    """The first Secret or ConfigMap that is not there: the waiting reason, the message, and the event's reason."""
    namespace = pod["metadata"]["namespace"]
    for plural, name, use in _references(pod["spec"]):
        if manager.api.find(("", plural), namespace, name):
            continue
        told = f'{plural[:-1]} "{name}" not found'
        if use == "env":
            return "CreateContainerConfigError", told, "Failed"
        return "ContainerCreating", f'MountVolume.SetUp failed for volume "{use}" : {told}', "FailedMount"
    return None


def _references(spec: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    for volume in spec.get("volumes") or []:
        sources = [volume, *((volume.get("projected") or {}).get("sources") or [])]
        for source in sources:
            yield from _reference(source.get("secret"), "secrets", volume["name"])
            yield from _reference(source.get("configMap"), "configmaps", volume["name"])
    for container in containers_of(spec):
        sources = [each.get("valueFrom") or {} for each in container.get("env") or []] + list(container.get("envFrom") or [])
        for source in sources:
            yield from _reference(source.get("secretKeyRef") or source.get("secretRef"), "secrets", "env")
            yield from _reference(source.get("configMapKeyRef") or source.get("configMapRef"), "configmaps", "env")


def _reference(source: Any, plural: str, use: str) -> Iterator[tuple[str, str, str]]:
    name = (source or {}).get("secretName") or (source or {}).get("name")
    if name and not source.get("optional"):
        yield plural, name, use
