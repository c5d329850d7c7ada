# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Comparing answers with what was expected."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.serving.triton.plugins.module_utils.core.errors import InputError
from ansible_collections.serving.triton.plugins.module_utils.server.expectations import (
    Answer,
    Class,
    Mismatch,
    check_expectations,
    close,
    compare,
    table,
)

SCORES = Answer("FP32", (2, 3), [0.1, 0.7, 0.2, 0.5, 0.2, 0.3])
LABELLED = Answer("BYTES", (2, 2), classes=[[Class(0.9, 4, "cup"), Class(0.1, 2, "mug")], [Class(0.8, 2, "mug"), Class(0.2, 4, "cup")]])


def differences(expect: dict[str, Any], answer: Answer) -> list[Mismatch]:
    return compare([{"output": "OUT", **expect}], {"OUT": answer})


@pytest.mark.parametrize(
    ("expect", "answer"),
    [
        ({"shape": [2, 3], "datatype": "FP32"}, SCORES),
        ({"shape": [-1, 3]}, SCORES),
        ({"values": [[0.1, 0.7, 0.2], [0.5, 0.2, 0.3]]}, SCORES),
        ({"values": [0.10005, 0.7, 0.2, 0.5, 0.2, 0.3]}, SCORES),
        ({"values": [0, 1, 0, 0, 0, 0], "tolerance": 0.5}, SCORES),
        ({"top": [[1, 2], [0, 2]]}, SCORES),
        ({"top": [1, 0]}, SCORES),
        ({"labels": [1, "0"]}, SCORES),
        ({"top": [[4, 2], [2]], "labels": ["cup", "2"]}, LABELLED),
        ({"labels": ["cup", "cup"], "accuracy": 0.5}, LABELLED),
        ({"values": [0.9, 0.1, 0.8, 0.2]}, LABELLED),
        ({"values": ["a", 1]}, Answer("BYTES", (2,), ["a", "1"])),
        ({"values": [True, 0]}, Answer("BOOL", (2,), [True, False])),
        ({"values": ["nan", "inf"]}, Answer("FP32", (2,), [float("nan"), float("inf")])),
        ({"values": 3}, Answer("INT32", (), [3])),
        ({"top": [[0]]}, Answer("FP32", (3,), [9.0, 1.0, 9.0])),
    ],
)
def test_what_holds(expect: dict[str, Any], answer: Answer) -> None:
    assert differences(expect, answer) == []


@pytest.mark.parametrize(
    ("expect", "answer", "found"),
    [
        ({"datatype": "INT32"}, SCORES, [Mismatch("OUT datatype", "INT32", "FP32")]),
        ({"shape": [2, 4]}, SCORES, [Mismatch("OUT shape", "[2, 4]", "[2, 3]")]),
        ({"shape": [2]}, SCORES, [Mismatch("OUT shape", "[2]", "[2, 3]")]),
        ({"values": [1]}, SCORES, [Mismatch("OUT values", "1 of them", "6 of them")]),
        ({"values": [0.1, 0.7, 0.2, 0.5, 0.2, 0.4]}, SCORES, [Mismatch("OUT[5]", "0.4 ± 0.0001", "0.3")]),
        ({"values": [1, 2, 3]}, Answer("INT32", (3,), [1, 4, 9]), [Mismatch("OUT[2], the worst of 2", "3", "9")]),
        ({"values": ["a"]}, Answer("BYTES", (1,), ["b"]), [Mismatch("OUT[0]", "'a'", "'b'")]),
        ({"values": [1.0]}, Answer("FP32", (1,), [float("nan")]), [Mismatch("OUT[0]", "1 ± 0.0001", "nan")]),
        ({"top": [[2], [0]]}, SCORES, [Mismatch("OUT top 1, row 0", "[2]", "[1]")]),
        ({"top": [[2]]}, SCORES, [Mismatch("OUT top", "1 rows", "2 rows")]),
        ({"labels": ["cup", "cup"]}, LABELLED, [Mismatch("OUT label, row 1", "cup", "mug")]),
        (
            {"labels": ["mug", "cup"], "accuracy": 0.9},
            LABELLED,
            [
                Mismatch("OUT accuracy", "at least 0.9", "0 (2 of 2 wrong)"),
                Mismatch("OUT label, row 0", "mug", "cup"),
                Mismatch("OUT label, row 1", "cup", "mug"),
            ],
        ),
        ({"labels": ["a"]}, Answer("BYTES", (1,), ["a"]), [Mismatch("OUT labels", "1 rows", "0 rows")]),
    ],
)
def test_what_differs_is_named(expect: dict[str, Any], answer: Answer, found: list[Mismatch]) -> None:
    assert differences(expect, answer) == found


def test_an_output_that_is_missing_is_named() -> None:
    assert compare([{"output": "X", "shape": [1]}], {"OUT": SCORES}) == [Mismatch("X", "an output of this name", "outputs OUT")]


def test_many_wrong_rows_are_cut() -> None:
    answer = Answer("FP32", (20, 2), [1.0, 0.0] * 20)
    found = differences({"labels": [1] * 20}, answer)
    assert len(found) == 6
    assert found[-1].got == "15 more rows differ"


@pytest.mark.parametrize(
    ("want", "have", "tolerance", "equal"),
    [
        (9007199254740993, 9007199254740992, 0, False),
        (2**63, 2**63, 0, True),
        (1, 1.0, 0, True),
        ("1", 1, 0, True),
        ("x", 1, 0, False),
        (None, 1, 0, False),
        (1.0, float("inf"), 1e300, False),
    ],
)
def test_elements_are_compared_exactly(want: Any, have: Any, tolerance: float, equal: bool) -> None:
    assert close(want, have, tolerance) is equal


@given(st.lists(st.floats(width=32), min_size=1, max_size=30))
def test_any_answer_equals_itself(values: list[float]) -> None:
    assert differences({"values": values, "shape": [len(values)]}, Answer("FP32", (len(values),), values)) == []


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=30), st.data())
def test_any_change_of_an_integer_is_found(values: list[int], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(values) - 1))
    changed = [value + 1 if number == index else value for number, value in enumerate(values)]
    (mismatch,) = differences({"values": changed}, Answer("INT64", (len(values),), values))
    assert mismatch.check == f"OUT[{index}]"


@pytest.mark.parametrize(
    ("expect", "message"),
    [
        ({}, "nothing is expected"),
        ({"accuracy": 0.5, "values": [1]}, "accuracy is a share"),
        ({"accuracy": 1.5, "labels": [1]}, "accuracy is a share"),
        ({"tolerance": 1, "labels": [1]}, "tolerance belongs to values"),
        ({"tolerance": -1, "values": [1]}, "tolerance belongs to values"),
    ],
)
def test_expectations_that_mean_nothing_are_refused(expect: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_expectations([{"output": "OUT", **expect}], "requests[0]")


def test_a_label_may_hold_colons() -> None:
    assert Class.parse("0.5:3:a:b") == Class(0.5, 3, "a:b")
    assert Class.parse("1e-3:7") == Class(0.001, 7, "")
    with pytest.raises(ValueError, match="could not convert"):
        Class.parse("x:1")


def test_the_table_is_aligned_and_cut() -> None:
    rows = [["A", "LONGER"], *[[str(number), "x" * 100] for number in range(30)]]
    lines = table(rows, limit=3, width=10).splitlines()
    assert lines == ["A  LONGER", "0  xxxxxxxxx…", "1  xxxxxxxxx…", "2  xxxxxxxxx…", "… and 27 more"]
