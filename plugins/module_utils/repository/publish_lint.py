# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The linter as the gate of a publish."""

from __future__ import annotations

from collections.abc import Sequence

from ..core.errors import InputError
from .describe import verdict
from .layout import glance
from .lint import FolderReader, inspect, lint


def refuse_errors(source: str, models: Sequence[str], ignore: Sequence[str] = ()) -> None:
    """Raises InputError when the linter finds errors in these models of a local repository. ignore: ids of rules left out.

    Raises MissingLibraryError where the library that knows Triton's schema is not installed.
    """
    # Those that an ensemble names are read too, the others are not.
    repository = glance(source, strict=False)
    findings = lint(repository, inspect(repository, FolderReader(source)), models, ignore)
    if any(finding.severity == "error" for finding in findings):
        told = [finding.as_dict() for finding in findings]
        raise InputError(verdict(findings).rstrip("."), where=source, remedy="Nothing was changed.", findings=told)
