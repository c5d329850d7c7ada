# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The dashboard as Grafana's file provisioning wants it. tests/integration/test_monitoring.py asks its queries of a real Prometheus."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support import prometheus
from support.dashboards import all_panels, queries

ROLE = Path(prometheus.ROLE)
BUILDER = prometheus.ROOT / "tests" / "support" / "build_dashboard.py"
TEXT = (ROLE / "files" / "triton.json").read_text(encoding="utf-8")
BOARD: dict[str, Any] = json.loads(TEXT)
PANELS = [panel for panel in all_panels(BOARD) if panel["type"] != "row"]
# The panel types that Grafana 11 and later draw without a plugin. "graph" and "singlestat" are gone there.
TYPES = {"stat", "timeseries", "state-timeline"}


def test_it_is_what_its_script_builds() -> None:
    pytest.importorskip("grafana_foundation_sdk")
    done = subprocess.run([sys.executable, str(BUILDER), "--check"], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_it_can_be_provisioned() -> None:
    assert BOARD["uid"] == prometheus.variables("vars")["__monitoring_dashboard_uid"]
    assert BOARD["schemaVersion"] >= 41
    assert "__inputs" not in BOARD, "inputs are asked for at import by hand; provisioning never fills them"
    assert BOARD.get("id") is None, "an id belongs to one Grafana's database"


def test_its_panels_are_of_current_types_and_have_identifiers_of_their_own() -> None:
    assert {panel["type"] for panel in PANELS} == TYPES
    identifiers = [panel["id"] for panel in all_panels(BOARD)]
    assert len(set(identifiers)) == len(identifiers)


def test_every_source_is_the_variable() -> None:
    sources = [json.dumps(panel["datasource"], sort_keys=True) for panel in PANELS]
    sources += [json.dumps(target["datasource"], sort_keys=True) for panel in PANELS for target in panel["targets"]]
    sources += [json.dumps(each["datasource"], sort_keys=True) for each in BOARD["templating"]["list"] if each["type"] == "query"]
    assert set(sources) == {'{"type": "prometheus", "uid": "${datasource}"}'}


def test_every_query_follows_the_variables_and_the_interval() -> None:
    for panel, expression in queries(BOARD):
        assert 'job=~"$job", instance=~"$instance"' in expression, panel
        assert "rate(" not in expression or "[$__rate_interval]" in expression, panel


def test_panels_do_not_overlap_and_fill_their_rows() -> None:
    cells: set[tuple[int, int]] = set()
    for panel in all_panels(BOARD):
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        mine = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
        assert not mine & cells, panel["title"]
        cells |= mine


def test_every_panel_tells_its_unit_and_what_it_shows() -> None:
    for panel in PANELS:
        assert panel["type"] == "state-timeline" or panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert panel.get("description") or panel["title"].startswith("GPU "), panel["title"]
