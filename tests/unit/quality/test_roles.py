# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Every role offers what its argument spec says, under its own name, and can be undone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.rules import collection, docs, places, roles

every_role = pytest.mark.parametrize("role", places.roles(), ids=lambda role: role.name)


def specs_of(role: Path) -> dict[str, Any]:
    return dict(roles.load(role / "meta" / "argument_specs.yml").get("argument_specs") or {})


def test_the_promised_roles_are_there() -> None:
    assert {"server_host", "model_repository", "verify", "monitoring"} <= {role.name for role in places.roles()}


def test_every_target_is_a_role_that_playbooks_can_call() -> None:
    targets = roles.load(places.ROOT / "playbooks" / "vars" / "targets.yml")["__targets"]
    found = {role.name.removeprefix("server_"): role for role in places.roles() if role.name.startswith("server_")}
    assert sorted(targets) == sorted(found)
    for role in found.values():
        assert {"main.yml", "preflight.yml", "endpoint.yml", "absent.yml"} <= {path.name for path in (role / "tasks").glob("*.yml")}, role


@every_role
def test_the_argument_spec_equals_the_defaults(role: Path) -> None:
    specs = specs_of(role)
    assert not roles.arguments(specs, roles.load(role / "defaults" / "main.yml"))
    assert not roles.undescribed(specs)
    assert not roles.missing_state(role.name, specs)
    # Ansible shows a wrong value of an option without no_log when it checks the role's arguments.
    assert not [problem for spec in specs.values() for problem in docs.secrets(spec.get("options") or {})]


@every_role
def test_variables_carry_the_roles_name(role: Path) -> None:
    internal = {name: 0 for path in (role / "vars").rglob("*.yml") for name in roles.load(path)}
    assert not roles.unprefixed(role.name, roles.load(role / "defaults" / "main.yml"), internal)
    options = {name for spec in specs_of(role).values() for name in spec.get("options") or {}}
    assert not [name for name in sorted(options) if not name.startswith((f"{role.name}_", "triton_"))]
    for path in (role / "tasks").rglob("*.yml"):
        assert not roles.registered(role.name, roles.load(path)), places.name(path)


@every_role
def test_tags_are_the_roles_phases(role: Path) -> None:
    files = {path.relative_to(role / "tasks").as_posix(): roles.load(path) for path in (role / "tasks").rglob("*.yml")}
    for path in (role / "tasks").rglob("*.yml"):
        assert not roles.unreached(roles.load(path), files), places.name(path)
        assert not roles.tags(role.name, roles.load(path), main=path.name == "main.yml"), places.name(path)


@every_role
def test_meta_is_complete(role: Path) -> None:
    assert not roles.incomplete_meta(roles.load(role / "meta" / "main.yml"))


@every_role
def test_ansible_doc_shows_the_role(role: Path) -> None:
    answer = collection.documentation("role", (role.name,))[f"serving.triton.{role.name}"]
    assert answer["entry_points"]["main"]["options"].keys() == (specs_of(role)["main"].get("options") or {}).keys()


def spec(**options: Any) -> dict[str, Any]:
    return {"main": {"short_description": "x", "description": "x", "options": options}}


@pytest.mark.parametrize(
    ("specs", "defaults"),
    [
        (spec(), {"r_a": 1}),
        (spec(r_a={"type": "int"}), {"r_a": 1}),
        (spec(r_a={"type": "int", "default": 1}), {}),
        (spec(r_a={"type": "int", "default": 1}), {"r_a": 2}),
        (spec(r_a={"type": "int", "default": 1}), {"r_a": True}),
        (spec(r_a={"type": "str", "default": 1}), {"r_a": 1}),
        (spec(r_a={"type": "int", "default": True}), {"r_a": True}),
        (spec(r_a={"default": "a", "required": True}), {"r_a": "a"}),
        (spec(r_a={"type": "dict", "default": "{{ x }}"}), {"r_a": "{{ x }}"}),
        ({**spec(r_a={"default": "a"}), "other": {"options": {"r_a": {"default": "b"}}}}, {"r_a": "a"}),
    ],
)
def test_a_default_that_differs_is_found(specs: dict[str, Any], defaults: dict[str, Any]) -> None:
    assert len(roles.arguments(specs, defaults)) == 1


def test_defaults_that_agree_are_fine() -> None:
    specs = spec(
        r_a={"type": "int", "default": 1}, r_b={"default": "{{ x }}"}, r_c={"required": True}, r_d={"type": "bool", "default": False}
    )
    assert not roles.arguments(specs, {"r_a": 1, "r_b": "{{ x }}", "r_d": False})
    assert not roles.arguments(spec(r_a={"type": "dict"}), {"r_a": "{{ x | default({}) }}"})


def test_a_missing_description_is_found() -> None:
    assert roles.undescribed({})
    assert roles.undescribed(spec(r_a={"type": "int"}))
    assert roles.undescribed({"main": {"short_description": "x"}})
    assert not roles.undescribed(spec(r_a={"description": "x"}))


def test_a_foreign_name_is_found() -> None:
    assert roles.unprefixed("r", {"a": 1}, {})
    assert roles.unprefixed("r", {}, {"r_a": 1})
    assert not roles.unprefixed("r", {"r_a": 1}, {"__r_a": 1})


@pytest.mark.parametrize(
    "task",
    [
        {"name": "A", "register": "result", "ansible.builtin.ping": None},
        {"name": "A", "loop": [], "loop_control": {"loop_var": "one"}, "ansible.builtin.ping": None},
        {"name": "A", "block": [{"name": "B", "ansible.builtin.set_fact": {"a": 1}}]},
    ],
)
def test_a_foreign_result_is_found(task: dict[str, Any]) -> None:
    assert roles.registered("r", [task])
    assert not roles.registered(
        "r", [{"register": "__r_x", "ansible.builtin.set_fact": {"r_x": 1, "triton_endpoint": {}, "cacheable": True}}]
    )


def test_a_foreign_tag_is_found() -> None:
    assert roles.tags("r", [{"name": "A", "tags": ["install", "r"]}], main=True)
    assert roles.tags("r", [{"name": "A", "tags": "r_install"}], main=True)
    assert not roles.tags("r", [{"name": "A", "tags": ["r", "r_install"]}, {"name": "B", "tags": "always"}], main=True)
    assert not roles.tags("r", [{"name": "A"}], main=False)


@pytest.mark.parametrize("file", ["a.yml", "{{ x }}.yml"])
def test_tags_that_reach_nothing_are_found(file: str) -> None:
    include = {"name": "A", "ansible.builtin.include_tasks": file, "tags": ["r_install"]}
    applied = {**include, "ansible.builtin.include_tasks": {"file": file, "apply": {"tags": ["r_install"]}}}
    assert roles.unreached([include], {"a.yml": [{"name": "B"}]})
    assert not roles.unreached([include], {"a.yml": [{"name": "B", "tags": "r_install"}]})
    assert not roles.unreached([applied], {"a.yml": [{"name": "B"}]})
    assert not roles.unreached([{"name": "A", "block": [{"ansible.builtin.include_tasks": file}]}], {"a.yml": [{"name": "B"}]})


def test_missing_meta_is_found() -> None:
    assert len(roles.incomplete_meta({})) == 6


def test_a_role_that_cannot_be_undone_is_found() -> None:
    assert roles.missing_state("r", spec())
    assert not roles.missing_state("r", spec(r_state={"choices": ["present", "absent"]}))
