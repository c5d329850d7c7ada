# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Takes a Helm release back to one of its revisions, or away, by Helm. Credentials are in the environment of Helm alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..core.errors import InputError, UnavailableError
from ..core.plan import Action, Plan
from .cluster import Cluster
from .helm_chart import runner
from .manifests import removals
from .revisions import documents, last_of, revisions, rolled_back_to
from .service import Release

_VARIABLES = {
    "kubeconfig": "KUBECONFIG",
    "context": "HELM_KUBECONTEXT",
    "host": "HELM_KUBEAPISERVER",
    "api_key": "HELM_KUBETOKEN",
    "ca_cert": "HELM_KUBECAFILE",
    "namespace": "HELM_NAMESPACE",
}
# Seconds that Helm has to answer beyond those that it waits.
_MORE = 60

# Arguments after helm → exit status, stdout, stderr.
Call = Callable[[Sequence[str]], tuple[int, str, str]]


def helm(program: str, timeout: int, options: Mapping[str, Any]) -> Call:
    """timeout: seconds that Helm waits. options: see `environment`."""
    run, variables = runner(program, timeout + _MORE), environment(options)
    return lambda arguments: run([*arguments, f"--timeout={timeout}s"], variables)


def environment(options: Mapping[str, Any]) -> dict[str, str]:
    """What Helm reaches the cluster by. options: `options.CLUSTER` and the namespace."""
    given = {variable: str(options[name]) for name, variable in _VARIABLES.items() if options.get(name)}
    return {**given, **({"HELM_KUBEINSECURE_SKIP_TLS_VERIFY": "true"} if options.get("validate_certs") is False else {})}


@dataclass(frozen=True)
class Kept:
    """The last revision: its status, or absent, its number, and which revision it is a copy of, 0 for none."""

    status: str
    revision: int
    copy_of: int


class HelmRollback:
    """observe, plan and apply for run_plan. revision: to go back to; 0 takes the release away. run: see `helm`."""

    def __init__(self, cluster: Cluster, release: Release, revision: int, run: Call) -> None:
        self._cluster = cluster
        self._release = release
        self._revision = revision
        self._run = run

    @property
    def _where(self) -> str:
        return f"{self._release.namespace}/{self._release.name}"

    def observe(self) -> Kept:
        last = last_of(revisions(self._cluster, self._release))
        return Kept(last.status, last.number, rolled_back_to(last.content))

    def plan(self, actual: Kept) -> Plan:
        before = f"revision {actual.revision}, {actual.status}" if actual.revision else "absent"
        if not self._revision:
            action = Action("uninstall", self._where, {"argv": ["uninstall", self._release.name, "--wait"]})
            return Plan((action,) if actual.revision else (), before, "absent")
        if not actual.revision:
            raise InputError("there is no such release", where=self._where, remedy="Look at `helm list --all --all-namespaces`.")
        if actual.status == "deployed" and self._revision in (actual.revision, actual.copy_of):
            return Plan((), before, before)
        argv = ["rollback", self._release.name, str(self._revision)]
        action = Action("roll back", f"{self._where} to revision {self._revision}", {"argv": argv, "from": actual.revision})
        return Plan((action,), before, f"revision {actual.revision + 1}, as revision {self._revision}")

    def apply(self, plan: Plan) -> None:
        for action in plan:
            argv = action.data["argv"]
            rc, out, error = self._run(argv)
            if rc:
                said = " ".join((error.strip() or out.strip()).split())
                remedy = f"Look at `helm history {self._release.name} --namespace {self._release.namespace}`."
                left = self._leftover(action.data["from"]) if "from" in action.data else []
                raise UnavailableError(f"helm {argv[0]} failed: {said}", where=self._where, remedy=remedy, leftover=left)

    def _leftover(self, number: int) -> list[dict[str, Any]]:
        """What a revision has and the one to go back to has not, by kind and name."""
        found = {each.number: each.content for each in revisions(self._cluster, self._release)}
        return [_named(each) for each in removals(documents(found.get(number, {})), documents(found.get(self._revision, {})))]

    def result(self, _actual: Kept, _plan: Plan, _applied: bool) -> dict[str, Any]:
        return {}


def _named(value: Mapping[str, Any]) -> dict[str, Any]:
    metadata = {name: value["metadata"][name] for name in ("name", "namespace") if value["metadata"].get(name)}
    return {"apiVersion": value["apiVersion"], "kind": value["kind"], "metadata": metadata}
