# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The connection to OSS through its SDK: credentials, TLS, timeouts and retries. Imported with the SDK when a bucket is opened."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit
from xml.etree.ElementTree import Element, fromstring

from ...core.errors import ServingError, UnavailableError
from ...core.wait import RetryPolicy
from ..base import StoreOptions
from ..transfers import Transfers
from .errors import Retries, explained
from .place import Place

_CONNECT_SECONDS = 10.0


def load_sdk() -> Any:
    """The SDK's package. Raises UnavailableError that names what to install."""
    try:
        import alibabacloud_oss_v2
    except ImportError:
        raise _missing("alibabacloud-oss-v2", "oss://") from None
    return alibabacloud_oss_v2


def _missing(package: str, where: str) -> ServingError:
    remedy = f"Run {sys.executable} -m pip install {package} on this machine."
    return UnavailableError(f"the Python library {package} is not installed", where=where, remedy=remedy)


class Checksum:
    """A running CRC64 as OSS has it."""

    def __init__(self, function: Callable[[bytes, int], int]) -> None:
        self._function, self._value = function, 0

    def update(self, data: bytes) -> None:
        self._value = self._function(data, self._value)

    def sum64(self) -> int:
        return self._value


def _crc_function() -> Callable[[bytes, int], int]:
    # The SDK's own class makes its table anew for each use, which costs more than the checksum of a small file.
    import crcmod

    function: Callable[[bytes, int], int] = crcmod.mkCrcFun(0x142F0E1EBA9EA3693, initCrc=0, rev=True, xorOut=0xFFFFFFFFFFFFFFFF)
    return function


class OssClient:
    """The SDK's client whose calls raise our errors. `models` are the SDK's requests."""

    def __init__(self, place: Place, options: StoreOptions, policy: RetryPolicy | None = None) -> None:
        self.place = place
        self.policy = policy or RetryPolicy(attempts=options.attempts)
        self.transfers = Transfers(options.concurrency, options.attempts)
        self._sdk = load_sdk()
        self.models = self._sdk.models
        self._client = self._sdk.Client(self._config(place, options))
        self._crc = _crc_function()

    def call(self, operation: str, request: Any, where: str, retries: Retries | None = None) -> Any:
        """Runs an operation of the SDK. where: what an error names. Raises a ServingError."""
        try:
            return self.raw(operation, request, retries)
        except self.failures as error:
            raise self.explained(error, where) from error

    def raw(self, operation: str, request: Any, retries: Retries | None = None) -> Any:
        """As `call`, but raises the SDK's own errors (`failures`)."""
        with self.transfers.turn():
            return getattr(self._client, operation)(request, retryer=retries or self.retries())

    def retries(self) -> Retries:
        return Retries(self.policy, self.transfers.gate.slow)

    def explained(self, error: Exception, where: str) -> ServingError:
        """The error to raise instead of the SDK's."""
        return explained(error, where, self.place.endpoint)

    def versions(self, name: str, where: str) -> list[Element]:
        """The versions and delete markers of objects whose names begin so, as OSS orders them: by name, then the newest first."""
        request = self._sdk.OperationInput(
            op_name="ListObjectVersions",
            method="GET",
            bucket=self.place.bucket,
            parameters={"versions": "", "prefix": name, "max-keys": "1000"},
        )
        try:
            with self.transfers.turn():
                answer = self._client.invoke_operation(request, retryer=self.retries())
        except self.failures as error:
            raise self.explained(error, where) from error
        found = fromstring(answer.http_response.content)  # noqa: S314 - OSS's own answer, as its SDK reads them
        return [each for each in found if each.tag in ("Version", "DeleteMarker")]

    @property
    def failures(self) -> type[Exception]:
        kind: type[Exception] = self._sdk.exceptions.BaseError
        return kind

    def crc64(self) -> Checksum:
        return Checksum(self._crc)

    def combined(self, first: int, second: int, size: int) -> int:
        """The CRC64 of two pieces together. size: of the second."""
        return int(self._sdk.crc.Crc64.combine(first, second, size))

    def _config(self, place: Place, options: StoreOptions) -> Any:
        given = options.providers.get("oss") or {}
        config = self._sdk.config.load_default()
        config.region = place.region or None
        config.endpoint = place.endpoint
        config.signature_version = given.get("signature_version") or "v4"
        config.credentials_provider = credentials(given, self._sdk)
        config.retry_max_attempts = self.policy.attempts
        config.retryer = Retries(self.policy)
        config.readwrite_timeout = options.timeout
        # A host of one label has no names below it.
        config.use_path_style = "." not in (urlsplit(place.endpoint).hostname or "")
        # `oss_upload` and `oss` check CRCs themselves: the SDK's way sends small pieces, which costs much.
        config.disable_upload_crc64_check = config.disable_download_crc64_check = True
        config.http_client = _http_client(place, options, self.transfers.workers)
        return config


def _http_client(place: Place, options: StoreOptions, width: int) -> Any:
    import requests.adapters
    import requests.utils
    import urllib3
    from alibabacloud_oss_v2.transport import RequestsHttpClient

    authorities = options.ca_path or os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")

    class Adapter(requests.adapters.HTTPAdapter):  # type: ignore[misc] # mypy does not look into requests
        """The SDK always passes `verify`, so a file of authorities has to come in here."""

        def send(self, *args: Any, **keywords: Any) -> Any:
            if authorities and keywords.get("verify"):
                keywords["verify"] = authorities
            return super().send(*args, **keywords)

    if not options.validate_certs:
        # The user asked for it; a line a request tells nothing.
        urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
    client = RequestsHttpClient(
        adapter=Adapter(pool_connections=4, pool_maxsize=2 * width),
        connect_timeout=min(options.timeout, _CONNECT_SECONDS),
        readwrite_timeout=options.timeout,
        insecure_skip_verify=not options.validate_certs,
    )
    # Else the first calls of several threads would each make a session.
    client.open()
    # Proxies are looked up once, not for each request; and a line of ~/.netrc must not take the place of a signature.
    client.session.trust_env = False
    client.session.proxies = requests.utils.get_environ_proxies(place.endpoint)
    return client


def credentials(given: Mapping[str, Any], sdk: Any, environment: Mapping[str, str] | None = None) -> Any:
    """A provider of credentials: the options, a named profile, the environment, or Alibaba Cloud's chain (OIDC role, profile, ECS role)."""
    environment = os.environ if environment is None else environment
    if given.get("access_key_id") and given.get("access_key_secret"):
        return _static(sdk, given["access_key_id"], given["access_key_secret"], given.get("security_token"))
    if given.get("access_key_id") or given.get("access_key_secret"):
        raise UnavailableError("half of an AccessKey is given", where="oss", remedy="Give both access_key_id and access_key_secret.")
    if given.get("profile"):
        return _chained(sdk, str(given["profile"]))
    for prefix, token in (("OSS_ACCESS_KEY", "OSS_SESSION_TOKEN"), ("ALIBABA_CLOUD_ACCESS_KEY", "ALIBABA_CLOUD_SECURITY_TOKEN")):
        found = environment.get(f"{prefix}_ID"), environment.get(f"{prefix}_SECRET")
        if all(found):
            return _static(sdk, *found, environment.get(token))
    return _chained(sdk, "")


def _static(sdk: Any, *keys: str | None) -> Any:
    return sdk.credentials.StaticCredentialsProvider(*keys)


def _chained(sdk: Any, profile: str) -> Any:
    try:
        from alibabacloud_credentials.client import Client
        from alibabacloud_credentials.provider import CLIProfileCredentialsProvider
    except ImportError:
        if profile:
            raise _missing("alibabacloud-credentials", "oss.profile") from None
        what = "no AccessKey is given, and alibabacloud-credentials, which looks for others, is not installed"
        remedy = "Give access_key_id and access_key_secret, set OSS_ACCESS_KEY_ID and OSS_ACCESS_KEY_SECRET, or install it for roles."
        raise UnavailableError(what, where="oss", remedy=remedy) from None
    # It writes a traceback to the standard error for each place that has no credentials.
    logging.getLogger("credentials").setLevel(logging.CRITICAL + 1)
    client = Client(provider=CLIProfileCredentialsProvider(profile_name=profile)) if profile else Client()
    return sdk.credentials.CredentialsProviderFunc(_fresh(sdk, client.get_credential))


def _fresh(sdk: Any, get: Callable[[], Any]) -> Callable[[], Any]:
    """Asked before every request: the library renews temporary keys before they expire."""

    def look_up() -> Any:
        found = get()
        return sdk.credentials.Credentials(found.access_key_id, found.access_key_secret, found.security_token)

    return look_up
