# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The dashboard by Grafana's API, for replicas that no Prometheus of this role scrapes: those of a cluster with its own."""

from __future__ import annotations

import tempfile
from pathlib import Path

from support import grafana_api
from support.rolecheck import Workspace, assert_clean, assert_unchanged, role_play

ROLE = "serving.triton.monitoring"
TOKEN = "canary-grafana-3b9d"


def test_a_clusters_grafana_gets_the_dashboard_alone(tmp_path: Path) -> None:
    # Short, for the sockets of the role's services.
    with grafana_api.running(TOKEN) as grafana, tempfile.TemporaryDirectory(prefix="grafana-") as prefix:
        variables = {
            "triton_endpoint": {"http": "https://api:6443/proxy"}, "triton_server": {"unscrapable": "the pods are not reached from here"},
            "monitoring_prefix": prefix, "monitoring_grafana_url": grafana.url, "monitoring_grafana_token": TOKEN,
        }  # fmt: skip
        workspace = Workspace(tmp_path / "runs", env={"HOME": str(tmp_path)})
        first, again = (workspace.run(role_play(ROLE), "--diff", variables=variables) for _run in range(2))
        for run in (first, again):
            assert_clean(run, [TOKEN])
            assert "Monitoring is left out: the pods are not reached from here" in run.output
        assert_unchanged(again)
        assert (list(grafana.dashboards), [each["title"] for each in grafana.folders]) == (["serving-triton"], ["Triton"])
        assert not grafana.datasources
        assert_clean(workspace.run(role_play(ROLE), variables={**variables, "monitoring_state": "absent"}), [TOKEN])
        assert not grafana.dashboards
        assert not (Path(prefix) / "monitoring").exists()
