# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Clients that ask the model of `scorer` without a pause, while something happens to its servers."""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np
import tritonclient.grpc
import tritonclient.http
from geventhttpclient.response import HTTPParseError

from .scorer import NAME

_FAILURES = (tritonclient.utils.InferenceServerException, HTTPParseError, OSError)


class Load:
    """
    One client over HTTP, one over gRPC if there is an address. failures: requests that were not answered. seen: version → answers.

    reconnect: a connection for each HTTP request, for addresses that connections are shared out behind.
    """

    def __init__(self, http: str, grpc: str = "", *, reconnect: bool = False) -> None:
        """Both as host:port, a path may follow http's."""
        self.failures: list[str] = []
        self.seen: dict[int, int] = {}
        self._stop = threading.Event()
        self._mutex = threading.Lock()
        kinds = ((tritonclient.http, http, reconnect), (tritonclient.grpc, grpc, False))
        self._threads = [threading.Thread(target=self._ask, args=kind, daemon=True) for kind in kinds if kind[1]]

    def _ask(self, kind: Any, url: str, reconnect: bool) -> None:
        client = kind.InferenceServerClient(url)
        tensor = kind.InferInput("IN", [1], "INT32")
        tensor.set_data_from_numpy(np.array([1], dtype=np.int32))
        while not self._stop.wait(0.02):
            try:
                version = int(client.infer(NAME, [tensor]).as_numpy("VERSION")[0])
            except _FAILURES as error:
                self.failures.append(f"{time.strftime('%X')} {kind.__name__}: {error!r}")
            else:
                with self._mutex:
                    self.seen[version] = self.seen.get(version, 0) + 1
            if reconnect:
                client.close()
                client = kind.InferenceServerClient(url)
        client.close()

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_unused: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)
