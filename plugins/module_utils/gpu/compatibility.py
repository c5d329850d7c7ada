# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which releases of Triton's image run on which GPUs with which driver. Pure: the table of NVIDIA's figures is given."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..core.errors import InputError
from .chips import BY_NAME, DEFAULT_OPEN, OPEN, capabilities_of, kinds_in
from .versions import branch_of, compare

NATIVE, FORWARD, MINOR = "native", "forward", "minor"
REPOSITORY = "nvcr.io/nvidia/tritonserver"
_RELEASE = re.compile(r"(\d\d\.\d\d)(?:-[\w.-]+)?$")
_VERSION = re.compile(r"(2\.\d+)(?:\.\d+)?$")


@dataclass(frozen=True)
class Cuda:
    """native: the oldest driver with this CUDA. minor: the oldest of its major version. forward: branches, None when they are unknown."""

    version: str
    native: str
    minor: str
    forward: tuple[int, ...] | None


@dataclass(frozen=True)
class Release:
    """version: of the server, empty when unknown. capability: the least compute capability, empty when unknown."""

    release: str
    version: str
    cuda: Cuda
    capability: str

    def image(self, variant: str) -> str:
        return f"{REPOSITORY}:{self.release}-{variant}"


@dataclass(frozen=True)
class Branch:
    """kind: lts, production or feature, empty when unknown."""

    branch: int
    kind: str

    @property
    def production(self) -> bool:
        return self.kind in ("lts", "production")


@dataclass(frozen=True)
class Table:
    """releases and branches: oldest first."""

    releases: tuple[Release, ...]
    branches: tuple[Branch, ...]

    @classmethod
    def from_mapping(cls, document: Mapping[str, Any]) -> Table:
        """From the data file."""
        cuda = {
            row["version"]: Cuda(row["version"], row["native"], row["minor"], None if row["forward"] is None else tuple(row["forward"]))
            for row in document["cuda"]
        }
        releases = (
            Release(row["release"], row["version"] or "", cuda[row["cuda"]], row["capability"] or "") for row in document["releases"]
        )
        return cls(tuple(releases), tuple(Branch(row["branch"], row["kind"] or "") for row in document["branches"]))


@dataclass(frozen=True)
class Gpu:
    """What matters of a GPU. Empty texts, None and () for what is unknown."""

    name: str
    generation: str = ""
    capability: str = ""
    datacenter: bool | None = None
    kinds: tuple[str, ...] = ()
    last_branch: int | None = None

    @property
    def first_branch(self) -> int:
        return BY_NAME[self.generation].first_branch if self.generation else 0


def gpus_of(given: Any) -> list[Gpu]:
    """The GPUs in a result of gpu_info, a list of them, or a list of generations. Raises InputError."""
    listed = given.get("gpus", []) if isinstance(given, Mapping) else given
    if isinstance(listed, (str, bytes)) or not isinstance(listed, Sequence):
        raise InputError(f"{listed!r} is no list of GPUs", remedy="Give a result of gpu_info, its gpus, or a list of generations.")
    return [_gpu(each) for each in listed]


def _gpu(given: Any) -> Gpu:
    told: Mapping[str, Any] = given if isinstance(given, Mapping) else {"generation": given, "name": f"a {given} GPU", "datacenter": False}
    generation = str(told.get("generation") or "")
    if generation and generation not in BY_NAME:
        raise InputError(f"{generation!r} is no generation of GPUs", remedy=f"Give one of {', '.join(BY_NAME)}.")
    known = BY_NAME.get(generation)
    capability = told.get("compute_capability") or next(iter(capabilities_of(generation)), "")
    last: int | None = told.get("last_branch", known.last_branch if known else None)
    kinds = told.get("modules") or (known.kinds if known else ())
    return Gpu(str(told.get("name") or generation or "a GPU"), generation, str(capability), told.get("datacenter"), tuple(kinds), last)


def release_of(table: Table, given: str) -> Release | None:
    """The release behind an image, a release or a server's version; None for another's image, or one that is not in the table."""
    text = str(given).strip().partition("@")[0]
    repository, mark, tag = text.rpartition(":")
    if "/" in tag:
        repository, mark, tag = text, ":", ""
    if mark and not re.search(r"(^|/)tritonserver$", repository):
        return None
    release, version = _RELEASE.match(tag), None if mark else _VERSION.match(tag)
    if release:
        return next((each for each in table.releases if each.release == release[1]), None)
    # Two releases may carry one version; the newer one holds the older one's demands.
    return next((each for each in reversed(table.releases) if version and each.version == version[1]), None)


def via(cuda: Cuda, driver: str, datacenter: bool) -> str:
    """How a driver satisfies a CUDA; empty when it does not. driver: a version, or a branch, which stands for its newest driver."""
    whole = "." not in driver
    branch = branch_of(driver)
    if branch >= branch_of(cuda.native) if whole else compare(driver, cuda.native) >= 0:
        return NATIVE
    if datacenter and branch in (cuda.forward or ()):
        return FORWARD
    return MINOR if (branch >= branch_of(cuda.minor) if whole else compare(driver, cuda.minor) >= 0) else ""


def _all_datacenter(gpus: Sequence[Gpu]) -> bool:
    return bool(gpus) and all(each.datacenter for each in gpus)


def against_gpus(release: Release, gpus: Sequence[Gpu]) -> Iterator[str]:
    """Why GPUs cannot run a release, one sentence each, without a full stop."""
    for each in {each.name: each for each in gpus}.values():
        if release.capability and each.capability and compare(each.capability, release.capability) < 0:
            yield f"{each.name} has compute capability {each.capability}, and release {release.release} needs {release.capability} or more"
        first = BY_NAME[each.generation].first_cuda if each.generation else ""
        if first and compare(release.cuda.version, first) < 0:
            yield f"{each.name} needs CUDA {first} or newer, and release {release.release} has {release.cuda.version}"


def against_driver(release: Release, gpus: Sequence[Gpu], driver: str) -> str:
    """Why a driver cannot run a release; empty when it can."""
    cuda = release.cuda
    if not driver:
        return "there is no driver"
    if via(cuda, driver, _all_datacenter(gpus)):
        return ""
    needed = branch_of(cuda.minor) if compare(cuda.minor, cuda.native) < 0 else branch_of(cuda.native)
    older = f", or one of the branches {', '.join(map(str, cuda.forward))}" if cuda.forward and _all_datacenter(gpus) else ""
    return f"release {release.release} with CUDA {cuda.version} needs driver {needed} or newer{older}, and here is {driver}"


def judge(release: Release, gpus: Sequence[Gpu], driver: str) -> dict[str, Any]:
    """runs, via and reasons of one release on one machine."""
    stops = [*against_gpus(release, gpus), *filter(None, [against_driver(release, gpus, driver)])]
    stops += [] if gpus else ["there is no NVIDIA GPU"]
    way = "" if stops else via(release.cuda, driver, _all_datacenter(gpus))
    notes = []
    if not stops and not release.capability:
        notes.append(f"the least compute capability of release {release.release} is not known")
    if way == MINOR:
        notes.append(f"driver {driver} is older than CUDA {release.cuda.version}: code that is compiled at run time (PTX) may fail")
    return {"runs": not stops, "via": way, "reasons": stops or notes}


def driver_of(info: Mapping[str, Any]) -> str:
    """The driver that counts: the loaded one, else the installed one. Also from a mapping that names it outright."""
    driver = info.get("driver") or ""
    return str(driver.get("loaded") or driver.get("installed") or "") if isinstance(driver, Mapping) else str(driver)


def images_for(table: Table, info: Mapping[str, Any], variant: str, everything: bool) -> list[dict[str, Any]]:
    """The answer of the filter triton_images_for."""
    gpus, driver = gpus_of(info), driver_of(info)
    rows = [
        {
            "release": each.release,
            "version": each.version,
            "image": each.image(variant),
            "cuda": each.cuda.version,
            **judge(each, gpus, driver),
        }
        for each in reversed(table.releases)
    ]
    return [row for row in rows if everything or row["runs"]]


def kinds_of(gpus: Sequence[Gpu], branch: int) -> tuple[str, ...]:
    """The kinds of kernel module of a branch that drive all the GPUs; of GPUs that are unknown nothing is asked."""
    if any(branch < each.first_branch or (each.last_branch is not None and branch > each.last_branch) for each in gpus):
        return ()
    kinds = kinds_in(branch, ("open", "proprietary"))
    return tuple(kind for kind in kinds if all(kind in each.kinds for each in gpus if each.kinds))


def preferred(kinds: Sequence[str], branch: int) -> str:
    """NVIDIA's choice among them: the open one since it is the default."""
    return OPEN if OPEN in kinds and (branch >= DEFAULT_OPEN or len(kinds) == 1) else next((kind for kind in kinds if kind != OPEN), "")


def driver_for(table: Table, given: str, gpus: Sequence[Gpu]) -> dict[str, Any]:
    """The answer of the filter triton_driver_for. Raises InputError when nothing does."""
    release = release_of(table, given)
    if release is None:
        last = table.releases[-1].release
        raise InputError(
            "this release of Triton is not known",
            where=str(given),
            remedy=f"Give an image of tritonserver, a release from {table.releases[0].release} to {last}, or a server's version.",
        )
    branches = list(_branches(table, release, gpus))
    stops = list(against_gpus(release, gpus)) or ([] if branches else [_no_branch(release, gpus)])
    if stops:
        raise InputError("; ".join(stops), where=str(given), remedy=_other_release(table, gpus))
    best = _best(branches)
    return {
        "release": release.release,
        "version": release.version,
        "cuda": release.cuda.version,
        "least": branches[0]["least"],
        "native": release.cuda.native,
        "recommended": best["branch"],
        "kind": preferred(best["kinds"], best["branch"]),
        "branches": branches,
    }


def _branches(table: Table, release: Release, gpus: Sequence[Gpu]) -> Iterator[dict[str, Any]]:
    for each in table.branches:
        way = via(release.cuda, str(each.branch), _all_datacenter(gpus))
        kinds = kinds_of(gpus, each.branch)
        if way and kinds:
            least = {NATIVE: release.cuda.native, MINOR: release.cuda.minor}.get(way, "")
            yield {
                "branch": each.branch,
                "least": least if branch_of(least) == each.branch else str(each.branch),
                "via": way,
                "production": each.production,
                "kinds": list(kinds),
            }


def _best(branches: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The newest for production that needs no compatibility, then the newest for production, then the newest."""
    return max(branches, key=lambda each: (each["production"] and each["via"] == NATIVE, each["production"], each["branch"]))


def _no_branch(release: Release, gpus: Sequence[Gpu]) -> str:
    names = ", ".join(sorted({each.name for each in gpus}))
    return f"no driver branch both runs CUDA {release.cuda.version} and drives {names}"


def _other_release(table: Table, gpus: Sequence[Gpu]) -> str:
    known = (each for each in reversed(table.releases) if each.capability)
    newest = next((each for each in known if not list(against_gpus(each, gpus)) and list(_branches(table, each, gpus))), None)
    return (
        f"Take release {newest.release}, the newest that these GPUs run."
        if newest
        else "Take other GPUs: none of the releases runs on these."
    )


def module_kind(table: Table, gpus: Sequence[Gpu], branch: str) -> str:
    """The answer of the filter gpu_module_kind. branch: empty for the newest for production. Raises InputError."""
    number = branch_of(branch)
    if branch and not number:
        raise InputError(f"{branch!r} is no driver branch", remedy="Give a branch such as 580, or a driver's version.")
    production = (each.branch for each in reversed(table.branches) if each.production and kinds_of(gpus, each.branch))
    number = number or next(production, 0)
    kinds = kinds_of(gpus, number)
    if not number or not kinds:
        limits = "; ".join(sorted({f"{each.name}: {_limits(each)}" for each in gpus}))
        which = f"driver branch {number}" if number else "any driver branch"
        raise InputError(
            f"no kernel module of {which} drives all the GPUs ({limits})", remedy="Take a branch within all limits, or part the GPUs."
        )
    return preferred(kinds, number)


def _limits(gpu: Gpu) -> str:
    first = f"from branch {gpu.first_branch} " if gpu.first_branch else ""
    last = f"up to branch {gpu.last_branch} " if gpu.last_branch else ""
    return f"{first}{last}{' or '.join(gpu.kinds) or 'any'} module"


def newest_image(table: Table, info: Mapping[str, Any]) -> str:
    """The newest image that is known to run; empty when none is. Without a driver, the newest that the GPUs can run."""
    gpus, driver = gpus_of(info), driver_of(info)
    known = (each for each in reversed(table.releases) if each.capability and not list(against_gpus(each, gpus)))
    return next((each.image("py3") for each in known if not driver or not against_driver(each, gpus, driver)), "")
