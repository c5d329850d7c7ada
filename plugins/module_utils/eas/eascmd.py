# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""EAS by its command line client, eascmd. It has no JSON output, and its exit codes and words for errors are not documented."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from ..core.errors import ConflictError, InputError, ServingError, TransientError, UnavailableError
from ..core.wait import Clock, RetryPolicy, retry
from . import tables
from .attempts import once
from .commands import Done
from .eascmd_client import EasCmdClient, private_file
from .errors import AbsentError, Failure, explained, read_text
from .spec import Config, observed
from .state import Service

# A question that got its answer from us may stand before it, without an end of its line.
_ACCEPTED = re.compile(r"\s*(?:.*\[Y/n\]\s*)?\[OK\]")


class EasCmd:
    """The backend. policy, clock: of its retries. The client's own waiting is ended as soon as EAS accepted a change."""

    name = "eascmd"
    abilities: frozenset[str] = frozenset()

    def __init__(self, client: EasCmdClient, region: str, policy: RetryPolicy, clock: Clock) -> None:
        self.region = region
        self._client, self._policy, self._clock = client, policy, clock

    # --- reading

    def find(self, name: str) -> Service | None:
        try:
            return _service(self._pairs("desc", name), name)
        except TransientError:
            raise
        except ServingError:
            # Absent is what `ls` does not list: the words of errors are not documented.
            if name in self.names():
                raise
            return None

    def names(self) -> list[str]:
        return [row["SERVICENAME"] for row in self._records("ls") if row.get("SERVICENAME")]

    def autoscaler(self, service: Service) -> Mapping[str, Any] | None:
        found = service.config.get("autoscaler")
        return found if isinstance(found, Mapping) and found else None

    def instances(self, name: str) -> list[dict[str, Any]]:
        return [_instance(row) for row in self._records("w", name)]

    def versions(self, service: Service) -> list[dict[str, Any]]:
        numbers = range(service.latest, 0, -1)
        return [{"version": number, "created": "", "message": "", "current": number == service.current} for number in numbers]

    def events(self, name: str) -> list[str]:  # noqa: ARG002 - the protocol's
        """Not told by the client."""
        return []

    def diagnosis(self, name: str) -> list[str]:
        """What the instances that are not ready say."""
        waiting = [each for each in self.instances(name) if not each["ready"]]
        return [f"instance {each['name']} is {each['status']}: {each['reason'] or 'no reason is told'}" for each in waiting]

    def logs(self, name: str, lines: int) -> list[str]:  # noqa: ARG002 - the protocol's
        """Not told by the client."""
        return []

    # --- changes

    def create(self, config: Config) -> None:
        with private_file(json.dumps(config)) as path:
            self._once((ConflictError,), config["metadata"]["name"], "create", path)

    def update(self, name: str, config: Config, *, replace: bool) -> None:
        if replace:
            raise InputError("eascmd merges only", where="update: replace", remedy="Use backend: openapi.")
        with private_file(json.dumps(config)) as path:
            self._change(name, "modify", name, "-s", path)

    def scale(self, name: str, instances: int) -> None:
        self._change(name, "modify", name, f"-Dmetadata.instance={instances}")

    def autoscale(self, service: Service, rule: Config | None) -> None:
        self.update(service.name, {"autoscaler": rule}, replace=rule is None)

    def label(self, service: Service, labels: Mapping[str, str], gone: list[str]) -> None:
        self.update(service.name, {"labels": {**service.labels, **labels}}, replace=bool(gone))

    def switch(self, name: str, version: int) -> None:
        # The version in use is not one to switch to.
        self._once((ConflictError, InputError), name, "version", name, str(version))

    def start(self, name: str) -> None:
        self._once((ConflictError,), name, "start", name)

    def stop(self, name: str) -> None:
        self._once((ConflictError,), name, "stop", name)

    def restart(self, name: str) -> None:
        found = ",".join(each["name"] for each in self.instances(name))
        if found:
            self._once((ConflictError,), name, "dw", name, found)

    def delete(self, name: str) -> None:
        self._once((AbsentError, ConflictError), name, "delete", name)

    def release(self, name: str, weight: int | None, traffic_state: str | None) -> None:  # noqa: ARG002 - the protocol's
        raise InputError("eascmd cannot release", where=name, remedy="Use backend: openapi.")

    def lock(self, name: str, lock: str) -> None:  # noqa: ARG002 - the protocol's
        raise InputError("eascmd knows no safety lock", where=name, remedy="Use backend: openapi.")

    # --- commands

    def _change(self, where: str, *arguments: str) -> None:
        retry(lambda: self._try(where, *arguments), self._policy, self._clock)

    def _once(self, done: tuple[type[ServingError], ...], where: str, *arguments: str) -> None:
        """For what fails as `done` says where it was carried out already, and its answer lost."""
        once(lambda: self._try(where, *arguments), done, self._policy, self._clock)

    def _try(self, where: str, *arguments: str) -> None:
        """An [OK] line is the client's word that EAS accepted the change; what follows is its waiting, which is ours."""
        done = self._client.run(arguments, stdin="Y\n", enough=_accepts)
        if any(map(_accepts, done.output.splitlines())):
            return
        if done.code != 0 or _tells_error(done.output):
            raise _failure(done, where, f"eascmd {arguments[0]}")

    def _records(self, *arguments: str) -> list[dict[str, str]]:
        found = self._read(tables.records, *arguments)
        return [] if found is None else list(found)

    def _pairs(self, *arguments: str) -> dict[str, str]:
        return dict(self._read(tables.pairs, *arguments) or {})

    def _read(self, parse: Any, *arguments: str) -> Any:
        def attempt() -> Any:
            done = self._client.run(arguments)
            found = parse(done.output)
            if done.late or (found is None and not _tells_nothing(done)):
                raise _failure(done, arguments[-1], f"eascmd {arguments[0]}")
            return found

        return retry(attempt, self._policy, self._clock)


def _accepts(line: str) -> bool:
    return any(map(_ACCEPTED.match, tables.plain(line)))


def _tells_error(output: str) -> bool:
    return "[ERROR]" in output or "[FAIL" in output or bool(read_text(output).code)


def _tells_nothing(done: Done) -> bool:
    """An answer without a table that is no failure: there is nothing to list."""
    said = [line for line in tables.plain(done.output) if line.strip() and not line.startswith("[RequestId]")]
    return done.code == 0 and (not said or any("no service" in line.lower() for line in said))


def _failure(done: Done, where: str, command: str) -> ServingError:
    if done.late:
        return TransientError(f"{command} did not end in time", where=where, remedy="Look at the network, or give a longer timeout.")
    text = " ".join(" ".join(tables.plain(done.output)).split())[-600:]
    failure = read_text(text)
    if not failure.code and not failure.status:
        failure = Failure(0, f"{command} ended with {done.code}", text)
    return explained(failure, where)


# --- how the client tells things


def _service(found: Mapping[str, str], name: str) -> Service:
    if not found.get("ServiceName"):
        raise UnavailableError("eascmd desc tells nothing of the service", where=name, remedy="Run this again, or use backend: openapi.")
    try:
        config = observed(found.get("ServiceConfig", ""))
    except ValueError:
        # Taken for empty, all that is wanted would be sent anew.
        remedy = "Use backend: openapi."
        raise UnavailableError(
            "eascmd shows its configuration in a way that is not understood", where=found["ServiceName"], remedy=remedy
        ) from None
    labels = {str(key): str(value) for key, value in (config.get("labels") or {}).items()}
    return Service(
        name=found["ServiceName"],
        status=found.get("Status", ""),
        config=config,
        region=found.get("Region", ""),
        message=found.get("Message", ""),
        total=_number(found.get("TotalInstance")),
        running=_number(found.get("RunningInstance")),
        pending=_number(found.get("PendingInstance")),
        current=_number(found.get("CurrentVersion")),
        latest=_number(found.get("LatestVersion")),
        internet=found.get("InternetEndpoint", ""),
        intranet=found.get("IntranetEndpoint", ""),
        token=found.get("AccessToken") or found.get("PrivateToken", ""),
        weight=_number(found.get("Weight")),
        labels=labels,
        resource=str((config.get("metadata") or {}).get("resource") or ""),
        image=found.get("Image", ""),
        created=found.get("CreateTime", ""),
        updated=found.get("UpdateTime", ""),
    )


def _number(text: str | None) -> int:
    return int(text) if text and text.lstrip("-").isdecimal() else 0


def _instance(row: Mapping[str, str]) -> dict[str, Any]:
    ready, _slash, total = row.get("READY", "").strip("[]").partition("/")
    return {
        "name": row.get("INSTANCENAME", ""),
        "status": row.get("STATUS", ""),
        "ready": bool(total) and ready == total,
        "restarts": _number(row.get("RESTARTS")),
        "reason": row.get("REASON", ""),
        "host": row.get("HOSTIP", ""),
        "ip": row.get("INNERIP", ""),
    }
