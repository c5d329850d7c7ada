# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A model for tests of releases, whose answers tell which version gave them. CODE and CONFIG are to be formatted."""

NAME = "scorer"
# OUT is IN + 1, VERSION is the version that answers.
CODE = """
import numpy as np
import triton_python_backend_utils as pb


class TritonPythonModel:
    def initialize(self, args):
        self.version = int(args["model_version"])
        {initialize}

    def execute(self, requests):
        answers = []
        for request in requests:
            values = pb.get_input_tensor_by_name(request, "IN").as_numpy()
            version = np.full(values.shape, self.version, dtype=np.int32)
            answers.append(pb.InferenceResponse([pb.Tensor("OUT", values + {add}), pb.Tensor("VERSION", version)]))
        return answers
"""
CONFIG = """
backend: "python"
max_batch_size: 0
input [ {{ name: "IN" data_type: TYPE_INT32 dims: [ 1 ] }} ]
output [ {{ name: "OUT" data_type: TYPE_INT32 dims: [ 1 ] }}, {{ name: "VERSION" data_type: TYPE_INT32 dims: [ 1 ] }} ]
parameters {{ key: "belongs_to" value {{ string_value: "{version}" }} }}
"""
GOLDEN = {"requests": [{"inputs": [{"name": "IN", "values": [41]}], "expect": [{"output": "OUT", "values": [42]}]}]}
