# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What goes over the wire of SDKs that are built on requests: counted, broken and damaged as a test says, after it was signed."""

from __future__ import annotations

import re
import threading
from typing import Any

import pytest
import requests
from requests.adapters import HTTPAdapter


class Wire:
    """log: "METHOD URL" of each request. break_off, damage: the next `times` requests that match do not arrive, or with a byte changed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.log: list[str] = []
        self._rules: list[list[Any]] = []
        self._mutex = threading.Lock()
        send = HTTPAdapter.send

        def instead(adapter: HTTPAdapter, request: requests.PreparedRequest, *args: Any, **named: Any) -> requests.Response:
            action = self._note(f"{request.method} {request.url}")
            if action == "break_off":
                raise requests.ConnectionError(f"broken on the way to {request.url}")
            if action == "damage":
                request.body = _damaged(request.body)
            return send(adapter, request, *args, **named)

        monkeypatch.setattr(HTTPAdapter, "send", instead)

    def _note(self, line: str) -> str:
        with self._mutex:
            self.log.append(line)
            for rule in self._rules:
                if re.search(rule[1], line) and rule[3] <= 0 < rule[2]:
                    rule[2] -= 1
                    return str(rule[0])
                if re.search(rule[1], line):
                    rule[3] -= 1
        return ""

    def break_off(self, pattern: str, times: int = 1, after: int = 0) -> None:
        """after: so many that match arrive before."""
        self._rules.append(["break_off", pattern, times, after])

    def damage(self, pattern: str, times: int = 1) -> None:
        self._rules.append(["damage", pattern, times, 0])

    def clear(self) -> None:
        """Everything arrives from now on; nothing was counted."""
        self.log.clear()
        self._rules.clear()

    def count(self, pattern: str) -> int:
        return sum(1 for line in self.log if re.search(pattern, line))


def _damaged(body: Any) -> bytes:
    data = bytearray(body if isinstance(body, bytes) else body.read())
    # Behind what describes the content, and before what ends it.
    data[len(data) * 3 // 4] ^= 1
    return bytes(data)
