# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the roles of GPU hosts do by dnf: the real modules over stand-ins of rpm, gpg and dnf, as no RHEL is here."""

from __future__ import annotations

import base64
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from support.rolecheck import COLLECTIONS, PlaybookRun, Workspace, assert_predicted

REPOSITORY = "serving.triton.package_repository"
# What rpm_key asks of them: the key ids of a file or of standard input, and a database that `rpm --import` fills.
GPG = f"""#!{sys.executable}
import pathlib, sys
sys.path.insert(0, {str(COLLECTIONS)!r})
from ansible_collections.serving.triton.plugins.module_utils.core.pgp import fingerprints
text = sys.stdin.read() if sys.argv[-1] == "-" else pathlib.Path(sys.argv[-1]).read_text()
for each in fingerprints(text):
    print(f"pub:-:255:22:{{each[-16:]}}:1590000000:::-:::::::", f"fpr:::::::::{{each}}:", sep="\\n")
"""
RPM = """#!/bin/sh
folder=$(dirname "$0")
case "$1" in
    --import) cat "$2" >> "$folder/database"; echo "$2" >> "$folder/imported" ;;
    -q) [ -e "$folder/database" ] || exit 1; cat "$folder/database" ;;
    *) exit 2 ;;
esac
"""
# In place of ansible.builtin.dnf, whose arguments it checks: what it is asked to list it knows but for `gone`.
DNF = """
import json
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.yumdnf import yumdnf_argument_spec
module = AnsibleModule(**yumdnf_argument_spec)
given = {name: value for name, value in module.params.items() if value not in (None, [], False)}
with open("@calls@", "a") as calls:
    calls.write(json.dumps(given) + "\\n")
listed = module.params["list"]
module.exit_json(changed=not listed, results=[] if listed and "gone" in listed else [{"name": "some"}])
"""
PROGRAM = """#!/bin/sh
echo "$*" >> "$0.argv"
"""

PLAN: dict[str, Any] = {
    "manager": "dnf",
    "branch": 580,
    "kind": "open",
    "stream": "580-open",
    "headers": ["kernel-devel-matched"],
    "exact_headers": ["kernel-devel-5.14.0-1.el9.x86_64", "kernel-devel-gone"],
    "packages": ["kmod-nvidia-open-dkms-580.95.05"],
    "names": ["kmod-nvidia-open-dkms"],
    "fabric": ["nvidia-fabricmanager", "nvlsm"],
}
DRIVER: dict[str, Any] = {
    "__gpu_driver_plan": PLAN,
    "__gpu_driver_key_needed": False,
    "__gpu_driver_gpu": {"driver": {"installed": "570.86.15", "branch": 570, "installed_kind": "open", "packages": []}},
    "__gpu_driver_after": {"driver": {"installed": "580.95.05"}},
    "__gpu_driver_record": {"packages": ["dkms", "kmod-nvidia-open-dkms", "other"], "held": [], "before": []},
    "gpu_driver_hold": True,
}


def key(name: str) -> tuple[str, str]:
    """An armored key, and its fingerprint."""
    body = b"\x04\x5f\x00\x00\x00\x16" + hashlib.sha256(name.encode()).digest() + bytes(28)
    packet = b"\x98" + bytes([len(body)]) + body
    text = f"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n{base64.encodebytes(packet).decode()}-----END PGP PUBLIC KEY BLOCK-----\n"
    return text, hashlib.sha1(b"\x99" + len(body).to_bytes(2, "big") + body).hexdigest().upper()


class Host:
    """A folder with stand-ins of programs, and those where keys and repositories lie."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.programs, self.keys, self.repositories = folder / "bin", folder / "rpm-gpg", folder / "yum.repos.d"
        for each in (self.programs, self.keys, self.repositories):
            each.mkdir(parents=True)
        self.program("gpg", GPG)
        self.program("rpm", RPM)

    def program(self, name: str, text: str) -> None:
        (self.programs / name).write_text(text)
        (self.programs / name).chmod(0o755)

    def role(self, role: str, step: str = "main", **values: Any) -> dict[str, Any]:
        folders = {"__package_repository_rpm_keys": str(self.keys), "__package_repository_rpm_folder": str(self.repositories)}
        given = {"__package_repository_is_apt": False, **folders, **values}
        return {"name": "Step", "ansible.builtin.include_role": {"name": role, "tasks_from": step}, "vars": given}

    def run(self, tasks: list[dict[str, Any]], *flags: str) -> PlaybookRun:
        environment = {"PATH": f"{self.programs}:/usr/sbin:/usr/bin:/sbin:/bin"}
        play = [{"hosts": "localhost", "gather_facts": False, "environment": environment, "tasks": tasks}]
        env = {"ANSIBLE_PIPELINING": "true", "ANSIBLE_LIBRARY": str(self.folder / "library")}
        return Workspace(self.folder / "work", env=env).run(play, *flags)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path / "host")


@pytest.mark.parametrize(("release", "rc"), [("8", 2), ("9", 0)])
def test_release_8_is_refused_before_it_is_asked_for_packages(host: Host, release: str, rc: int) -> None:
    names = {"os_family": "RedHat", "distribution": "Rocky", "distribution_version": f"{release}.10", "distribution_major_version": release}
    known = {f"ansible_{name}": value for name, value in names.items()}
    facts = {"name": "Know", "ansible.builtin.set_fact": {**known, "cacheable": True}}
    done = host.run([facts, host.role(REPOSITORY, "release")])
    assert done.rc == rc, done.tail()
    assert ("take release 9" in done.output) == bool(rc)


def test_keys_of_repositories_are_checked_kept_and_trusted_from_there(host: Host) -> None:
    (nvidia, nvidia_print), (dkms, dkms_print) = key("nvidia"), key("dkms")
    (host.folder / "nvidia.pub").write_text(nvidia)
    (host.folder / "dkms.pub").write_text(dkms)
    own = host.keys / "RPM-GPG-KEY-demo"
    common = {"description": "a test", "gpgcheck": True}
    values: dict[str, Any] = {
        "package_repository_name": "demo",
        "package_repository_key": {"from": f"file://{host.folder}/nvidia.pub", "to": str(own), "fingerprints": [nvidia_print, "A" * 40]},
        "package_repository_rpm": [
            # Either of the fingerprints will do.
            {**common, "name": "demo", "baseurl": "file:///srv/a", "gpgkey": f"file://{own}", "fingerprints": [nvidia_print, "A" * 40]},
            {
                **common,
                "name": "demo-dkms",
                "baseurl": "file:///srv/b",
                "gpgkey": f"file://{host.folder}/dkms.pub",
                "fingerprints": ["B" * 40, dkms_print],
            },
        ],
    }
    present = host.role(REPOSITORY, **values)
    check = host.run([present], "--check")
    assert check.rc == 0, check.tail()
    assert not list(host.keys.iterdir())
    done = host.run([present])
    assert done.rc == 0, done.tail()
    assert_predicted(check, done)
    fetched = host.keys / "RPM-GPG-KEY-demo-dkms-fetched"
    assert (host.programs / "imported").read_text().splitlines() == [str(own), str(fetched)]
    assert (host.programs / "database").read_text() == nvidia + dkms
    assert f"gpgkey = file://{own}\n" in (host.repositories / "demo.repo").read_text()
    # dnf would take whatever key is at a URL.
    assert f"gpgkey = file://{fetched}\n" in (host.repositories / "demo-dkms.repo").read_text()


def test_the_driver_and_the_toolkit_come_and_go_by_dnf(host: Host) -> None:
    host.program("dnf", PROGRAM)
    library, calls = host.folder / "library", host.folder / "calls"
    library.mkdir()
    (library / "dnf.py").write_text(DNF.replace("@calls@", str(calls)))
    installed = {"nvidia-container-toolkit": [], "dkms": [], "kmod-nvidia-open-dkms": []}
    toolkit = {"container_toolkit_version": "1.18.0"}
    steps = [host.role("serving.triton.gpu_driver", name, **DRIVER) for name in ("install_dnf", "fabric_dnf", "absent_dnf")]
    steps += [host.role("serving.triton.container_toolkit", name, **toolkit) for name in ("install_dnf", "absent_dnf")]
    facts = {"ansible_pkg_mgr": "dnf", "ansible_packages": installed, "package_repository_result": {"changed": False}, "cacheable": True}
    done = host.run([{"name": "Know", "ansible.builtin.set_fact": facts}, *steps])
    assert done.rc == 0, done.tail()
    assert not done.warnings
    asked = [json.loads(line) for line in calls.read_text().splitlines()]
    assert [call["list"] for call in asked if "list" in call] == PLAN["exact_headers"]
    names = [(call["state"], call["name"]) for call in asked if "name" in call]
    assert names[0] == (
        "latest",
        ["kernel-devel-matched", "kernel-devel-5.14.0-1.el9.x86_64", "kmod-nvidia-open-dkms-580.95.05", "python3-dnf-plugin-versionlock"],
    )
    assert names[1] == ("present", ["nvidia-fabricmanager-580.95.05", "nvlsm"])
    assert names[2][1][0] == "nvidia-container-toolkit-1.18.0-*"
    assert names[3] == ("absent", ["nvidia-container-toolkit"])
    # What is locked moves, and what stands against it goes.
    assert [(call.get("disable_plugin"), call.get("allowerasing")) for call in asked if "name" in call][:2] == [(["versionlock"], True)] * 2
    assert (host.programs / "dnf.argv").read_text().splitlines() == [
        "--assumeyes --disableplugin=versionlock module enable nvidia-driver:580-open",
        "--assumeyes --setopt=clean_requirements_on_remove=True remove dkms kmod-nvidia-open-dkms",
    ]
