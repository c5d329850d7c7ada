# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Images as model inputs, prepared as Triton's image_client example does."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..core.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

_CHANNELS = (1, 3)
_VGG_MEANS = (123.0, 117.0, 104.0)
_VGG_GREY = 128.0


@dataclass(frozen=True)
class Picture:
    """paths: one a row of the batch. layout: nchw or nhwc. height, width: pixels. channels: 1 (grey) or 3 (RGB)."""

    paths: tuple[str, ...]
    scaling: str
    layout: str
    height: int
    width: int
    channels: int
    batched: bool = True

    @classmethod
    def from_mapping(cls, value: Mapping[str, Any], shape: Sequence[int], where: str) -> Picture:
        """From the suboptions of `image`; what is left out is taken from the input's shape. Raises InputError."""
        path = value.get("path")
        paths = tuple(path) if isinstance(path, (list, tuple)) else (path,)
        if not path or not all(isinstance(each, str) and each for each in paths):
            raise InputError("image needs a path, or a list of them", where=where, remedy="Give image.path.")
        layout = value.get("layout") or _layout(shape, where)
        dims = list(shape[-3:]) if len(shape) >= 3 else [-1, -1, -1]
        channels, height, width = dims if layout == "nchw" else (dims[2], dims[0], dims[1])
        height = value.get("height") or height
        width = value.get("width") or width
        if height <= 0 or width <= 0:
            raise InputError("the model does not fix the image's size", where=where, remedy="Give image.height and image.width.")
        channels = channels if channels in _CHANNELS else 3
        batched = len(shape) != 3
        if not batched and len(paths) > 1:
            raise InputError("the model takes one image a request", where=where, remedy="Give one path a request.")
        return cls(paths, value.get("scaling") or "none", layout, int(height), int(width), channels, batched)


def _layout(shape: Sequence[int], where: str) -> str:
    if len(shape) >= 3:
        first, last = shape[-3] in _CHANNELS, shape[-1] in _CHANNELS
        if first != last:
            return "nchw" if first else "nhwc"
    raise InputError("the layout cannot be told from the model's input", where=where, remedy="Give image.layout, nchw or nhwc.")


def load_pictures(picture: Picture, folder: str, where: str) -> Array:
    """The batch as FP32. folder: what relative paths start at. Raises InputError."""
    import numpy

    rows = [scale(_load(os.path.join(folder, path), picture, where), picture.scaling) for path in picture.paths]
    if picture.layout == "nchw":
        rows = [row.transpose(2, 0, 1) for row in rows]
    return numpy.stack(rows) if picture.batched else rows[0]


def _load(path: str, picture: Picture, where: str) -> Array:
    import numpy
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            mode = "L" if picture.channels == 1 else "RGB"
            resized = image.convert(mode).resize((picture.width, picture.height), Image.Resampling.BILINEAR)
    except UnidentifiedImageError as error:
        raise InputError(f"{path} is not an image that Pillow can read", where=where, remedy="Give a PNG or JPEG file.") from error
    except OSError as error:
        remedy = "Correct the path; a relative one starts at base_dir."
        raise InputError(f"{path} cannot be read: {error.strerror or error}", where=where, remedy=remedy) from error
    pixels = numpy.asarray(resized, dtype=numpy.float32)
    return pixels[:, :, numpy.newaxis] if pixels.ndim == 2 else pixels


def scale(pixels: Array, scaling: str) -> Array:
    """Pixels 0 to 255, by height, width and channels, as the model wants them."""
    import numpy

    if scaling == "inception":
        return (pixels / numpy.float32(127.5) - numpy.float32(1)).astype(numpy.float32)
    if scaling == "vgg":
        means = _VGG_GREY if pixels.shape[2] == 1 else numpy.asarray(_VGG_MEANS, dtype=numpy.float32)
        return (pixels - means).astype(numpy.float32)
    return pixels
