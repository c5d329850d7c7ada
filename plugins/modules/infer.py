#!/usr/bin/python
# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: infer
short_description: Run inference requests and compare the answers
version_added: 0.1.0
author: serving.triton contributors (@serving-triton)
description:
  - Sends real inference requests over HTTP, gRPC or both, to every replica of a service, in one task over persistent connections.
  - Compares the answers with expectations, measures latencies, and fails with a table of what was expected and what came.
  - What a request leaves open (data types, shapes, the names of outputs) is taken from the model's metadata.
  - Works with other servers of the V2 inference protocol too, also with those that take JSON tensors only.
options:
  requests:
    description: The requests. A file of golden cases holds such a list.
    type: list
    elements: dict
    required: true
    suboptions:
      model:
        description: The model's name.
        type: str
        required: true
      version:
        description: The model's version. The server chooses when it is empty.
        type: str
      protocol:
        description: The protocol of this request instead of O(protocol).
        type: str
        choices: [http, grpc, both]
      inputs:
        description:
          - The input tensors. Each has one of O(requests[].inputs[].values), O(requests[].inputs[].npy) and
            O(requests[].inputs[].image).
        type: list
        elements: dict
        suboptions:
          name:
            description: The input's name.
            type: str
            required: true
          datatype:
            description: The V2 data type.
            type: str
            choices: [BOOL, INT8, INT16, INT32, INT64, UINT8, UINT16, UINT32, UINT64, FP16, BF16, FP32, FP64, BYTES]
          shape:
            description: The shape, with the batch dimension if the model has one.
            type: list
            elements: int
          values:
            description: The elements as nested lists or as one flat list in row-major order.
            type: raw
          npy:
            description: A file written by C(numpy.save).
            type: str
          image:
            description: Image files, resized and scaled as Triton's C(image_client) example does it.
            type: dict
            suboptions:
              path:
                description: A path, or a list of them for a batch.
                type: raw
                required: true
              scaling:
                description:
                  - V(none) leaves 0 to 255, V(inception) makes -1 to 1, V(vgg) subtracts 123, 117 and 104 from red, green and blue.
                type: str
                choices: [none, inception, vgg]
                default: none
              layout:
                description: The order of dimensions. Told from the model's input when left out.
                type: str
                choices: [nchw, nhwc]
              height:
                description: Pixels. Told from the model's input when left out.
                type: int
              width:
                description: Pixels. Told from the model's input when left out.
                type: int
      synthetic:
        description: Send zeros (texts V("0")) in the declared shapes instead of O(requests[].inputs), with 1 for each free dimension.
        type: bool
        default: false
      outputs:
        description: The outputs to request. All when empty.
        type: list
        elements: str
        default: []
      classes:
        description: Ask the server for this many best classes of each requested output, with their labels, instead of the scores.
        type: int
        default: 0
      parameters:
        description: Parameters of the request.
        type: dict
        default: {}
      sequence:
        description: For stateful models. Requests of one sequence are sent one after the other, and never twice.
        type: dict
        suboptions:
          id:
            description: The sequence's number or text.
            type: raw
            required: true
          start:
            description: Whether this is the first request.
            type: bool
            default: false
          end:
            description: Whether this is the last request.
            type: bool
            default: false
      expect:
        description: What the answer must be. Without expectations an answer is enough.
        type: list
        elements: dict
        default: []
        suboptions:
          output:
            description: The output's name.
            type: str
            required: true
          shape:
            description: The shape, V(-1) for any size.
            type: list
            elements: int
          datatype:
            description: The data type.
            type: str
          values:
            description: The elements, nested or flat. With O(requests[].classes) the scores of the classes.
            type: raw
          tolerance:
            description: How far a number may be off. Zero for integers and 0.0001 for floats when left out.
            type: float
          top:
            description: The best class ids of each row, best first; from the scores when O(requests[].classes) was not asked for.
            type: list
            elements: raw
          labels:
            description: The label or id of the best class of each row.
            type: list
            elements: raw
          accuracy:
            description: The share of rows whose best class must be that of O(requests[].expect[].labels). All when left out.
            type: float
  protocol:
    description: The protocol of requests that name none. HTTP where the endpoint offers it, else gRPC, when left out.
    type: str
    choices: [http, grpc, both]
  binary:
    description:
      - Over HTTP, whether tensors are sent as bytes or as JSON. V(auto) asks the server whether it can take bytes, and sends JSON where
        O(endpoint.binary) is false.
    type: str
    choices: [auto, "true", "false"]
    default: auto
  base_dir:
    description: The folder that relative paths of C(.npy) files and images start at, on the machine that runs the module.
    type: path
    default: .
  repeat:
    description: How often each request is sent.
    type: int
    default: 1
  concurrency:
    description: How many requests are under way at a time.
    type: int
    default: 4
  latency_budget:
    description: The latencies over all requests that must not be exceeded.
    type: dict
    suboptions:
      p50:
        description: Milliseconds for half of the requests.
        type: float
      p95:
        description: Milliseconds for 95 percent of the requests.
        type: float
      p99:
        description: Milliseconds for 99 percent of the requests.
        type: float
  max_values:
    description: How many elements of each output the result holds at most.
    type: int
    default: 16
requirements:
  - tritonclient[http,grpc]
  - numpy
  - Pillow, for images
extends_documentation_fragment:
  - serving.triton.endpoint
  - serving.triton.endpoint.attributes
attributes:
  check_mode:
    description: Inference changes nothing, so check mode runs it too.
    support: full
  diff_mode:
    description: Changes nothing.
    support: none
  idempotent:
    description: Changes nothing.
    support: full
seealso:
  - module: serving.triton.server_info
"""

EXAMPLES = r"""
- name: Compare one answer over both protocols
  serving.triton.infer:
    endpoint: "{{ triton_endpoint }}"
    protocol: both
    requests:
      - model: simple
        inputs:
          - {name: INPUT0, values: [[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]]}
          - {name: INPUT1, values: [[1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]]}
        expect:
          - {output: OUTPUT0, values: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]}

- name: Classify a photograph
  serving.triton.infer:
    endpoint: "{{ triton_endpoint }}"
    requests:
      - model: densenet_onnx
        inputs:
          - {name: data_0, image: {path: mug.jpg, scaling: inception}}
        outputs: [fc6_1]
        classes: 3
        expect:
          - {output: fc6_1, top: [[504, 968, 505]], labels: [COFFEE MUG], values: [15.35, 13.23, 10.42], tolerance: 0.01}

- name: Hold a latency budget
  serving.triton.infer:
    endpoint: "{{ triton_endpoint }}"
    repeat: 200
    concurrency: 8
    latency_budget: {p99: 50}
    requests:
      - {model: forest, synthetic: true}
"""

RETURN = r"""
results:
  description: One entry a request, replica and protocol, in that order.
  type: list
  elements: dict
  returned: always
  contains:
    number:
      description: The request's place in O(requests), from 0.
      type: int
      sample: 0
    model:
      description: The model.
      type: str
      sample: digits
    version:
      description: The version that was asked for.
      type: str
      sample: ""
    protocol:
      description: http or grpc.
      type: str
      sample: http
    replica:
      description: The replica's name.
      type: str
      sample: default
    ok:
      description: Whether the answer came and was as expected.
      type: bool
      sample: true
    latency_ms:
      description: Milliseconds from the first byte sent to the last received; the median of the repetitions. Null without an answer.
      type: float
      sample: 0.8
    latencies_ms:
      description: Milliseconds of each repetition that was answered, in the order of the answers; the first 100.
      type: list
      elements: float
      sample: [0.8]
    outputs:
      description: The first answer's outputs, cut after O(max_values) elements.
      type: list
      elements: dict
      sample: [{name: OUTPUT0, datatype: INT32, shape: [1, 2], values: [3, 4], truncated: false}]
    classes:
      description: With C(classes), the classes of each output, one list a row, best first.
      type: dict
      sample: {scores: [[{value: 0.98, index: 7, label: seven}]]}
    mismatches:
      description: What was not as expected.
      type: list
      elements: dict
      sample: [{check: "OUTPUT0[3]", expected: "4", got: "5"}]
    error:
      description: Why there is no answer.
      type: str
      sample: ""
  sample:
    - number: 0
      model: digits
      version: ""
      protocol: http
      replica: default
      ok: true
      latency_ms: 0.8
      latencies_ms: [0.8]
      mismatches: []
      error: ""
latency:
  description: Milliseconds over all answers, and over those of each protocol.
  type: dict
  returned: always
  sample:
    all: {count: 400, mean: 0.9, p50: 0.8, p95: 1.4, p99: 2.0, max: 2.6}
    http: {count: 200, mean: 0.9, p50: 0.8, p95: 1.4, p99: 2.0, max: 2.6}
    grpc: {count: 200, mean: 0.9, p50: 0.8, p95: 1.4, p99: 2.0, max: 2.2}
requests:
  description: How many requests were to be sent, repetitions included.
  type: int
  returned: always
  sample: 400
failed_requests:
  description: How many entries of RV(results) are not ok.
  type: int
  returned: always
  sample: 0
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.module import run_info
from ..module_utils.server.arguments import DATATYPES, LAYOUTS, SCALINGS, endpoint_spec, read_endpoint
from ..module_utils.server.sdk import explain_missing


def tensor_spec() -> dict[str, Any]:
    image = {
        "path": {"type": "raw", "required": True},
        "scaling": {"type": "str", "choices": list(SCALINGS), "default": "none"},
        "layout": {"type": "str", "choices": list(LAYOUTS)},
        "height": {"type": "int"},
        "width": {"type": "int"},
    }
    return {
        "name": {"type": "str", "required": True},
        "datatype": {"type": "str", "choices": list(DATATYPES)},
        "shape": {"type": "list", "elements": "int"},
        "values": {"type": "raw"},
        "npy": {"type": "str"},
        "image": {"type": "dict", "options": image},
    }


def request_spec() -> dict[str, Any]:
    sequence = {
        "id": {"type": "raw", "required": True},
        "start": {"type": "bool", "default": False},
        "end": {"type": "bool", "default": False},
    }
    expect = {
        "output": {"type": "str", "required": True},
        "shape": {"type": "list", "elements": "int"},
        "datatype": {"type": "str"},
        "values": {"type": "raw"},
        "tolerance": {"type": "float"},
        "top": {"type": "list", "elements": "raw"},
        "labels": {"type": "list", "elements": "raw"},
        "accuracy": {"type": "float"},
    }
    return {
        "model": {"type": "str", "required": True},
        "version": {"type": "str"},
        "protocol": {"type": "str", "choices": ["http", "grpc", "both"]},
        "inputs": {"type": "list", "elements": "dict", "options": tensor_spec()},
        "synthetic": {"type": "bool", "default": False},
        "outputs": {"type": "list", "elements": "str", "default": []},
        "classes": {"type": "int", "default": 0},
        "parameters": {"type": "dict", "default": {}},
        "sequence": {"type": "dict", "options": sequence},
        "expect": {"type": "list", "elements": "dict", "default": [], "options": expect},
    }


def argument_spec() -> dict[str, Any]:
    budget = {name: {"type": "float"} for name in ("p50", "p95", "p99")}
    return {
        **endpoint_spec(),
        "requests": {"type": "list", "elements": "dict", "required": True, "options": request_spec()},
        "protocol": {"type": "str", "choices": ["http", "grpc", "both"]},
        "binary": {"type": "str", "choices": ["auto", "true", "false"], "default": "auto"},
        "base_dir": {"type": "path", "default": "."},
        "repeat": {"type": "int", "default": 1},
        "concurrency": {"type": "int", "default": 4},
        "latency_budget": {"type": "dict", "options": budget},
        "max_values": {"type": "int", "default": 16},
    }


def read(params: dict[str, Any]) -> dict[str, Any]:
    # Imported here: options that are wrong are told without loading any of it.
    from ..module_utils.core.errors import InputError
    from ..module_utils.server.infer import Task, verify
    from ..module_utils.server.runs import Run

    endpoint, options = read_endpoint(params)
    for name, least in (("repeat", 1), ("concurrency", 1), ("max_values", 0)):
        if params[name] < least:
            raise InputError(f"must be at least {least}", where=name, remedy="Correct the option.")
    budget = {name: limit for name, limit in (params["latency_budget"] or {}).items() if limit is not None}
    run = Run(params["repeat"], params["concurrency"])
    task = Task(params["requests"], params["protocol"], params["binary"], params["base_dir"], run, budget, params["max_values"])
    return verify(endpoint, task, options)


def main() -> None:
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    with explain_missing(module):
        run_info(module, lambda: read(module.params))


if __name__ == "__main__":
    main()
