# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which files of a folder become which files of a model; archives that reach out are refused."""

from __future__ import annotations

import io
import stat
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from ansible_collections.serving.triton.plugins.module_utils.core.errors import InputError
from ansible_collections.serving.triton.plugins.module_utils.fetch.archive import is_archive, unpack
from ansible_collections.serving.triton.plugins.module_utils.fetch.layout import Folder, Request, lay_out, read_flavours

ONNX = """artifact_path: model
flavors:
  onnx:
    code: null
    data: model.onnx
    onnx_version: 1.14.0
    providers:
    - CPUExecutionProvider
  python_function:
    data: model.onnx
    loader_module: mlflow.onnx
mlflow_version: 2.9.2
"""
TENSORFLOW = "flavors:\n  tensorflow:\n    model_type: tf2\n    saved_model_dir: tf2model\n"
SKLEARN = "flavors:\n  python_function:\n    loader_module: mlflow.sklearn\n  sklearn:\n    pickled_model: model.pkl\n"


def laid_out(files: Mapping[str, str], **more: object) -> dict[str, str]:
    return lay_out(Folder(list(files), lambda path: files[path]), Request("m", **more), "here")  # type: ignore[arg-type]


def plain(*paths: str) -> dict[str, str]:
    return dict.fromkeys(paths, "")


@pytest.mark.parametrize(
    ("files", "found"),
    [
        (plain("net.onnx"), {"1/model.onnx": "net.onnx"}),
        (plain("README.md", "frozen.pb"), {"1/model.graphdef": "frozen.pb"}),
        (plain("a/b/net.onnx", "a/b/net.onnx_data"), {"1/model.onnx": "a/b/net.onnx", "1/net.onnx_data": "a/b/net.onnx_data"}),
        (plain("config.pbtxt", "2/model.onnx"), {"config.pbtxt": "config.pbtxt", "2/model.onnx": "2/model.onnx"}),
        (plain("top/config.pbtxt", "top/1/model.py"), {"config.pbtxt": "top/config.pbtxt", "1/model.py": "top/1/model.py"}),
        (plain("m/1/model.onnx", "other/1/model.onnx"), {"1/model.onnx": "m/1/model.onnx"}),
        ({"MLmodel": ONNX, **plain("model.onnx", "conda.yaml")}, {"1/model.onnx": "model.onnx"}),
        (
            {"model/MLmodel": TENSORFLOW, **plain("model/tf2model/saved_model.pb", "model/tf2model/variables/v.index")},
            {
                "1/model.savedmodel/saved_model.pb": "model/tf2model/saved_model.pb",
                "1/model.savedmodel/variables/v.index": "model/tf2model/variables/v.index",
            },
        ),
        (plain("config.json", "model.safetensors", "onnx/model.onnx"), {"1/model.onnx": "onnx/model.onnx"}),
        (plain("saved_model.pb"), {"1/model.savedmodel/saved_model.pb": "saved_model.pb"}),
    ],
)
def test_what_is_known_is_laid_out_as_triton_reads_it(files: Mapping[str, str], found: Mapping[str, str]) -> None:
    assert laid_out(files) == found


def test_a_member_its_version_and_its_name_can_be_chosen() -> None:
    assert laid_out(plain("a.onnx", "b.onnx"), member="b.onnx", version=4) == {"4/model.onnx": "b.onnx"}
    assert laid_out(plain("a/weights.bin", "c.txt"), member="a/weights.bin", file="model.bin") == {"1/model.bin": "a/weights.bin"}
    assert laid_out(plain("x/1/model.onnx", "y/1/model.onnx"), member="y") == {"1/model.onnx": "y/1/model.onnx"}


@pytest.mark.parametrize(
    ("files", "message", "remedy"),
    [
        (plain("a.onnx", "b.onnx"), "a.onnx, b.onnx", "member"),
        (plain("notes.txt"), "no model file is known among notes.txt", "member"),
        ({"MLmodel": SKLEARN, **plain("model.pkl")}, "its flavours are sklearn", "onnx"),
        (plain("config.json", "model.safetensors"), "loads model.safetensors", "optimum-cli"),
        (plain("config.pbtxt", "1/model.onnx", "1/la bels.txt"), "1/la bels.txt", "Rename"),
    ],
)
def test_what_cannot_be_mapped_is_said(files: Mapping[str, str], message: str, remedy: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        laid_out(files)
    assert remedy in caught.value.remedy


def test_a_member_that_is_not_there_is_told() -> None:
    with pytest.raises(InputError, match=r"there is no c\.onnx in it") as caught:
        laid_out(plain("a.onnx"), member="c.onnx")
    assert "a.onnx" in caught.value.remedy


def test_flavours_are_read() -> None:
    assert read_flavours(ONNX)["onnx"]["data"] == "model.onnx"
    assert set(read_flavours(SKLEARN)) == {"python_function", "sklearn"}
    assert read_flavours("nothing") == {}


def tar(path: Path, *members: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for member in members:
            archive.addfile(member, io.BytesIO(b"x" * member.size))
    return path


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, 3 if kind == tarfile.REGTYPE else 0
    return info


def test_archives_are_unpacked(tmp_path: Path) -> None:
    path = tar(tmp_path / "a.tar.gz", member("top", tarfile.DIRTYPE), member("./top/a.onnx"))
    assert is_archive(str(path))
    unpack(str(path), tmp_path / "one")
    assert (tmp_path / "one/top/a.onnx").read_bytes() == b"xxx"
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        archive.writestr("top/b.onnx", b"yyy")
    unpack(str(tmp_path / "b.zip"), tmp_path / "two")
    assert (tmp_path / "two/top/b.onnx").read_bytes() == b"yyy"
    (tmp_path / "c.onnx").write_bytes(b"weights")
    assert not is_archive(str(tmp_path / "c.onnx"))


@pytest.mark.parametrize(
    "bad",
    [
        member("../out"),
        member("a/../../out"),
        member("/out"),
        member("link", tarfile.SYMTYPE, "/etc/passwd"),
        member("hard", tarfile.LNKTYPE, "/etc/passwd"),
        member("pipe", tarfile.FIFOTYPE),
    ],
    ids=lambda each: each.name,
)
def test_a_tar_that_reaches_out_is_refused(bad: tarfile.TarInfo, tmp_path: Path) -> None:
    with pytest.raises(InputError):
        unpack(str(tar(tmp_path / "a.tar.gz", bad)), tmp_path / "in")
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "in").exists()


def test_a_zip_that_reaches_out_is_refused(tmp_path: Path) -> None:
    for number, (name, mode) in enumerate([("../out", stat.S_IFREG), ("link", stat.S_IFLNK), ("..\\out", stat.S_IFREG)]):
        path = tmp_path / f"{number}.zip"
        with zipfile.ZipFile(path, "w") as archive:
            info = zipfile.ZipInfo(name)
            info.external_attr = (mode | 0o644) << 16
            archive.writestr(info, "/etc/passwd")
        with pytest.raises(InputError):
            unpack(str(path), tmp_path / "in")
    assert not (tmp_path / "in").exists()


def test_a_damaged_archive_is_told(tmp_path: Path) -> None:
    whole = tar(tmp_path / "a.tar.gz", member("a.onnx"), member("b.onnx"))
    with tarfile.open(tmp_path / "big.tar", "w") as archive:
        info = tarfile.TarInfo("weights")
        info.size = 100_000
        archive.addfile(info, io.BytesIO(b"w" * info.size))
    (tmp_path / "cut.tar").write_bytes((tmp_path / "big.tar").read_bytes()[:50_000])
    with pytest.raises(InputError, match="damaged"):
        unpack(str(tmp_path / "cut.tar"), tmp_path / "in")
    assert whole.exists()
