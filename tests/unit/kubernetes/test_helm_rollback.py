# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How a release goes back: what Helm is asked for, what it is given, and what is in its way."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from ansible_collections.serving.triton.plugins.module_utils.core.errors import InputError, UnavailableError
from ansible_collections.serving.triton.plugins.module_utils.kubernetes.cluster import Cluster
from ansible_collections.serving.triton.plugins.module_utils.kubernetes.helm_rollback import HelmRollback, helm
from ansible_collections.serving.triton.plugins.module_utils.kubernetes.service import Release

RELEASE = Release("vision", "inference")
SECRETS = "/api/v1/namespaces/inference/secrets"


def encoded(value: Any) -> str:
    return base64.b64encode(base64.b64encode(gzip.compress(json.dumps(value).encode()))).decode()


def cluster(*revisions: tuple[str, str, str]) -> Cluster:
    """revisions: status, description and manifest of each, from 1 on."""
    secrets = {
        f"{SECRETS}/sh.helm.release.v1.vision.v{number}": {
            "metadata": {"labels": {"owner": "helm", "name": "vision", "version": str(number), "status": status}},
            "data": {"release": encoded({"info": {"description": description}, "manifest": manifest})},
        }
        for number, (status, description, manifest) in enumerate(revisions, 1)
    }

    def send(_method: str, target: str, _headers: Mapping[str, str], _body: bytes) -> tuple[int, bytes]:
        path = urlsplit(target).path
        found = {"items": list(secrets.values())} if path == SECRETS else secrets.get(path)
        return (404, b"{}") if found is None else (200, json.dumps(found).encode())

    return Cluster(send, "https://cluster")


class Helm:
    """Keeps what it is asked for, and answers the same each time."""

    def __init__(self, rc: int = 0, said: str = "") -> None:
        self.rc, self.said = rc, said
        self.calls: list[Sequence[str]] = []

    def __call__(self, arguments: Sequence[str]) -> tuple[int, str, str]:
        self.calls.append(arguments)
        return self.rc, "", self.said


def actions(seen: Cluster, revision: int, run: Helm | None = None) -> list[str]:
    """What is planned and carried out."""
    service = HelmRollback(seen, RELEASE, revision, run or Helm())
    plan = service.plan(service.observe())
    if plan:
        service.apply(plan)
    return plan.describe()


INSTALLED = ("superseded", "Install complete", "")


@pytest.mark.parametrize(
    ("revisions", "revision", "argv"),
    [
        ([INSTALLED, ("pending-upgrade", "Preparing upgrade", "")], 1, ["rollback", "vision", "1"]),
        ([("pending-install", "Initial install underway", "")], 0, ["uninstall", "vision", "--wait"]),
        ([INSTALLED, ("failed", "Rollback to 1", "")], 1, ["rollback", "vision", "1"]),
        # It is there already.
        ([INSTALLED, ("superseded", "", ""), ("deployed", "Rollback to 1", "")], 1, []),
        ([INSTALLED, ("deployed", "Upgrade complete", "")], 2, []),
        ([], 0, []),
    ],
)
def test_what_helm_is_asked_for(revisions: list[tuple[str, str, str]], revision: int, argv: list[str]) -> None:
    run = Helm()
    done = actions(cluster(*revisions), revision, run)
    assert [list(each) for each in run.calls] == ([argv] if argv else [])
    assert len(done) == len(run.calls)


def test_without_a_release_nothing_can_go_back() -> None:
    with pytest.raises(InputError, match="inference/vision: there is no such release"):
        actions(cluster(), 1)


def test_what_is_in_the_way_is_told_by_name_alone() -> None:
    manifest = """---
kind: Service
apiVersion: v1
metadata: {name: vision}
---
kind: Secret
apiVersion: v1
metadata: {name: extra, namespace: other, labels: {a: b}}
stringData: {token: canary}
"""
    first = manifest.split("---\nkind: Secret", maxsplit=1)[0]
    seen = cluster(("superseded", "", first), ("pending-upgrade", "", manifest))
    with pytest.raises(UnavailableError, match="helm rollback failed: no Secret with the name extra found") as caught:
        actions(seen, 1, Helm(1, "no Secret with the name\nextra found"))
    assert caught.value.details["leftover"] == [{"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "extra", "namespace": "other"}}]


def test_credentials_are_in_helms_environment_and_never_in_the_command(tmp_path: Path) -> None:
    program = tmp_path / "helm"
    program.write_text('#!/bin/sh\necho "$0 $*"\nenv\n')
    program.chmod(0o700)
    options = {
        "kubeconfig": "/a/config", "context": None, "host": "https://cluster", "api_key": "canary", "ca_cert": "/a/ca.pem",
        "validate_certs": False, "namespace": "inference",
    }  # fmt: skip
    rc, out, _error = helm(str(program), 7, options)(["rollback", "vision", "1"])
    command, *variables = out.splitlines()
    assert rc == 0
    assert command == f"{program} rollback vision 1 --timeout=7s"
    assert {each for each in variables if each.startswith(("HELM_", "KUBECONFIG"))} >= {
        "KUBECONFIG=/a/config", "HELM_KUBEAPISERVER=https://cluster", "HELM_KUBETOKEN=canary", "HELM_KUBECAFILE=/a/ca.pem",
        "HELM_KUBEINSECURE_SKIP_TLS_VERIFY=true", "HELM_NAMESPACE=inference",
    }  # fmt: skip
    assert not [each for each in variables if each.startswith("HELM_KUBECONTEXT=")]
