# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Who we are to S3, and where it is: botocore's credential chain, regions, endpoints and partitions.

botocore is imported where there is something for it to find out. Keys in the options or in the environment, for a server that the URL
names, with no profile, role or configuration file: those are what botocore would find first, and 0.1 s of 0.2 s is not spent on it.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from ...core.errors import InputError, ServingError, TransientError, UnavailableError
from .place import Endpoint, Place, parse_endpoint
from .signature import Keys

if TYPE_CHECKING:
    from botocore.credentials import Credentials
    from botocore.session import Session as BotocoreSession

T = TypeVar("T")
_DEFAULT_REGION = "us-east-1"
# Seconds after which botocore is asked again; it renews what expires soon by itself.
_FRESH = 30.0
_PROFILE = ("AWS_PROFILE", "AWS_DEFAULT_PROFILE")
_ASSUMING = ("role_arn", "external_id", "web_identity_token_file")


class Session:
    """options: those under `s3`. Keys and region for requests, and the endpoint of a place."""

    def __init__(self, options: Mapping[str, Any], timeout: float = 60.0, environ: Mapping[str, str] | None = None) -> None:
        self._options = {name: value for name, value in options.items() if value not in (None, "")}
        self._environ = os.environ if environ is None else environ
        self._timeout = timeout
        self._plain = self._plain_keys()
        self._session: BotocoreSession | None = None
        self._credentials: Credentials | None = None
        self._keys: tuple[float, Keys] | None = None
        self._mutex = threading.Lock()
        self._check()

    def _check(self) -> None:
        given = self._options
        if ("access_key" in given) != ("secret_key" in given):
            raise InputError("one of access_key and secret_key is missing", where="s3", remedy="Give both, or none.")
        if "web_identity_token_file" in given and "role_arn" not in given:
            raise InputError("web_identity_token_file needs role_arn", where="s3", remedy="Give the role to assume.")
        if "access_key" in given and "profile" in given:
            raise InputError("access_key and profile exclude each other", where="s3", remedy="Give one of them.")

    # --- keys

    def _plain_keys(self) -> Keys | None:
        """Keys that need no botocore."""
        given, environ = self._options, self._environ
        if any(name in given for name in _ASSUMING):
            return None
        if "access_key" in given and "secret_key" in given:
            return Keys(given["access_key"], given["secret_key"], given.get("session_token", ""))
        if "profile" in given or any(environ.get(name) for name in _PROFILE) or environ.get("AWS_CREDENTIAL_EXPIRATION"):
            return None
        access_key, secret_key = environ.get("AWS_ACCESS_KEY_ID", ""), environ.get("AWS_SECRET_ACCESS_KEY", "")
        token = environ.get("AWS_SECURITY_TOKEN") or environ.get("AWS_SESSION_TOKEN") or ""
        return Keys(access_key, secret_key, token) if access_key and secret_key else None

    def keys(self) -> Keys:
        """The keys of this moment. Raises InputError where there are none."""
        if self._plain is not None:
            return self._plain
        known, now = self._keys, time.monotonic()
        if known is None or now - known[0] > _FRESH:
            with self._mutex:
                # Another thread may have asked meanwhile.
                known = self._keys
                if known is None or now - known[0] > _FRESH:
                    known = self._keys = (now, self._found())
        return known[1]

    def renew(self) -> bool:
        """Gets new keys where the old ones have expired. False where these are all that there are."""
        if self._plain is not None:
            return False
        with self._mutex:
            self._session = self._credentials = self._keys = None
        return True

    def _found(self) -> Keys:
        def find() -> Keys | None:
            if self._credentials is None:
                self._credentials = self._chain()
            if self._credentials is None:
                return None
            frozen = self._credentials.get_frozen_credentials()
            return Keys(frozen.access_key, frozen.secret_key, frozen.token or "")

        keys = _explained(find)
        if keys is None or not keys.access_key:
            remedy = "Give s3.access_key and s3.secret_key, s3.profile or s3.role_arn; or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
            raise InputError(
                "no credentials were found (options, environment, profiles, web identity, instance role)", where="s3", remedy=remedy
            )
        return keys

    def _chain(self) -> Credentials | None:
        session = self._botocore()
        if "role_arn" not in self._options:
            found: Credentials | None = session.get_credentials()
            return found
        return self._assumed(session)

    def _assumed(self, session: BotocoreSession) -> Credentials:
        from botocore.config import Config
        from botocore.credentials import (
            AssumeRoleCredentialFetcher,
            AssumeRoleWithWebIdentityCredentialFetcher,
            DeferredRefreshableCredentials,
            FileWebIdentityTokenLoader,
        )

        config = Config(connect_timeout=self._timeout, read_timeout=self._timeout, retries={"mode": "standard", "max_attempts": 5})

        def client(service: str, **more: Any) -> Any:
            return session.create_client(service, region_name=self.region(), config=more.pop("config", None) or config, **more)

        role = self._options["role_arn"]
        extra = {"RoleSessionName": "serving-triton"}
        fetcher: Any
        if "web_identity_token_file" in self._options:
            loader = FileWebIdentityTokenLoader(self._options["web_identity_token_file"])
            fetcher = AssumeRoleWithWebIdentityCredentialFetcher(client, loader, role, extra_args=extra)
            return DeferredRefreshableCredentials(fetcher.fetch_credentials, "assume-role-with-web-identity")
        if "external_id" in self._options:
            extra["ExternalId"] = self._options["external_id"]
        source = session.get_credentials()
        if source is None:
            raise InputError(
                "role_arn needs credentials that may assume it, and none were found", where="s3", remedy="Give them, or a profile."
            )
        fetcher = AssumeRoleCredentialFetcher(client, source, role, extra_args=extra)
        return DeferredRefreshableCredentials(fetcher.fetch_credentials, "assume-role")

    # --- region and endpoint

    def region(self) -> str:
        """As botocore finds it, with AWS_REGION as what is left: other SDKs read it."""
        region = self._options.get("region") or self._environ.get("AWS_DEFAULT_REGION")
        if not region and not self._configured():
            region = self._environ.get("AWS_REGION") or _DEFAULT_REGION
        if not region:
            region = _explained(lambda: self._botocore().get_config_variable("region"))
        return str(region or self._environ.get("AWS_REGION") or _DEFAULT_REGION)

    def endpoint(self, place: Place, region: str) -> Endpoint:
        """The server: the URL's, the environment's or the profile's; else AWS's own of the region."""
        if place.endpoint is not None:
            return place.endpoint
        if self._environ.get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "").lower() != "true":
            url = self._environ.get("AWS_ENDPOINT_URL_S3") or self._environ.get("AWS_ENDPOINT_URL")
            if not url and self._configured():
                url = _explained(self._configured_url)
            if url:
                return parse_endpoint(url)
        return Endpoint(True, _explained(lambda: self._aws_host(region)), 443, aws=True)

    def _configured_url(self) -> str:
        session = self._botocore()
        if session.get_config_variable("ignore_configured_endpoint_urls"):
            return ""
        scoped = session.get_scoped_config()
        services = session.full_config.get("services", {}).get(scoped.get("services", ""), {})
        return str(services.get("s3", {}).get("endpoint_url") or scoped.get("endpoint_url") or "")

    def _aws_host(self, region: str) -> str:
        session = self._botocore()
        from botocore.regions import EndpointResolver

        resolver = EndpointResolver(session.get_data("endpoints"))
        wishes = {name: bool(session.get_config_variable(name)) for name in ("use_dualstack_endpoint", "use_fips_endpoint")}
        found = resolver.construct_endpoint("s3", region, resolver.get_partition_for_region(region), **wishes)
        return str(found["hostname"])

    def _configured(self) -> bool:
        """Whether there is a configuration that only botocore understands."""
        environ = self._environ
        if "profile" in self._options or any(environ.get(name) for name in _PROFILE):
            return True
        files = (environ.get("AWS_CONFIG_FILE", "~/.aws/config"), environ.get("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials"))
        return any(os.path.exists(os.path.expanduser(file)) for file in files)

    def _botocore(self) -> BotocoreSession:
        if self._session is None:
            try:
                import botocore.session
            except ImportError as error:
                remedy = "Install it where the task runs: pip install boto3. Keys in the options and a server in the URL do without."
                raise InputError("the Python library boto3 is missing", where="s3", remedy=remedy) from error
            session = botocore.session.Session(profile=self._options.get("profile"))
            if "access_key" in self._options:
                session.set_credentials(*(self._options.get(name) for name in ("access_key", "secret_key", "session_token")))
            self._session = session
        return self._session


def _explained(call: Callable[[], T]) -> T:
    """botocore's errors as ours. Their texts name profiles, files and roles, never keys."""
    try:
        return call()
    except ServingError:
        raise
    except ImportError as error:
        raise InputError("the Python library boto3 is missing", where="s3", remedy="Install it: pip install boto3") from error
    except _botocore_errors() as error:
        if type(error).__name__ in ("EndpointConnectionError", "ConnectTimeoutError", "ReadTimeoutError"):
            raise TransientError(str(error), where="s3", remedy="Look at the network, then run this again.") from error
        remedy = "Correct the profile, the role or the credentials; `aws sts get-caller-identity` tries them."
        raise UnavailableError(f"credentials or configuration cannot be used: {error}", where="s3", remedy=remedy) from error


def _botocore_errors() -> tuple[type[BaseException], ...]:
    try:
        from botocore.exceptions import BotoCoreError, ClientError
    except ImportError:
        return (OSError,)
    return (BotoCoreError, ClientError, OSError, KeyError)
