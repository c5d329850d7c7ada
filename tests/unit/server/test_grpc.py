# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What gRPC's failures mean, and the metadata that headers become."""

from __future__ import annotations

from pathlib import Path

import pytest
from tritonclient.utils import InferenceServerException

from ansible_collections.serving.triton.plugins.module_utils.core.errors import InputError, ServingError
from ansible_collections.serving.triton.plugins.module_utils.server import errors
from ansible_collections.serving.triton.plugins.module_utils.server.endpoint import Address, Tls
from ansible_collections.serving.triton.plugins.module_utils.server.grpc import failure, metadata, open_client


@pytest.mark.parametrize(
    ("status", "text", "kind"),
    [
        ("UNAVAILABLE", "This protocol is restricted, expecting header 'triton-grpc-protocol-key'", errors.RestrictedError),
        ("UNAVAILABLE", "explicit model load / unload is not allowed if polling is enabled", errors.ControlModeError),
        ("UNAVAILABLE", "failed to connect to all addresses; last error: Connection refused", errors.ConnectionFailedError),
        ("UNAVAILABLE", "Socket closed", errors.ConnectionFailedError),
        ("UNAVAILABLE", "Ssl handshake failed: CERTIFICATE_VERIFY_FAILED", errors.TlsError),
        ("UNAVAILABLE", "Exceeds maximum queue size", errors.BusyError),
        ("DEADLINE_EXCEEDED", "Deadline Exceeded", errors.ConnectionFailedError),
        ("UNAUTHENTICATED", "who are you", errors.RestrictedError),
        ("UNIMPLEMENTED", "", errors.UnsupportedError),
        ("NOT_FOUND", "Request for unknown model: 'm' is not found", errors.UnknownModelError),
        ("INTERNAL", "failed to load 'm', failed to poll from model repository", errors.UnknownModelError),
        ("INVALID_ARGUMENT", "load failed for model 'm': version 1 is at UNAVAILABLE state: no", errors.LoadError),
        ("UNAVAILABLE", "Failed parsing HTTP/2: Trying to connect an http1.x server", errors.NotServerError),
        ("INVALID_ARGUMENT", "unexpected shape", errors.RequestError),
    ],
)
def test_a_failure_is_told_for_what_it_is(status: str, text: str, kind: type[ServingError]) -> None:
    error = failure(InferenceServerException(text, status=f"StatusCode.{status}"), "grpc://a:1")
    assert error.__class__ is kind
    assert error.where == "grpc://a:1"
    assert error.remedy


@pytest.mark.parametrize(("text", "sent"), [("failed to connect to all addresses", False), ("Socket closed", True)])
def test_it_is_known_whether_a_lost_call_was_sent(text: str, sent: bool) -> None:
    error = failure(InferenceServerException(text, status="StatusCode.UNAVAILABLE"), "grpc://a:1")
    assert isinstance(error, errors.ConnectionFailedError)
    assert error.sent is sent


def test_headers_go_under_both_names() -> None:
    assert metadata({"Admin-Key": "x", "triton-grpc-protocol-other": "y"}) == {
        "admin-key": "x",
        "triton-grpc-protocol-admin-key": "x",
        "triton-grpc-protocol-other": "y",
    }


def test_tls_without_validation_is_refused() -> None:
    with pytest.raises(InputError, match="gRPC cannot connect without validating"):
        open_client(Address("grpcs", "127.0.0.1", 1), Tls(validate_certs=False))


def test_a_certificate_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        open_client(Address("grpcs", "127.0.0.1", 1), Tls(ca_file=str(tmp_path / "none.pem")))
