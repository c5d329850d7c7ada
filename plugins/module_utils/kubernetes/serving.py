# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which revision of a release serves: Helm itself does not wait, so one that it calls deployed may never have."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .revisions import Revision, documents, history
from .rollout import DEPLOYMENT, Object, Observed, is_ready, new_pods

Same = Callable[[Object, Object], bool]


def served(found: Sequence[Revision], seen: Observed) -> dict[str, Any]:
    """`history`, with the revision whose pods are ready as the deployed one where those of the last revision are not."""
    known = history(found)
    ready = [pod for pod in seen.pods if is_ready(pod)]
    new = {pod["metadata"]["name"] for pod in new_pods(seen)}
    finished = known["deployed"] == known["revision"]
    if not ready or (finished and any(pod["metadata"]["name"] in new for pod in ready)):
        return known
    former = [each for each in found if each.was_deployed and each.number < known["revision"]]
    # What was deployed last comes first, since a rollback that was killed goes to an older one.
    former.sort(key=lambda each: (each.number == known["deployed"], each.number), reverse=True)
    # Without a match: of the two that Helm says were deployed, the one that is not new.
    otherwise = known["before"] or known["deployed"] if finished else known["deployed"]
    return {**known, "deployed": _of_pods(former, seen, ready) or otherwise}


def _of_pods(candidates: Sequence[Revision], seen: Observed, ready: Sequence[Object]) -> int:
    """The first revision whose template one of the pods has, 0 for none."""
    owners = {owner["uid"] for pod in ready for owner in pod["metadata"].get("ownerReferences") or ()}
    running = [each["spec"]["template"] for each in seen.replica_sets if each["metadata"]["uid"] in owners]
    wanted = [(each.number, _template(each, seen)) for each in candidates] if running else []
    for same in (_covers, _alike):
        for number, template in wanted:
            if template and any(same(template, each) for each in running):
                return number
    return 0


def _template(revision: Revision, seen: Observed) -> Object:
    """That of the pods, as a revision has it; empty without one."""
    name = ((seen.deployment or {}).get("metadata") or {}).get("name")
    for each in documents(revision.content, DEPLOYMENT):
        if each.get("kind") == DEPLOYMENT and (each.get("metadata") or {}).get("name") == name:
            return dict((each.get("spec") or {}).get("template") or {})
    return {}


def _covers(wanted: Any, there: Any) -> bool:
    """Whether all of a manifest is in an object, to which the cluster has added defaults and from which it has dropped what is empty."""
    if isinstance(wanted, Mapping) and isinstance(there, Mapping):
        return all(_covers(value, there.get(key)) for key, value in wanted.items())
    if isinstance(wanted, list) and isinstance(there, list):
        return len(wanted) == len(there) and all(_covers(*pair) for pair in zip(wanted, there, strict=True))
    return bool(wanted == there or (not wanted and there is None))


def _alike(wanted: Object, there: Object) -> bool:
    """Whether images and annotations are the same, the checksums of the configuration among these: the cluster may write the rest in
    other words."""
    return _images(wanted) == _images(there) and _covers(_annotations(wanted), _annotations(there))


def _images(template: Object) -> list[tuple[str, str]]:
    return [(str(each["name"]), str(each.get("image"))) for each in template["spec"]["containers"]]


def _annotations(template: Object) -> Object:
    return (template.get("metadata") or {}).get("annotations") or {}
