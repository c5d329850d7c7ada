# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""From a folder to a server that reads an object store: the roles together, with a key of its own for each side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.rolecheck import Workspace, assert_clean, assert_unchanged
from support.s3_server import BUCKET, OBSERVER, PUBLISHER, REGION, observer, s3_server
from support.server_host import ROLE, Host, a_public_folder, service


# test_s3_triton has a server that reads a store, and test_roles_model_repository the role that publishes to one.
@pytest.mark.long
def test_a_server_reads_what_the_controller_published(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    with s3_server() as store, a_public_folder() as folder:
        reader = {"AWS_ACCESS_KEY_ID": OBSERVER[0], "AWS_SECRET_ACCESS_KEY": OBSERVER[1], "AWS_DEFAULT_REGION": REGION}
        url = f"s3://{store.endpoint}/{BUCKET}/site"
        host = Host(folder, server_host_user="", server_host_repository=url, server_host_environment=reader)
        writer = {"access_key": PUBLISHER[0], "secret_key": PUBLISHER[1], "region": REGION}
        published: dict[str, Any] = {
            "model_repository_dest": url,
            "model_repository_src": str(folder / "models"),
            "model_repository_store": {"s3": writer},
        }
        roles = [{"role": "serving.triton.model_repository", "vars": published}, {"role": ROLE, "vars": host.variables}]
        play = [{"hosts": "localhost", "gather_facts": False, "roles": roles}]
        with service(host, workspace):
            first = workspace.run(play)
            assert_clean(first)
            host.wait()
            again = workspace.run(play)
            assert_unchanged(again)
            gone = workspace.run(play, variables={"server_host_state": "absent", "model_repository_state": "absent"})
            assert_clean(gone)
        assert not host.left()
        assert observer(store.endpoint).list_objects_v2(Bucket=BUCKET)["KeyCount"] == 0
        for run in (first, again, gone):
            assert PUBLISHER[1] not in run.output
            assert OBSERVER[1] not in run.output
