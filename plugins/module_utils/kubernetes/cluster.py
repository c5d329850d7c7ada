# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A cluster's API as plain JSON. The kubernetes client finds the credentials, those of exec plugins and of pods included."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote, urlencode

from ..core.errors import InputError, TransientError, UnavailableError
from ..core.wait import Clock, RetryPolicy, retry

Object = Mapping[str, Any]
# Seconds to connect, and for an answer.
TIMEOUTS = (5.0, 30.0)
_RETRIES = RetryPolicy(attempts=3, base=0.3, cap=2.0)
# What a busy API server or the load balancer before it answers.
_PASSING = (429, 500, 502, 503, 504)

# Method, path with query, headers, body → status and body.
Send = Callable[[str, str, Mapping[str, str], bytes], tuple[int, bytes]]


class Cluster:
    """send: one HTTP request to the API server; raises TransientError. url: where it is.

    headers, tls: credentials, as a client of the proxy needs them; tls holds paths by the names of an endpoint's.
    """

    def __init__(self, send: Send, url: str, headers: Mapping[str, str] | None = None, tls: Mapping[str, str] | None = None) -> None:
        self.url = url.rstrip("/")
        self.headers = dict(headers or {})
        self.tls = dict(tls or {})
        self._send = send
        self._clock = Clock()

    def ask(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None, **query: str) -> tuple[int, bytes]:
        """Status and body, whatever the status. query: `labelSelector`, … Raises TransientError when nothing is answered."""
        target = f"{path}?{urlencode(query)}" if query else path
        data = b"" if body is None else json.dumps(body).encode()
        told = {"Accept": "application/json", **({"Content-Type": "application/json"} if data else {}), **(headers or {})}
        return self._send(method, target, told, data)

    def get(self, path: str, **query: str) -> Any:
        """An object or a list; None where there is none. Raises UnavailableError for what is refused."""
        return self._answer("GET", path, None, query)

    def create(self, path: str, body: Object) -> Any:
        return self._answer("POST", path, body, {})

    def delete(self, path: str, **query: str) -> None:
        """Deletes an object, or those of a list; none is fine."""
        self._answer("DELETE", path, None, query)

    def items(self, path: str, **query: str) -> list[Object]:
        """The objects of a list; none where the kind is not served."""
        found: list[Object] = (self.get(path, **query) or {}).get("items") or []
        return found

    def _answer(self, method: str, path: str, body: Any, query: Mapping[str, str]) -> Any:
        def once() -> tuple[int, bytes]:
            status, data = self.ask(method, path, body, None, **query)
            if status in _PASSING:
                raise TransientError(f"answered {status}: {_message(data)}", where=f"{self.url}{path}", remedy=_BUSY)
            return status, data

        status, data = retry(once, _RETRIES, self._clock)
        if status == 404:
            return None
        if status >= 400:
            raise UnavailableError(
                f"{method} was answered by {status}: {_message(data)}", where=f"{self.url}{path}", remedy=_REMEDIES.get(status, _OTHER)
            )
        return json.loads(data)


_BUSY = "Look at the API server, then run this again."
_OTHER = "Look at the API server's log."
_REMEDIES = {
    401: "Renew the credentials of the kubeconfig, or those in api_key.",
    403: "Have an administrator grant it by a Role and a RoleBinding.",
}


def _message(data: bytes) -> str:
    try:
        return str(json.loads(data).get("message") or "")[:400]
    except (ValueError, AttributeError):
        return data[:200].decode(errors="replace").strip()


def part(text: str) -> str:
    """A name as a part of a path."""
    return quote(text, safe="")


# --- connecting


def connect(options: Mapping[str, Any]) -> Cluster:
    """options: `options.CLUSTER`. Raises InputError for a configuration that does not lead anywhere, and without the client."""
    _require_client()
    configuration = _configuration(options)
    from kubernetes.client import ApiClient

    client = ApiClient(configuration)
    pool = client.rest_client.pool_manager

    def send(method: str, target: str, headers: Mapping[str, str], body: bytes) -> tuple[int, bytes]:
        import urllib3

        timeout = urllib3.Timeout(connect=TIMEOUTS[0], read=TIMEOUTS[1])
        url = configuration.host.rstrip("/") + target
        told = {**headers, **_credentials(configuration)}
        try:
            answer = pool.request(method, url, headers=told, body=body or None, timeout=timeout, retries=False)
        except urllib3.exceptions.HTTPError as error:
            raise TransientError(f"does not answer: {_brief(error)}", where=configuration.host, remedy=_UNREACHABLE) from error
        return answer.status, answer.data

    tls = {"ca_file": configuration.ssl_ca_cert, "cert_file": configuration.cert_file, "key_file": configuration.key_file}
    return Cluster(send, configuration.host, _credentials(configuration), {name: each for name, each in tls.items() if each})


_UNREACHABLE = "Check the address and the network, and that the kubeconfig and its context are those of the cluster."


def _brief(error: Exception) -> str:
    return str(error.args[-1] if error.args else error)[:300]


def _credentials(configuration: Any) -> dict[str, str]:
    """The headers that say who asks; renewed where the client knows how."""
    settings = configuration.auth_settings().values()
    return {each["key"]: each["value"] for each in settings if each.get("in") == "header" and each.get("value")}


def _configuration(options: Mapping[str, Any]) -> Any:
    from kubernetes import client, config

    configuration = client.Configuration()
    if not (options.get("host") and options.get("api_key")):
        try:
            _load(config, options, configuration)
        except (config.ConfigException, OSError) as error:
            where = options.get("kubeconfig") or "KUBECONFIG"
            remedy = "Name a kubeconfig and one of its contexts, or give host and api_key."
            raise InputError(f"leads to no cluster: {str(error).rstrip('.')}", where=str(where), remedy=remedy) from error
    if options.get("host"):
        configuration.host = options["host"]
    if options.get("api_key"):
        configuration.api_key = dict.fromkeys(_KEY_NAMES, f"Bearer {options['api_key']}")
    if options.get("ca_cert"):
        configuration.ssl_ca_cert = options["ca_cert"]
    if options.get("validate_certs") is not None:
        configuration.verify_ssl = options["validate_certs"]
    return configuration


# Older clients know the one, newer ones the other.
_KEY_NAMES = ("authorization", "BearerToken")


def _load(config: Any, options: Mapping[str, Any], configuration: Any) -> None:
    """The kubeconfig; inside of a pod without one, the pod's own account."""
    try:
        config.load_kube_config(
            config_file=options.get("kubeconfig"), context=options.get("context"), client_configuration=configuration, persist_config=False
        )
    except config.ConfigException:
        if options.get("kubeconfig") or options.get("context"):
            raise
        config.load_incluster_config(client_configuration=configuration)


def _require_client() -> None:
    import sys

    try:
        import kubernetes  # noqa: F401
    except ImportError as error:
        remedy = f"Install it there: {sys.executable} -m pip install 'kubernetes>=24.2'"
        raise InputError("the Python library kubernetes is missing", where=sys.executable, remedy=remedy) from error
