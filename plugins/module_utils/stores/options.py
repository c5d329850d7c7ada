# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The options of every module that opens a store: see the documentation fragment `stores`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..core.errors import InputError

_S3: dict[str, Any] = {
    "profile": {"type": "str"},
    "region": {"type": "str"},
    "access_key": {"type": "str", "no_log": False},
    "secret_key": {"type": "str", "no_log": True},
    "session_token": {"type": "str", "no_log": True},
    "role_arn": {"type": "str"},
    "external_id": {"type": "str"},
    "web_identity_token_file": {"type": "path", "no_log": False},
    "addressing_style": {"type": "str", "choices": ["auto", "path", "virtual"], "default": "auto"},
    "encryption": {"type": "str", "choices": ["AES256", "aws:kms", "aws:kms:dsse"]},
    "kms_key_id": {"type": "str", "no_log": False},
    "storage_class": {"type": "str"},
    "tags": {"type": "dict"},
    "requester_pays": {"type": "bool", "default": False},
    "checksum": {"type": "str", "choices": ["auto", "md5", "crc32"], "default": "auto"},
}
_OSS: dict[str, Any] = {
    "profile": {"type": "str"},
    "region": {"type": "str"},
    "endpoint": {"type": "str"},
    "internal": {"type": "bool", "default": False},
    "access_key_id": {"type": "str", "no_log": False},
    "access_key_secret": {"type": "str", "no_log": True},
    "security_token": {"type": "str", "no_log": True},
    "signature_version": {"type": "str", "no_log": False, "choices": ["v1", "v4"], "default": "v4"},
    "storage_class": {"type": "str"},
    "encryption": {"type": "str", "choices": ["AES256", "KMS"]},
    "kms_key_id": {"type": "str", "no_log": False},
}
_GCS: dict[str, Any] = {
    "project": {"type": "str"},
    "endpoint": {"type": "str"},
    "credentials_file": {"type": "path"},
    "anonymous": {"type": "bool", "default": False},
    "storage_class": {"type": "str"},
    "kms_key_name": {"type": "str", "no_log": False},
}
_AZURE: dict[str, Any] = {
    "endpoint": {"type": "str"},
    "account_key": {"type": "str", "no_log": True},
    "sas_token": {"type": "str", "no_log": True},
    "connection_string": {"type": "str", "no_log": True},
    "access_tier": {"type": "str", "choices": ["Hot", "Cool", "Cold"]},
}
_LEAST = {"timeout": 1.0, "attempts": 1}


def store_spec() -> dict[str, Any]:
    """The argument specification of the fragment's options."""
    return {
        "s3": {"type": "dict", "options": _S3},
        "oss": {"type": "dict", "options": _OSS},
        "gcs": {"type": "dict", "options": _GCS},
        "azure": {"type": "dict", "options": _AZURE},
        "timeout": {"type": "float", "default": 60.0},
        "attempts": {"type": "int", "default": 6},
        "validate_certs": {"type": "bool", "default": True},
        "ca_path": {"type": "path"},
    }


def store_settings(params: Mapping[str, Any]) -> dict[str, Any]:
    """What goes into `StoreOptions` from them. Raises InputError for a number out of its range."""
    for option, least in _LEAST.items():
        if params[option] < least:
            raise InputError(f"{params[option]} is below {least}", where=option, remedy=f"Give {least} or more.")
    # An option that was not given in such a mapping is there with None.
    providers = {name: dict(params[name] or {}) for name in ("s3", "oss", "gcs", "azure")}
    rest = {name: params[name] for name in ("timeout", "attempts", "validate_certs", "ca_path")}
    return {"providers": providers, **rest}
