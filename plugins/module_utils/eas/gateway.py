# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Waits until a service answers behind EAS's gateway, which may not know a service yet that just runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..core.wait import Clock, Probe, RetryPolicy, wait_until
from .waiting import Patience


def wait_for_gateway(name: str, endpoint: Mapping[str, Any], patience: Patience, timeout: float, clock: Clock) -> None:
    """timeout: seconds of one call. Raises DeadlineError with what was answered last."""
    from ..server.control import CallOptions
    from ..server.endpoint import Endpoint
    from ..server.status import Sections, read_endpoint

    if not endpoint:
        return
    place = Endpoint.from_mapping(endpoint)
    options = CallOptions(timeout, RetryPolicy(attempts=1))

    def look() -> Probe[bool]:
        status = read_endpoint(place, Sections(), options)[0]
        return Probe(bool(status.live), bool(status.live), f"The gateway answers: {status.error or 'not live'}.")

    address = place.replicas[0].http or place.replicas[0].grpc
    wait_until(look, what=f"{name}: an answer at {address}", timeout=patience.timeout, interval=patience.interval, clock=clock)
