# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Images prepared as Triton's image_client does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy
import pytest
from PIL import Image

from ansible_collections.serving.triton.plugins.module_utils.core.errors import InputError
from ansible_collections.serving.triton.plugins.module_utils.server.images import Picture, load_pictures, scale
from ansible_collections.serving.triton.plugins.module_utils.server.tensors import Declared, build

NCHW = (-1, 3, 4, 6)


@pytest.fixture
def folder(tmp_path: Path) -> str:
    """red.png (8 by 8, RGB 255 0 51), clear.png (the same with alpha), note.txt."""
    Image.new("RGB", (8, 8), (255, 0, 51)).save(tmp_path / "red.png")
    Image.new("RGBA", (8, 8), (255, 0, 51, 9)).save(tmp_path / "clear.png")
    (tmp_path / "note.txt").write_text("no image")
    return str(tmp_path)


def picture(shape: tuple[int, ...], **value: Any) -> Picture:
    return Picture.from_mapping({"path": "red.png", **value}, shape, "here")


@pytest.mark.parametrize(
    ("shape", "value", "layout", "size"),
    [
        (NCHW, {}, "nchw", (4, 6, 3)),
        ((-1, 4, 6, 3), {}, "nhwc", (4, 6, 3)),
        ((1, 4, 6), {}, "nchw", (4, 6, 1)),
        ((-1, 3, -1, -1), {"height": 5, "width": 7}, "nchw", (5, 7, 3)),
        ((), {"layout": "nhwc", "height": 5, "width": 7}, "nhwc", (5, 7, 3)),
    ],
)
def test_geometry_comes_from_the_model(shape: tuple[int, ...], value: dict[str, Any], layout: str, size: tuple[int, ...]) -> None:
    one = picture(shape, **value)
    assert (one.layout, (one.height, one.width, one.channels)) == (layout, size)


@pytest.mark.parametrize(
    ("shape", "value", "message"),
    [
        ((), {}, "the layout cannot be told"),
        ((-1, 3, 4, 3), {}, "the layout cannot be told"),
        ((-1, 3, -1, 6), {}, "does not fix the image's size"),
        (NCHW, {"path": ""}, "needs a path"),
        (NCHW, {"path": [1]}, "needs a path"),
        ((3, 4, 6), {"path": ["a", "b"]}, "one image a request"),
    ],
)
def test_what_cannot_be_told_is_refused(shape: tuple[int, ...], value: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        picture(shape, **value)


def test_a_batch_is_stacked_and_alpha_dropped(folder: str) -> None:
    batch = load_pictures(picture(NCHW, path=["red.png", "clear.png"]), folder, "here")
    assert batch.shape == (2, 3, 4, 6)
    assert batch[:, :, 0, 0].tolist() == [[255, 0, 51], [255, 0, 51]]


def test_one_image_for_a_model_without_batches(folder: str) -> None:
    one = load_pictures(picture((4, 6, 3)), folder, "here")
    assert one.shape == (4, 6, 3)


def test_grey_has_one_channel(folder: str) -> None:
    grey = load_pictures(picture((-1, 1, 4, 6)), folder, "here")
    assert grey.shape == (1, 1, 4, 6)
    assert grey[0, 0, 0, 0] == round(255 * 0.299 + 51 * 0.114)


@pytest.mark.parametrize(
    ("scaling", "expected"),
    [("none", [255, 0, 51]), ("inception", [1.0, -1.0, -0.6]), ("vgg", [255 - 123, -117, 51 - 104])],
)
def test_scaling(scaling: str, expected: list[float]) -> None:
    pixels = numpy.array([[[255, 0, 51]]], dtype=numpy.float32)
    scaled = scale(pixels, scaling)
    assert scaled.dtype == numpy.float32
    assert scaled[0, 0].tolist() == pytest.approx(expected)


def test_vgg_of_grey_subtracts_128() -> None:
    assert scale(numpy.full((1, 1, 1), 130, dtype=numpy.float32), "vgg").item() == 2


def test_bilinear_resize_matches_pillow_s_own(tmp_path: Path) -> None:
    gradient = numpy.arange(64, dtype=numpy.uint8).reshape(8, 8)
    Image.fromarray(gradient).save(tmp_path / "g.png")
    resized = load_pictures(picture((1, 4, 4), path="g.png"), str(tmp_path), "here")
    expected = numpy.asarray(Image.fromarray(gradient).resize((4, 4), Image.Resampling.BILINEAR))
    assert resized[0].tolist() == expected.tolist()


@pytest.mark.parametrize(("name", "message"), [("none.png", "cannot be read"), ("note.txt", "not an image that Pillow can read")])
def test_files_that_are_no_images_are_refused(folder: str, name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_pictures(picture(NCHW, path=name), folder, "here")


def test_the_model_s_type_is_kept(folder: str) -> None:
    tensor = build({"name": "IN", "image": {"path": "red.png"}}, Declared("IN", "UINT8", NCHW), folder, "here")
    assert (tensor.datatype, tensor.shape, tensor.values(1)) == ("UINT8", [1, 3, 4, 6], [255])
