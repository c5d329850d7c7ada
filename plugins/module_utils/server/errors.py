# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a V2 server may answer instead of a result, told apart the same way for HTTP and gRPC."""

from __future__ import annotations

from collections.abc import Callable

from ..core.errors import ServingError, TransientError, UnavailableError


class ConnectionFailedError(TransientError):
    """Nothing answers at the address, or the connection broke. `sent` tells whether the request may have reached the server."""

    def __init__(self, what: str, *, where: str, remedy: str, sent: bool = False) -> None:
        super().__init__(what, where=where, remedy=remedy)
        self.sent = sent


class UnknownHostError(ConnectionFailedError):
    """No name server knows the host."""


class LostAnswerError(UnavailableError):
    """The connection broke after a call that must not be repeated was sent: it may have taken effect."""


class BusyError(TransientError):
    """The server or a proxy before it turns the call away for now: 429, 502, 503, 504."""


class NotReadyError(UnavailableError):
    """The model is known and not ready."""


class UnknownModelError(UnavailableError):
    """The server does not know the model or the version."""


class RestrictedError(UnavailableError):
    """The API is restricted, or wants other credentials: 401, 403, or Triton's UNAVAILABLE over gRPC."""


class ControlModeError(UnavailableError):
    """Load and unload are refused because the server's model control mode is none or poll."""


class LoadError(UnavailableError):
    """A load was tried and failed; `reason` is Triton's own text, which says so."""

    def __init__(self, reason: str, *, where: str, remedy: str) -> None:
        super().__init__(reason, where=where, remedy=remedy)
        self.reason = reason


class TlsError(UnavailableError):
    """The TLS handshake failed: certificate, name, protocol, or a missing client certificate."""


class NotServerError(UnavailableError):
    """Something answers, and it is not a V2 inference server."""


class UnsupportedError(UnavailableError):
    """The server does not offer this part of the protocol."""


class RequestError(UnavailableError):
    """The server refuses the request as invalid, or fails on it; the text is its own."""


MAX_REASON = 2000


def _restricted(text: str, where: str) -> ServingError:
    remedy = "Give the header under endpoint.headers, with the value that the server was started with."
    return RestrictedError(f"the server refuses: {text}", where=where, remedy=remedy)


def _control_mode(_text: str, where: str) -> ServingError:
    what = "load and unload are not allowed: the server's model control mode is none or poll"
    remedy = "Start it with model-control-mode explicit, or let it poll the repository, or restart it to load changed models."
    return ControlModeError(what, where=where, remedy=remedy)


def _no_folder(text: str, where: str) -> ServingError:
    remedy = "Publish the model to the server's repository, or correct the name; the server's log says why the repository cannot be read."
    return UnknownModelError(text, where=where, remedy=remedy)


def _load_failed(text: str, where: str) -> ServingError:
    return LoadError(text, where=where, remedy="Correct the model and publish it again; the server's log holds the full reason.")


def _unknown_model(text: str, where: str) -> ServingError:
    return UnknownModelError(text, where=where, remedy="Load the model, or correct its name or version.")


def _not_ready(text: str, where: str) -> ServingError:
    return NotReadyError(text, where=where, remedy="Load the model, or wait until it is ready.")


# The first sign that stands in the text, in lower case, decides.
_SIGNS: tuple[tuple[str, Callable[[str, str], ServingError]], ...] = (
    ("is restricted, expecting header", _restricted),
    ("explicit model load / unload is not allowed", _control_mode),
    ("failed to poll from model repository", _no_folder),
    ("load failed for model", _load_failed),
    ("failed to load", _load_failed),
    ("request for unknown model", _unknown_model),
    ("version not ready", _not_ready),
    ("is not ready", _not_ready),
)


def from_message(message: str, where: str) -> ServingError | None:
    """The error behind texts that mean the same over HTTP and gRPC in Triton 2.39 to 2.51; None for any other text."""
    # Triton's reasons span lines where a backend reports its traceback.
    text = " ".join(message.split())[:MAX_REASON].rstrip("; ")
    lowered = text.lower()
    return next((make(text, where) for sign, make in _SIGNS if sign in lowered), None)
