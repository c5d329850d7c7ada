# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A chart of a repository, a registry or a path, fetched and looked at by Helm, which knows the formats."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ..core.errors import InputError, ServingError, TransientError, UnavailableError
from ..core.wait import Clock, RetryPolicy, retry

OCI = "oci://"
# Seconds that one call of Helm may take, a download included.
_TIMEOUT = 180
_RETRIES = RetryPolicy(attempts=3, base=1.0, cap=5.0)
# What another try cannot change.
_FINAL = ("401", "403", "404", "not found", "no chart", "certificate", "denied")

# Arguments after helm, and more environment → exit status, stdout, stderr. Raises TransientError when time is up.
Run = Callable[[Sequence[str], Mapping[str, str]], tuple[int, str, str]]


@dataclass(frozen=True)
class Source:
    """chart: a name in a repository, oci://…, or a path. repository: its URL. ca_cert: for the repository's certificate."""

    chart: str
    repository: str = ""
    version: str = ""
    username: str = ""
    password: str = ""
    ca_cert: str = ""

    @property
    def is_oci(self) -> bool:
        return self.chart.startswith(OCI)

    @property
    def is_local(self) -> bool:
        return not self.repository and not self.is_oci

    def __str__(self) -> str:
        version = f" {self.version}" if self.version else ""
        return f"{self.chart}{version} of {self.repository}" if self.repository else f"{self.chart}{version}"


def runner(program: str, timeout: int = _TIMEOUT) -> Run:
    """timeout: seconds that one call may take."""

    def run(arguments: Sequence[str], environment: Mapping[str, str]) -> tuple[int, str, str]:
        try:
            done = subprocess.run(  # noqa: S603 - the user's helm
                [program, *arguments], capture_output=True, text=True, timeout=timeout, check=False, env={**os.environ, **environment}
            )
        except subprocess.TimeoutExpired as error:
            raise TransientError(f"helm {arguments[0]} took more than {timeout} s", remedy="Look at the network.") from error
        except OSError as error:
            raise InputError(f"cannot be run: {error.strerror}", where=program, remedy="Install Helm, or name another one.") from error
        return done.returncode, done.stdout, done.stderr

    return run


def fetch(source: Source, folder: Path, run: Run, clock: Clock | None = None) -> Path:
    """The chart's path: an archive in the folder, or where it is already. Raises UnavailableError with what Helm says."""
    if source.is_local:
        return Path(source.chart)
    clock = clock or Clock()
    environment = _login(source, folder)
    reference = source.chart if source.is_oci else f"repository/{source.chart}"
    if not source.is_oci:
        _try(source, run, ["repo", "update", "repository"], environment, clock)
    version = ["--version", source.version] if source.version else []
    _try(source, run, ["pull", reference, "--destination", str(folder), *version], environment, clock)
    found = next(iter(folder.glob("*.tgz")), None)
    if found is None:
        raise UnavailableError("cannot be fetched: Helm left no archive", where=str(source), remedy="Look at the repository.")
    return found


def _login(source: Source, folder: Path) -> dict[str, str]:
    """Credentials in files of Helm's own formats: never on its command line. Without any at a registry, Helm's own login counts."""
    login = folder / "login"
    if source.is_oci:
        if not source.username:
            return {}
        secret = base64.b64encode(f"{source.username}:{source.password}".encode()).decode()
        registry = source.chart.removeprefix(OCI).partition("/")[0]
        _write(login, {"auths": {registry: {"auth": secret}}})
        return {"HELM_REGISTRY_CONFIG": str(login)}
    entry = {
        "name": "repository", "url": source.repository, "username": source.username, "password": source.password, "caFile": source.ca_cert,
    }  # fmt: skip
    _write(login, {"apiVersion": "", "generated": "2000-01-01T00:00:00Z", "repositories": [entry]})
    return {"HELM_REPOSITORY_CONFIG": str(login), "HELM_REPOSITORY_CACHE": str(folder / "cache")}


def _write(path: Path, value: Any) -> None:
    path.touch(0o600)
    path.write_text(json.dumps(value), encoding="utf-8")


def _try(source: Source, run: Run, arguments: Sequence[str], environment: Mapping[str, str], clock: Clock) -> None:
    def once() -> None:
        rc, out, error = run(arguments, environment)
        # Helm 3 ends with 0 where a repository did not answer.
        if rc == 0 and "Unable to get an update" not in out:
            return
        said = " ".join((error.strip() or out.strip()).split())
        kind = UnavailableError if any(each in said for each in _FINAL) else TransientError
        raise kind(f"cannot be fetched: {said}", where=str(source), remedy=_REMEDY)

    retry(once, _RETRIES, clock)


_REMEDY = "Check the URL of the repository, its credentials, and the chart's name and version."


def missing_yaml() -> ServingError | None:
    """Why no chart can be read by this Python. Importing the kubernetes library, which brings yaml along, would take far longer."""
    try:
        import yaml  # noqa: F401
    except ImportError:
        remedy = f"Install it there: {sys.executable} -m pip install PyYAML"
        return InputError("the Python library yaml is missing", where=sys.executable, remedy=remedy)
    return None


def metadata(path: Path, run: Run) -> Mapping[str, Any]:
    """Chart.yaml."""
    import yaml

    rc, out, error = run(["show", "chart", str(path)], {})
    if rc:
        raise InputError(f"is no chart: {error.strip()}", where=str(path), remedy="Name the folder or the archive of a chart.")
    found: Mapping[str, Any] = yaml.safe_load(out) or {}
    return found


def definitions(path: Path) -> list[Any]:
    """The custom resource definitions in the folders crds of the chart and of those within it.

    Helm's own `show crds` puts files after one another without what separates documents.
    """
    import yaml

    try:
        texts = list(_definition_files(path.read_bytes() if path.is_file() else path))
        return [each for text in texts for each in yaml.load_all(text, Loader=_loader()) if each]
    except (yaml.YAMLError, tarfile.TarError, OSError) as error:
        remedy = "Take another version of the chart."
        raise InputError(f"its definitions cannot be read: {error}", where=str(path), remedy=remedy) from error


def _definition_files(chart: bytes | Path) -> Iterator[bytes]:
    """chart: an archive's content, or a folder."""
    for name, read in sorted(_files(chart), key=lambda each: each[0]):
        if _DEFINITIONS.fullmatch(name):
            yield read()
        elif _WITHIN.fullmatch(name):
            yield from _definition_files(read())


_DEFINITIONS = re.compile(r"[^/]+/(charts/[^/]+/)*crds/.+\.(ya?ml|json)")
_WITHIN = re.compile(r"[^/]+/(charts/[^/]+/)*charts/[^/]+\.tgz")


def _files(chart: bytes | Path) -> list[tuple[str, Callable[[], bytes]]]:
    """Names below the chart's own, and how they are read."""
    if isinstance(chart, Path):
        return [(f"{chart.name}/{each.relative_to(chart)}", each.read_bytes) for each in chart.rglob("*") if each.is_file()]
    with tarfile.open(fileobj=io.BytesIO(chart)) as archive:
        members = [each for each in archive if each.isfile() and (_DEFINITIONS.fullmatch(each.name) or _WITHIN.fullmatch(each.name))]
        contents = [(each.name, archive.extractfile(each)) for each in members]
        return [(name, partial(bytes, content.read())) for name, content in contents if content]


def _loader() -> Any:
    """Those of a monitoring stack are megabytes, and list "=" among their values, which has a meaning of its own in YAML 1.1 alone."""
    import yaml

    class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
        """A safe one."""

    Loader.add_constructor("tag:yaml.org,2002:value", lambda loader, node: loader.construct_scalar(node))
    return Loader
