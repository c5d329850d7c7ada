# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Inference requests made ready to send: tensors built, shapes and outputs completed from the models' metadata."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..core.errors import InputError, ServingError
from .control import Control
from .endpoint import Endpoint
from .errors import ConnectionFailedError, NotServerError, RestrictedError, TlsError
from .expectations import check_expectations
from .parallel import each
from .status import CONNECTIONS
from .tensors import Declared, Tensor, build, synthetic

PROTOCOLS = ("http", "grpc")
# Failures of the service rather than of one model: no request would fare better.
_FATAL = (ConnectionFailedError, TlsError, NotServerError, RestrictedError)


@dataclass(frozen=True)
class Stateful:
    """What a stateful model is told. id: a number or a text."""

    id: int | str
    start: bool = False
    end: bool = False


@dataclass(frozen=True)
class Prepared:
    """One request, ready to be encoded. number: its place in the list. classes: 0 for plain outputs. error: why it cannot be sent."""

    number: int
    model: str
    version: str
    protocols: tuple[str, ...]
    inputs: tuple[Tensor, ...] = ()
    outputs: tuple[str, ...] = ()
    classes: int = 0
    parameters: Mapping[str, Any] = field(default_factory=dict)
    sequence: Stateful | None = None
    expect: tuple[Mapping[str, Any], ...] = ()
    error: ServingError | None = None

    @property
    def title(self) -> str:
        return f"{self.model}:{self.version}" if self.version else self.model


@dataclass(frozen=True)
class Declarations:
    """A model's inputs and outputs by name, from its metadata."""

    inputs: Mapping[str, Declared] = field(default_factory=dict)
    outputs: Mapping[str, Declared] = field(default_factory=dict)


def prepare(requests: Sequence[Mapping[str, Any]], protocols: Sequence[Sequence[str]], control: Control, folder: str) -> list[Prepared]:
    """Makes every request ready. protocols: what each goes over. control: asked for metadata, where a request leaves anything open.

    folder: what relative paths start at. Raises InputError for a request that cannot work, and when the server is away; a model that
    the server does not know becomes the `error` of its requests.
    """
    for number, request in enumerate(requests):
        _check(request, _where(number, request))
    models = list(dict.fromkeys(_key(request) for request in requests if _open(request)))
    answers = each(_Declarer(control), models, CONNECTIONS)
    for answer in answers:
        if isinstance(answer, _FATAL):
            raise answer
    known = dict(zip(models, answers))
    return [
        _prepare(number, request, tuple(ways), known.get(_key(request), Declarations()), folder)
        for number, (request, ways) in enumerate(zip(requests, protocols))
    ]


def choose_protocols(endpoint: Endpoint, wanted: str | None, where: str) -> tuple[str, ...]:
    """The protocols of `http`, `grpc`, `both`, or of None: HTTP where it is offered. Raises InputError when the endpoint lacks one."""
    offered = [name for name in PROTOCOLS if all(getattr(replica, name) is not None for replica in endpoint.replicas)]
    chosen = PROTOCOLS if wanted == "both" else (wanted or (offered or PROTOCOLS)[0],)
    for protocol in chosen:
        if protocol not in offered:
            remedy = f"Add {protocol} to the endpoint (to each replica), or choose another protocol."
            raise InputError(f"the endpoint does not offer {protocol}", where=where, remedy=remedy)
    return tuple(chosen)


def _where(number: int, request: Mapping[str, Any]) -> str:
    return f"requests[{number}] ({request.get('model')})"


def _key(request: Mapping[str, Any]) -> tuple[str, str]:
    return str(request["model"]), str(request.get("version") or "")


def _check(request: Mapping[str, Any], where: str) -> None:
    if not str(request.get("model") or "").strip():
        raise InputError("the request names no model", where=where, remedy="Give model.")
    inputs = request.get("inputs") or []
    if bool(inputs) == bool(request.get("synthetic")):
        raise InputError("needs inputs, or synthetic: true", where=where, remedy="Give one of the two.")
    names = [str(item["name"]) for item in inputs]
    if len(set(names)) != len(names):
        raise InputError("an input is given twice", where=where, remedy="Give each input once.")
    if (request.get("classes") or 0) < 0:
        raise InputError("must not be negative", where=f"{where}, classes", remedy="Give how many classes to answer.")
    check_expectations(request.get("expect") or [], where)


def _open(request: Mapping[str, Any]) -> bool:
    """Whether the model's metadata is needed: for shapes, data types, images, or the names of outputs to classify."""
    whole = all(item.get("datatype") and item.get("shape") and not item.get("image") for item in request.get("inputs") or [])
    return not whole or bool(request.get("synthetic")) or bool(request.get("classes") and not _outputs(request))


def _outputs(request: Mapping[str, Any]) -> list[str]:
    """The outputs to request: those named, else with `classes` those of the expectations."""
    named = [str(name) for name in request.get("outputs") or []]
    if named or not request.get("classes"):
        return named
    return list(dict.fromkeys(str(item["output"]) for item in request.get("expect") or []))


class _Declarer:
    """Reads models' declarations; after a failure of the service itself it asks no more."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self._lost: ServingError | None = None

    def __call__(self, key: tuple[str, str]) -> Declarations:
        if self._lost:
            raise self._lost
        try:
            metadata = self._control.model_metadata(*key)
        except _FATAL as error:
            self._lost = error
            raise
        return Declarations(*(Declared.from_metadata(metadata.get(name) or []) for name in ("inputs", "outputs")))


def _prepare(
    number: int, request: Mapping[str, Any], protocols: tuple[str, ...], known: Declarations | ServingError, folder: str
) -> Prepared:
    model, version = _key(request)
    if isinstance(known, ServingError):
        return Prepared(number, model, version, protocols, error=known)
    where = _where(number, request)
    return Prepared(
        number,
        model,
        version,
        protocols,
        inputs=tuple(_inputs(request, known, folder, where)),
        outputs=tuple(_outputs(request) or (known.outputs if request.get("classes") else ())),
        classes=int(request.get("classes") or 0),
        parameters=request.get("parameters") or {},
        sequence=_sequence(request.get("sequence"), where),
        expect=tuple(request.get("expect") or ()),
    )


def _inputs(request: Mapping[str, Any], known: Declarations, folder: str, where: str) -> list[Tensor]:
    if request.get("synthetic"):
        if not known.inputs:
            raise InputError("the model's metadata names no inputs", where=where, remedy="Give inputs instead of synthetic.")
        return [synthetic(declared) for declared in known.inputs.values()]
    items = request["inputs"]
    for item in items:
        if known.inputs and str(item["name"]) not in known.inputs:
            remedy = f"Its inputs: {', '.join(known.inputs)}."
            raise InputError(f"the model has no input {item['name']!r}", where=where, remedy=remedy)
    return [build(item, known.inputs.get(str(item["name"])), folder, f"{where}, input {item['name']!r}") for item in items]


def _sequence(value: Mapping[str, Any] | None, where: str) -> Stateful | None:
    if not value:
        return None
    number = value.get("id")
    if isinstance(number, str) and number.isdigit():
        number = int(number)
    if not number or not isinstance(number, (int, str)):
        raise InputError("must be a number above 0 or a text", where=f"{where}, sequence.id", remedy="Give sequence.id.")
    return Stateful(number, bool(value.get("start")), bool(value.get("end")))
