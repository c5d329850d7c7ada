# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The options of the modules for EAS. Those of the connection are documented in the fragment `eas`."""

from __future__ import annotations

from typing import Any

# What composes a service's configuration, beside `config` and `config_file`.
COMPOSED: dict[str, Any] = {
    "processor": {"type": "str"},
    "image": {"type": "str"},
    "triton_repository": {"type": "str"},
    "triton_options": {"type": "dict"},
    "command": {"type": "str"},
    "port": {"type": "int"},
    "grpc": {"type": "bool"},
    "instances": {"type": "int"},
    "cpu": {"type": "float"},
    "memory": {"type": "int"},
    "gpu": {"type": "int"},
    "gpu_memory": {"type": "int"},
    "gpu_core_percentage": {"type": "int"},
    "shm_size": {"type": "int"},
    "resource": {"type": "str"},
    "instance_types": {"type": "list", "elements": "str"},
    "workspace_id": {"type": "str"},
    "group": {"type": "str"},
    "keepalive": {"type": "int"},
    "rpc": {"type": "dict"},
    "mounts": {
        "type": "list",
        "elements": "dict",
        "options": {
            "mount_path": {"type": "str", "required": True},
            "oss": {"type": "str"},
            "nfs_server": {"type": "str"},
            "nfs_path": {"type": "str"},
            "read_only": {"type": "bool", "default": True},
        },
    },
    "env": {"type": "dict"},
    "secret_env": {"type": "dict", "no_log": True},
    "labels": {"type": "dict"},
    "autoscaler": {
        "type": "dict",
        "options": {
            "min": {"type": "int", "required": True},
            "max": {"type": "int", "required": True},
            "strategies": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {"metric": {"type": "str", "required": True}, "threshold": {"type": "float", "required": True}},
            },
        },
    },
    "network": {
        "type": "dict",
        "options": {"vpc_id": {"type": "str"}, "vswitch_id": {"type": "str"}, "security_group_id": {"type": "str"}},
    },
    "rolling": {"type": "dict", "options": {"max_surge": {"type": "raw"}, "max_unavailable": {"type": "raw"}}},
    "token": {"type": "str", "no_log": True},
    "registry_auth": {"type": "str", "no_log": True},
}


def connection_spec() -> dict[str, Any]:
    """The argument specification of the fragment's options."""
    return {
        "backend": {"type": "str", "choices": ["auto", "openapi", "eascmd"], "default": "auto"},
        "eascmd_path": {"type": "path"},
        "eascmd_config": {"type": "path"},
        "region": {"type": "str"},
        "endpoint": {"type": "str"},
        "access_key_id": {"type": "str", "no_log": False},
        "access_key_secret": {"type": "str", "no_log": True},
        "security_token": {"type": "str", "no_log": True},
        "profile": {"type": "str"},
        "role_arn": {"type": "str"},
        "oidc_provider_arn": {"type": "str"},
        "oidc_token_file": {"type": "path", "no_log": False},
        "ecs_role": {"type": "str"},
        "timeout": {"type": "float", "default": 60.0},
        "attempts": {"type": "int", "default": 6},
        "validate_certs": {"type": "bool", "default": True},
        "ca_path": {"type": "path"},
    }


def shown_spec() -> dict[str, Any]:
    """The options that say how a service is told, of both modules."""
    return {
        "access": {"type": "str", "choices": ["auto", "internet", "intranet"], "default": "auto"},
        "return_token": {"type": "bool", "default": False},
    }


def service_spec() -> dict[str, Any]:
    """The options of eas_service."""
    return {
        "name": {"type": "str"},
        "state": {"type": "str", "choices": ["present", "absent", "started", "stopped", "restarted"], "default": "present"},
        "config": {"type": "dict"},
        "config_file": {"type": "path"},
        "update": {"type": "str", "choices": ["merge", "replace"], "default": "merge"},
        **COMPOSED,
        "revision": {"type": "str"},
        "version": {"type": "int"},
        "weight": {"type": "int"},
        "traffic_state": {"type": "str", "choices": ["standalone", "grouping"]},
        "safety_lock": {"type": "str", "choices": ["none", "dangerous", "all"]},
        "lift_lock": {"type": "bool", "default": False},
        "wait": {"type": "bool", "default": True},
        "wait_timeout": {"type": "float", "default": 1800.0},
        "wait_interval": {"type": "float", "default": 5.0},
        "wait_gateway": {"type": "bool", "default": False},
        "progress_file": {"type": "path"},
        **shown_spec(),
        **connection_spec(),
    }


def info_spec() -> dict[str, Any]:
    """The options of eas_service_info."""
    return {
        "names": {"type": "list", "elements": "str", "default": []},
        "labels": {"type": "dict"},
        "statuses": {"type": "list", "elements": "str", "default": []},
        "instances": {"type": "bool", "default": False},
        "versions": {"type": "bool", "default": False},
        "events": {"type": "bool", "default": False},
        "logs": {"type": "bool", "default": False},
        "log_lines": {"type": "int", "default": 100},
        **shown_spec(),
        **connection_spec(),
    }
