# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Tensors from values and files."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy
import pytest

from ansible_collections.serving.triton.plugins.module_utils.core.errors import InputError
from ansible_collections.serving.triton.plugins.module_utils.server.arguments import DATATYPES
from ansible_collections.serving.triton.plugins.module_utils.server.tensors import (
    Declared,
    Tensor,
    build,
    plain,
    resolve_shape,
    synthetic,
)

BATCHED = Declared("IN", "FP32", (-1, 4))


def make(item: dict[str, Any], declared: Declared | None = None, folder: str = ".") -> Tensor:
    return build({"name": "IN", **item}, declared, folder, "here")


@pytest.mark.parametrize(
    ("datatype", "values", "elements"),
    [
        ("BOOL", [True, False], [True, False]),
        ("INT8", [-128, 127], [-128, 127]),
        ("UINT8", [0, 255], [0, 255]),
        ("INT64", [-(2**63), 2**63 - 1], [-(2**63), 2**63 - 1]),
        ("UINT64", [0, 2**64 - 1], [0, 2**64 - 1]),
        ("UINT64", [[0.0], [2**64 - 1]], [0, 2**64 - 1]),
        ("INT32", [1.0, 2.0], [1, 2]),
        ("INT32", ["1", "-2"], [1, -2]),
        ("FP16", [0.5, 65504], [0.5, 65504.0]),
        ("BF16", [0.5, 1.0], [0.5, 1.0]),
        ("FP32", [1, 2.5], [1.0, 2.5]),
        ("FP64", [0.1], [0.1]),
        ("BYTES", ["text", "", "트리톤", 7], ["text", "", "트리톤", "7"]),
        ("BYTES", [b"\xff"], ["\\xff"]),
    ],
)
def test_values_of_every_type_come_back(datatype: str, values: list[Any], elements: list[Any]) -> None:
    tensor = make({"datatype": datatype, "values": values})
    assert tensor.datatype == datatype
    assert tensor.values() == elements
    assert math.prod(tensor.shape) == len(values)


@pytest.mark.parametrize(
    ("datatype", "values", "message"),
    [
        ("INT8", [128], "outside of -128 to 127"),
        ("UINT8", [-1], "outside of 0 to 255"),
        ("UINT64", [2**64], "outside of 0 to"),
        ("INT32", [1.5], "a fraction does not fit"),
        ("INT32", ["x"], "invalid literal"),
        ("FP32", [[1, 2], [3]], "values are not FP32"),
        ("BYTES", [["a", "b"], ["c"]], "rows are of different lengths"),
        ("FP32", [None], "values are not FP32"),
    ],
)
def test_values_that_do_not_fit_are_refused(datatype: str, values: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make({"datatype": datatype, "values": values})


@pytest.mark.parametrize(
    ("item", "declared", "message"),
    [
        ({"values": [1]}, None, "no datatype is given"),
        ({"datatype": "FP32"}, None, "exactly one of values, npy and image, not 0"),
        ({"datatype": "FP32", "values": [1], "npy": "x"}, None, "not 2"),
        ({"values": [1, 2, 3]}, BATCHED, "the shape cannot be told"),
        ({"values": [1, 2, 3], "shape": [1, 4]}, BATCHED, r"3 values do not fill the shape \[1, 4\]"),
        ({"datatype": "FP32", "npy": "/none.npy"}, None, "cannot be read"),
    ],
)
def test_inputs_that_cannot_work_are_refused(item: dict[str, Any], declared: Declared | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make(item, declared)


@pytest.mark.parametrize(
    ("natural", "declared", "shape"),
    [
        ((8,), (), (8,)),
        ((2, 4), (-1, 4), (2, 4)),
        ((4,), (-1, 4), (1, 4)),
        ((8,), (-1, 4), (2, 4)),
        ((8,), (2, 4), (2, 4)),
        ((12,), (2, 2, -1), (2, 2, 3)),
        ((12,), (-1, 2, -1), None),
        ((9,), (-1, 4), None),
        ((2, 2), (-1, 2, 2), (1, 2, 2)),
        ((3,), (-1, -1), (1, 3)),
        ((5,), (-1,), (5,)),
    ],
)
def test_shapes_are_told_from_values_and_metadata(
    natural: tuple[int, ...], declared: tuple[int, ...], shape: tuple[int, ...] | None
) -> None:
    assert resolve_shape(natural, declared) == shape


def test_metadata_fills_in_type_and_shape() -> None:
    tensor = make({"values": [1, 2, 3, 4]}, BATCHED)
    assert (tensor.datatype, tensor.shape) == ("FP32", [1, 4])


def test_an_npy_file_is_read_from_the_folder(tmp_path: Path) -> None:
    numpy.save(tmp_path / "x.npy", numpy.arange(8, dtype="int64").reshape(2, 4))
    tensor = make({"npy": "x.npy"}, BATCHED, str(tmp_path))
    assert (tensor.shape, tensor.values(3)) == ([2, 4], [0.0, 1.0, 2.0])


def test_an_npy_file_with_objects_or_garbage_is_refused(tmp_path: Path) -> None:
    numpy.save(tmp_path / "o.npy", numpy.array([{"a": 1}], dtype=object), allow_pickle=True)
    (tmp_path / "g.npy").write_bytes(b"garbage")
    for name in ("o.npy", "g.npy"):
        with pytest.raises(InputError, match="holds no array of FP32"):
            make({"datatype": "FP32", "npy": name}, None, str(tmp_path))


@pytest.mark.parametrize("datatype", DATATYPES)
def test_synthetic_inputs_are_zeros_of_the_declared_shape(datatype: str) -> None:
    tensor = synthetic(Declared("IN", datatype, (-1, 2, -1)))
    assert tensor.shape == [1, 2, 1]
    assert [str(value) for value in tensor.values()] in (["0", "0"], ["0.0", "0.0"], ["False", "False"])


def test_a_huge_synthetic_input_is_refused() -> None:
    with pytest.raises(InputError, match="a synthetic input would have 100000000 elements"):
        synthetic(Declared("IN", "FP32", (-1, 100_000_000)))


def test_results_hold_what_json_can_hold() -> None:
    assert plain([1.0, float("nan"), float("-inf"), "x", 3]) == [1.0, "nan", "-inf", "x", 3]
