# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The proxy that the environment names, as every SDK follows it."""

from __future__ import annotations

import base64
import os
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from .place import Endpoint


@dataclass(frozen=True)
class Proxy:
    """header: the line that authorizes, with its end; empty where the proxy asks for nothing."""

    host: str
    port: int
    header: str = ""

    @classmethod
    def of(cls, endpoint: Endpoint) -> Proxy | None:
        """The proxy for a server, None for none."""
        name = "https_proxy" if endpoint.secure else "http_proxy"
        if not any(os.environ.get(each) for each in (name, name.upper(), "all_proxy", "ALL_PROXY")):
            return None
        # Imported here: 15 ms that few need.
        from urllib.request import getproxies_environment, proxy_bypass_environment  # type: ignore[attr-defined]

        found = getproxies_environment()
        url = found.get("https" if endpoint.secure else "http") or found.get("all")
        if not url or proxy_bypass_environment(f"{endpoint.host}:{endpoint.port}"):
            return None
        parts = urlsplit(url if "://" in url else f"http://{url}")
        login = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
        header = f"Proxy-Authorization: Basic {base64.b64encode(login.encode()).decode()}\r\n" if parts.username else ""
        return cls(parts.hostname or "", parts.port or 8080, header)

    def __repr__(self) -> str:
        return f"Proxy({self.host}:{self.port})"
