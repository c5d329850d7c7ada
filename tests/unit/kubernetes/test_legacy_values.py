# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Values of other charts become ours. tests/integration/test_chart_values.py renders what comes out."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleFilterError
from support.charts import legacy

from ansible_collections.serving.triton.plugins.filter.legacy_values import FilterModule
from ansible_collections.serving.triton.plugins.module_utils.kubernetes.legacy_values import CHARTS, detect, translate

every_case = pytest.mark.parametrize("case", legacy.CASES.values(), ids=legacy.CASES)
GUIDE = Path(__file__).parents[3] / "docs" / "chart.md"


@every_case
def test_old_values_become_ours(case: dict[str, Any]) -> None:
    before = copy.deepcopy(case["old"])
    new, notes = translate(case["old"])
    assert new == case["new"]
    assert [sentence for sentence in case["says"] if sentence not in notes] == []
    assert case["old"] == before
    assert all(note[0].isupper() or note[0].islower() or note.startswith("--") for note in notes)
    assert all(note.endswith(".") for note in notes)


@every_case
def test_the_chart_is_told_by_its_values(case: dict[str, Any]) -> None:
    assert detect(case["old"]) == case["chart"]
    assert FilterModule().filters()["legacy_values"](case["old"], chart=case["chart"])["values"] == case["new"]


def leaves(value: Any, where: str = "") -> list[str]:
    if isinstance(value, dict) and value:
        return [leaf for key, inner in value.items() for leaf in leaves(inner, f"{where}{key}.")]
    return [] if value in (None, {}, []) else [where.rstrip(".")]


def above(leaf: str) -> list[str]:
    """A dotted name, and those it is part of."""
    parts = leaf.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts) + 1)]


@every_case
def test_no_old_value_is_lost_without_a_word(case: dict[str, Any]) -> None:
    """Each is named, or one that it is part of; arguments are named one by one."""
    _new, notes = translate(case["old"])
    words = {word.strip(",.:") for note in notes for word in note.split()}
    assert [leaf for leaf in leaves(case["old"]) if not words & set(above(leaf)) and not leaf.endswith("serverArgs")] == []
    arguments = [str(each) for each in (*case["old"].get("serverArgs", ()), *case["old"].get("image", {}).get("serverArgs", ()))]
    said = " ".join(notes).replace("--model-repository became", "--model-store --model-repository became")
    assert [each for each in arguments if each.startswith("--") and each.partition("=")[0] not in said] == []


def test_sentences_hold_no_secret() -> None:
    secrets = {"id": "QUtJQUNBTkFSWQ==", "key": "Y2FuYXJ5LWtleQ==", "session_token": "not base64: canary"}
    new, notes = translate({"image": {"imageName": "a", "modelRepositoryPath": "s3://m"}, "secret": secrets})
    keys = {"accessKeyId": "AKIACANARY", "secretAccessKey": "canary-key", "sessionToken": "not base64: canary"}
    assert new["credentials"]["aws"] == keys
    assert not [secret for secret in [*secrets.values(), *keys.values()] if secret in " ".join(notes)]


def test_every_chart_has_a_case() -> None:
    assert {case["chart"] for case in legacy.CASES.values()} == CHARTS.keys()


def test_the_guide_maps_every_old_name() -> None:
    guide = GUIDE.read_text(encoding="utf-8")
    wanted = {leaf for case in legacy.CASES.values() for leaf in leaves(case["old"]) if leaf != "instance.typo"}
    assert [leaf for leaf in sorted(wanted) if not any(f"`{name}`" in guide for name in above(leaf))] == []


@pytest.mark.parametrize(
    ("values", "chart", "complaint"),
    [
        ({"a": 1}, "auto", "does not look like the values of any chart"),
        ({}, "istill", "Did you mean instill?"),
        ([], "auto", "must be a mapping"),
        ({"image": {"imageName": "a", "modelRepositoryPath": "models"}}, "auto", "no repository that Triton can read"),
    ],
)
def test_bad_input_is_explained(values: Any, chart: str, complaint: str) -> None:
    with pytest.raises(AnsibleFilterError, match=complaint.replace("?", r"\?")):
        FilterModule().filters()["legacy_values"](values, chart=chart)


def test_yaml_loses_a_releases_zero() -> None:
    new, _notes = translate(yaml.safe_load("{tritonEnv: {tag: 1}, image: {repository: a, tag: 22.10, modelRepositoryPath: /m}}"))
    assert new["image"]["tag"] == "22.10-py3"
