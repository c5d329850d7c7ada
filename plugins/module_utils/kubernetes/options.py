# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The options of the modules that ask a cluster; doc_fragments/cluster.py documents them. Named as in kubernetes.core."""

from __future__ import annotations

from typing import Any

CLUSTER: dict[str, Any] = {
    "kubeconfig": {"type": "path"},
    "context": {"type": "str"},
    "host": {"type": "str"},
    "api_key": {"type": "str", "no_log": True},
    "ca_cert": {"type": "path"},
    "validate_certs": {"type": "bool"},
}
SERVICE: dict[str, Any] = {
    "name": {"type": "str", "required": True},
    "namespace": {"type": "str", "required": True},
    "key_header": {"type": "str", "default": "triton-key", "no_log": False},
}
# What the modules for device plugins share, documented in each.
GPU_NODES: dict[str, Any] = {
    "configs": {"type": "dict", "default": {}},
    "default_config": {"type": "str", "default": "default"},
    "nodes": {"type": "list", "elements": "str", "default": []},
}
