# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The linter against real servers: they load what it passes, and refuse, hang or die on what it calls an error."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support import lint_cases
from support.lint_cases import CASES, DIES, FAILS, HANGS, LOADS, REFUSED, UNTESTED, Case
from support.tritonserver import WHEELS, TritonServer, python_versions

# A python model loads in about a second; a load that has not ended after this time does not end.
LOAD_SECONDS = 30
HANG_SECONDS = 6
LANES = 2
# Of a model that must not load, older servers hang on some that newer ones refuse.
NEWEST = list(WHEELS)[-1]
BAD = frozenset({REFUSED, HANGS, DIES, FAILS})


def post(server: TritonServer, path: str, seconds: float, body: dict[str, object] | None = None) -> str:
    """LOADS when the server answers 200, else what happened."""
    request = urllib.request.Request(f"{server.http}{path}", json.dumps(body or {}).encode(), method="POST")
    try:
        with urllib.request.urlopen(request, timeout=seconds):
            return LOADS
    except urllib.error.HTTPError:
        return REFUSED
    except TimeoutError:
        return HANGS
    except OSError as error:
        return HANGS if isinstance(getattr(error, "reason", None), TimeoutError) else DIES


def load(server: TritonServer, case: Case) -> str:
    """Loads one model, tries it where that matters, and leaves a server that runs."""
    hang = case.outcome == HANGS or (server.version != NEWEST and case.outcome in BAD)
    seen = post(server, f"/v2/repository/models/{case.name}/load", HANG_SECONDS if hang else LOAD_SECONDS)
    if seen in (HANGS, DIES):
        server.kill()
        server.restart()
    elif seen == LOADS and case.outcome == FAILS:
        body = {"inputs": [{"name": "X", "datatype": "FP32", "shape": [4], "data": [1, 2, 3, 4]}]}
        seen = FAILS if post(server, f"/v2/models/{case.name}/infer", LOAD_SECONDS, body) == REFUSED else LOADS
    if seen in (LOADS, FAILS):
        post(server, f"/v2/repository/models/{case.name}/unload", LOAD_SECONDS, {"parameters": {"unload_dependents": True}})
    return seen


def outcome(server: TritonServer, case: Case) -> str:
    """What a server does with a model. A death or a hang that nobody expects must happen twice: servers have rare faults of their own."""
    seen = load(server, case)
    unexpected = seen in (HANGS, DIES) and case.outcome in (LOADS, REFUSED) and server.version == NEWEST
    return load(server, case) if unexpected else seen


def outcomes(version: str, root: Path, cases: list[Case]) -> dict[str, str]:
    """What servers of one version do with each model. One server a lane, all on the same repository, which nobody writes to."""
    lint_cases.write_all(root)

    def lane(number: int) -> dict[str, str]:
        with TritonServer(root, version, mode="explicit", options={"exit-on-error": False}) as server:
            return {case.name: outcome(server, case) for case in cases[number::LANES]}

    with ThreadPoolExecutor(LANES) as pool:
        return {name: seen for each in pool.map(lane, range(LANES)) for name, seen in each.items()}


@pytest.mark.parametrize("every", [3, pytest.param(1, marks=pytest.mark.long)])
def test_the_newest_server_does_what_the_linter_says(every: int, tmp_path: Path) -> None:
    """every: one of so many cases, in their order; a load takes about a second of CPU."""
    wanted = {case.name: case.outcome for case in [case for case in CASES if case.outcome != UNTESTED][::every]}
    seen = outcomes(NEWEST, tmp_path, [case for case in CASES if case.name in wanted])
    assert {name: (seen[name], wanted[name]) for name in wanted if seen[name] != wanted[name]} == {}
    assert len(wanted) > 150 // every
    assert {LOADS, REFUSED} <= {*wanted.values()}


@pytest.mark.long
@pytest.mark.parametrize("version", [version for version in python_versions() if version != NEWEST])
def test_every_server_refuses_what_the_linter_calls_an_error(version: str, tmp_path: Path) -> None:
    wanted = [case for case in CASES if case.outcome in BAD]
    seen = outcomes(version, tmp_path, wanted)
    assert {name: found for name, found in seen.items() if found not in BAD} == {}
    assert len(wanted) > 80


def test_a_folder_that_is_no_model_ends_the_server(triton_version: str, tmp_path: Path) -> None:
    """Why folder-not-a-model is an error: with the default options one `.git` beside the models ends the server."""
    next(case for case in CASES if case.name == "plain").write(tmp_path)
    (tmp_path / ".git").mkdir()
    with TritonServer(tmp_path, triton_version, wait=False) as running:
        assert running._process is not None
        assert running._process.wait(LOAD_SECONDS) != 0
        assert "failed to load all models" in running.log
