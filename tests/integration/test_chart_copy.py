# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The init container that copies models, as the chart renders it, by the real rclone against an S3 server."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import debian, s3_server
from support.charts.render import render

FILES = {"digits/1/model.onnx": b"one", "digits/config.pbtxt": b"two", "forest/1/model.txt": b"three"}


@pytest.fixture(scope="module")
def rclone() -> str:
    try:
        return str(debian.program("rclone", "rclone"))
    except debian.NoPackageError as error:
        pytest.skip(str(error))


@pytest.fixture
def store() -> Iterator[s3_server.S3Server]:
    with s3_server.s3_server() as running:
        client = s3_server.observer(running.endpoint, pair=s3_server.PUBLISHER)
        for path, data in FILES.items():
            client.put_object(Bucket=s3_server.BUCKET, Key=f"production/{path}", Body=data)
        yield running


def copy(rclone: str, endpoint: str, folder: Path, *, delete: bool = False) -> None:
    sync = {"url": f"s3://{endpoint}/{s3_server.BUCKET}/production", "delete": delete}
    values = {"modelRepository": {"volume": {"emptyDir": {}}, "sync": sync}, "credentials": {"region": s3_server.REGION}}
    (container,) = render(values).pod["spec"]["initContainers"]
    arguments = [str(folder) if each == "/models" else each for each in container["args"]]
    plain = {each["name"]: each["value"] for each in container["env"] if each["name"] != "HOME"}
    keys = dict(zip(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), s3_server.PUBLISHER, strict=True))
    done = subprocess.run(
        [rclone, *arguments], capture_output=True, text=True, timeout=120, check=False, env={**plain, **keys, "HOME": str(folder.parent)}
    )
    assert done.returncode == 0, done.stderr


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_models_are_copied_once_and_what_is_gone_goes_where_that_is_wanted(rclone: str, store: s3_server.S3Server, tmp_path: Path) -> None:
    folder = tmp_path / "models"
    copy(rclone, store.endpoint, folder)
    assert files(folder) == FILES
    store.settings()
    copy(rclone, store.endpoint, folder)
    assert "GetObject" not in store.counts(), "nothing changed, so nothing is read again"

    client = s3_server.observer(store.endpoint, pair=s3_server.PUBLISHER)
    client.delete_object(Bucket=s3_server.BUCKET, Key="production/forest/1/model.txt")
    copy(rclone, store.endpoint, folder)
    assert files(folder) == FILES
    copy(rclone, store.endpoint, folder, delete=True)
    assert files(folder).keys() == FILES.keys() - {"forest/1/model.txt"}
