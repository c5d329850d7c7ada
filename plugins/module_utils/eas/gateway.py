# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Waits until a service answers behind EAS's gateway, which may not know a service yet that just runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..core.errors import ServingError
from ..core.wait import Clock, Probe, RetryPolicy, wait_until
from .waiting import Patience

# Looks in a row that find the same: a gateway that learns of a service or its token does so within them.
_HOPELESS_LOOKS = 5


def wait_for_gateway(name: str, endpoint: Mapping[str, Any], patience: Patience, timeout: float, clock: Clock) -> None:
    """timeout: seconds of one call. Raises DeadlineError with what was answered last.

    Ends before it with the error of what waiting does not mend: a host that is not known, or a token that is refused.
    """
    from ..server.control import CallOptions
    from ..server.endpoint import Endpoint
    from ..server.errors import NotServerError, RestrictedError, TlsError, UnknownHostError

    if not endpoint:
        return
    place = Endpoint.from_mapping(endpoint)
    options = CallOptions(timeout, RetryPolicy(attempts=1))
    hopeless = 0

    def look() -> Probe[bool]:
        nonlocal hopeless
        try:
            live = _is_live(place, options)
        except (TlsError, NotServerError):
            raise
        except ServingError as error:
            hopeless = hopeless + 1 if isinstance(error, (UnknownHostError, RestrictedError)) else 0
            if hopeless >= _HOPELESS_LOOKS:
                raise
            return Probe(False, False, f"The gateway answers: {error}")
        hopeless = 0
        return Probe(live, live, "The gateway answers: not live.")

    address = place.replicas[0].http or place.replicas[0].grpc
    wait_until(look, what=f"{name}: an answer at {address}", timeout=patience.timeout, interval=patience.interval, clock=clock)


def _is_live(place: Any, options: Any) -> bool:
    from ..server.connect import connect

    control = connect(place, place.replicas[0], options)
    try:
        live = bool(control.live())
        if not live:
            # Tells the reason, which a health check does not.
            control.server_metadata()
        return live
    finally:
        control.close()
