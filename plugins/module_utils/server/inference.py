# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""One inference over HTTP or gRPC. tritonclient encodes and decodes; the connections are this package's, with its errors and limits."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote

from ..core.errors import InputError
from .errors import NotServerError
from .expectations import Answer, Class
from .grpc import GrpcControl
from .http import Reply, Request, Transport, failure
from .requests import Prepared
from .tensors import Tensor, dtype_of, text

if TYPE_CHECKING:
    from types import ModuleType

_LENGTH = "inference-header-content-length"
# What JSON cannot carry.
_BINARY_ONLY = ("FP16", "BF16")


class Session(Protocol):
    """Inference on one replica over one protocol; may be shared among threads."""

    def encode(self, request: Prepared) -> Any:
        """The request in the protocol's form, which `infer` takes as often as wanted. Raises InputError."""

    def infer(self, encoded: Any) -> tuple[list[Tensor], float]:
        """The outputs, and the milliseconds from the first byte sent to the last received. Raises the errors of server/errors.py."""


class HttpSession:
    """binary: tensors as bytes behind the JSON head, which only some servers can; else as JSON numbers."""

    def __init__(self, transport: Transport, *, binary: bool) -> None:
        import tritonclient.http

        self._client = tritonclient.http
        self._transport = transport
        self._binary = binary

    def encode(self, request: Prepared) -> Request:
        from tritonclient.utils import InferenceServerException

        try:
            body, head = self._client.InferenceServerClient.generate_request_body(
                _inputs(self._client, request, binary_data=self._binary),
                outputs=_outputs(self._client, request, binary_data=self._binary) or None,
                # kserve demands an id, and nobody minds one.
                request_id=str(request.number + 1),
                parameters=dict(request.parameters) or None,
                **_sequence(request),
            )
        except InferenceServerException as error:
            raise _refused(error, request) from error
        if not self._binary and not request.outputs:
            body = _without_bytes(body)
        headers = {"Content-Type": "application/octet-stream" if head else "application/json", **({_LENGTH: str(head)} if head else {})}
        version = f"/versions/{quote(request.version, safe='')}" if request.version else ""
        path = f"/v2/models/{quote(request.model, safe='')}{version}/infer"
        return Request("POST", path, body, headers, resend=request.sequence is None)

    def infer(self, encoded: Request) -> tuple[list[Tensor], float]:
        start = time.perf_counter()
        reply = self._transport.call(encoded)
        elapsed = (time.perf_counter() - start) * 1000
        error = failure(reply, self._transport.where + encoded.path)
        if error:
            raise error
        return self._decode(reply, encoded.path), elapsed

    def _decode(self, reply: Reply, path: str) -> list[Tensor]:
        from tritonclient.utils import InferenceServerException

        length = reply.headers.get(_LENGTH)
        try:
            result = self._client.InferenceServerClient.parse_response_body(reply.body, header_length=int(length) if length else None)
            outputs = result.get_response()["outputs"]
            return [Tensor(item["name"], item["datatype"], result.as_numpy(item["name"])) for item in outputs]
        except (InferenceServerException, ValueError, KeyError, TypeError) as error:
            where = self._transport.where + path
            raise NotServerError(
                f"the answer cannot be read: {error}", where=where, remedy="Check the URL, or try binary: false."
            ) from error


def _without_bytes(body: bytes) -> bytes:
    """tritonclient asks for all outputs as bytes where none is named."""
    request = json.loads(body)
    request["parameters"] = {**request.get("parameters", {}), "binary_data_output": False}
    return json.dumps(request).encode()


class GrpcSession:
    """Shares one channel among all calls."""

    def __init__(self, control: GrpcControl) -> None:
        import tritonclient.grpc

        self._client = tritonclient.grpc
        self._control = control

    def encode(self, request: Prepared) -> dict[str, Any]:
        from tritonclient.utils import InferenceServerException

        try:
            return {
                "model_name": request.model,
                "model_version": request.version,
                "inputs": _inputs(self._client, request),
                "outputs": _outputs(self._client, request) or None,
                "request_id": str(request.number + 1),
                "parameters": dict(request.parameters) or None,
                "resend": request.sequence is None,
                **_sequence(request),
            }
        except InferenceServerException as error:
            raise _refused(error, request) from error

    def infer(self, encoded: dict[str, Any]) -> tuple[list[Tensor], float]:
        start = time.perf_counter()
        result = self._control.call(self._control.client.infer, **encoded)
        elapsed = (time.perf_counter() - start) * 1000
        return self._decode(result), elapsed

    def _decode(self, result: Any) -> list[Tensor]:
        response = result.get_response()
        try:
            if response.raw_output_contents:
                return [Tensor(item.name, item.datatype, result.as_numpy(item.name)) for item in response.outputs]
            # Other V2 servers fill the typed fields, which tritonclient does not read.
            return [from_contents(item) for item in response.outputs]
        except (ValueError, TypeError) as error:
            raise NotServerError(f"the answer cannot be read: {error}", where=self._control.where, remedy="Check the address.") from error


def from_contents(output: Any) -> Tensor:
    """An output whose elements stand in the typed fields of its message. Raises ValueError when they do not fill the shape."""
    import numpy

    filled = [list(values) for _unused, values in output.contents.ListFields()]
    array = numpy.array(filled[0] if filled else [], dtype=dtype_of(output.datatype))
    return Tensor(output.name, output.datatype, array.reshape([int(size) for size in output.shape]))


def _inputs(client: ModuleType, request: Prepared, **options: Any) -> list[Any]:
    inputs = []
    for tensor in request.inputs:
        if tensor.datatype in _BINARY_ONLY and options.get("binary_data") is False:
            where = f"{request.title}, input {tensor.name!r}"
            raise InputError(f"{tensor.datatype} has no form in JSON", where=where, remedy="Use binary: true, or gRPC.")
        encoded = client.InferInput(tensor.name, tensor.shape, tensor.datatype)
        encoded.set_data_from_numpy(tensor.array, **options)
        inputs.append(encoded)
    return inputs


def _outputs(client: ModuleType, request: Prepared, **options: Any) -> list[Any]:
    return [client.InferRequestedOutput(name, class_count=request.classes, **options) for name in request.outputs]


def _sequence(request: Prepared) -> dict[str, Any]:
    if request.sequence is None:
        return {}
    return {"sequence_id": request.sequence.id, "sequence_start": request.sequence.start, "sequence_end": request.sequence.end}


def _refused(error: Exception, request: Prepared) -> InputError:
    return InputError(f"tritonclient refuses the request: {error}", where=request.title, remedy="Correct the request.")


def answers(tensors: Sequence[Tensor], request: Prepared, *, values: bool) -> dict[str, Answer]:
    """The outputs by name, as expectations are compared to them. values: whether to convert the elements too."""
    return {tensor.name: _answer(tensor, request, values) for tensor in tensors}


def _answer(tensor: Tensor, request: Prepared, values: bool) -> Answer:
    if request.classes and tensor.datatype == "BYTES":
        return Answer(tensor.datatype, tuple(tensor.shape), classes=classes(tensor))
    return Answer(tensor.datatype, tuple(tensor.shape), tensor.values() if values else ())


def classes(tensor: Tensor) -> list[list[Class]]:
    """The lines of the classification extension, one list a row, best first."""
    rows = tensor.array.reshape(-1, tensor.array.shape[-1]) if tensor.array.size else tensor.array.reshape(0, 0)
    try:
        return [[Class.parse(text(line)) for line in row] for row in rows.tolist()]
    except ValueError as error:
        raise NotServerError(
            f"the classes cannot be read: {error}", where=tensor.name, remedy="Remove classes from the request."
        ) from error
