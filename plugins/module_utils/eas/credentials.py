# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Credentials of Alibaba Cloud: the module's options, the environment, or the chain of alibabacloud_credentials."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..core.errors import InputError, UnavailableError

_SESSION = "serving-triton"
_ENVIRONMENT = ("ALIBABA_CLOUD_ACCESS_KEY_ID", "ALIBABA_CLOUD_ACCESS_KEY_SECRET", "ALIBABA_CLOUD_SECURITY_TOKEN")
# Where the environment sends alibabacloud_credentials to look for keys.
_POINTERS = (
    "ALIBABA_CLOUD_PROFILE",
    "ALIBABA_CLOUD_CREDENTIALS_URI",
    "ALIBABA_CLOUD_OIDC_PROVIDER_ARN",
    "ALIBABA_CLOUD_OIDC_TOKEN_FILE",
    "ALIBABA_CLOUD_ECS_METADATA",
)


@dataclass(frozen=True)
class Keys:
    """token: of temporary ones, else empty."""

    identity: str
    secret: str = field(repr=False)
    token: str = field(default="", repr=False)

    @property
    def secrets(self) -> tuple[str, ...]:
        return tuple(filter(None, (self.secret, self.token)))


# Asked before every call: temporary keys are renewed before they expire.
Source = Callable[[], Keys]


def source(options: Mapping[str, Any], environment: Mapping[str, str] | None = None) -> Source:
    """Where keys come from. options: as the modules have them. Raises a ServingError where there is none."""
    environment = os.environ if environment is None else environment
    given = _given(options, environment)
    role = options.get("role_arn")
    provider_arn, token_file = options.get("oidc_provider_arn"), options.get("oidc_token_file")
    if provider_arn or token_file:
        return _by_oidc(role, provider_arn, token_file, environment)
    if options.get("profile"):
        return _chained(lambda library: library.provider(profile=str(options["profile"])), "profile", role)
    if options.get("ecs_role"):
        return _chained(lambda library: library.config(type="ecs_ram_role", role_name=options["ecs_role"]), "ecs_role", role)
    if given is None:
        return _chained(lambda library: library.chain(), "", role)
    if role:
        return _assumed(given, str(role))
    return lambda: given


def is_given(options: Mapping[str, Any], environment: Mapping[str, str] | None = None) -> bool:
    """Whether options or environment say which credentials to use, so that nothing has to be looked for."""
    environment = os.environ if environment is None else environment
    named = ("access_key_id", "profile", "ecs_role", "oidc_provider_arn", "oidc_token_file", "role_arn")
    return any(options.get(name) for name in named) or any(map(environment.get, (_ENVIRONMENT[0], *_POINTERS)))


def _given(options: Mapping[str, Any], environment: Mapping[str, str]) -> Keys | None:
    identity, secret = options.get("access_key_id"), options.get("access_key_secret")
    if bool(identity) != bool(secret):
        raise InputError("half of an AccessKey is given", where="access_key_id", remedy="Give access_key_id and access_key_secret.")
    if identity and secret:
        return Keys(identity, secret, options.get("security_token") or "")
    found = [environment.get(name, "") for name in _ENVIRONMENT]
    return Keys(*found) if found[0] and found[1] else None


def _by_oidc(role: Any, provider: Any, file: Any, environment: Mapping[str, str]) -> Source:
    settings = {
        "role_arn": role or environment.get("ALIBABA_CLOUD_ROLE_ARN"),
        "oidc_provider_arn": provider or environment.get("ALIBABA_CLOUD_OIDC_PROVIDER_ARN"),
        "oidc_token_file_path": file or environment.get("ALIBABA_CLOUD_OIDC_TOKEN_FILE"),
    }
    missing = [name for name, value in settings.items() if not value]
    if missing:
        remedy = "Give role_arn, oidc_provider_arn and oidc_token_file."
        raise InputError(f"OIDC lacks {', '.join(missing)}", where="oidc_provider_arn", remedy=remedy)
    return _chained(lambda library: library.config(type="oidc_role_arn", role_session_name=_SESSION, **settings), "oidc_provider_arn", None)


def _assumed(keys: Keys, role: str) -> Source:
    settings = {"access_key_id": keys.identity, "access_key_secret": keys.secret, "security_token": keys.token or None}
    return _chained(
        lambda library: library.config(type="ram_role_arn", role_arn=role, role_session_name=_SESSION, **settings), "role_arn", None
    )


class _Library:
    """alibabacloud_credentials, imported when credentials have to be looked for."""

    def __init__(self) -> None:
        from alibabacloud_credentials import client, models, provider

        self._client, self._models, self._provider = client, models, provider

    def chain(self) -> Any:
        return self._client.Client()

    def config(self, **settings: Any) -> Any:
        return self._client.Client(self._models.Config(**settings))

    def provider(self, profile: str) -> Any:
        return self._client.Client(provider=self._provider.CLIProfileCredentialsProvider(profile_name=profile))

    def assuming(self, found: Any, role: str) -> Any:
        inner = found.cloud_credential.provider
        outer = self._provider.RamRoleArnCredentialsProvider(credentials_provider=inner, role_arn=role, role_session_name=_SESSION)
        return self._client.Client(provider=outer)


def _chained(make: Callable[[_Library], Any], option: str, role: Any) -> Source:
    try:
        library = _Library()
    except ImportError:
        what = "no AccessKey is given, and alibabacloud-credentials, which looks for others, is not installed"
        remedy = f"Give access_key_id and access_key_secret, or run {sys.executable} -m pip install alibabacloud-credentials."
        raise UnavailableError(what, where=option or "access_key_id", remedy=remedy) from None
    # It writes a traceback to the standard error for each place that has no credentials.
    logging.getLogger("credentials").setLevel(logging.CRITICAL + 1)

    client: Any = None

    def look_up() -> Keys:
        nonlocal client
        from alibabacloud_credentials.exceptions import CredentialException

        try:
            if client is None:
                client = make(library)
                client = library.assuming(client, str(role)) if role else client
            keys = client.get_credential()
        except (CredentialException, OSError, ValueError) as error:
            remedy = "Give access_key_id and access_key_secret, set them in the environment, or correct the option."
            raise UnavailableError(f"no credentials were found: {_brief(error)}", where=option or "access_key_id", remedy=remedy) from None
        return Keys(keys.access_key_id or "", keys.access_key_secret or "", keys.security_token or "")

    return look_up


def _brief(error: Exception) -> str:
    # The message goes through a list of every place that was looked at.
    return " ".join(str(error).split())[:300]
