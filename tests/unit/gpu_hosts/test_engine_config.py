# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Settings are merged into what a user wrote, and taken out again without a trace."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import tomllib

from ansible_collections.serving.triton.plugins.module_utils.core.errors import ConflictError, InputError
from ansible_collections.serving.triton.plugins.module_utils.gpu import engine_config, toml_edit
from ansible_collections.serving.triton.plugins.module_utils.gpu.engine_config import Wanted, configure, load_record, undo
from ansible_collections.serving.triton.plugins.module_utils.gpu.engine_service import EngineService, Place
from ansible_collections.serving.triton.plugins.module_utils.gpu.engine_shown import shown

DAEMON = '{\n\t"log-opts": {"max-size": "10m"},\n\t"features": {"buildkit": true},\n\t"runtimes": {"kata": {"path": "/opt/kata"}}\n}\n'
CRI = 'plugins."io.containerd.grpc.v1.cri"'
CONTAINERD = f"""version = 2
# our mirror
[{CRI}]
  sandbox_image = "registry.example/pause:3.9"  # kept
  [{CRI}.containerd]
    default_runtime_name = "runc"
    [{CRI}.containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [{CRI}.containerd.runtimes.runc.options]
        SystemdCgroup = true
[plugins."io.containerd.internal.v1.opt"]
  path = "/opt/containerd"
"""
SECRET_TOML = f"""version = 2
[{CRI}]
  max_concurrent_downloads = 3
[{CRI}.registry.configs."registry.example".auth]
  username = "root"
  password = 'canary-2'
  auth = \"\"\"
canary-3
and canary-4\"\"\"
  identitytoken = "canary-5 \\\" with a quote"
[{CRI}.registry.headers]
  X-Auth-Token = ["canary-6", "canary-7"]
[proxy_plugins.mine]
  address = "http://user:canary-8/x@proxy.example/path"
[debug]
  token_required = true
  pin_token = 77123
"""
SECRET_JSON = json.dumps(
    {
        "log-opts": {"splunk-token": "canary-1", "splunk-url": "https://user:canary-2@splunk.example"},
        "proxies": {"https-proxy": 'http://user:canary"3@proxy.example:3128', "no-proxy": "localhost"},
        "auths": {"registry.example": {"auth": "canary-4"}, "other": ["canary-5 \u00e9"]},
        "live-restore": True,
    }
)
V3 = "version = 3\n[plugins.'io.containerd.cri.v1.runtime']\n  enable_selinux = false\n"
V1 = '[plugins.cri]\n  stream_server_port = "0"\n'


def test_docker_keeps_what_the_user_wrote() -> None:
    record = configure("docker", DAEMON, Wanted())
    after = json.loads(record.written)
    # nvidia-ctk would lose buildkit here.
    assert after["features"] == {"buildkit": True, "cdi": True}
    assert after["runtimes"] == {"kata": {"path": "/opt/kata"}, "nvidia": {"path": "/usr/bin/nvidia-container-runtime", "args": []}}
    assert after["log-opts"] == {"max-size": "10m"}
    assert list(after) == ["log-opts", "features", "runtimes"]
    assert '\n\t"log-opts"' in record.written
    assert "default-runtime" not in after
    assert configure("docker", record.written, Wanted()).edits == ()


@pytest.mark.parametrize(
    ("text", "plugin"),
    [(CONTAINERD, "io.containerd.grpc.v1.cri"), (V3, "io.containerd.cri.v1.runtime"), (V1, "cri"), (None, "io.containerd.grpc.v1.cri")],
)
def test_containerd_keeps_its_lines(text: str | None, plugin: str) -> None:
    record = configure("containerd", text, Wanted(default=True))
    after = tomllib.loads(record.written)["plugins"][plugin]
    assert after["enable_cdi"] is True
    assert after["containerd"]["default_runtime_name"] == "nvidia"
    runtime = after["containerd"]["runtimes"]["nvidia"]
    assert runtime["runtime_type"] == "io.containerd.runc.v2"
    assert runtime["options"]["BinaryName"] == "/usr/bin/nvidia-container-runtime"
    # containerd 1 takes the file's runtimes in place of its own: without runc no pod starts that asks for no runtime.
    assert after["containerd"]["runtimes"]["runc"]["runtime_type"] == "io.containerd.runc.v2"
    kept = [line for line in (text or "").splitlines() if "default_runtime_name" not in line]
    assert [line for line in record.written.splitlines() if line in kept] == kept
    assert configure("containerd", record.written, Wanted(default=True)).edits == ()


def test_the_new_runtime_of_containerd_behaves_as_the_usual_one() -> None:
    after = tomllib.loads(configure("containerd", CONTAINERD, Wanted()).written)["plugins"]["io.containerd.grpc.v1.cri"]
    assert after["containerd"]["runtimes"]["nvidia"]["options"]["SystemdCgroup"] is True
    assert after["containerd"]["default_runtime_name"] == "runc"


def test_crio_gets_a_file_of_its_own() -> None:
    record = configure("crio", None, Wanted(default=True))
    runtime = tomllib.loads(record.written)["crio"]["runtime"]
    assert runtime["default_runtime"] == "nvidia"
    assert runtime["runtimes"]["nvidia"] == {"runtime_path": "/usr/bin/nvidia-container-runtime", "runtime_type": "oci"}
    assert undo("crio", record.written, record) is None


@pytest.mark.parametrize(
    ("engine", "text"), [("docker", DAEMON), ("docker", None), ("docker", "{}"), ("containerd", CONTAINERD), ("containerd", V3)]
)
def test_undoing_gives_back_every_byte(engine: str, text: str | None) -> None:
    record = configure(engine, text, Wanted(default=True))
    assert record.written != text
    assert undo(engine, record.written, load_record(record.dump())) == text


def test_undoing_leaves_what_was_written_meanwhile() -> None:
    record = configure("docker", DAEMON, Wanted(default=True))
    edited = json.loads(record.written)
    edited["debug"] = True
    edited["default-runtime"] = "kata"  # changed by somebody else: not ours any more
    assert json.loads(undo("docker", json.dumps(edited), record) or "") == {**json.loads(DAEMON), "debug": True, "default-runtime": "kata"}
    toml = configure("containerd", CONTAINERD, Wanted(default=True))
    more = toml.written.replace("# our mirror", "# our new mirror") + '\n[debug]\nlevel = "info"\n'
    left = undo("containerd", more, toml) or ""
    assert tomllib.loads(left) == {**tomllib.loads(CONTAINERD), "debug": {"level": "info"}}
    assert "# our new mirror" in left
    assert "nvidia" not in left
    bare = configure("containerd", V3, Wanted())
    assert tomllib.loads(undo("containerd", bare.written + "\n[debug]\n", bare) or "") == {**tomllib.loads(V3), "debug": {}}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (V3, {"nvidia", "runc"}),
        # Somebody else's default without a table of its own is not made a runc.
        ("version = 3\n[plugins.'io.containerd.cri.v1.runtime'.containerd]\n  default_runtime_name = 'kata'\n", {"nvidia"}),
        ("version = 3\n[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]\n  runtime_type = 'x'\n", {"nvidia", "runc"}),
    ],
)
def test_the_usual_runtime_of_containerd_is_kept(text: str, expected: set[str]) -> None:
    record = configure("containerd", text, Wanted())
    runtimes = tomllib.loads(record.written)["plugins"]["io.containerd.cri.v1.runtime"]["containerd"]["runtimes"]
    assert set(runtimes) == expected
    assert runtimes.get("runc", {}).get("runtime_type") in (None, "x", "io.containerd.runc.v2")
    assert undo("containerd", record.written, record) == text


def test_undoing_restores_a_value_that_was_replaced() -> None:
    text = json.dumps({"default-runtime": "kata", "features": {"cdi": False}})
    record = configure("docker", text, Wanted(default=True))
    edited = json.dumps({**json.loads(record.written), "debug": True})
    assert json.loads(undo("docker", edited, record) or "") == {"default-runtime": "kata", "features": {"cdi": False}, "debug": True}


@pytest.mark.parametrize(
    ("engine", "text", "complaint"),
    [
        ("docker", "{", "cannot be read"),
        ("docker", "[]", "holds no settings"),
        ("containerd", "version = [", "cannot be read"),
        ("containerd", "version = 7\n", "version 7"),
    ],
)
def test_a_broken_file_is_told_and_left(engine: str, text: str, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        configure(engine, text, Wanted(), "/etc/x")


@pytest.mark.parametrize(
    ("text", "keys", "value"),
    [
        ("", ("a",), 1),
        ("# only a comment\n", ("a", "b"), "x"),
        ("[a]\nb = 1 # note\n", ("a", "b"), 2),
        ("[a]\n[a.c]\nd = 1\n", ("a", "b"), True),
        ("[a.c]\nd = 1\n", ("a", "b"), True),
        ("x = 1\n\n[t]\ny = 2\n", ("z",), 3),
        ("[t]\ny = 2\n", ("z",), 3),
        ("[\"a.b\".'c d']\ne = 1\n", ("a.b", "c d", "f"), [1, 2]),
        ("[[list]]\na = 1\n[a]\n", ("a", "b"), 1),
    ],
)
def test_toml_is_changed_in_place(text: str, keys: tuple[str, ...], value: Any) -> None:
    changed = toml_edit.change(text, keys, value)
    assert tomllib.loads(changed) == toml_edit.put(tomllib.loads(text), keys, value)
    assert [line for line in text.splitlines() if "b = 1" not in line and line.strip()] == [
        line for line in changed.splitlines() if line in text.splitlines() and line.strip()
    ]
    assert toml_edit.change(changed, keys, value) == changed


@pytest.mark.parametrize(
    ("text", "keys"),
    [("a = { b = 1 }\n", ("a", "c")), ("[x]\nlist = [\n  1,\n]\n", ("x", "list")), ("a.b = 1\n", ("a", "b")), ("a = 1\n", ("a", "b"))],
)
def test_a_layout_that_cannot_be_changed_is_an_error(text: str, keys: tuple[str, ...]) -> None:
    with pytest.raises(ConflictError, match="cannot be set"):
        toml_edit.change(text, keys, [2])


class Engine:
    """A folder with the configuration of one engine, and a program that checks it: it refuses what contains `bad`."""

    def __init__(self, folder: Path, engine: str = "docker") -> None:
        program = folder / "dockerd"
        program.write_text('#!/bin/sh\ngrep -q bad "${2#*=}" && { echo "no such option" >&2; exit 1; }\nexit 0\n')
        program.chmod(0o755)
        self.path = folder / "etc" / "daemon.json"
        self.place = Place(engine, str(self.path), str(folder / "lib" / "docker.json"), str(program))

    def run(self, wanted: Wanted | None) -> tuple[list[str], dict[str, Any]]:
        service = EngineService(self.place, wanted, lambda source, target: shutil.move(source, target) and None)
        actual = service.observe()
        plan = service.plan(actual)
        if plan:
            service.apply(plan)
        return plan.describe(), service.result(actual, plan, bool(plan))

    def restarted(self) -> None:
        os.unlink(self.place.mark)


def test_a_restart_stays_due_until_it_was_done(tmp_path: Path) -> None:
    engine = Engine(tmp_path)
    engine.path.parent.mkdir()
    engine.path.write_text(DAEMON)
    done, result = engine.run(Wanted())
    assert (done, result["restart"]) == ([f"configure {engine.path}"], True)
    assert engine.run(Wanted()) == ([], {"restart": True, "mark": engine.place.mark})
    engine.restarted()
    assert engine.run(Wanted())[1]["restart"] is False
    done, result = engine.run(None)
    assert (done, result["restart"]) == ([f"restore {engine.path}"], True)
    assert engine.path.read_text() == DAEMON
    engine.restarted()
    assert engine.run(None) == ([], {"restart": False, "mark": engine.place.mark})


def test_a_file_that_was_made_is_removed(tmp_path: Path) -> None:
    engine = Engine(tmp_path)
    engine.run(Wanted())
    assert json.loads(engine.path.read_text())["features"] == {"cdi": True}
    assert engine.run(None)[0] == [f"remove {engine.path}"]
    assert not engine.path.exists()


def test_options_that_change_replace_their_own_settings(tmp_path: Path) -> None:
    engine = Engine(tmp_path)
    engine.run(Wanted(default=True))
    assert engine.run(Wanted(default=False))[0] == [f"configure {engine.path}"]
    assert "default-runtime" not in engine.path.read_text()
    edited = {"debug": True, **json.loads(engine.path.read_text())}
    engine.path.write_text(json.dumps(edited))
    assert engine.run(Wanted())[0] == []
    engine.run(None)
    assert json.loads(engine.path.read_text()) == {"debug": True}


def test_what_the_engine_refuses_is_not_put_in_place(tmp_path: Path) -> None:
    engine = Engine(tmp_path)
    engine.path.parent.mkdir()
    engine.path.write_text('{"bad": 1}')
    with pytest.raises(InputError, match="no such option"):
        engine.run(Wanted())
    assert engine.path.read_text() == '{"bad": 1}'
    assert sorted(path.name for path in engine.path.parent.iterdir()) == ["daemon.json"]
    assert not Path(engine.place.record).exists()


@pytest.mark.parametrize(
    ("engine", "text", "kept"),
    [
        (
            "containerd",
            SECRET_TOML,
            ["max_concurrent_downloads = 3", 'address = "http://********@proxy.example/path"', "token_required = true"],
        ),
        ("docker", SECRET_JSON, ['"splunk-url": "https://********@splunk.example"', '"no-proxy": "localhost"', '"live-restore": true']),
        ("docker", SECRET_JSON.replace("/", "\\/"), ['"no-proxy": "localhost"']),
        ("docker", json.dumps(json.loads(SECRET_JSON), indent=4, ensure_ascii=False), ['    "live-restore": true']),
    ],
)
def test_a_diff_shows_no_secret(engine: str, text: str, kept: list[str]) -> None:
    engine_config.parse(engine, text)
    hidden = shown(engine, text)
    assert "canary" not in hidden
    assert "77123" not in hidden
    assert not [line for line in kept if line not in hidden]
    assert hidden.count("\n") == text.count("\n") or '"""' in text


def test_the_diff_of_a_configured_engine_shows_no_secret(tmp_path: Path) -> None:
    engine = Engine(tmp_path)
    engine.path.parent.mkdir()
    engine.path.write_text(SECRET_JSON)
    service = EngineService(engine.place, Wanted(), lambda source, target: shutil.move(source, target) and None)
    plan = service.plan(service.observe())
    assert "canary" not in json.dumps(plan.diff())
    assert "nvidia-container-runtime" in plan.diff()["after"]
    service.apply(plan)
    assert engine.path.read_text().count("canary") == SECRET_JSON.count("canary")
    assert "canary" not in json.dumps(service.plan(service.observe()).diff())


def test_what_may_be_secret_stays_so(tmp_path: Path) -> None:
    engine = Engine(tmp_path)
    engine.path.parent.mkdir()
    engine.path.write_text('{"proxies": {"https-proxy": "http://user:canary@proxy.example"}}')
    engine.path.chmod(0o600)
    records = Path(engine.place.record).parent
    records.mkdir(mode=0o755)
    engine.run(Wanted())
    assert "canary" in Path(engine.place.record).read_text() + engine.path.read_text()
    assert [path.stat().st_mode & 0o777 for path in (records, engine.path)] == [0o700, 0o600]
