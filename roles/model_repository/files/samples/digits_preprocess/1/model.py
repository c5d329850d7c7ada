# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Prepares raw pixels of a digit: removes the paper and the noise, stretches the contrast, centres the ink.

The training script calls `prepare`, too, so that training and serving cannot differ.
"""

import numpy as np
import triton_python_backend_utils as pb_utils

# At least a quarter of each picture is paper.
PAPER_PERCENTILE = 25
# What is fainter than this share of the darkest ink is noise.
NOISE_SHARE = 0.15


def prepare(pixels):
    """pixels: UINT8 [n, height, width], more is darker. Returns FP32 [n, height * width], from 0 (paper) to 1 (the darkest ink)."""
    ink = pixels.astype(np.float32)
    paper = np.percentile(ink, PAPER_PERCENTILE, axis=(1, 2), keepdims=True).astype(np.float32)
    ink = np.maximum(ink - paper, 0)
    darkest = np.maximum(ink.max(axis=(1, 2), keepdims=True), 1)
    ink[ink < NOISE_SHARE * darkest] = 0
    return np.stack([centre(image) for image in ink / darkest]).reshape(len(pixels), -1)


def centre(image):
    """Moves the ink by whole pixels, so that its centre of mass comes as near to the middle as it can without losing any ink."""
    for axis in (0, 1):
        profile = image.sum(axis=1 - axis)
        used = np.flatnonzero(profile)
        if not used.size:
            return image
        last = len(profile) - 1
        mass = float((profile * np.arange(len(profile))).sum() / profile.sum())
        move = int(np.clip(round(last / 2 - mass), -used[0], last - used[-1]))
        # Only empty rows or columns wrap around.
        image = np.roll(image, move, axis=axis)
    return image


class TritonPythonModel:
    """pixels: UINT8 [batch, 8, 8]. image: FP32 [batch, 64]."""

    def execute(self, requests):
        return [self._answer(pb_utils.get_input_tensor_by_name(request, "pixels").as_numpy()) for request in requests]

    def _answer(self, pixels):
        return pb_utils.InferenceResponse([pb_utils.Tensor("image", prepare(pixels))])
