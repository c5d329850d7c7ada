# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Random source repositories, small enough that two of them often have much in common."""

from __future__ import annotations

import hashlib

from hypothesis import strategies as st

from ansible_collections.serving.triton.plugins.module_utils.repository.manifest import ModelTree
from ansible_collections.serving.triton.plugins.module_utils.repository.publish import Options, SourceFile

Source = dict[str, ModelTree[SourceFile]]
CONFIGS = [
    "",
    'backend: "python"\n',
    "version_policy: { all { } }\n",
    "version_policy { latest { num_versions: 2 } }\n",
    "version_policy { specific { versions: [ 1, 3 ] } }\n",
]
TEXTS = ["", "a", "b", "content"]
# Digest → content of every file that may occur.
CONTENTS = {hashlib.sha256(text.encode()).hexdigest(): text.encode() for text in (*CONFIGS, *TEXTS)}


def file_of(text: str) -> SourceFile:
    return SourceFile("", len(text.encode()), hashlib.sha256(text.encode()).hexdigest())


def files(names: list[str], texts: list[str]) -> st.SearchStrategy[dict[str, SourceFile]]:
    return st.dictionaries(st.sampled_from(names), st.sampled_from(texts).map(file_of), max_size=len(names))


def models() -> st.SearchStrategy[ModelTree[SourceFile]]:
    config = st.fixed_dictionaries({}, optional={"config.pbtxt": st.sampled_from(CONFIGS).map(file_of)})
    root = st.builds(lambda one, two: {**one, **two}, files(["labels.txt", "warmup/data"], TEXTS), config)
    versions = st.dictionaries(st.integers(0, 4), files(["model.py", "weights", "assets/x"], TEXTS), min_size=1, max_size=3)
    return st.builds(ModelTree, root, versions)


def sources() -> st.SearchStrategy[Source]:
    return st.dictionaries(st.sampled_from(["alpha", "beta", "gamma"]), models(), min_size=1)


def options() -> st.SearchStrategy[Options]:
    verify = st.sampled_from(["manifest", "list", "digest"])
    return st.builds(Options, keep_versions=st.integers(0, 2), prune=st.booleans(), force=st.just(True), verify=verify)


def wanted(source: Source, before: Source, chosen: Options) -> dict[str, str]:
    """What the repository must hold after `source` was published over `before`, said in another way than the plan does."""
    result: dict[str, str] = {}
    for name in {*source} | (set() if chosen.prune else {*before}):
        new, old = source.get(name), before.get(name)
        versions = {**(old.versions if old and not (chosen.prune and new) else {}), **(new.versions if new else {})}
        kept = sorted(versions)[-chosen.keep_versions :] if new else versions
        root = new.files if new else old.files if old else {}
        result.update({f"{name}/{path}": each.sha256 for path, each in root.items()})
        for number in set(versions) & set(kept):
            group = versions[number]
            result.update({f"{name}/{number}/{path}": each.sha256 for path, each in group.items()})
            if not group:
                result[f"{name}/{number}"] = ""
    return result
