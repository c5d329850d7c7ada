# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What `helm test` runs: real inferences over HTTP, compared where expectations are given.

Usage: inference.py URL FILE, a JSON file with
  requests: [{model, version, body, expect}]: body as V2's JSON, expect: outputs [{name, data, …}] as V2's JSON
  models: names (or name:version) to ask with zeros; empty means every model that is ready
  timeout: seconds that one call, and the wait for the server, may take
  header: of the restricted APIs; its key is in the environment as TRITON_KEY
Ends with 0 when every model answered as expected.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

TOLERANCE = 1e-4
ZEROS = {"BOOL": False, "BYTES": "", "FP32": 0.0, "FP64": 0.0}


class FailedError(Exception):
    """An inference that is not as it should be; the message says why."""


class Server:
    """url: of the HTTP service. timeout: seconds. headers: for the restricted APIs."""

    def __init__(self, url: str, timeout: float, headers: dict[str, str]) -> None:
        self.url, self.timeout, self.headers = url, timeout, headers

    def call(self, path: str, body: object = None) -> object:
        """One answer's JSON."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json", **self.headers}
        request = urllib.request.Request(self.url + path, data, headers)  # noqa: S310 - the URL is the release's own
        try:
            with urllib.request.urlopen(request, timeout=self.timeout) as answer:  # noqa: S310
                return json.loads(answer.read() or b"{}")
        except urllib.error.HTTPError as error:
            raise FailedError(f"{path}: {error.code} {error.read().decode(errors='replace')[:500]}") from error
        except (OSError, ValueError) as error:
            raise FailedError(f"{path}: {error}") from error

    def wait(self) -> None:
        """Until the server answers at all."""
        deadline = time.monotonic() + self.timeout
        while True:
            try:
                self.call("/v2")
                return
            except FailedError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(1)


def path_of(model: str, version: object = "") -> str:
    path = f"/v2/models/{urllib.parse.quote(model, safe='')}"
    return f"{path}/versions/{version}" if version else path


def zeros(metadata: dict, config: dict) -> dict:
    """A request that fits the model's metadata, filled with zeros; dimensions that are free are 1."""
    optional = {each["name"] for each in config.get("input", ()) if each.get("optional")}
    inputs = []
    for tensor in metadata["inputs"]:
        if tensor["name"] in optional:
            continue
        if tensor["datatype"] in ("FP16", "BF16"):
            raise FailedError(f"its input {tensor['name']} is {tensor['datatype']}, which JSON cannot carry: give tests.requests")
        shape = [size if size > 0 else 1 for size in map(int, tensor["shape"])]
        value = ZEROS.get(tensor["datatype"], 0)
        inputs.append({"name": tensor["name"], "datatype": tensor["datatype"], "shape": shape, "data": [value] * math.prod(shape)})
    return {"inputs": inputs}


def flat(data: object) -> list:
    return [each for item in data for each in flat(item)] if isinstance(data, list) else [data]


def same(wanted: object, got: object) -> bool:
    numbers = (int, float)
    if isinstance(wanted, numbers) and isinstance(got, numbers) and not isinstance(wanted, bool):
        return math.isclose(wanted, got, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    return wanted == got


def compare(expect: list, outputs: list) -> None:
    """Raises FailedError at the first difference."""
    by_name = {output["name"]: output for output in outputs}
    for output in expect:
        if output["name"] not in by_name:
            raise FailedError(f"there is no output {output['name']}, only {', '.join(by_name)}")
        wanted, got = flat(output["data"]), flat(by_name[output["name"]]["data"])
        if len(wanted) != len(got) or not all(map(same, wanted, got)):
            raise FailedError(f"{output['name']} is {got[:20]}, expected {wanted[:20]}")


def ask(server: Server, request: dict) -> str:
    """One inference. Returns what is to be said of it."""
    path = path_of(request["model"], request.get("version"))
    body = request.get("body")
    if body is None:
        config = server.call(f"{path}/config")
        if config.get("sequence_batching") is not None:
            body = {"parameters": {"sequence_id": 1, "sequence_start": True, "sequence_end": True}}
        body = {**zeros(server.call(path), config), **(body or {})}
    answer = server.call(f"{path}/infer", body)
    if not answer.get("outputs"):
        raise FailedError("it answered without outputs")
    compare(request.get("expect") or [], answer["outputs"])
    return "as expected" if request.get("expect") else "answered"


def requests_of(server: Server, file: dict) -> list[dict]:
    if file["requests"]:
        return file["requests"]
    names = file["models"] or [
        f"{each['name']}:{each['version']}" for each in server.call("/v2/repository/index", {"ready": True}) if each.get("state") == "READY"
    ]
    parts = [name.partition(":") for name in names]
    return [{"model": name, "version": version} for name, _colon, version in parts]


def main(arguments: list[str]) -> int:
    with open(arguments[1], encoding="utf-8") as handle:
        file = json.load(handle)
    key = os.environ.get("TRITON_KEY")
    server = Server(arguments[0], file["timeout"], {file["header"]: key} if key else {})
    failed = 0
    try:
        server.wait()
        requests = requests_of(server, file)
    except FailedError as error:
        print(f"failed: {error}")
        return 1
    for request in requests:
        try:
            print(f"ok      {request['model']} {request.get('version') or ''} {ask(server, request)}")
        except FailedError as error:
            failed += 1
            print(f"failed  {request['model']} {request.get('version') or ''} {error}")
    if not requests:
        print("failed: no model is ready")
    print(f"{len(requests) - failed} of {len(requests)} inferences")
    return 1 if failed or not requests else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
