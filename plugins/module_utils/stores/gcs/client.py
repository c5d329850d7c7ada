# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The connection to Google Cloud Storage: the SDK's client, who we are there, and what its errors mean."""

from __future__ import annotations

import email.utils
import os
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from ...core.errors import ConflictError, InputError, ServingError, TransientError, UnavailableError
from ..base import StoreOptions
from ..bucket import PreconditionError
from ..transfers import Transfers, connection_error

T = TypeVar("T")
SCOPE = "https://www.googleapis.com/auth/devstorage.read_write"
PACKAGE = "google-cloud-storage"
PUBLIC = "https://storage.googleapis.com"
_PASSING = (408, 429, 500, 502, 503, 504)
_REFUSED: dict[int, tuple[type[ServingError], str, str]] = {
    401: (UnavailableError, "", "Check the credentials: gcs.credentials_file, or GOOGLE_APPLICATION_CREDENTIALS."),
    403: (UnavailableError, "", "Give the account the role Storage Object User (roles/storage.objectUser) on the bucket."),
    404: (
        UnavailableError,
        "there is no such bucket or object",
        "Create the bucket, or correct the URL. A bucket that the account may not see looks the same.",
    ),
    409: (ConflictError, "", "Run this again."),
    412: (PreconditionError, "the object is not as expected: it is there already, or has changed", "Run this again."),
}
_DAMAGED = "doesn't match calculated"
# A token whose time is that far from the server's is refused.
_SKEW = 300


class GcsClient:
    """client: the SDK's. session: its authorised HTTP session, for the calls that the SDK has no function for."""

    def __init__(self, options: StoreOptions, transfers: Transfers) -> None:
        given = options.providers.get("gcs", {})
        self.transfers = transfers
        self.timeout = options.timeout
        self.skew = 0.0
        # Else the SDK asks for the bucket itself, for traces that nobody records, which the account need not be allowed.
        os.environ.setdefault("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "true")
        with _sdk():
            from google.cloud import storage

            self.session = self._session(_credentials(given), options)
            self.client: Any = storage.Client(
                # Only what belongs to projects needs one, such as making buckets.
                project=given.get("project"),
                credentials=self.session.credentials,
                _http=self.session,
                client_options={"api_endpoint": given["endpoint"]} if given.get("endpoint") else None,
            )
        # Older releases do not tell theirs.
        told = getattr(self.client, "api_endpoint", None) or given.get("endpoint") or os.environ.get("STORAGE_EMULATOR_HOST") or PUBLIC
        self.endpoint: str = told.rstrip("/")

    def _session(self, credentials: Any, options: StoreOptions) -> Any:
        import requests
        from google.auth.transport.requests import AuthorizedSession, Request
        from requests.adapters import HTTPAdapter

        tokens = requests.Session()
        session = AuthorizedSession(credentials, refresh_timeout=options.timeout, auth_request=Request(tokens))
        for each in (tokens, session):
            each.verify = (options.ca_path or True) if options.validate_certs else False
            each.hooks["response"].append(self._note_time)
        # The usual pool keeps ten connections and throws away what more threads opened.
        adapter = HTTPAdapter(pool_connections=4, pool_maxsize=self.transfers.workers)
        session.mount("https://", adapter)
        session.mount("http://", adapter)
        return session

    def _note_time(self, response: Any, *_unused: Any, **_unused_too: Any) -> None:
        date = email.utils.parsedate_tz(response.headers.get("Date", ""))
        if date:
            self.skew = email.utils.mktime_tz(date) - time.time()

    def call(self, call: Callable[[], T], where: str, *, passing: tuple[type[Exception], ...] = ()) -> T:
        """Calls within the bounds of the options. passing: the SDK's errors that are the caller's to handle."""

        def once() -> T:
            with self.explained(where, passing):
                return call()

        return self.transfers.retry(once)

    @contextmanager
    def explained(self, where: str, passing: tuple[type[Exception], ...] = ()) -> Iterator[None]:
        """Turns what the SDK raises into an error that says what to do."""
        import google.auth.exceptions
        import requests
        import urllib3
        from google.api_core.exceptions import GoogleAPICallError

        try:
            yield
        except passing:
            raise
        except GoogleAPICallError as error:
            raise self._refused(error.code, _told(error), where) from error
        except google.auth.exceptions.TransportError as error:
            raise connection_error(error, where, self.endpoint) from error
        except google.auth.exceptions.GoogleAuthError as error:
            raise self._no_token(error, where) from error
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            raise connection_error(error, where, self.endpoint) from error

    def check(self, response: Any, where: str) -> None:
        """Raises for an answer that is an error, as `explained` does."""
        if response.status_code >= 400:
            raise self._refused(response.status_code, _message(response), where)

    def is_damaged(self, response: Any) -> bool:
        """Whether an answer says that other content arrived than was announced."""
        return response.status_code == 400 and _DAMAGED in _message(response)

    def _refused(self, code: int, told: str, where: str) -> ServingError:
        answer = f"{self.endpoint} answered {code}" + (f": {told}" if told else "")
        if code == 400 and _DAMAGED in told:
            return TransientError("the content arrived damaged", where=where, remedy="Run this again.")
        if code in _PASSING:
            remedy = "The service is overloaded or has a failure: run this again later."
            return TransientError(answer, where=where, remedy=remedy, status=code)
        kind, what, remedy = _REFUSED.get(code, (UnavailableError, "", "Check the bucket, and the options in gcs."))
        return kind(what or answer, where=where, remedy=remedy + (self._clock_hint() if code == 401 else ""))

    def _no_token(self, error: Exception, where: str) -> ServingError:
        import google.auth.exceptions

        if isinstance(error, google.auth.exceptions.InvalidOperation):
            # What the SDK does about a 401 without credentials: it tries to renew them.
            remedy = "Give credentials (gcs.credentials_file or GOOGLE_APPLICATION_CREDENTIALS) instead of gcs.anonymous."
            return UnavailableError("the bucket is not public", where=where, remedy=remedy)
        remedy = f"Check the account and its key: it may be deleted, disabled, or for another project.{self._clock_hint()}"
        return UnavailableError(f"no access token for these credentials: {_short(error.args[0])}", where=where, remedy=remedy)

    def _clock_hint(self) -> str:
        return f" This machine's clock is {abs(self.skew):.0f} s off: set it right." if abs(self.skew) > _SKEW else ""


def _short(text: object) -> str:
    return str(text)[:300].rstrip(".")


def _message(response: Any) -> str:
    try:
        return _short(response.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return str(getattr(response, "reason", "") or "")


def _told(error: Any) -> str:
    # Not error.message: it begins with the URL, and that of an upload's session lets anybody write.
    return _message(error.response) if error.response is not None else ""


@contextmanager
def _sdk() -> Iterator[None]:
    """Explains a missing SDK, and credentials that it cannot find or read."""
    try:
        import google.auth.exceptions
    except ImportError as error:
        raise _missing(error) from error
    try:
        yield
    except ImportError as error:
        raise _missing(error) from error
    except google.auth.exceptions.DefaultCredentialsError as error:
        remedy = (
            "Give gcs.credentials_file, set GOOGLE_APPLICATION_CREDENTIALS, run `gcloud auth application-default login`, "
            "or set gcs.anonymous for a public bucket."
        )
        raise UnavailableError(f"no credentials for Google Cloud Storage: {_short(error.args[0])}", remedy=remedy) from error


def _missing(error: ImportError) -> UnavailableError:
    return UnavailableError(
        f"the Python library {PACKAGE} is needed for gs:// and cannot be imported: {error}",
        remedy=f"Install it for the Python that runs the module: pip install {PACKAGE}.",
    )


def _credentials(given: Mapping[str, Any]) -> Any:
    import google.auth
    from google.auth.credentials import AnonymousCredentials

    file = given.get("credentials_file")
    if given.get("anonymous"):
        return AnonymousCredentials()
    if file:
        return _from_file(file)
    # As the SDK does: an emulator asks for no credentials.
    if os.environ.get("STORAGE_EMULATOR_HOST") and not given.get("endpoint"):
        return AnonymousCredentials()
    credentials, _project = google.auth.default(scopes=[SCOPE])
    return credentials


def _from_file(file: str) -> Any:
    import google.auth
    import google.auth.exceptions

    try:
        with warnings.catch_warnings():
            # Warns of files from strangers; this one the user names.
            warnings.simplefilter("ignore", DeprecationWarning)
            credentials, _project = google.auth.load_credentials_from_file(file, scopes=[SCOPE])
    except (OSError, ValueError, google.auth.exceptions.GoogleAuthError) as error:
        # The text of what cannot be parsed may hold a part of a key.
        reason = "there is no such file" if not os.path.exists(file) else "these are no credentials that Google's library reads"
        remedy = "Give a service account's key, a workload identity configuration, or what `gcloud auth application-default login` writes."
        raise InputError(reason, where=f"gcs.credentials_file={file}", remedy=remedy) from error
    return credentials
