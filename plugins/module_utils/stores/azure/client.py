# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The connection to Azure Blob Storage: the SDK's client of a container, its attempts, and what its errors mean."""

from __future__ import annotations

import email.utils
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from ...core.errors import ConflictError, ServingError, TransientError, UnavailableError
from ..base import StoreOptions
from ..bucket import PreconditionError
from ..transfers import Transfers, connection_error
from .credentials import WAYS, connect, sdk

T = TypeVar("T")
# What goes, or comes, in one request, held in memory.
BLOCK = 8 << 20
BLOCKS = 6
_PASSING = (408, 429, 500, 502, 503, 504)
# A signature whose time is that far from the server's is refused.
_SKEW = 900
_REFUSED: dict[int, tuple[type[ServingError], str, str]] = {
    401: (UnavailableError, "", WAYS),
    403: (
        UnavailableError,
        "",
        "Check the key or SAS token, or give the identity the role Storage Blob Data Contributor on the container.",
    ),
    409: (ConflictError, "", "Look at what the service says: a lease, a snapshot or an immutability policy may protect it."),
    412: (PreconditionError, "the object is not as expected: it is there already, or has changed", "Run this again."),
}
_CODES: dict[str, tuple[type[ServingError], str, str]] = {
    "ContainerNotFound": (UnavailableError, "there is no such container", "Create the container, or correct the URL."),
    "BlobNotFound": (UnavailableError, "there is no such object", "Publish again, or correct the name."),
    "BlobAlreadyExists": _REFUSED[412],
    "Md5Mismatch": (TransientError, "the content arrived damaged", "Run this again."),
    "InvalidBlobOrBlock": (
        UnavailableError,
        "another tool's broken upload of this object is in the way",
        "Finish or discard that upload (`az storage blob upload --overwrite`), or wait: Azure forgets it after a week.",
    ),
    "BlobImmutableDueToPolicy": (UnavailableError, "an immutability policy protects the object", "Publish to a container without one."),
    "AccountIsDisabled": (UnavailableError, "the account is disabled", "Enable it, or publish to another."),
}


class AzureClient:
    """container: the SDK's client of one container. Its own retries are off: `call` counts them."""

    def __init__(self, account: str, container: str, options: StoreOptions, transfers: Transfers) -> None:
        given = options.providers.get("azure", {})
        self.transfers = transfers
        # Blocks of large files on their way, all files together: they are what is held in memory.
        self.room = threading.BoundedSemaphore(BLOCKS)
        self.container: Any = connect(account, container, given, self._settings(options))
        self.endpoint: str = f"{self.container.scheme}://{self.container.primary_hostname}".rsplit(f"/{container}", 1)[0]

    def _settings(self, options: StoreOptions) -> dict[str, Any]:
        with sdk():
            import requests
            from azure.core.pipeline.transport import RequestsTransport
            from requests.adapters import HTTPAdapter

            session = requests.Session()
            # The usual pool keeps ten connections and throws away what more threads opened.
            adapter = HTTPAdapter(pool_connections=4, pool_maxsize=self.transfers.workers)
            session.mount("https://", adapter)
            session.mount("http://", adapter)
            verify: bool | str = (options.ca_path or True) if options.validate_certs else False
            network = {"connection_timeout": options.timeout, "read_timeout": options.timeout, "connection_verify": verify}
            transport = RequestsTransport(session=session, session_owner=False, **network)
            limits = {"max_single_put_size": 4 * BLOCK, "max_block_size": BLOCK, "max_single_get_size": BLOCK, "max_chunk_get_size": BLOCK}
            return {"transport": transport, "retry_total": 0, **network, **limits}

    def call(self, call: Callable[[], T], where: str, *, passing: tuple[type[Exception], ...] = ()) -> T:
        """Calls within the bounds of the options. passing: the SDK's errors that are the caller's to handle."""

        def once() -> T:
            with self._explained(where, passing):
                return call()

        return self.transfers.retry(once)

    @contextmanager
    def _explained(self, where: str, passing: tuple[type[Exception], ...]) -> Iterator[None]:
        """Turns what the SDK raises into an error that says what to do."""
        import requests
        import urllib3
        from azure.core.exceptions import AzureError, ClientAuthenticationError, HttpResponseError

        try:
            yield
        except passing:
            raise
        except HttpResponseError as error:
            if error.status_code is not None:
                raise self._refused(error, where) from error
            if isinstance(error, ClientAuthenticationError):
                raise self._no_token(error, where) from error
            raise connection_error(error, where, self.endpoint) from error
        except (AzureError, requests.RequestException, urllib3.exceptions.HTTPError) as error:
            raise connection_error(error, where, self.endpoint) from error

    def _refused(self, error: Any, where: str) -> ServingError:
        status = int(error.status_code)
        # The names of error codes are an enumeration, or a plain text where the SDK does not know one.
        code = str(getattr(error, "error_code", "") or "").rpartition(".")[2]
        header = error.response.headers.get("x-ms-error-code", "") if error.response is not None else ""
        code = header or code
        answer = f"{self.endpoint} answered {status}" + (f": {code}" if code else "")
        if status == 400 and "md5" in str(error.message).lower():
            code = "Md5Mismatch"
        if code in _CODES:
            kind, what, remedy = _CODES[code]
            return kind(what, where=where, remedy=remedy)
        if status in _PASSING:
            remedy = "The service is overloaded or has a failure: run this again later."
            return TransientError(answer, where=where, remedy=remedy, status=status)
        kind, what, remedy = _REFUSED.get(status, (UnavailableError, "", "Check the container, and the options in azure."))
        return kind(what or answer, where=where, remedy=remedy + (_clock_hint(error.response) if status in (401, 403) else ""))

    def _no_token(self, error: Exception, where: str) -> ServingError:
        # The text lists every way that was tried, one a line.
        reason = str(error).splitlines()[0][:300] if str(error) else type(error).__name__
        return UnavailableError(f"no access token: {reason}", where=where, remedy=WAYS)


def _clock_hint(response: Any) -> str:
    date = email.utils.parsedate_tz(response.headers.get("Date", "")) if response is not None else None
    off = time.time() - email.utils.mktime_tz(date) if date else 0
    return f" This machine's clock is {abs(off):.0f} s off: set it right." if abs(off) > _SKEW else ""
