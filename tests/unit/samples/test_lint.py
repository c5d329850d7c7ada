# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The linter finds nothing to say about the samples."""

from __future__ import annotations

import shutil
from pathlib import Path

from support import build_samples

from ansible_collections.serving.triton.plugins.module_utils.repository.layout import scan
from ansible_collections.serving.triton.plugins.module_utils.repository.lint import FolderReader, inspect, lint


def test_the_samples_are_without_findings(tmp_path: Path) -> None:
    samples = tmp_path / "samples"
    shutil.copytree(build_samples.FILES / "samples", samples, ignore=shutil.ignore_patterns("__pycache__"))
    repository = scan(samples, strict=False)
    assert len(repository.models) == 10
    assert [str(finding) for finding in lint(repository, inspect(repository, FolderReader(samples)))] == []
