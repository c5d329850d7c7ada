# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is published: A many small files, B few large ones, E very many tiny ones; C is A unchanged, D is A with one file changed."""

from __future__ import annotations

import os
from pathlib import Path

SMALL = 8 << 10
_CONFIG = """
backend: "python"
input [ { name: "A" data_type: TYPE_INT32 dims: [ 1 ] } ]
output [ { name: "B" data_type: TYPE_INT32 dims: [ 1 ] label_filename: "labels.txt" } ]
"""
_MODEL = "class TritonPythonModel:\n    def execute(self, requests):\n        return []\n"


def write_small(root: Path, models: int, files: int, size: int) -> None:
    """Models of so many files, config.pbtxt, labels.txt and model.py among them, each of so many bytes."""
    for model in range(models):
        folder = root / f"model_{model}"
        _write_model(folder, size)
        for number in range(files - 3):
            (folder / "1" / f"weights_{number}.bin").write_bytes(os.urandom(size))


def write_large(root: Path, models: int, size: int) -> None:
    for model in range(models):
        _write_model(root / f"model_{model}", 512)
        with open(root / f"model_{model}" / "1" / "weights.bin", "wb") as file:
            for _block in range(size >> 20):
                file.write(os.urandom(1 << 20))


def change(root: Path) -> None:
    """One file of one model gets another content of the same size."""
    labels = root / "model_7" / "labels.txt"
    labels.write_text(os.urandom(labels.stat().st_size // 2).hex())


def _write_model(folder: Path, size: int) -> None:
    (folder / "1").mkdir(parents=True)
    (folder / "config.pbtxt").write_text(_padded(_CONFIG, size))
    (folder / "1" / "model.py").write_text(_padded(_MODEL, size))
    (folder / "labels.txt").write_text(os.urandom(size // 2).hex())


def _padded(text: str, size: int) -> str:
    return text + "#" * (size - len(text) - 1) + "\n"
