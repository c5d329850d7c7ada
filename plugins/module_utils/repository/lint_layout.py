# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Rules about names, links, folders and versions."""

from __future__ import annotations

import re
from collections.abc import Iterator

from .backends import ENSEMBLE
from .layout import SAFE_NAME, VERSION_NAME, Link, Repository
from .rules import RULES, Finding
from .subject import Subject, is_int64, version_number

# Folders of a model that Triton reads besides versions.
KNOWN_FOLDERS = frozenset({"warmup", "initial_state", "configs"})
_JUNK = re.compile(
    r"(\.DS_Store|\._.+|Thumbs\.db|desktop\.ini|\.git|\.gitignore|\.gitattributes|\.svn|\.hg|\.idea|\.vscode|\.ipynb_checkpoints"
    r"|\.pytest_cache|\.mypy_cache|.+~|\..+\.sw[a-p]|.+\.sw[op]|.+\.orig|.+\.rej|.+\.part|.+\.crdownload|\.nfs[0-9a-f]+"
    r"|lost\+found|\.Trash.*)\Z"
)
# Triton's python backend writes it beside a model that it may write to.
_BYTECODE = re.compile(r"(__pycache__|.+\.py[co])\Z")
_LIKE_VERSION = re.compile(r"(?i)(v|ver|version)?[-_.]?\d+\Z")


def is_junk(name: str) -> bool:
    """Whether a file or folder of this name is left over from an editor, a desktop or a version control."""
    return bool(_JUNK.match(name)) or is_bytecode(name)


def is_bytecode(name: str) -> bool:
    """Whether Python made a file or folder of this name from another one."""
    return bool(_BYTECODE.match(name))


def is_model(subject: Subject) -> bool:
    """Whether a folder of the repository was meant to be a model."""
    meant = subject.has_config or any(VERSION_NAME.match(name) for name in subject.top_folders) or subject.model.name.count(".") > 0
    return meant and not subject.name.startswith(".") and not is_junk(subject.name)


def check_repository(repository: Repository) -> Iterator[Finding]:
    """What lies beside the models. Only meant for a whole repository."""
    if not repository.models:
        yield _beside("repository-empty", "", f"{repository.root} holds no folder")
    for file in repository.strays:
        if is_junk(file.name):
            yield _beside("junk-file", file.path, "does not belong in a model repository")
    for link in repository.links:
        yield from _link(link, "")


def _beside(rule: str, path: str, message: str) -> Finding:
    known = RULES[rule]
    return Finding("", path, rule, known.severity, message, known.remedy)


def _left_over(subject: Subject, path: str, name: str) -> Finding:
    if is_bytecode(name):
        return subject.finding("bytecode", "Python's compiled code lies beside the model; publishing leaves it out", path)
    return subject.finding("junk-file", "does not belong in a model repository", path)


def check_folder(subject: Subject) -> Iterator[Finding]:
    """A folder that is no model at all."""
    if subject.name.startswith(".") or is_junk(subject.name):
        yield subject.finding("folder-hidden", "Triton takes it for a model and fails on it")
        return
    yield subject.finding("folder-not-a-model", "Triton takes it for a model, and it has neither config.pbtxt nor a version folder")


def check_names(subject: Subject) -> Iterator[Finding]:
    """Names, links and junk of one model."""
    if not SAFE_NAME.match(subject.name) or subject.name in (".", ".."):
        yield subject.finding(
            "model-name", f"the name {subject.name!r} has characters other than letters, digits, dot, dash and underscore"
        )
    for path in sorted({*subject.files, *subject.folders}):
        name = path.rsplit("/", 1)[-1]
        if is_junk(name):
            if not any(is_junk(part) for part in path.split("/")[:-1]):
                yield _left_over(subject, path, name)
        elif not SAFE_NAME.match(name):
            yield subject.finding(
                "file-name", f"the name {name!r} has characters other than letters, digits, dot, dash and underscore", path
            )
    for link in subject.model.links:
        yield from _link(link, subject.name)


def _link(link: Link, model: str) -> Iterator[Finding]:
    rule = "link-broken" if link.broken else "link-escapes"
    if link.broken or link.escapes:
        message = f"the link to {link.target} cannot be followed: {link.broken}" if link.broken else f"the link leads out to {link.target}"
        known = RULES[rule]
        yield Finding(model, link.path, rule, known.severity, message, known.remedy)


def check_versions(subject: Subject) -> Iterator[Finding]:
    """Version folders and the version policy."""
    for name in subject.top_folders:
        yield from _version_folder(subject, name)
    if 0 in subject.served:
        yield subject.finding("version-zero", "is served", "0")
    yield from _policy(subject)
    if subject.backend.platform == ENSEMBLE:
        for number in subject.served:
            if not subject.model.versions[number]:
                yield subject.finding("version-folder-empty", "the ensemble's version folder is empty", str(number))


def _version_folder(subject: Subject, name: str) -> Iterator[Finding]:
    if VERSION_NAME.match(name):
        if not is_int64(int(name)):
            yield subject.finding("version-range", f"{name} is greater than {(1 << 63) - 1}", name)
        return
    number = version_number(name)
    if number is not None and number in subject.selected and number not in subject.model.versions:
        wrong = f"Triton reads the name as version {number} and looks for a folder {number}"
        yield subject.finding("version-misread", wrong, name)
    elif number is not None and not is_int64(number):
        yield subject.finding("version-range", f"Triton reads the name as a number that exceeds {(1 << 63) - 1}", name)
    elif _LIKE_VERSION.match(name) or number is not None:
        yield subject.finding("version-name", "is no version: Triton ignores the folder", name)
    elif name not in KNOWN_FOLDERS and not is_junk(name) and not _is_referred_to(subject, name):
        yield subject.finding("folder-ignored", "is no version; Triton ignores the folder and warns", name)


def _is_referred_to(subject: Subject, folder: str) -> bool:
    named = [str(block.get("label_filename", "")) for block in subject.config.get("output", ())]
    named.append((subject.parameter("EXECUTION_ENV_PATH") or "").replace("$$TRITON_MODEL_DIRECTORY/", ""))
    return any(path.startswith(f"{folder}/") or path == folder for path in named)


def _policy(subject: Subject) -> Iterator[Finding]:
    policy = subject.config.get("version_policy", {})
    existing = sorted(number for number in subject.model.versions if is_int64(number))
    if not existing:
        if not subject.selected:
            yield subject.finding("version-missing", "there is no version folder", remedy=_version_remedy(subject))
        return
    wanted = set(policy["specific"].get("versions", ())) if "specific" in policy else set()
    if not subject.selected:
        have = ", ".join(map(str, existing))
        chosen = f"specific {sorted(wanted)}" if "specific" in policy else "latest 0"
        yield subject.config_finding("version-policy", f"the policy {chosen} selects none of the versions {have}")
    for number in sorted(wanted - set(existing)) if subject.selected else ():
        yield subject.config_finding("version-policy-missing", f"version {number} is listed but has no folder")


def _version_remedy(subject: Subject) -> str:
    if subject.backend.platform == ENSEMBLE:
        return "Add a folder named 1, which may be empty."
    wanted = subject.backend.files
    endings = {name.rsplit(".", 1)[-1] for name in wanted}
    loose = [path for path in sorted(subject.files) if "/" not in path and path.rsplit(".", 1)[-1] in endings]
    return f"Add a folder named 1 and put {loose[0] if loose else ' or '.join(wanted) or 'the model'} into it."
