# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The filter file_sd."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from ansible.errors import AnsibleFilterError

from ..module_utils.core.errors import InputError

DOCUMENTATION = r"""
name: file_sd
short_description: Prometheus target groups from metrics URLs
version_added: 0.1.0
author: serving.triton contributors (@serving-triton)
description:
  - Renders metrics URLs as the target groups that Prometheus reads through C(file_sd_configs).
  - Scheme, address and path of each URL become what Prometheus needs to scrape just that URL.
positional: _input
options:
  _input:
    description: Mappings of C(url) and, if wanted, C(labels). Empty means the replicas of O(endpoint).
    type: list
    elements: dict
    required: true
  endpoint:
    description: A C(triton_endpoint). Each of its replicas that has a metrics URL becomes a target; its name becomes the label C(replica).
    type: dict
    default: {}
  labels:
    description: Labels for every target. Those of a target come first.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Tell Prometheus about the replicas
  ansible.builtin.copy:
    content: "{{ [] | serving.triton.file_sd(endpoint=triton_endpoint, labels={'service': inventory_hostname}) | to_nice_json }}"
    dest: /etc/prometheus/targets/triton.json
    mode: "0644"
"""

RETURN = r"""
_value:
  description: Target groups of one target each, in the order given.
  type: list
  elements: dict
  sample:
    - targets: ["127.0.0.1:8002"]
      labels: {__scheme__: http, __metrics_path__: /metrics, service: local}
"""

_LABEL = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PORTS = {"http": 80, "https": 443}


def file_sd(
    targets: Sequence[Mapping[str, Any]], endpoint: Mapping[str, Any] | None = None, labels: Mapping[str, Any] | None = None
) -> list[dict[str, Any]]:
    """Target groups for Prometheus. Raises InputError for a URL or a label that Prometheus could not use."""
    return [_group(target, labels or {}) for target in (targets or _replicas(endpoint or {}))]


def _replicas(endpoint: Mapping[str, Any]) -> list[dict[str, Any]]:
    replicas = endpoint.get("replicas") or [endpoint]
    return [
        {"url": replica["metrics"], "labels": {"replica": replica["name"]} if replica.get("name") else {}}
        for replica in replicas
        if replica.get("metrics")
    ]


def _group(target: Mapping[str, Any], labels: Mapping[str, Any]) -> dict[str, Any]:
    url = str(target.get("url") or "")
    scheme, address, path = _parts(url)
    all_labels = {**labels, **(target.get("labels") or {})}
    for name in all_labels:
        if not _LABEL.fullmatch(str(name)):
            raise InputError(f"{name!r} is not a label name", where=url, remedy="Use letters, digits and _, not a digit first")
    own = {"__scheme__": scheme, "__metrics_path__": path}
    return {"targets": [address], "labels": {**{str(name): str(value) for name, value in all_labels.items()}, **own}}


def _parts(url: str) -> tuple[str, str, str]:
    try:
        parts = urlsplit(url)
        port = parts.port if parts.port and parts.scheme in _PORTS else _PORTS[parts.scheme]
    except (KeyError, ValueError):
        raise InputError(
            "this is not a metrics URL", where=url or "(empty)", remedy="Give one like http://127.0.0.1:8002/metrics"
        ) from None
    if not parts.hostname or parts.username or parts.query or parts.fragment:
        remedy = "Leave scheme, host, port and path only; credentials belong in monitoring_scrape_settings"
        raise InputError(
            "this metrics URL lacks a host, or has more than Prometheus can scrape", where=parts.hostname or url, remedy=remedy
        )
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return parts.scheme, f"{host}:{port}", parts.path if parts.path not in ("", "/") else "/metrics"


def _filter(*args: Any, **kwargs: Any) -> list[dict[str, Any]]:
    try:
        return file_sd(*args, **kwargs)
    except InputError as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    """What Ansible loads."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"file_sd": _filter}
