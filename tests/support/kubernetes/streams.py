# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""exec and port-forward. Both are upgrades of a connection, which kubectl and the python client do over WebSockets."""

from __future__ import annotations

from typing import Any

from .errors import ApiError
from .routes import Asked


def serve_exec(handler: Any, asked: Asked, pod: dict[str, Any]) -> None:
    raise ApiError(501, "NotImplemented", "the stand-in does not serve exec")


def serve_port_forward(handler: Any, asked: Asked, pod: dict[str, Any]) -> None:
    raise ApiError(501, "NotImplemented", "the stand-in does not serve port-forward")
