# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The source of a publish: a local repository, checked for what no store or server could hold, with digests."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ..core.errors import InputError
from .digest import DigestCache
from .layout import File, Model, scan
from .manifest import ModelTree, is_model_name, is_safe_path
from .publish import SourceFile

# Python and NFS leave these; they belong to no model.
_LEFT_OVER = re.compile(r"(?:^|/)(?:__pycache__|\.nfs)")
# Problems named in one message; the details carry all of them.
SHOWN = 10
# Below this, starting threads costs more than they spare.
PARALLEL_BYTES = 64 << 20


def read_source(root: str, models: Sequence[str], cache: DigestCache, concurrency: int = 4) -> dict[str, ModelTree[SourceFile]]:
    """The models to publish with all their files. models: only these; all where empty.

    Folders with a leading dot beside the models are other tools' and not published. Raises InputError, naming every file that stands
    against publishing: unsafe names, links that leave the source, what is no regular file.
    """
    links = list(_escaping_links(Path(root)))
    if links:
        raise _refused(links)
    found = {name: model for name, model in scan(root).models.items() if not name.startswith(".")}
    unknown = [name for name in models if name not in found]
    if unknown:
        import difflib

        near = difflib.get_close_matches(unknown[0], found, 1)
        hint = f"Did you mean {near[0]}?" if near else "Correct the name, or add the model to the source."
        raise InputError(f"the source has no model {', '.join(unknown)}", where=root, remedy=hint)
    chosen = {name: found[name] for name in (models or sorted(found))}
    if not chosen:
        raise InputError(
            "the source holds no model",
            where=root,
            remedy="Give the folder that holds one folder per model. To take models away, use state absent.",
        )
    problems = [problem for model in chosen.values() for problem in _problems(model)]
    if problems:
        raise _refused(problems)
    return _with_digests(Path(root), chosen, cache, concurrency)


def check_names(models: Sequence[str]) -> None:
    """Raises InputError for a name that is no model folder's, such as one with a slash."""
    for name in models:
        if not is_model_name(name):
            what = f"{name!r} cannot be a model's name"
            raise InputError(what, where="models", remedy="Use letters, digits, and . _ - with no leading dot.")


def check_apart(source: str, repository: str) -> None:
    """Raises InputError where one folder holds the other, or they are one."""
    if "://" in repository:
        return
    one, two = os.path.realpath(source), os.path.realpath(repository)
    if one == two or os.path.commonpath([one, two]) in (one, two):
        what = "is the source itself" if one == two else "and the source lie one inside of the other"
        remedy = "Publish to another folder: the source must stay as it is when the repository changes."
        raise InputError(f"the repository {what} ({one})", where=two, remedy=remedy)


def _escaping_links(root: Path) -> Iterator[tuple[str, str]]:
    """Links that leave the source. Looked for before anything follows one: it may lead to the whole file system."""
    real = os.path.realpath(root)
    folders = [str(root)]
    while folders:
        try:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    if entry.is_symlink():
                        target = os.path.realpath(entry.path)
                        if os.path.commonpath([real, target]) != real:
                            yield os.path.relpath(entry.path, root), f"it is a link out of the source, to {target}"
                    elif entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
        except OSError:
            # Said better by the scan that follows.
            continue


def _belongs(file: File) -> bool:
    return not _LEFT_OVER.search(file.path)


def _problems(model: Model) -> Iterator[tuple[str, str]]:
    if not is_model_name(model.name):
        yield model.name, "the model's name has other characters than letters, digits, and . _ -"
    for file in filter(_belongs, model.all_files):
        inner = file.path.split("/", 1)[1]
        if not is_safe_path(inner):
            yield file.path, "the name has other characters than letters, digits, and . _ -"
        if not stat.S_ISREG(file.mode):
            yield file.path, "it is not a regular file"


def _refused(problems: Sequence[tuple[str, str]]) -> InputError:
    shown = "; ".join(f"{path}: {what}" for path, what in problems[:SHOWN])
    more = f"; and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
    return InputError(
        f"the source cannot be published: {shown}{more}",
        remedy="Rename, replace or remove these files.",
        problems=[{"path": path, "reason": what} for path, what in problems],
    )


def _with_digests(root: Path, models: Mapping[str, Model], cache: DigestCache, concurrency: int) -> dict[str, ModelTree[SourceFile]]:
    files = [file for model in models.values() for file in model.all_files if _belongs(file)]
    paths = [f"{root}/{file.path}" for file in files]
    if sum(file.size for file in files) < PARALLEL_BYTES:
        digests = [cache.digest(path, file.status) for path, file in zip(paths, files)]
    else:
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(concurrency) as pool:
            digests = list(pool.map(cache.digest, paths, [file.status for file in files]))
    known = {file.path: SourceFile(path, file.size, digest) for file, path, digest in zip(files, paths, digests)}
    return {name: _tree(model, known) for name, model in models.items()}


def _tree(model: Model, known: Mapping[str, SourceFile]) -> ModelTree[SourceFile]:
    def inside(files: Sequence[File], folder: str) -> dict[str, SourceFile]:
        return {file.path[len(folder) + 1 :]: known[file.path] for file in files if file.path in known}

    versions = {number: inside(files, f"{model.name}/{number}") for number, files in model.versions.items()}
    return ModelTree(inside(model.files, model.name), versions)
