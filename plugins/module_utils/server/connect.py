# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The choice of the protocol for a replica."""

from __future__ import annotations

from ..core.errors import InputError
from .control import CallOptions, Control
from .endpoint import Endpoint, Replica


def connect(endpoint: Endpoint, replica: Replica, options: CallOptions, protocol: str = "") -> Control:
    """A client for one replica: over HTTP where it is offered, else gRPC; `protocol` ("http", "grpc") decides otherwise.

    Connects with the first call. Raises ImportError when gRPC is needed and tritonclient is missing.
    """
    if replica.http is not None and protocol != "grpc":
        # Imported here: an endpoint of one protocol does not pay for the other.
        from .http import HttpControl

        return HttpControl(replica.http, endpoint.headers, endpoint.tls, options)
    from .grpc import GrpcControl

    if replica.grpc is None:
        raise InputError("has no gRPC address", where=f"replica {replica.name}", remedy="Give its grpc:// address.")
    return GrpcControl(replica.grpc, endpoint.headers, endpoint.tls, options)
