# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Each rule finds what it is for and nothing else. What a real server does with the same models: test_lint_agrees_with_triton.py."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import lint_cases
from support.lint_cases import CASES, LOADS, UNTESTED, Case
from support.tritonserver import ROOT

from ansible_collections.serving.triton.plugins.module_utils.core.errors import InputError
from ansible_collections.serving.triton.plugins.module_utils.repository.layout import scan
from ansible_collections.serving.triton.plugins.module_utils.repository.lint import FolderReader, count, inspect, lint
from ansible_collections.serving.triton.plugins.module_utils.repository.rules import ERROR, INFO, RULES, SERVER, Finding


def run(root: Path, **options: object) -> list[Finding]:
    repository = scan(root, strict=False)
    return lint(repository, inspect(repository, FolderReader(root)), **options)


@pytest.fixture(scope="module")
def findings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Finding]]:
    root = tmp_path_factory.mktemp("repository")
    lint_cases.write_all(root)
    by_model: dict[str, list[Finding]] = {case.name: [] for case in CASES}
    for finding in run(root):
        by_model[finding.model].append(finding)
    return by_model


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_the_linter_says_what_is_wrong_and_no_more(case: Case, findings: dict[str, list[Finding]]) -> None:
    found = findings[case.name]
    assert {finding.rule for finding in found if finding.severity != INFO} == set(case.rules), [str(finding) for finding in found]
    for finding in found:
        assert finding.severity == RULES[finding.rule].severity
        assert finding.message
        assert finding.remedy.endswith(".")
        assert finding.file == case.name or finding.file.startswith(f"{case.name}/")


def test_the_cases_are_consistent() -> None:
    assert len({case.name for case in CASES}) == len(CASES)
    for case in CASES:
        server_errors = [rule for rule in case.rules if RULES[rule].severity == ERROR and RULES[rule].breaks == SERVER]
        if case.outcome == LOADS and case.name not in ("link_nowhere_in_version",):
            assert not server_errors, case.name
        if case.outcome not in (LOADS, UNTESTED):
            assert case.rules, case.name


def test_every_rule_has_a_case() -> None:
    covered = {rule for case in CASES for rule in case.rules}
    elsewhere = {
        "bytecode",
        "folder-hidden",
        "repository-empty",
        "folder-ignored",
        "version-folder-empty",
        "tensor-batch-dimension",
        "model-metrics",
        "config-new-field",
        "ensemble-mapping-open",
    }
    assert covered | elsewhere == set(RULES)
    assert not covered & elsewhere


def rules(root: Path, **options: object) -> list[tuple[str, str]]:
    return [(finding.rule, finding.file) for finding in run(root, **options)]


def test_hints(tmp_path: Path) -> None:
    Case("a", LOADS, files={"src/a.py": "x = 1"}).write(tmp_path)
    Case("b", LOADS, config=lint_cases.BATCHED.replace("[4]", "[-1, 4]")).write(tmp_path)
    ensemble = next(case for case in CASES if case.name == "ensemble_version_one").config.replace('"plain"', '"a"')
    Case("c", LOADS, config=ensemble, code=None).write(tmp_path)
    assert rules(tmp_path) == [("folder-ignored", "a/src"), ("tensor-batch-dimension", "b/config.pbtxt"), ("version-folder-empty", "c/1")]


def test_bytecode_is_a_hint_since_triton_writes_it(tmp_path: Path) -> None:
    Case("a", LOADS, files={"1/__pycache__/model.cpython-311.pyc": "x"}).write(tmp_path)
    assert rules(tmp_path) == [("bytecode", "a/1/__pycache__")]


def test_a_folder_that_the_configuration_names_is_no_hint(tmp_path: Path) -> None:
    config = lint_cases.PYTHON + lint_cases.io(y=lint_cases.Y + ' label_filename: "meta/labels.txt"')
    Case("a", LOADS, config=config, files={"meta/labels.txt": "a\nb\nc\nd"}).write(tmp_path)
    assert rules(tmp_path) == []


def test_a_metric_control(tmp_path: Path) -> None:
    control = 'model_metrics { metric_control [{ metric_identifier { family: "f" } %s }] }'
    Case("a", LOADS, config=lint_cases.PLAIN + control % "histogram_options { buckets: [1, 2] }").write(tmp_path)
    Case("b", LOADS, config=lint_cases.PLAIN + control % "").write(tmp_path)
    assert rules(tmp_path) == [
        ("model-metrics", "b/config.pbtxt"),
        ("config-new-field", "a/config.pbtxt"),
        ("config-new-field", "b/config.pbtxt"),
    ]


def test_a_tensor_that_code_may_add_is_a_warning(tmp_path: Path) -> None:
    Case("plain", LOADS, code=lint_cases.COMPLETING).write(tmp_path)
    next(case for case in CASES if case.name == "ensemble_output").write(tmp_path)
    assert [rule for rule, _unused in rules(tmp_path)] == ["ensemble-mapping-open", "version-folder-empty"]


def test_an_empty_repository(tmp_path: Path) -> None:
    assert rules(tmp_path) == [("repository-empty", "")]


def test_what_lies_beside_the_models(tmp_path: Path) -> None:
    Case("a", LOADS).write(tmp_path)
    (tmp_path / "README.md").write_text("x")
    (tmp_path / ".DS_Store").write_text("x")
    (tmp_path / ".serving-triton.json").write_text("{}")
    (tmp_path / ".serving-triton.lock").mkdir()
    (tmp_path / ".git").mkdir()
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "gone").symlink_to("nowhere")
    (tmp_path / "out").symlink_to("/usr/share/doc/base-files")
    assert sorted(rules(tmp_path)) == [
        ("folder-hidden", ".git"),
        ("folder-hidden", "__pycache__"),
        ("folder-not-a-model", "out"),
        ("junk-file", ".DS_Store"),
        ("link-broken", "gone"),
    ]


def test_a_model_that_is_a_link_out_of_the_repository(tmp_path: Path) -> None:
    Case("a", LOADS).write(tmp_path / "elsewhere")
    (tmp_path / "repository").mkdir()
    (tmp_path / "repository" / "a").symlink_to("../elsewhere/a")
    assert rules(tmp_path / "repository") == [("link-escapes", "a")]


def test_models_and_rules_can_be_chosen(tmp_path: Path) -> None:
    Case("a", LOADS, config="backend: ").write(tmp_path)
    Case("b", LOADS, config=lint_cases.PYTHON + lint_cases.PYTHON).write(tmp_path)
    assert [file for _unused, file in rules(tmp_path)] == ["a/config.pbtxt", "b/config.pbtxt"]
    assert [file for _unused, file in rules(tmp_path, models=["b"])] == ["b/config.pbtxt"]
    assert rules(tmp_path, ignore=["config-syntax"]) == []
    with pytest.raises(InputError, match="there is no model c"):
        rules(tmp_path, models=["c"])
    with pytest.raises(InputError, match="there is no rule x"):
        rules(tmp_path, ignore=["x"])


def test_counts_name_every_severity() -> None:
    finding = Finding("a", "a", "model-name", "error", "m", "r")
    assert count([finding, finding]) == {"error": 2, "warning": 0, "info": 0}
    assert str(finding) == "error: a: m [model-name]. r"


def test_a_file_that_cannot_be_read_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read") as caught:
        FolderReader(tmp_path).text("a/config.pbtxt")
    assert caught.value.where == f"{tmp_path}/a/config.pbtxt"


def test_no_code_is_executed_and_no_bytecode_written(tmp_path: Path) -> None:
    code = f"import pathlib\npathlib.Path({str(tmp_path / 'executed')!r}).touch()\n" + lint_cases.MODEL
    Case("a", LOADS, code=code).write(tmp_path / "repository")
    assert rules(tmp_path / "repository") == []
    assert not (tmp_path / "executed").exists()
    assert not list(tmp_path.rglob("*.pyc"))


def test_the_documentation_lists_the_rules_as_they_are() -> None:
    text = (ROOT / "docs" / "lint.md").read_text(encoding="utf-8")
    rows = [tuple(cell.strip() for cell in line.strip("|").split(" | ")) for line in text.splitlines() if line.startswith("| `")]
    assert rows == [(f"`{rule.id}`", rule.severity, rule.breaks, rule.summary, rule.remedy) for rule in RULES.values()]
