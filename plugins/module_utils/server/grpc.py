# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The V2 protocol's control plane over gRPC, for endpoints that offer nothing else; and the channel that inference shares."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ..core.errors import InputError, ServingError
from ..core.wait import retry
from .control import CallOptions, ModelState
from .endpoint import Address, Tls
from .errors import (
    MAX_REASON,
    BusyError,
    ConnectionFailedError,
    LostAnswerError,
    NotReadyError,
    NotServerError,
    RequestError,
    RestrictedError,
    TlsError,
    UnknownModelError,
    UnsupportedError,
    from_message,
)

if TYPE_CHECKING:
    from tritonclient.grpc import InferenceServerClient
    from tritonclient.utils import InferenceServerException

T = TypeVar("T")
RESTRICTED_PREFIX = "triton-grpc-protocol-"
_START = "Check that the server runs and the port is right; tritonserver opens its ports only after the initial loads."
_CLIENT_CERTIFICATE = " A server that wants a client certificate (endpoint.tls.cert_file) closes the connection like this too."
_FOREIGN_SIGNS = ("http1.x", "http2 headers with status", "received http status", "invalid content-type")
_TLS_SIGNS = ("ssl", "certificate", "handshake", "tls", "peer name", "verification check")
_UNSENT_SIGNS = ("failed to connect", "connection refused", "dns resolution", "name resolution")
_LOST_SIGNS = (*_UNSENT_SIGNS, "socket closed", "connection reset", "end of tcp stream", "recvmsg", "goaway", "broken pipe")


def metadata(headers: Mapping[str, str]) -> dict[str, str]:
    """gRPC metadata of the endpoint's headers: each by its own name, and by the name of Triton's restricted protocols."""
    result: dict[str, str] = {}
    for name, value in headers.items():
        lowered = name.lower()
        result[lowered] = value
        if not lowered.startswith(RESTRICTED_PREFIX):
            result[RESTRICTED_PREFIX + lowered] = value
    return result


def failure(error: InferenceServerException, where: str) -> ServingError:
    """The typed error behind a failed call."""
    status = str(error.status() or "").replace("StatusCode.", "")
    text = str(error.message() or "").strip()
    known = from_message(text, where)
    if known:
        return known
    lowered = text.lower()
    if any(sign in lowered for sign in _FOREIGN_SIGNS):
        return NotServerError(f"the answer is not gRPC ({text[:200]})", where=where, remedy="Check the port: HTTP listens on another one.")
    if status == "UNAVAILABLE" and any(sign in lowered for sign in _TLS_SIGNS):
        remedy = "Check endpoint.tls: the authority's file, the server's name, and the client's certificate if the server wants one."
        return TlsError(f"the TLS handshake failed: {text[:300]}", where=where, remedy=remedy)
    if status == "UNAVAILABLE" and any(sign in lowered for sign in _LOST_SIGNS):
        sent = not any(sign in lowered for sign in _UNSENT_SIGNS)
        remedy = f"{_START}{_CLIENT_CERTIFICATE}" if where.startswith("grpcs") else _START
        return ConnectionFailedError(f"the connection failed: {text[:300]}", where=where, remedy=remedy, sent=sent)
    return _by_status(status, text[:MAX_REASON], where)


def _by_status(status: str, text: str, where: str) -> ServingError:
    said = f"{status} {text}".strip()
    if status in ("UNAUTHENTICATED", "PERMISSION_DENIED"):
        remedy = "Check the token or key under endpoint.headers."
        return RestrictedError(f"the server refuses the credentials ({said})", where=where, remedy=remedy)
    if status == "DEADLINE_EXCEEDED":
        return ConnectionFailedError("no answer in time", where=where, remedy="Raise the timeout, or look at the server's log.", sent=True)
    if status == "UNIMPLEMENTED":
        return UnsupportedError(f"the server does not offer this API ({said})", where=where, remedy="Check the port.")
    if status in ("UNAVAILABLE", "RESOURCE_EXHAUSTED"):
        return BusyError(f"the server cannot take the call now ({said})", where=where, remedy="Try again later, or look at its log.")
    return RequestError(f"the server refuses the request ({said})", where=where, remedy="Correct the request, or look at the server's log.")


def open_client(address: Address, tls: Tls) -> InferenceServerClient:
    """A channel of its own; it connects with the first call and may be shared among threads."""
    # Its log lines on stderr repeat what the errors say.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    import grpc
    from tritonclient.grpc import InferenceServerClient

    # Without a sub-channel pool of its own a channel to a server that died shares the back-off of others.
    options: list[tuple[str, Any]] = [
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.max_receive_message_length", -1),
        ("grpc.max_send_message_length", -1),
    ]
    if not address.secure:
        return InferenceServerClient(address.netloc, channel_args=options)
    if not tls.validate_certs:
        remedy = "Give the server's own certificate or its authority as ca_file; use server_name if the name differs."
        raise InputError("gRPC cannot connect without validating the certificate", where="endpoint.tls.validate_certs", remedy=remedy)
    if tls.server_name:
        options.append(("grpc.ssl_target_name_override", tls.server_name))
    credentials = grpc.ssl_channel_credentials(_read(tls.ca_file), _read(tls.key_file or tls.cert_file), _read(tls.cert_file))
    return InferenceServerClient(address.netloc, creds=credentials, channel_args=options)


def _read(path: str) -> bytes | None:
    try:
        return Path(path).read_bytes() if path else None
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=path, remedy="Correct the path or the file's mode.") from error


class GrpcControl:
    """The control plane of one server over gRPC (the protocol of control.Control)."""

    def __init__(self, address: Address, headers: Mapping[str, str], tls: Tls, options: CallOptions) -> None:
        self.where = str(address)
        self.client = open_client(address, tls)
        self._options = options
        self._common = {"headers": metadata(headers)}

    def call(self, method: Callable[..., T], *arguments: Any, timeout: float = 0, resend: bool = True, **named: Any) -> T:
        """One call of tritonclient with retries and this package's errors."""
        from tritonclient.utils import InferenceServerException

        def once() -> T:
            try:
                return method(*arguments, client_timeout=timeout or self._options.timeout, **self._common, **named)
            except InferenceServerException as error:
                meant = failure(error, self.where)
                if isinstance(meant, ConnectionFailedError) and meant.sent and not resend:
                    raise LostAnswerError(meant.what, where=meant.where, remedy=meant.remedy) from error
                raise meant from error

        return retry(once, self._options.policy, self._options.clock)

    def live(self) -> bool:
        return self._flag(self.client.is_server_live)

    def ready(self) -> bool:
        return self._flag(self.client.is_server_ready)

    def server_metadata(self) -> dict[str, Any]:
        return _plain(self.call(self.client.get_server_metadata))

    def index(self) -> list[ModelState]:
        models = self.call(self.client.get_model_repository_index).models
        return [ModelState(model.name, model.version, model.state, model.reason) for model in models]

    def model_ready(self, name: str, version: str = "") -> bool:
        return self._flag(self.client.is_model_ready, name, version)

    def model_metadata(self, name: str, version: str = "") -> dict[str, Any]:
        value = _plain(self.call(self.client.get_model_metadata, name, version))
        for tensor in (*value.get("inputs", []), *value.get("outputs", [])):
            tensor["shape"] = [int(size) for size in tensor.get("shape", [])]
        return value

    def model_config(self, name: str, version: str = "") -> dict[str, Any]:
        value: dict[str, Any] = _numbers(_plain(self.call(self.client.get_model_config, name, version)).get("config", {}))
        return value

    def statistics(self) -> list[dict[str, Any]]:
        answer = self.call(self.client.get_inference_statistics)
        return [_statistics(model) for model in _plain(answer, defaults=True).get("model_stats", [])]

    def load(self, name: str, config: Mapping[str, Any] | None, timeout: float) -> None:
        self.call(self.client.load_model, name, config=json.dumps(config) if config else None, timeout=timeout, resend=False)

    def unload(self, name: str, dependents: bool, timeout: float) -> None:
        self.call(self.client.unload_model, name, unload_dependents=dependents, timeout=timeout, resend=False)

    def close(self) -> None:
        self.client.close()

    def _flag(self, method: Callable[..., bool], *arguments: Any) -> bool:
        try:
            return bool(self.call(method, *arguments))
        except (BusyError, NotReadyError, UnknownModelError, RequestError):
            return False


def _plain(message: Any, *, defaults: bool = False) -> dict[str, Any]:
    """A protobuf message as plain values, with the field names of the HTTP protocol."""
    from google.protobuf.json_format import MessageToDict

    value: dict[str, Any] = MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=defaults)
    return value


def _numbers(value: Any) -> Any:
    """protobuf writes 64-bit integers as strings; HTTP writes numbers."""
    if isinstance(value, dict):
        return {key: _numbers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_numbers(item) for item in value]
    return int(value) if isinstance(value, str) and value.isdigit() else value


def _statistics(model: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value if key in ("name", "version") else _numbers(value) for key, value in model.items()}
