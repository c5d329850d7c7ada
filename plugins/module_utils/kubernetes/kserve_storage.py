# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Where KServe copies a model repository from, and with which credentials. Pure.

KServe finds credentials by the names of a Secret's keys, and what S3 needs beside them in annotations (pkg/credentials of KServe). A Secret
serves its storage initializer when the pods' service account lists it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..core.errors import InputError

GROUP = "serving.kserve.io"
# What KServe itself takes as a storageUri.
SCHEMES = ("s3", "gs", "pvc", "https", "http", "hdfs", "webhdfs", "hf", "oci", "oci+native", "oci+fetch")
VOLUME = "pvc"
_S3 = re.compile(r"s3://(?:(?P<scheme>https?)://(?P<server>[^/\s]+)/|(?P<host>[^/\s:]+:\d+)/)?(?P<rest>[^/\s:]+(?:/\S*)?)$")
_AZURE = re.compile(r"as://(?P<account>[^/\s.]+)[^/\s]*/(?P<rest>[^/\s].*)$")
_OPTIONS = ("endpoint", "region", "verify_ssl", "anonymous", "virtual_bucket", "accelerate", "ca_configmap")
_ANNOTATIONS = {
    "endpoint": "s3-endpoint", "https": "s3-usehttps", "region": "s3-region", "verify_ssl": "s3-verifyssl",
    "anonymous": "s3-useanoncredential", "virtual_bucket": "s3-usevirtualbucket", "accelerate": "s3-useaccelerate",
    "ca_configmap": "s3-cabundle-configmap",
}  # fmt: skip


@dataclass(frozen=True)
class Place:
    """uri: KServe's storageUri. endpoint, https: of an S3 server that is not AWS."""

    uri: str
    endpoint: str = ""
    https: bool = True

    @property
    def scheme(self) -> str:
        return self.uri.partition("://")[0].lower()

    @property
    def mounted(self) -> bool:
        """Whether the pods see what is published at once: KServe mounts a claim, and copies everything else."""
        return self.scheme == VOLUME


def place(repository: str, storage_uri: str = "") -> Place:
    """storage_uri: where the pods find what is published to `repository`, where KServe does not read that by its own name."""
    if storage_uri:
        found = Place(storage_uri.strip())
        if "://" not in storage_uri or found.scheme not in SCHEMES:
            raise InputError(f"KServe takes no such storage ({storage_uri})", where="server_kserve_storage_uri", remedy=f"Use {_listed()}.")
        return found
    scheme = repository.partition("://")[0].lower() if "://" in repository else ""
    if scheme == "s3":
        return _s3(repository)
    if scheme == "gs":
        return Place(repository)
    if scheme == "as":
        return _azure(repository)
    told = f"KServe cannot read what is published to '{repository}'" if repository else "nothing says where the models are"
    raise InputError(told, where="triton_repository", remedy=_UNREAD)


_UNREAD = (
    "Publish to s3://, gs:// or as://, or say by server_kserve_storage_uri where the pods find the same folder, for example "
    "pvc://claim/folder for a volume that is mounted here too."
)


def _listed() -> str:
    return ", ".join(f"{scheme}://" for scheme in SCHEMES)


def _s3(repository: str) -> Place:
    found = _S3.match(repository)
    if not found:
        remedy = "Write s3://bucket/prefix or s3://https://host:port/bucket/prefix."
        raise InputError(f"{repository} names no bucket", where="triton_repository", remedy=remedy)
    # KServe copies all keys that begin like this: without the slash, those of a neighbour that is named alike too.
    bucket, _slash, prefix = found["rest"].rstrip("/").partition("/")
    uri = f"s3://{bucket}/{prefix}/" if prefix else f"s3://{bucket}"
    return Place(uri, found["server"] or found["host"] or "", found["scheme"] == "https")


def _azure(repository: str) -> Place:
    found = _AZURE.match(repository)
    if not found:
        raise InputError(f"{repository} names no container", where="triton_repository", remedy="Write as://account/container/prefix.")
    return Place(f"https://{found['account']}.blob.core.windows.net/{found['rest'].rstrip('/')}")


# --- credentials


@dataclass(frozen=True)
class Credentials:
    """data, annotations: of a Secret that KServe reads. account: annotations of the service account. rest: the server's own variables."""

    data: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    account: Mapping[str, str] = field(default_factory=dict)
    rest: Mapping[str, str] = field(default_factory=dict)


def credentials(
    found: Place, environment: Mapping[str, Any], s3: Mapping[str, Any], google: str = "", cloud_role: bool = False
) -> Credentials:
    """environment: variables as tritonserver itself would take them. s3: see `_OPTIONS`. google: a service account's key.

    cloud_role: whether the service account has a role of the cloud, so that it carries what S3 needs. Raises InputError.
    """
    variables = {str(name): str(value) for name, value in environment.items()}
    unknown = sorted(set(s3) - set(_OPTIONS))
    if unknown:
        raise InputError(f"there is no {', '.join(unknown)}", where="server_kserve_s3", remedy=f"Its keys are {', '.join(_OPTIONS)}.")
    if found.scheme == "s3":
        return _of_s3(found, variables, s3, cloud_role)
    if google or found.scheme == "gs":
        return _of_google(variables, google)
    if ".blob.core.windows.net/" in found.uri:
        return _of_azure(variables)
    return Credentials(rest=variables)


def _of_s3(found: Place, variables: Mapping[str, str], s3: Mapping[str, Any], cloud_role: bool) -> Credentials:
    rest = dict(variables)
    key, secret, token = (rest.pop(f"AWS_{name}", "") for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN"))
    regions = [rest.pop(name, "") for name in ("AWS_DEFAULT_REGION", "AWS_REGION")]
    if token:
        remedy = "Give keys that last, or a role of the cloud by server_kserve_service_account_annotations."
        raise InputError(
            "KServe hands no session token to what copies the models", where="triton_environment.AWS_SESSION_TOKEN", remedy=remedy
        )
    if bool(key) != bool(secret):
        lacking = "AWS_SECRET_ACCESS_KEY" if key else "AWS_ACCESS_KEY_ID"
        raise InputError("one half of the key is missing", where=f"triton_environment.{lacking}", remedy="Give both, or neither.")
    settings = {name: value for name, value in s3.items() if value not in (None, "")}
    if found.endpoint:
        settings = {"endpoint": found.endpoint, "https": "1" if found.https else "0", **settings}
    region = next(filter(None, [settings.pop("region", ""), *regions]), "")
    if region:
        settings["region"] = region
    annotations = {f"{GROUP}/{_ANNOTATIONS[name]}": _text(name, value) for name, value in settings.items()}
    if not key and not settings.get("anonymous"):
        return Credentials(account=annotations if cloud_role else {}, rest=rest)
    # Which spelling KServe looks for is the cluster's configuration.
    data = {"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret, "awsAccessKeyID": key, "awsSecretAccessKey": secret}
    return Credentials(data, annotations, {}, rest)


def _text(name: str, value: Any) -> str:
    if name == "verify_ssl":
        return "1" if value else "0"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _of_google(variables: Mapping[str, str], google: str) -> Credentials:
    if "GOOGLE_APPLICATION_CREDENTIALS" in variables:
        remedy = "Give the key itself by server_kserve_google_credentials, for example {{ lookup('ansible.builtin.file', path) }}."
        raise InputError(
            "a path leads nowhere in what copies the models", where="triton_environment.GOOGLE_APPLICATION_CREDENTIALS", remedy=remedy
        )
    return Credentials(data={"gcloud-application-credentials.json": google} if google else {}, rest=variables)


_AZURE_IDENTITY = ("AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET", "AZURE_TENANT_ID", "AZURE_SUBSCRIPTION_ID")


def _of_azure(variables: Mapping[str, str]) -> Credentials:
    rest = dict(variables)
    # The account is in the URL.
    rest.pop("AZURE_STORAGE_ACCOUNT", None)
    key = rest.pop("AZURE_STORAGE_KEY", "")
    identity = {name: rest.pop(name) for name in _AZURE_IDENTITY if name in rest}
    if "AZURE_CLIENT_ID" in identity:
        return Credentials(data=identity, rest=rest)
    return Credentials(data={"AZURE_STORAGE_ACCESS_KEY": key} if key else {}, rest=rest)
