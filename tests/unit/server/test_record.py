# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What was loaded last decides what is loaded again; a failure leaves the record as it was."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ansible_collections.serving.triton.plugins.module_utils.core.errors import ServingError
from ansible_collections.serving.triton.plugins.module_utils.server import models as models_module
from ansible_collections.serving.triton.plugins.module_utils.server.control import READY, CallOptions, ModelState
from ansible_collections.serving.triton.plugins.module_utils.server.endpoint import Endpoint
from ansible_collections.serving.triton.plugins.module_utils.server.errors import LoadError
from ansible_collections.serving.triton.plugins.module_utils.server.models import Desired
from ansible_collections.serving.triton.plugins.module_utils.server.record import Published, RecordedService, read_record

ENDPOINT = Endpoint.from_mapping({"http": "http://127.0.0.1:1"})


class FakeServer:
    """A server whose index is a set of ready names. `broken` names fail to load."""

    def __init__(self, ready=(), broken=()):
        self.ready, self.broken, self.calls = set(ready), set(broken), []
        self.known = {"a", "b", "c"} | self.ready
        self.where = "fake"

    def index(self):
        return [ModelState(name, "1", READY if name in self.ready else "", "") for name in sorted(self.known)]

    def load(self, name, config, timeout):
        self.calls.append(("load", name))
        if name in self.broken:
            raise LoadError("broken", where=name, remedy="Mend it.")
        self.ready.add(name)

    def unload(self, name, dependents, timeout):
        if name in self.known:
            self.calls.append(("unload", name))
            self.ready.discard(name)
            self.known.discard(name)

    def close(self):
        pass


@pytest.fixture
def serve(monkeypatch, tmp_path):
    """Runs one module call against a fake server and returns the plan."""

    def run(server, published, *, started=False, check=False, only=()):
        monkeypatch.setattr(models_module, "connect", lambda *arguments, **named: server)
        wanted = Published(published, str(tmp_path / "loaded.json"), started, only)
        service = RecordedService(ENDPOINT, Desired(()), CallOptions(), wanted, check=check)
        actual = service.observe()
        plan = service.plan(actual)
        if plan and not check:
            service.apply(plan)
        service.result(actual, plan, bool(plan) and not check)
        return plan.describe()

    run.record = tmp_path / "loaded.json"
    return run


def record(serve) -> dict[str, str]:
    return json.loads(serve.record.read_text())


def test_a_server_that_was_just_started_is_only_recorded(serve):
    server = FakeServer(ready="ab")
    assert serve(server, {"a": "1", "b": "1"}, started=True) == [f"record {serve.record}"]
    assert server.calls == []
    assert record(serve) == {"a": "1", "b": "1"}


def test_nothing_is_done_twice(serve):
    server = FakeServer(ready="a")
    serve(server, {"a": "1"})
    assert serve(server, {"a": "1"}) == []


def test_changed_content_is_loaded_though_the_index_says_ready(serve):
    server = FakeServer(ready="ab")
    serve(server, {"a": "1", "b": "1"}, started=True)
    assert serve(server, {"a": "2", "b": "1"})[0] == "load a"
    assert server.calls == [("load", "a")]


def test_what_is_not_published_any_more_is_unloaded(serve):
    server = FakeServer(ready="ab")
    serve(server, {"a": "1", "b": "1"}, started=True)
    assert serve(server, {"a": "1"})[0] == "unload b"
    assert server.ready == {"a"}
    assert record(serve) == {"a": "1"}


def test_a_failed_load_is_tried_again_by_the_next_run(serve):
    server = FakeServer(ready="a", broken="a")
    serve(server, {"a": "1"}, started=True)
    with pytest.raises(ServingError, match="broken"):
        serve(server, {"a": "2"})
    assert record(serve) == {"a": "1"}
    server.broken.clear()
    assert serve(server, {"a": "2"})[0] == "load a"
    assert record(serve) == {"a": "2"}


def test_check_mode_predicts_and_changes_nothing(serve):
    server = FakeServer(ready="a")
    serve(server, {"a": "1"}, started=True)
    assert serve(server, {"a": "2"}, check=True) == ["load a", f"record {serve.record}"]
    assert server.calls == []
    assert record(serve) == {"a": "1"}


def test_check_mode_asks_no_server_that_the_run_would_start(serve):
    assert serve(None, {"a": "1"}, started=True, check=True) == [f"record {serve.record}"]


@pytest.mark.parametrize("damage", ["", "{", "[1]"])
def test_a_damaged_record_loads_everything_again(serve, damage):
    server = FakeServer(ready="a")
    serve.record.write_text(damage)
    assert read_record(str(serve.record)) == {}
    assert serve(server, {"a": "1"})[0] == "load a"


def test_a_record_that_cannot_be_written_is_explained(serve):
    Path(f"{serve.record}.tmp").mkdir()
    with pytest.raises(ServingError, match="cannot be written"):
        serve(FakeServer(ready="a"), {"a": "1"})


def test_named_models_alone_are_looked_at(serve):
    server = FakeServer(ready="b")
    assert serve(server, {"a": "1", "b": "1", "c": "1"}) == ["load a", "load b", "load c", f"record {serve.record}"]
    server.calls.clear()
    server.ready.discard("a")
    assert serve(server, {"a": "1", "b": "2"}, only=("b", "c")) == ["load b", "unload c", f"record {serve.record}"]
    assert server.calls == [("load", "b"), ("unload", "c")]
    assert record(serve) == {"a": "1", "b": "2"}
    assert serve(server, {"a": "9", "b": "2"}, only=("b", "c")) == []
