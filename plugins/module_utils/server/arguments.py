# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The options that every module of a server shares; documented in the fragment serving.triton.endpoint.

Nothing heavy is imported here: a module reads this before Ansible has looked at its options.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .control import CallOptions
    from .endpoint import Endpoint

DATATYPES = (
    "BOOL", "INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64", "FP16", "BF16", "FP32", "FP64", "BYTES",
)  # fmt: skip
SCALINGS = ("none", "inception", "vgg")
LAYOUTS = ("nchw", "nhwc")


def endpoint_spec() -> dict[str, Any]:
    """The shared part of an argument spec."""
    addresses = {"http": {"type": "str"}, "grpc": {"type": "str"}, "metrics": {"type": "str"}}
    tls = {
        "ca_file": {"type": "path"},
        "cert_file": {"type": "path"},
        "key_file": {"type": "path", "no_log": False},
        "validate_certs": {"type": "bool", "default": True},
        "server_name": {"type": "str"},
    }
    endpoint = {
        **addresses,
        "headers": {"type": "dict", "no_log": True},
        "tls": {"type": "dict", "options": tls},
        "binary": {"type": "bool", "default": True},
        "replicas": {"type": "list", "elements": "dict", "options": {"name": {"type": "str"}, **addresses}},
    }
    return {
        "endpoint": {"type": "dict", "required": True, "options": endpoint},
        "timeout": {"type": "float", "default": 30.0},
        "retries": {"type": "int", "default": 3},
    }


def read_endpoint(params: Mapping[str, Any]) -> tuple[Endpoint, CallOptions]:
    """The endpoint and the way to call it, from a module's parameters. Raises InputError."""
    from ..core.errors import InputError
    from ..core.wait import RetryPolicy
    from .control import CallOptions
    from .endpoint import Endpoint

    if params["timeout"] <= 0:
        raise InputError("must be more than 0 seconds", where="timeout", remedy="Give for example 30.")
    if params["retries"] < 0:
        raise InputError("must not be negative", where="retries", remedy="Give 0 to try once.")
    given = {key: value for key, value in params["endpoint"].items() if value is not None}
    return Endpoint.from_mapping(given), CallOptions(params["timeout"], RetryPolicy(attempts=params["retries"] + 1))
