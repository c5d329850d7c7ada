# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Requests made ready: metadata asked only where it is needed, and mistakes found before anything is sent."""

from __future__ import annotations

from typing import Any

import pytest
from support.fakes import FakeControl

from ansible_collections.serving.triton.plugins.module_utils.core.errors import InputError
from ansible_collections.serving.triton.plugins.module_utils.server.endpoint import Endpoint
from ansible_collections.serving.triton.plugins.module_utils.server.errors import ConnectionFailedError, UnknownModelError
from ansible_collections.serving.triton.plugins.module_utils.server.requests import Prepared, choose_protocols, prepare

WHOLE = {"name": "IN", "datatype": "FP32", "shape": [1, 2], "values": [1, 2]}
LOST = ConnectionFailedError("away", where="x", remedy="")


def ready(control: FakeControl, *requests: dict[str, Any]) -> list[Prepared]:
    return prepare([{"model": "m", **request} for request in requests], [("http",)] * len(requests), control, ".")


def test_a_whole_request_asks_the_server_nothing() -> None:
    control = FakeControl()
    (one,) = ready(control, {"inputs": [WHOLE], "classes": 1, "outputs": ["OUT"]})
    assert control.calls == []
    assert (one.inputs[0].shape, one.outputs, one.title) == ([1, 2], ("OUT",), "m")


def test_metadata_is_read_once_a_model() -> None:
    control = FakeControl()
    one, two = ready(control, {"inputs": [{"name": "IN", "values": [1, 2]}]}, {"synthetic": True, "classes": 2})
    assert control.calls == ["model_metadata m"]
    assert one.inputs[0].shape == two.inputs[0].shape == [1, 2]
    assert two.outputs == ("OUT",), "classes need the names of outputs"


def test_classes_take_their_outputs_from_the_expectations() -> None:
    (one,) = ready(
        FakeControl(), {"inputs": [WHOLE], "classes": 1, "expect": [{"output": "S", "labels": [1]}, {"output": "S", "top": [[1]]}]}
    )
    assert one.outputs == ("S",)


def test_a_model_that_the_server_does_not_know_fails_its_own_requests_only() -> None:
    control = FakeControl(fails={"model_metadata z": UnknownModelError("z is not found", where="x")})
    good, bad = ready(control, {"synthetic": True}, {"model": "z", "synthetic": True})
    assert good.error is None
    assert isinstance(bad.error, UnknownModelError)


def test_a_server_that_is_away_is_asked_once() -> None:
    control = FakeControl(fails={"model_metadata": LOST})
    with pytest.raises(ConnectionFailedError):
        ready(control, *({"model": f"m{number}", "synthetic": True} for number in range(100)))
    assert len(control.calls) <= 8, "one a thread at most"


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"model": ""}, "names no model"),
        ({}, "needs inputs, or synthetic: true"),
        ({"inputs": [WHOLE], "synthetic": True}, "Give one of the two"),
        ({"inputs": [WHOLE, WHOLE]}, "an input is given twice"),
        ({"inputs": [WHOLE], "classes": -1}, "must not be negative"),
        ({"inputs": [WHOLE], "expect": [{"output": "OUT"}]}, r"requests\[0\] \(m\), expect 'OUT': nothing is expected"),
        ({"inputs": [{"name": "X", "values": [1]}]}, r"the model has no input 'X'. Its inputs: IN\."),
        ({"inputs": [WHOLE], "sequence": {"id": 0}}, "a number above 0 or a text"),
        ({"inputs": [WHOLE], "sequence": {"id": [1]}}, "a number above 0 or a text"),
    ],
)
def test_mistakes_are_found_before_anything_is_sent(request_: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        ready(FakeControl(), request_)


@pytest.mark.parametrize(("given", "number"), [(7, 7), ("7", 7), ("user-1", "user-1")])
def test_sequence_ids_are_numbers_or_texts(given: Any, number: Any) -> None:
    (one,) = ready(FakeControl(), {"inputs": [WHOLE], "sequence": {"id": given, "start": True}})
    assert one.sequence is not None
    assert (one.sequence.id, one.sequence.start, one.sequence.end) == (number, True, False)


@pytest.mark.parametrize(
    ("endpoint", "wanted", "protocols"),
    [
        ({"http": "http://a", "grpc": "grpc://a"}, None, ("http",)),
        ({"grpc": "grpc://a"}, None, ("grpc",)),
        ({"http": "http://a", "grpc": "grpc://a"}, "both", ("http", "grpc")),
        ({"http": "http://a", "grpc": "grpc://a"}, "grpc", ("grpc",)),
    ],
)
def test_protocols(endpoint: dict[str, Any], wanted: str | None, protocols: tuple[str, ...]) -> None:
    assert choose_protocols(Endpoint.from_mapping(endpoint), wanted, "here") == protocols


@pytest.mark.parametrize("wanted", ["grpc", "both"])
def test_a_protocol_that_is_not_offered_is_refused(wanted: str) -> None:
    endpoint = Endpoint.from_mapping({"replicas": [{"http": "http://a", "grpc": "grpc://a"}, {"http": "http://b"}]})
    with pytest.raises(InputError, match="the endpoint does not offer grpc"):
        choose_protocols(endpoint, wanted, "here")
