# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Makes what the modules run, from their options."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..core.errors import InputError
from ..core.wait import Clock
from . import check, plan
from .base import Backend
from .connect import connect
from .service import EasService, Manners, secrets_of
from .waiting import Patience, Tell, Waiter
from .wanted import read_wanted, secrets_in

Warn = Callable[[str], None]


def build_service(options: Mapping[str, Any], tell: Tell, warn: Warn, *, check_mode: bool, clock: Clock | None = None) -> EasService:
    """options: as eas_service has them. Raises a ServingError before EAS is asked anything, where it can tell.

    tell: told how far a wait is. warn: told what is likely not as it was meant.
    """
    clock = clock or Clock()
    for option, least in (("wait_timeout", 0.0), ("wait_interval", 0.01)):
        if options[option] < least:
            raise InputError(f"{options[option]} is below {least}", where=option, remedy=f"Give {least} or more.")
    wanted = read_wanted(options)
    for text in check.warnings(wanted.config or {}):
        warn(text)
    connected = connect(options, clock)
    check_abilities(connected.backend, plan.needs(wanted))
    manners = Manners(
        check_mode=check_mode,
        wait=options["wait"],
        gateway=options["wait_gateway"],
        access=options["access"],
        open_token=options["return_token"],
        timeout=options["timeout"],
        secrets=(*secrets_of(options), *secrets_in(wanted.config or {})),
    )
    patience = Patience(options["wait_timeout"], options["wait_interval"])
    return EasService(connected, wanted, manners, Waiter(connected.backend, wanted.name, patience, clock, tell))


def check_abilities(backend: Backend, needed: Mapping[str, str]) -> None:
    """needed: ability → the option that takes it. Raises InputError."""
    for ability, option in needed.items():
        if ability not in backend.abilities:
            remedy = "Use backend: openapi, or remove the option."
            raise InputError(f"the backend {backend.name} cannot do this", where=option, remedy=remedy)
