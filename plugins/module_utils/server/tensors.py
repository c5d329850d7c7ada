# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Tensors: from the values, .npy files and images of a request; and to plain values for comparison and results."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..core.errors import InputError
from .images import Picture, load_pictures

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

# Synthetic inputs of more elements would say nothing more and cost their transfer.
MAX_SYNTHETIC = 10_000_000
_RAGGED = "the rows are of different lengths, or an element is no number"


@dataclass(frozen=True)
class Declared:
    """An input or output as the model's metadata declares it. shape: -1 where the size is free."""

    name: str
    datatype: str
    shape: tuple[int, ...]

    @classmethod
    def from_metadata(cls, tensors: Sequence[Mapping[str, Any]]) -> dict[str, Declared]:
        """By name, from `inputs` or `outputs` of a model's metadata."""
        shapes = ((tensor, tuple(int(size) for size in tensor.get("shape") or ())) for tensor in tensors)
        return {str(tensor["name"]): cls(str(tensor["name"]), str(tensor.get("datatype", "")), shape) for tensor, shape in shapes}


@dataclass(frozen=True)
class Tensor:
    """A named array in V2's terms."""

    name: str
    datatype: str
    array: Array

    @property
    def shape(self) -> list[int]:
        return list(self.array.shape)

    def values(self, limit: int | None = None) -> list[Any]:
        """The elements in row-major order as plain values: bytes as text, 16-bit floats as floats; the first `limit` of them."""
        flat = self.array.reshape(-1)[:limit]
        if self.datatype == "BYTES":
            return [text(value) for value in flat.tolist()]
        if self.datatype in ("FP16", "BF16"):
            flat = flat.astype("float32")
        values: list[Any] = flat.tolist()
        return values


def text(value: Any) -> str:
    """A BYTES element as text; what is not UTF-8 is shown escaped."""
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)


def plain(values: Sequence[Any]) -> list[Any]:
    """Values as JSON can hold them: NaN and infinities as text."""
    return [str(value) if isinstance(value, float) and not math.isfinite(value) else value for value in values]


def build(item: Mapping[str, Any], declared: Declared | None, folder: str, where: str) -> Tensor:
    """The tensor of one element of `inputs`. folder: what relative paths start at. Raises InputError."""
    datatype = item.get("datatype") or (declared.datatype if declared else "")
    if not datatype:
        raise InputError(
            "no datatype is given, and the model's metadata has no such input", where=where, remedy="Give datatype, or correct the name."
        )
    sources = [key for key in ("values", "npy", "image") if item.get(key) is not None]
    if len(sources) != 1:
        raise InputError(f"needs exactly one of values, npy and image, not {len(sources)}", where=where, remedy="Give one source of data.")
    if sources[0] == "image":
        picture = Picture.from_mapping(item["image"], item.get("shape") or (declared.shape if declared else ()), where)
        array = load_pictures(picture, folder, where).astype(dtype_of(datatype))
        return Tensor(str(item["name"]), datatype, _fit(array, item.get("shape"), None, where))
    array = _from_npy(str(item["npy"]), datatype, folder, where) if sources[0] == "npy" else _from_values(item["values"], datatype, where)
    return Tensor(str(item["name"]), datatype, _fit(array, item.get("shape"), declared, where))


def synthetic(declared: Declared) -> Tensor:
    """Zeros (texts "0") in the declared shape, with 1 for each free dimension."""
    import numpy

    shape = tuple(max(size, 1) for size in declared.shape)
    if math.prod(shape) > MAX_SYNTHETIC:
        remedy = "Give inputs for this model."
        raise InputError(f"a synthetic input would have {math.prod(shape)} elements", where=declared.name, remedy=remedy)
    zero = b"0" if declared.datatype == "BYTES" else 0
    return Tensor(declared.name, declared.datatype, numpy.full(shape, zero, dtype=dtype_of(declared.datatype)))


def dtype_of(datatype: str) -> Any:
    """numpy's type; BF16's depends on the version of tritonclient, so its own table is asked."""
    from tritonclient.utils import triton_to_np_dtype

    return triton_to_np_dtype(datatype)


def _from_values(values: Any, datatype: str, where: str) -> Array:
    import numpy

    data = values if isinstance(values, (list, tuple)) else [values]
    try:
        if datatype == "BYTES":
            raw = numpy.array(data, dtype=object)
            return _bytes(raw)
        raw = numpy.array(data)
        if "INT" in datatype and raw.dtype.kind in "fO":
            # Fractions, or integers beyond 63 bits, which numpy takes for floats or objects.
            raw = _integers(numpy.array(data, dtype=object))
        if raw.dtype == object and "INT" not in datatype:
            raise ValueError(_RAGGED)
        return _checked(raw, datatype)
    except (ValueError, TypeError, OverflowError) as error:
        raise InputError(f"the values are not {datatype}: {error}", where=where, remedy="Correct the values or the datatype.") from error


def _checked(raw: Array, datatype: str) -> Array:
    """The array in the datatype. Raises ValueError for integers outside of its range, which numpy would wrap."""
    import numpy

    dtype = numpy.dtype(dtype_of(datatype))
    if raw.dtype.kind == "U":
        raw = raw.astype("float64" if dtype.kind == "f" else "int64")
    if dtype.kind in "iu" and raw.size:
        limits = numpy.iinfo(dtype)
        if raw.min() < limits.min or raw.max() > limits.max:
            raise ValueError(f"a value is outside of {limits.min} to {limits.max}")
    return raw.astype(dtype)


def _integers(raw: Array) -> Array:
    flat = raw.reshape(-1).tolist()
    if not all(isinstance(value, (int, float)) for value in flat):
        raise ValueError(_RAGGED)
    if any(value != int(value) for value in flat):
        raise ValueError("a fraction does not fit an integer type")
    raw.reshape(-1)[:] = [int(value) for value in flat]
    return raw


def _bytes(raw: Array) -> Array:
    import numpy

    flat = [value if isinstance(value, bytes) else str(value).encode() for value in raw.reshape(-1).tolist()]
    if any(isinstance(value, (list, tuple)) for value in raw.reshape(-1).tolist()):
        raise ValueError("the rows are of different lengths")
    result = numpy.empty(len(flat), dtype=object)
    result[:] = flat
    return result.reshape(raw.shape)


def _from_npy(path: str, datatype: str, folder: str, where: str) -> Array:
    import numpy

    full = os.path.join(folder, path)
    try:
        # Pickled objects would run code.
        array = numpy.load(full, allow_pickle=False)
        return _bytes(array) if datatype == "BYTES" else _checked(array, datatype)
    except OSError as error:
        remedy = "Correct the path; a relative one starts at base_dir."
        raise InputError(f"{full} cannot be read: {error.strerror or error}", where=where, remedy=remedy) from error
    except (ValueError, TypeError, EOFError) as error:
        remedy = "Save the array with numpy.save, without objects."
        raise InputError(f"{full} holds no array of {datatype}: {error}", where=where, remedy=remedy) from error


def _fit(array: Array, shape: Sequence[int] | None, declared: Declared | None, where: str) -> Array:
    wanted = tuple(shape) if shape else resolve_shape(array.shape, declared.shape if declared else ())
    if wanted is None:
        raise InputError(
            f"the shape cannot be told from {array.size} values and the model's {list(declared.shape if declared else ())}",
            where=where,
            remedy="Give shape.",
        )
    try:
        return array.reshape(wanted)
    except ValueError:
        remedy = "Correct shape or the number of values."
        raise InputError(f"{array.size} values do not fill the shape {list(wanted)}", where=where, remedy=remedy) from None


def resolve_shape(natural: Sequence[int], declared: Sequence[int]) -> tuple[int, ...] | None:
    """The shape to send. natural: of the values as they are nested; declared: the model's, -1 where free. None: it cannot be told."""
    if not declared or _matches(natural, declared):
        return tuple(natural)
    if _matches((1, *natural), declared):
        # One sample for a model that takes batches.
        return (1, *natural)
    free = [index for index, size in enumerate(declared) if size < 0]
    known = math.prod(size for size in declared if size >= 0)
    size = math.prod(natural)
    if not free:
        return tuple(declared)
    if free in ([0], [len(declared) - 1]) and known and size % known == 0:
        return tuple(size // known if each < 0 else each for each in declared)
    return None


def _matches(shape: Sequence[int], declared: Sequence[int]) -> bool:
    return len(shape) == len(declared) and all(want in (have, -1) for have, want in zip(shape, declared))
