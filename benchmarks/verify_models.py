# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Verifying 200 models on one real server: one task of ours against a loop of ansible.builtin.uri."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from support.tritonserver import TritonServer, write_add_sub, write_ensemble

from .common import Line, Task, faster, figure, run_tasks, seconds, workspace

MODELS = 200
ONE = list(range(16))
TWO = [1] * 16


def measure() -> Iterator[Line]:
    with tempfile.TemporaryDirectory() as folder:
        repository = Path(folder) / "models"
        write_add_sub(repository)
        names = ["add_sub", *(f"ensemble_{number}" for number in range(1, MODELS))]
        for name in names[1:]:
            write_ensemble(repository, name)
        with TritonServer(repository) as server:
            run = run_tasks(workspace(Path(folder) / "work"), _tasks(server.endpoint, names))
    infer, peer = seconds(run, "Infer"), seconds(run, "Infer, peer")
    state, peer_state = seconds(run, "State"), seconds(run, "State, peer")
    yield faster("infer_200_models", "ansible.builtin.uri_loop", infer, peer, at_least=50)
    yield faster("state_of_200_models", "ansible.builtin.uri_loop", state, peer_state, at_least=50)
    yield figure("infer_200_models", "seconds", infer)
    yield figure("infer_200_models_peer", "seconds", peer)


def _tasks(endpoint: dict[str, Any], names: list[str]) -> list[Task]:
    tensors = [
        {"name": f"INPUT{index}", "datatype": "INT32", "shape": [1, 16], "values": values} for index, values in enumerate((ONE, TWO))
    ]
    answer = [one + two for one, two in zip(ONE, TWO)]
    expect = [{"output": "OUTPUT0", "values": answer}]
    requests = [{"model": name, "inputs": tensors, "expect": expect} for name in names]
    body = {"inputs": [{**{key: tensor[key] for key in ("name", "datatype", "shape")}, "data": tensor["values"]} for tensor in tensors]}
    return [
        {
            "name": "Wait",
            "serving.triton.server_info": {"endpoint": endpoint, "wait_for": {"ready": True, "models_ready": names, "timeout": 300}},
        },
        {"name": "Infer", "serving.triton.infer": {"endpoint": endpoint, "protocol": "http", "requests": requests}},
        {
            "name": "Infer, peer",
            "ansible.builtin.uri": {
                "url": f"{endpoint['http']}/v2/models/{{{{ item }}}}/infer",
                "method": "POST",
                "body_format": "json",
                "body": body,
            },
            "register": "peer",
            "failed_when": f"(peer.json.outputs | selectattr('name', 'eq', 'OUTPUT0') | first).data != {answer}",
            "loop": names,
        },
        {"name": "State", "serving.triton.server_info": {"endpoint": endpoint}},
        {"name": "State, peer", "ansible.builtin.uri": {"url": f"{endpoint['http']}/v2/models/{{{{ item }}}}/ready"}, "loop": names},
    ]
