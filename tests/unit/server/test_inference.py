# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Decoding what other servers than Triton answer, and the lines of the classification extension."""

from __future__ import annotations

import json
from typing import Any, cast

import numpy
import pytest
from tritonclient.grpc import service_pb2

from ansible_collections.serving.triton.plugins.module_utils.server.errors import NotServerError
from ansible_collections.serving.triton.plugins.module_utils.server.expectations import Class
from ansible_collections.serving.triton.plugins.module_utils.server.http import Transport
from ansible_collections.serving.triton.plugins.module_utils.server.inference import HttpSession, classes, from_contents
from ansible_collections.serving.triton.plugins.module_utils.server.requests import Prepared
from ansible_collections.serving.triton.plugins.module_utils.server.tensors import Tensor


def output(datatype: str, shape: list[int], **contents: Any) -> Any:
    message = service_pb2.ModelInferResponse.InferOutputTensor(name="OUT", datatype=datatype, shape=shape)
    for field, values in contents.items():
        getattr(message.contents, field).extend(values)
    return message


@pytest.mark.parametrize(
    ("datatype", "field", "values"),
    [
        ("INT8", "int_contents", [1, -2]),
        ("UINT64", "uint64_contents", [1, 2**64 - 1]),
        ("FP64", "fp64_contents", [0.5, 1e300]),
        ("BOOL", "bool_contents", [True, False]),
        ("BYTES", "bytes_contents", [b"a", b""]),
    ],
)
def test_typed_contents_are_read(datatype: str, field: str, values: list[Any]) -> None:
    tensor = from_contents(output(datatype, [2, 1], **{field: values}))
    assert tensor.shape == [2, 1]
    assert tensor.values() == [value.decode() if isinstance(value, bytes) else value for value in values]


def test_contents_that_do_not_fill_the_shape_are_refused() -> None:
    with pytest.raises(ValueError, match="cannot reshape"):
        from_contents(output("FP32", [2]))


def test_an_empty_output_is_empty() -> None:
    assert from_contents(output("FP32", [0, 4])).shape == [0, 4]


def test_classes_are_read_by_row() -> None:
    lines = numpy.array([[b"0.5:1:mug", b"0.25:0"], [b"1:2:a:b", b"0:3:"]], dtype=object)
    assert classes(Tensor("OUT", "BYTES", lines)) == [[Class(0.5, 1, "mug"), Class(0.25, 0)], [Class(1.0, 2, "a:b"), Class(0.0, 3)]]
    assert classes(Tensor("OUT", "BYTES", lines[0])) == [[Class(0.5, 1, "mug"), Class(0.25, 0)]]


def test_lines_of_another_form_are_refused() -> None:
    with pytest.raises(NotServerError, match="the classes cannot be read"):
        classes(Tensor("OUT", "BYTES", numpy.array([b"text"], dtype=object)))


@pytest.mark.parametrize("outputs", [(), ("OUT",)])
def test_json_alone_asks_for_json_alone(outputs: tuple[str, ...]) -> None:
    """A gateway that loses the header that marks bytes could not tell where JSON ends in the answer."""
    tensor = Tensor("IN", "FP32", numpy.array([1.5, float("nan")], dtype=numpy.float32))
    request = Prepared(number=0, model="m", version="", protocols=("http",), inputs=(tensor,), outputs=outputs)
    encoded = HttpSession(cast(Transport, None), binary=False).encode(request)
    assert encoded.headers == {"Content-Type": "application/json"}
    body = json.loads(encoded.body)
    assert body["inputs"][0]["data"][0] == 1.5
    if outputs:
        assert [each["parameters"]["binary_data"] for each in body["outputs"]] == [False]
    else:
        assert body["parameters"] == {"binary_data_output": False}
