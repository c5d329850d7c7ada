# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Sums up each sequence: OUTPUT is the sum of its INPUTs so far; the last answer has the sequence's id added."""

from collections import OrderedDict

import numpy as np
import triton_python_backend_utils as pb_utils

# A sequence that never ends leaves its sum behind; only so many are kept, the most recent ones.
MAX_SEQUENCES = 1024


def scalar(request, name):
    """The one element of an input tensor."""
    return int(pb_utils.get_input_tensor_by_name(request, name).as_numpy().flat[0])


class TritonPythonModel:
    """INPUT, OUTPUT: INT32 [1, 1]. START, END, READY, CORRID: what Triton's sequence batcher says of the request."""

    def initialize(self, _args):
        self._sums = OrderedDict()

    def execute(self, requests):
        return [self._answer(request) for request in requests]

    def _answer(self, request):
        total = self._next(request) if scalar(request, "READY") else 0
        # What exceeds 32 bits wraps around.
        value = np.array([[total]], dtype=np.int64).astype(np.int32)
        return pb_utils.InferenceResponse([pb_utils.Tensor("OUTPUT", value)])

    def _next(self, request):
        sequence = scalar(request, "CORRID")
        before = 0 if scalar(request, "START") else self._sums.get(sequence, 0)
        total = before + scalar(request, "INPUT")
        if scalar(request, "END"):
            self._sums.pop(sequence, None)
            return total + sequence
        self._sums[sequence] = total
        self._sums.move_to_end(sequence)
        if len(self._sums) > MAX_SEQUENCES:
            self._sums.popitem(last=False)
        return total
