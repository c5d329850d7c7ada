# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whether an answer is what was expected. Pure, and on plain values alone."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..core.errors import InputError

FLOAT_TOLERANCE = 1e-4
_SHOWN_ROWS = 5


@dataclass(frozen=True)
class Class:
    """One line of the classification extension. label: empty where the model has no labels."""

    value: float
    index: int
    label: str = ""

    @classmethod
    def parse(cls, line: str) -> Class:
        """From `value:index[:label]`. Raises ValueError."""
        value, index, *label = line.split(":", 2)
        return cls(float(value), int(index), label[0] if label else "")


@dataclass(frozen=True)
class Answer:
    """One output as it is compared. values: row-major. classes: best first, one list a row, when they were asked for."""

    datatype: str
    shape: tuple[int, ...]
    values: Sequence[Any] = ()
    classes: Sequence[Sequence[Class]] | None = None


@dataclass(frozen=True)
class Mismatch:
    """One difference. check: output and what was compared."""

    check: str
    expected: str
    got: str


def compare(expect: Sequence[Mapping[str, Any]], answers: Mapping[str, Answer]) -> list[Mismatch]:
    """Every difference between expectations and outputs; empty when all hold."""
    return [mismatch for item in expect for mismatch in _compare_output(item, answers)]


def _compare_output(item: Mapping[str, Any], answers: Mapping[str, Answer]) -> Iterator[Mismatch]:
    name = str(item["output"])
    answer = answers.get(name)
    if answer is None:
        yield Mismatch(name, "an output of this name", f"outputs {', '.join(sorted(answers)) or '(none)'}")
        return
    if item.get("datatype") and item["datatype"] != answer.datatype:
        yield Mismatch(f"{name} datatype", str(item["datatype"]), answer.datatype)
    if item.get("shape") is not None and not _same_shape(item["shape"], answer.shape):
        yield Mismatch(f"{name} shape", str(list(item["shape"])), str(list(answer.shape)))
    if item.get("values") is not None:
        yield from _compare_values(name, item, answer)
    rows = _ranked(answer)
    if item.get("top") is not None:
        yield from _compare_top(name, item["top"], rows)
    if item.get("labels") is not None:
        yield from _compare_labels(name, item, rows)


def _same_shape(expected: Sequence[int], got: Sequence[int]) -> bool:
    return len(expected) == len(got) and all(want in (have, -1) for want, have in zip(expected, got))


# --- values


def flatten(value: Any) -> list[Any]:
    """The elements of nested lists in row-major order; a single value is a list of one."""
    if not isinstance(value, (list, tuple)):
        return [value]
    return [element for item in value for element in flatten(item)]


def _compare_values(name: str, item: Mapping[str, Any], answer: Answer) -> Iterator[Mismatch]:
    expected = flatten(item["values"])
    got = [line.value for row in answer.classes for line in row] if answer.classes is not None else list(answer.values)
    if len(expected) != len(got):
        yield Mismatch(f"{name} values", f"{len(expected)} of them", f"{len(got)} of them")
        return
    tolerance = item.get("tolerance")
    if tolerance is None:
        tolerance = FLOAT_TOLERANCE if answer.classes is not None or answer.datatype.startswith(("FP", "BF")) else 0
    wrong = [index for index, (want, have) in enumerate(zip(expected, got)) if not close(want, have, tolerance)]
    if wrong:
        worst = max(wrong, key=lambda index: _distance(expected[index], got[index]))
        where = f"{name}[{worst}]" if len(wrong) == 1 else f"{name}[{worst}], the worst of {len(wrong)}"
        within = f" ± {tolerance:g}" if tolerance else ""
        yield Mismatch(where, f"{_word(expected[worst])}{within}", _word(got[worst]))


def close(want: Any, have: Any, tolerance: float) -> bool:
    """Whether two elements are equal, numbers within the tolerance; NaN equals NaN, and text equals the text of anything."""
    if isinstance(have, str):
        return str(want) == have
    try:
        wanted, got = float(want), float(have)
    except (TypeError, ValueError):
        return False
    if math.isnan(wanted) or math.isnan(got):
        return math.isnan(wanted) and math.isnan(got)
    # Integers of 64 bits are compared as such: floats would take neighbours for equal.
    if isinstance(want, int) and isinstance(have, int):
        return abs(want - have) <= tolerance
    return wanted == got or abs(wanted - got) <= tolerance


def _distance(want: Any, have: Any) -> float:
    try:
        distance = abs(float(want) - float(have))
    except (TypeError, ValueError):
        return math.inf
    return math.inf if math.isnan(distance) else distance


def _word(value: Any) -> str:
    return f"{value:.9g}" if isinstance(value, float) else repr(value) if isinstance(value, str) else str(value)


# --- classes


def _ranked(answer: Answer) -> Sequence[Sequence[Class]]:
    """Each row's classes, best first: the server's where they were asked for, else from the scores."""
    if answer.classes is not None:
        return answer.classes
    if not answer.values or not all(isinstance(value, (int, float)) for value in answer.values):
        return []
    width = len(answer.values) // answer.shape[0] if len(answer.shape) > 1 else len(answer.values)
    rows = [answer.values[start : start + width] for start in range(0, len(answer.values), width)]
    return [[Class(float(row[index]), index) for index in sorted(range(len(row)), key=lambda index: -row[index])] for row in rows]


def _compare_top(name: str, expected: Sequence[Any], rows: Sequence[Sequence[Class]]) -> Iterator[Mismatch]:
    wanted = [list(row) if isinstance(row, (list, tuple)) else [row] for row in expected]
    if len(wanted) != len(rows):
        yield Mismatch(f"{name} top", f"{len(wanted)} rows", f"{len(rows)} rows")
        return
    wrong = []
    for number, (want, row) in enumerate(zip(wanted, rows)):
        got = [line.index for line in row[: len(want)]]
        if [str(each) for each in want] != [str(each) for each in got]:
            wrong.append(Mismatch(f"{name} top {len(want)}, row {number}", str(want), str(got)))
    yield from _first(wrong, f"{name} top")


def _compare_labels(name: str, item: Mapping[str, Any], rows: Sequence[Sequence[Class]]) -> Iterator[Mismatch]:
    expected = [str(label) for label in item["labels"]]
    if len(expected) != len(rows) or not all(rows):
        yield Mismatch(f"{name} labels", f"{len(expected)} rows", f"{len(rows)} rows")
        return
    wrong = [
        Mismatch(f"{name} label, row {number}", want, row[0].label or str(row[0].index))
        for number, (want, row) in enumerate(zip(expected, rows))
        if want not in (row[0].label, str(row[0].index))
    ]
    accuracy = item.get("accuracy")
    floor = 1.0 if accuracy is None else float(accuracy)
    share = 1 - len(wrong) / len(expected) if expected else 1.0
    if share < floor:
        if floor < 1:
            yield Mismatch(f"{name} accuracy", f"at least {floor:g}", f"{share:.4g} ({len(wrong)} of {len(expected)} wrong)")
        yield from _first(wrong, f"{name} labels")


def _first(wrong: Sequence[Mismatch], what: str) -> Iterator[Mismatch]:
    """The first few, and a line for the rest."""
    yield from wrong[:_SHOWN_ROWS]
    if len(wrong) > _SHOWN_ROWS:
        yield Mismatch(what, "", f"{len(wrong) - _SHOWN_ROWS} more rows differ")


# --- the expectations themselves, and the table


def check_expectations(expect: Sequence[Mapping[str, Any]], where: str) -> None:
    """Refuses expectations that could not hold or would compare nothing. Raises InputError."""
    for item in expect:
        here = f"{where}, expect {item.get('output')!r}"
        if not any(item.get(key) is not None for key in ("shape", "datatype", "values", "top", "labels")):
            raise InputError("nothing is expected", where=here, remedy="Give shape, datatype, values, top or labels.")
        accuracy, tolerance = item.get("accuracy"), item.get("tolerance")
        if accuracy is not None and (item.get("labels") is None or not 0 <= float(accuracy) <= 1):
            raise InputError("accuracy is a share from 0 to 1 of the labels", where=here, remedy="Give labels, and for example 0.95.")
        if tolerance is not None and (item.get("values") is None or float(tolerance) < 0):
            raise InputError("tolerance belongs to values and is not negative", where=here, remedy="Give values, and for example 0.001.")


def table(rows: Sequence[Sequence[str]], *, limit: int = 20, width: int = 110) -> str:
    """Rows, the first being the headings, as aligned text; long cells and more than `limit` rows are cut."""
    shown = [[_cut(cell, width) for cell in row] for row in rows[: limit + 1]]
    widths = [max(len(row[column]) for row in shown) for column in range(len(shown[0]))]
    lines = ["  ".join(cell.ljust(size) for cell, size in zip(row, widths)).rstrip() for row in shown]
    rest = len(rows) - 1 - limit
    return "\n".join([*lines, f"… and {rest} more"] if rest > 0 else lines)


def _cut(cell: str, width: int) -> str:
    line = " ".join(cell.split())
    return line if len(line) <= width else line[: width - 1] + "…"
