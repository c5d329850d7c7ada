# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Who we are for Azure Blob Storage: options, then what Triton and the az command read from the environment, then an identity.

What the environment holds may be meant for another account than the URL's; then it is left alone.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ...core.errors import InputError, UnavailableError

PACKAGE = "azure-storage-blob"
SUFFIX = ".blob.core.windows.net"
# What to do for who is not known there.
WAYS = (
    "Give azure.account_key (or AZURE_STORAGE_KEY), azure.sas_token (or AZURE_STORAGE_SAS_TOKEN) or azure.connection_string "
    "(or AZURE_STORAGE_CONNECTION_STRING), or install azure-identity for managed identities, workload identities and `az login`."
)
_OPTIONS = ("account_key", "sas_token")


@contextmanager
def sdk() -> Iterator[None]:
    """Explains a missing SDK."""
    try:
        yield
    except ImportError as error:
        raise UnavailableError(
            f"the Python library {PACKAGE} is needed for as:// and cannot be imported: {error}",
            remedy=f"Install it for the Python that runs the module: pip install {PACKAGE}.",
        ) from error


def connect(account: str, container: str, given: Mapping[str, Any], settings: Mapping[str, Any]) -> Any:
    """The SDK's client of a container. settings: what else it gets."""
    with sdk():
        from azure.storage.blob import ContainerClient

    try:
        if text := _connection_string(account, given):
            return ContainerClient.from_connection_string(text, container, **settings)
        endpoint = (given.get("endpoint") or f"https://{account}{SUFFIX}").rstrip("/")
        return ContainerClient(endpoint, container, credential=_credential(account, endpoint, given), **settings)
    except ValueError as error:
        # The SDK's text may hold the string that it could not read.
        remedy = "Check azure.endpoint (https://… or http://…), azure.connection_string and azure.account_key."
        raise InputError("these options make no connection to Azure", where=f"as://{account}/{container}", remedy=remedy) from error


def _connection_string(account: str, given: Mapping[str, Any]) -> str:
    option: str = given.get("connection_string") or ""
    if option and _account_of(option) not in ("", account):
        remedy = "Correct one of them."
        raise InputError(f"azure.connection_string is for the account {_account_of(option)}", where=f"as://{account}", remedy=remedy)
    if option or any(given.get(name) for name in (*_OPTIONS, "endpoint")):
        return option
    text = os.environ.get("AZURE_STORAGE_CONNECTION_STRING", "")
    return text if _account_of(text) == account else ""


def _account_of(text: str) -> str:
    parts = dict(part.partition("=")[::2] for part in text.split(";"))
    return parts.get("AccountName", "")


def _credential(account: str, endpoint: str, given: Mapping[str, Any]) -> Any:
    values = {name: given.get(name) for name in _OPTIONS}
    # Triton takes AZURE_STORAGE_KEY for the key of AZURE_STORAGE_ACCOUNT, where that is set.
    if not any(values.values()) and os.environ.get("AZURE_STORAGE_ACCOUNT", account) == account:
        values = {"account_key": os.environ.get("AZURE_STORAGE_KEY"), "sas_token": os.environ.get("AZURE_STORAGE_SAS_TOKEN")}
    if values["account_key"]:
        return {"account_name": account, "account_key": values["account_key"]}
    return values["sas_token"].lstrip("?") if values["sas_token"] else _identity(account, endpoint)


def _identity(account: str, endpoint: str) -> Any:
    try:
        from azure.identity import DefaultAzureCredential
    except ImportError as error:
        raise UnavailableError("no credentials for Azure Blob Storage", where=f"as://{account}", remedy=WAYS) from error
    if not endpoint.startswith("https://"):
        remedy = "Give azure.account_key or azure.sas_token, or an endpoint with https."
        raise InputError("an identity's token may not be sent without TLS", where=endpoint, remedy=remedy)
    # Triton names a user-assigned managed identity by the first of them.
    identity = os.environ.get("AZURE_STORAGE_CLIENT_ID") or os.environ.get("AZURE_CLIENT_ID")
    return DefaultAzureCredential(managed_identity_client_id=identity)
