# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a request's query may say. The server refuses the rest before it does anything."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping

from .errors import ApiError, bad_request

_OPTIONS = {"create": "CreateOptions", "update": "UpdateOptions", "patch": "PatchOptions"}


def check_query(verb: str, query: Mapping[str, str], *, applies: bool = False) -> None:
    """applies: whether the patch is a server-side apply. Raises ApiError."""
    if verb in ("list", "watch"):
        _reading(query)
    elif verb in _OPTIONS:
        _writing(_OPTIONS[verb], query, applies=applies)


def _reading(query: Mapping[str, str]) -> None:
    for name in ("limit", "timeoutSeconds"):
        if not query.get(name, "0").removeprefix("-").isdigit():
            raise bad_request(f'strconv.ParseInt: parsing "{query[name]}": invalid syntax')
    version = query.get("resourceVersion", "")
    if version and not version.isdigit():
        told = f'strconv.ParseUint: parsing "{version}": invalid syntax'
        raise bad_request(f'invalid resource version: resourceVersion: Invalid value: "{version}": {told}')
    if query.get("resourceVersionMatch") and not version:
        why = "resourceVersionMatch is forbidden unless resourceVersion is provided"
        raise _invalid("ListOptions", "resourceVersionMatch", f"Forbidden: {why}")


def _writing(kind: str, query: Mapping[str, str], *, applies: bool) -> None:
    validation, dry_run = query.get("fieldValidation", ""), query.get("dryRun", "All")
    if validation not in ("", "Ignore", "Strict", "Warn"):
        told = f'Unsupported value: "{validation}": supported values: "", "Ignore", "Strict", "Warn"'
        raise _invalid(kind, "fieldValidation", told)
    if dry_run != "All":
        raise _invalid(kind, "dryRun", f'Unsupported value: ["{dry_run}"]: supported values: "All"')
    if applies and not query.get("fieldManager"):
        raise _invalid(kind, "fieldManager", "Required value: is required for apply patch")
    if kind == "PatchOptions" and not applies and "force" in query:
        raise _invalid(kind, "force", "Forbidden: may not be specified for non-apply patch")


def _invalid(kind: str, field: str, told: str) -> ApiError:
    return ApiError(422, "Invalid", f'{kind}.meta.k8s.io "" is invalid: {field}: {told}')


def continued(token: str) -> tuple[str, tuple[str, str]]:
    """The version of a list's first part, and the place after which it goes on. Raises ApiError."""
    try:
        version, namespace, name = json.loads(base64.b64decode(token, validate=True))
    except ValueError as error:
        raise bad_request(f"invalid continue token: continue key is not valid: {error}") from error
    return version, (namespace, name)
