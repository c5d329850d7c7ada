# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The linter: what is wrong with a model repository, found without a server.

    repository = scan(path, strict=False)
    findings = lint(repository, inspect(repository, FolderReader(path)))

The rules are in rules.py, documented in docs/lint.md; a rule's severity is "error" where a server refuses the model or misbehaves, or where
the model cannot be published.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path

from ..core.errors import InputError
from .config import ConfigError, decode, parse_config
from .layout import CONFIG_FILE, Model, Repository
from .lint_config import check_backend, check_file, check_settings
from .lint_ensemble import check_ensemble
from .lint_files import check_labels, check_model_files, check_references, check_warmup
from .lint_layout import check_folder, check_names, check_repository, check_versions, is_model
from .lint_python import check_python
from .lint_scheduling import check_dynamic_batching, check_instances, check_sequence_batching
from .lint_tensors import check_tensors
from .rules import RULES, SEVERITIES, Finding, sort_findings
from .subject import Reader, Subject

# Bytes of a config.pbtxt that are read.
CONFIG_BYTES = 1 << 24
_CHECKS = (
    check_settings, check_tensors, check_instances, check_dynamic_batching, check_sequence_batching,
    check_references, check_labels, check_warmup, check_python,
)  # fmt: skip


class FolderReader:
    """Reads the files of a repository that is a folder on this machine. Raises InputError for a file that cannot be read."""

    def __init__(self, root: Path | str) -> None:
        self._root = Path(root)

    def text(self, path: str, limit: int = 1 << 24) -> str:
        try:
            with open(self._root / path, "rb") as file:
                return decode(file.read(limit))
        except OSError as error:
            where = str(self._root / path)
            raise InputError(f"cannot be read: {error.strerror}", where=where, remedy="Check the file's owner and mode.") from error


def inspect(repository: Repository, reader: Reader) -> Mapping[str, Subject]:
    """Every model of a repository; its configuration is parsed when it is asked for.

    Asking raises MissingLibraryError and InputError (an unreadable file).
    """
    return _Subjects(repository, reader)


class _Subjects(Mapping[str, Subject]):
    """Publishing one model of 400 needs that one, and those that an ensemble names."""

    def __init__(self, repository: Repository, reader: Reader) -> None:
        self._models, self._reader = repository.models, reader
        self._known: dict[str, Subject] = {}

    def __getitem__(self, name: str) -> Subject:
        if name not in self._known:
            self._known[name] = self._parse(self._models[name])
        return self._known[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._models)

    def __len__(self) -> int:
        return len(self._models)

    def __contains__(self, name: object) -> bool:
        return name in self._models

    def _parse(self, model: Model) -> Subject:
        path = f"{model.name}/{CONFIG_FILE}"
        if not any(file.path == path for file in model.files):
            return Subject(model, self._reader)
        try:
            return Subject(model, self._reader, parse_config(self._reader.text(path, CONFIG_BYTES), path))
        except ConfigError as error:
            return Subject(model, self._reader, {}, error)


def lint(
    repository: Repository, subjects: Mapping[str, Subject], models: Collection[str] = (), ignore: Collection[str] = ()
) -> list[Finding]:
    """The findings, the gravest first. models: only of these (empty: all, and what lies beside them). ignore: rule ids left out.

    Raises InputError for a model that the repository lacks and for a rule id that does not exist.
    """
    known_models(models, subjects)
    _known("rule", ignore, RULES)
    found: list[Finding] = [] if models else list(check_repository(repository))
    for name in models or subjects:
        found += _lint_model(subjects[name], subjects)
    return sort_findings(finding for finding in found if finding.rule not in ignore)


def _lint_model(subject: Subject, subjects: Mapping[str, Subject]) -> Iterator[Finding]:
    if not is_model(subject):
        yield from check_folder(subject)
        return
    yield from check_names(subject)
    yield from check_file(subject)
    if subject.error is not None or CONFIG_FILE in subject.folders:
        # What a configuration that cannot be read would say is anybody's guess.
        return
    if not subject.is_relocated:
        yield from check_versions(subject)
        yield from check_backend(subject)
        yield from check_model_files(subject)
    yield from _needs_config(subject)
    for check in _CHECKS:
        yield from check(subject)
    yield from check_ensemble(subject, subjects)


def _needs_config(subject: Subject) -> Iterator[Finding]:
    if not subject.has_config and subject.backend.name and subject.served and not subject.completes:
        yield subject.finding("config-needed", f"there is no config.pbtxt, and the backend {subject.backend.name} completes none")


def count(findings: Iterable[Finding]) -> dict[str, int]:
    """Severity → number of findings; every severity is there."""
    counts = Counter(finding.severity for finding in findings)
    return {severity: counts[severity] for severity in SEVERITIES}


def known_models(names: Collection[str], subjects: Mapping[str, Subject]) -> list[str]:
    """The names, or without any all models. Raises InputError for one that the repository lacks."""
    _known("model", names, subjects)
    return list(dict.fromkeys(names)) or sorted(subjects)


def _known(what: str, names: Collection[str], known: Iterable[str]) -> None:
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise InputError(f"there is no {what} {', '.join(unknown)}", remedy=f"Give one of: {', '.join(sorted(known)[:20])}.")
