# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Asks this pod's server whether models are ready. Usage: ready.py PORT SECONDS MODEL[:VERSION]…; ends with 0 when all are, else with 1."""

from __future__ import annotations

import http.client
import sys
import urllib.parse


def missing(port: int, seconds: float, models: list[str]) -> list[str]:
    """What is not ready, and how the server says so."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=seconds)
    found = []
    try:
        for model in models:
            name, _colon, version = model.partition(":")
            path = f"/v2/models/{urllib.parse.quote(name, safe='')}"
            connection.request("GET", f"{path}/versions/{version}/ready" if version else f"{path}/ready")
            answer = connection.getresponse()
            answer.read()
            if answer.status != 200:
                found.append(f"{model} ({answer.status})")
    except OSError as error:
        return [f"the server does not answer: {error}"]
    finally:
        connection.close()
    return found


def main(arguments: list[str]) -> int:
    found = missing(int(arguments[0]), float(arguments[1]), arguments[2:])
    if found:
        print("not ready: " + ", ".join(found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
