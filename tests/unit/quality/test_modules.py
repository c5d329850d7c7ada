# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Every module's documentation says what its code does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.rules import collection, docs, places
from support.rules.docs import Behaviour

every_module = pytest.mark.parametrize("path", places.modules(), ids=lambda path: path.stem)


def documented(path: Path) -> dict[str, Any]:
    """What ansible-doc says of it; asked for alone where it cannot be read, so that its own test tells why."""
    name = f"serving.triton.{path.stem}"
    return dict(collection.all_modules().get(name) or collection.documentation("module", (path.stem,))[name])


def test_the_promised_modules_are_there() -> None:
    found = {path.stem for path in places.modules()}
    assert {"model_repository_info", "model_repository", "server_info", "model", "infer"} <= found


@every_module
def test_options_are_documented_as_they_are(path: Path) -> None:
    behaviour = collection.behaviour(path)
    assert not docs.options(documented(path)["doc"].get("options") or {}, behaviour.argument_spec)
    assert not docs.secrets(behaviour.argument_spec)


@every_module
def test_attributes_are_true(path: Path) -> None:
    assert not docs.attributes(documented(path)["doc"], collection.behaviour(path), collection.groups_of(path.stem))


@every_module
def test_examples_use_what_exists(path: Path) -> None:
    options = {name: answer["doc"].get("options") or {} for name, answer in collection.all_modules().items()}
    assert not docs.examples(documented(path)["examples"] or "", options)


@every_module
def test_return_values_have_samples(path: Path) -> None:
    assert not docs.returns(documented(path)["return"] or {})


def test_action_groups_hold_modules_that_exist() -> None:
    found = {path.stem for path in places.modules()}
    members = {member for group in collection.action_groups().values() for member in group}
    assert members
    assert members <= found


@pytest.mark.parametrize("path", sorted((places.PLUGINS / "doc_fragments").glob("[!_]*.py")), ids=lambda path: path.stem)
def test_a_doc_fragment_is_used(path: Path) -> None:
    users = [module.stem for module in places.modules() if f"serving.triton.{path.stem}" in module.read_text(encoding="utf-8")]
    assert users


@pytest.mark.parametrize(
    ("told", "done", "complaint"),
    [
        ({"a": {"description": "x"}}, {}, "a: documented, not in"),
        ({}, {"a": {}}, "a: in the argument spec, not"),
        ({"a": {"description": "x", "type": "str"}}, {"a": {"type": "path"}}, "a: type"),
        ({"a": {"description": "x"}}, {"a": {"default": 3}}, "a: default"),
        ({"a": {"description": "x", "choices": ["b"]}}, {"a": {"choices": ["b", "c"]}}, "a: choices"),
        ({"a": {"description": "x", "type": "list"}}, {"a": {"type": "list", "elements": "str"}}, "a: elements"),
        ({"a": {"description": "x"}}, {"a": {"required": True}}, "a: required"),
        ({"a": {"description": "x"}}, {"a": {"aliases": ["b"]}}, "a: aliases"),
        ({"a": {}}, {"a": {}}, "a: has no description"),
        (
            {"a": {"description": "x", "type": "dict", "suboptions": {"b": {"description": "x"}}}},
            {"a": {"type": "dict", "options": {"b": {"type": "int"}}}},
            "a.b: type",
        ),
    ],
)
def test_an_option_that_differs_is_found(told: docs.Options, done: docs.Options, complaint: str) -> None:
    found = docs.options(told, done)
    assert len(found) == 1
    assert found[0].startswith(complaint)


@pytest.mark.parametrize(
    "spec",
    [
        {"api_token": {}},
        {"headers": {"type": "dict"}},
        {"headers": {"type": "dict", "no_log": False}},
        {"tls": {"type": "dict", "options": {"password": {"type": "str"}}}},
    ],
)
def test_an_open_secret_is_found(spec: docs.Options) -> None:
    assert docs.secrets(spec)
    assert not docs.secrets({"api_token": {"no_log": True}, "token_file": {"type": "path"}, "headers": {"no_log": True}})


def stated(check: str = "full", diff: str = "full", **more: Any) -> dict[str, Any]:
    return {"attributes": {"check_mode": {"support": check}, "diff_mode": {"support": diff}, "idempotent": {"support": "full"}, **more}}


@pytest.mark.parametrize(
    ("doc", "behaviour", "groups"),
    [
        ({}, Behaviour({}, True, True), []),
        ({"attributes": {"check_mode": {"support": "full"}, "diff_mode": {"support": "full"}}}, Behaviour({}, True, True), []),
        (stated(), Behaviour({}, False, True), []),
        (stated(check="none"), Behaviour({}, True, True), []),
        (stated(diff="none"), Behaviour({}, True, True), []),
        (stated(), Behaviour({}, True, False), []),
        (stated(), Behaviour({}, True, True), ["server"]),
        (stated(action_group={"support": "full", "membership": ["serving.triton.server"]}), Behaviour({}, True, True), []),
    ],
)
def test_an_untrue_attribute_is_found(doc: dict[str, Any], behaviour: Behaviour, groups: list[str]) -> None:
    assert docs.attributes(doc, behaviour, groups)


def test_true_attributes_are_fine() -> None:
    member = {"support": "full", "membership": ["serving.triton.server"]}
    assert not docs.attributes(stated(action_group=member), Behaviour({}, True, True), ["server"])
    assert not docs.attributes(stated(diff="N/A"), Behaviour({}, True, False), [])


OPTIONS: dict[str, docs.Options] = {"serving.triton.x": {"a": {"aliases": ["alias"]}, "b": {"type": "dict", "suboptions": {"c": {}}}}}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("- {name: x", "does not parse"),
        ("", "is not a list"),
        ("- {name: x, copy: {src: a}}", "copy: is no FQCN"),
        ("- {name: x, serving.triton.y: {}}", "does not exist"),
        ("- {name: x, serving.triton.x: {d: 1}}", "d: no such option"),
        ("- {name: x, serving.triton.x: {b: {d: 1}}}", "b.d: no such option"),
        ("- {hosts: all, tasks: [{block: [{serving.triton.x: {d: 1}}]}]}", "d: no such option"),
        ("- {module_defaults: {serving.triton.x: {d: 1}}, ansible.builtin.debug: {}}", "d: no such option"),
    ],
)
def test_a_bad_example_is_found(text: str, complaint: str) -> None:
    found = docs.examples(text, OPTIONS)
    assert len(found) == 1
    assert complaint in found[0]


def test_a_good_example_is_fine() -> None:
    assert not docs.examples("- {name: x, serving.triton.x: {alias: 1, b: {c: 2}}, register: result}", OPTIONS)


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"a": {"description": "x", "type": "str", "returned": "always"}},
        {"a": {"description": "x", "sample": 1, "returned": "always"}},
        {"a": {"description": "x", "type": "int", "sample": 1}},
        {"a": {"description": "x", "type": "dict", "returned": "always", "contains": {"b": {"description": "x", "type": "int"}}}},
    ],
)
def test_a_return_value_without_a_sample_is_found(values: dict[str, Any]) -> None:
    assert docs.returns(values)
    assert not docs.returns({"a": {"description": "x", "type": "int", "returned": "always", "sample": 1}})
