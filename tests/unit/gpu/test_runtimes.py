# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Container runtimes, the TOML of their configuration, and CDI specifications."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from support.gpu_tree import Machine

from ansible_collections.serving.triton.plugins.module_utils.gpu import cdi, runtimes, toml
from ansible_collections.serving.triton.plugins.module_utils.gpu.tree import Tree

# What `nvidia-ctk runtime configure --runtime=containerd` leaves of the defaults of containerd 1.7, and its drop-in for containerd 2.
CONTAINERD_1 = """\
disabled_plugins = []
imports = []
oom_score = 0
version = 2

[grpc]
  max_recv_message_size = 16777216

[plugins]
  [plugins."io.containerd.grpc.v1.cri"]
    enable_cdi = true
    cdi_spec_dirs = ["/etc/cdi", "/run/cdi"]  # both

    [plugins."io.containerd.grpc.v1.cri".containerd]
      default_runtime_name = "nvidia"

      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes]
        [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.nvidia]
          runtime_type = "io.containerd.runc.v2"
          [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.nvidia.options]
            BinaryName = "/usr/bin/nvidia-container-runtime"
[timeouts]
  "io.containerd.timeout.shim.cleanup" = "5s"
"""
CONTAINERD_2 = """\
version = 3
imports = ['/etc/containerd/conf.d/*.toml']

[[plugins.'io.containerd.transfer.v1.local'.unpack_config]]
differ = ''
"""
DROP_IN = """\
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.nvidia]
runtime_type = 'io.containerd.runc.v2'
"""
CRIO = """\
[crio.runtime]
default_runtime = "crun"
[crio.runtime.runtimes.nvidia]
runtime_path = "/usr/bin/nvidia-container-runtime"
"""
CONTAINERS = """\
[containers]
env = ["A=1", {append=true}]
[engine]
cdi_spec_dirs = [
  "/opt/cdi", # ours
]
"""


def only(machine: Machine) -> dict[str, Any]:
    found = runtimes.runtimes(Tree(str(machine.root)))
    assert len(found) == 1
    return found[0]


def test_nothing_is_installed(tmp_path: Path) -> None:
    assert runtimes.runtimes(Tree(str(Machine(tmp_path).file("/etc/docker/daemon.json", "{}").root))) == []


@pytest.mark.parametrize(
    ("settings", "nvidia", "default", "is_cdi"),
    [
        ({}, False, False, None),
        ({"runtimes": {"nvidia": {"path": "nvidia-container-runtime"}}}, True, False, None),
        ({"runtimes": {"nvidia": {}}, "default-runtime": "nvidia", "features": {"cdi": True}}, True, True, True),
        ({"features": {"cdi": False}}, False, False, False),
    ],
)
def test_docker(settings: dict[str, Any], nvidia: bool, default: bool, is_cdi: bool | None, tmp_path: Path) -> None:
    told = only(Machine(tmp_path).docker(**settings))
    assert (told["name"], told["nvidia"], told["default"], told["cdi"], told["problem"]) == ("docker", nvidia, default, is_cdi, "")
    assert told["config"] == (["/etc/docker/daemon.json"] if settings else [])


def test_a_configuration_that_is_broken_is_told(tmp_path: Path) -> None:
    told = only(Machine(tmp_path).docker().file("/etc/docker/daemon.json", "{"))
    assert told["problem"].startswith("/etc/docker/daemon.json: Expecting property name")


def test_containerd(tmp_path: Path) -> None:
    told = only(Machine(tmp_path).file("/usr/bin/containerd").file("/etc/containerd/config.toml", CONTAINERD_1))
    assert (told["nvidia"], told["default"], told["cdi"], told["cdi_dirs"]) == (True, True, True, ["/etc/cdi", "/run/cdi"])


def test_containerd_with_a_drop_in(tmp_path: Path) -> None:
    machine = Machine(tmp_path).file("/usr/local/bin/containerd").file("/etc/containerd/config.toml", CONTAINERD_2)
    assert only(machine)["nvidia"] is False
    told = only(machine.file("/etc/containerd/conf.d/99-nvidia.toml", DROP_IN))
    assert (told["nvidia"], told["default"], told["cdi"]) == (True, False, None)
    assert told["config"] == ["/etc/containerd/config.toml", "/etc/containerd/conf.d/99-nvidia.toml"]


def test_crio_and_podman(tmp_path: Path) -> None:
    machine = Machine(tmp_path).file("/usr/bin/crio").file("/etc/crio/crio.conf.d/99-nvidia.toml", CRIO)
    assert [only(machine)[key] for key in ("name", "nvidia", "default", "cdi")] == ["crio", True, False, True]
    podman = only(Machine(tmp_path / "p").podman().file("/etc/containers/containers.conf", CONTAINERS))
    assert [podman[key] for key in ("nvidia", "cdi", "cdi_dirs", "problem")] == [False, True, ["/opt/cdi"], ""]


@pytest.mark.parametrize(
    "text", [CONTAINERD_1, CONTAINERD_2, DROP_IN, CRIO, CONTAINERS, 'a = """x\n y"""\nb.c = 0x1F\nd = 1e3\n[[e]]\nf = -1\n[[e]]\n']
)
def test_toml_is_read_as_python_reads_it(text: str) -> None:
    tomllib = pytest.importorskip("tomllib", reason="Python reads TOML since 3.11")
    assert toml.loads(text) == tomllib.loads(text)


@pytest.mark.parametrize(
    "text",
    [
        "a",
        "a =",
        "a = [1",
        "[a",
        "a = 1 2",
        'a = "b',
        "a = {b = 1",
        "a = 1\na = 2",
        "[a]\n[a]",
        "a = 01",
        "a = yes",
        "a = 1\n[a.b]",
        'a = "\\x"',
    ],
)
def test_what_is_no_toml_is_an_error(text: str) -> None:
    tomllib = pytest.importorskip("tomllib", reason="Python reads TOML since 3.11")
    with pytest.raises(tomllib.TOMLDecodeError):
        tomllib.loads(text)
    with pytest.raises(toml.TomlError, match=r"line \d"):
        toml.loads(text)


words = st.text(st.characters(min_codepoint=32, max_codepoint=0x2FF, blacklist_characters="\x7f"), max_size=12)
scalars = st.one_of(words, st.integers(-(10**9), 10**9), st.booleans())
values = st.one_of(scalars, st.lists(scalars, max_size=4))
tables = st.dictionaries(words.filter(bool), values, max_size=4)


def written(name: str, table: dict[str, Any]) -> str:
    return f"[{json.dumps(name, ensure_ascii=False)}]\n" + "".join(
        f"{json.dumps(key, ensure_ascii=False)} = {json.dumps(value, ensure_ascii=False)}  # c]\n" for key, value in table.items()
    )


@given(st.dictionaries(words.filter(bool), tables, max_size=3))
def test_any_toml_of_tables_is_read_as_it_was_written(document: dict[str, dict[str, Any]]) -> None:
    assert toml.loads("".join(written(name, table) for name, table in document.items())) == document


def test_a_specification_of_nvidia_ctk(tmp_path: Path) -> None:
    machine = Machine(tmp_path).cdi("550.90.07", "0", "1:0", "all").file("/etc/cdi/other.yaml", "kind: vendor.com/net\n")
    found = cdi.specs(Tree(str(tmp_path)), ["/etc/cdi", "/var/run/cdi"])
    assert found == [
        {"path": "/etc/cdi/nvidia.yaml", "kind": "nvidia.com/gpu", "devices": ["0", "1:0", "all"], "driver": "550.90.07", "problem": ""}
    ]
    document = yaml.safe_load((machine.root / "etc/cdi/nvidia.yaml").read_text())
    assert [each["name"] for each in document["devices"]] == found[0]["devices"]


@pytest.mark.parametrize("indent", ["", "  "])
@pytest.mark.parametrize("name_first", [True, False])
def test_a_specification_in_any_layout_of_yaml(indent: str, name_first: bool, tmp_path: Path) -> None:
    name, edits = 'name: "7"', "containerEdits:\n@    env:\n@    - name: NOT_THIS\n@    deviceNodes: []"
    first, second = (name, edits) if name_first else (edits, name)
    text = f"cdiVersion: 0.6.0\ndevices:\n@- {first}\n@  {second}\nkind: nvidia.com/gpu\n".replace("@", indent)
    assert yaml.safe_load(text)["devices"][0]["name"] == "7"
    Machine(tmp_path).file("/etc/cdi/a.yml", text)
    assert [each["devices"] for each in cdi.specs(Tree(str(tmp_path)), ["/etc/cdi"])] == [["7"]]


def test_a_specification_in_json_and_two_that_cannot_be_read(tmp_path: Path) -> None:
    spec = {"kind": "nvidia.com/gpu", "devices": [{"name": "0"}], "containerEdits": {"mounts": ["/lib/libcuda.so.570.86.15"]}}
    machine = Machine(tmp_path).file("/var/run/cdi/a.json", json.dumps(spec)).file("/var/run/cdi/b.json", '{"kind": "nvidia.com/')
    machine.file("/var/run/cdi/c.yaml", "# nvidia.com/gpu\n").link("/etc/cdi/d.json", "/var/run/cdi/a.json")
    found = cdi.specs(Tree(str(tmp_path)), ["/etc/cdi", "/var/run/cdi"])
    assert (found[0]["path"], found[0]["devices"], found[0]["driver"]) == ("/etc/cdi/d.json", ["0"], "570.86.15")
    assert [bool(each["problem"]) for each in found] == [False, True, True]
