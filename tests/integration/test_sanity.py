# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The collection passes the community's own tools, and its archive holds what users need and nothing else."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest
from support import copies

# What ansible-lint asks of YAML, so that the two never disagree.
YAMLLINT = (
    "{extends: default, rules: {line-length: {max: 160}, comments: {min-spaces-from-content: 1}, comments-indentation: false,"
    " braces: {max-spaces-inside: 1}, document-start: disable, octal-values: {forbid-implicit-octal: true, forbid-explicit-octal: true},"
    " truthy: {allowed-values: ['true', 'false'], check-keys: false}}}"
)
INTERNAL_FILES = re.compile(
    r"(\.git|\.cache|\.venv|\.ci|\.ansible|tests|benchmarks|Makefile|ansible\.cfg|pyproject\.toml|requirements\.(in|txt))(/|$)"
)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ansible_collections/serving/triton, a real copy, in it."""
    folder = tmp_path_factory.mktemp("copy")
    copies.copy_collection(folder)
    return folder


@pytest.fixture(scope="module")
def collection(root: Path) -> Path:
    return root / "ansible_collections" / "serving" / "triton"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("home")
    copies.pip_stand_in(folder)
    return folder


@pytest.fixture(scope="module")
def archive(collection: Path, home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("archive")
    done = copies.run(["ansible-galaxy", "collection", "build", "--output-path", str(folder)], collection, home)
    assert done.returncode == 0, done.stdout
    assert "WARNING" not in done.stdout, done.stdout
    return next(folder.glob("serving-triton-*.tar.gz"))


@pytest.fixture(scope="module")
def unpacked(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What users install, as Automation Hub looks at it: unpacked, and without this checkout's tests."""
    folder = tmp_path_factory.mktemp("unpacked") / "ansible_collections" / "serving" / "triton"
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    for arguments in (["init", "--quiet"], ["add", "--all"]):
        subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, timeout=60)
    return folder


def tracked(collection: Path) -> list[str]:
    """The copy's files: others may be written here while the tests run."""
    return subprocess.run(["git", "ls-files"], cwd=collection, capture_output=True, text=True, check=True, timeout=60).stdout.splitlines()


def sanity(collection: Path, home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return copies.run(["ansible-test", "sanity", "--color", "no", "--truncate", "0", *arguments], collection, home, timeout=900)


def assert_sane(collection: Path, home: Path, *arguments: str) -> None:
    done = sanity(collection, home, *arguments)
    errors = "\n".join(line for line in done.stdout.splitlines() if line.startswith(("ERROR", "FATAL")))
    assert done.returncode == 0, errors or done.stdout
    assert "All targets skipped" not in done.stdout
    ran = set(re.findall(r'^Running sanity test "([\w-]+)"', done.stdout, re.MULTILINE))
    assert len(ran) >= 20, ran
    assert {"validate-modules", "import", "pylint", "pep8", "ansible-doc", "runtime-metadata"} <= ran


def test_sanity(unpacked: Path, home: Path) -> None:
    # Both have a test of their own below, which does not make them an environment first.
    assert_sane(unpacked, home, "--skip-test", "yamllint", "--skip-test", "changelog")


@pytest.mark.long
def test_sanity_of_the_whole_checkout(collection: Path, home: Path) -> None:
    assert_sane(collection, home)


@pytest.mark.long
def test_sanity_can_fail(collection: Path, home: Path, tmp_path: Path) -> None:
    broken = tmp_path / "ansible_collections" / "serving" / "triton"
    shutil.copytree(collection, broken)
    (broken / "plugins" / "module_utils" / "core" / "broken.py").write_text("assert True\n")
    subprocess.run(["git", "add", "--all"], cwd=broken, check=True, timeout=60)
    done = sanity(broken, home, "--test", "no-assert")
    assert done.returncode != 0
    assert "broken.py:1:1: raise AssertionError" in done.stdout


def test_nothing_is_excused_from_sanity() -> None:
    assert not [path for path in copies.files() if re.match(r"tests/sanity/ignore", path) and (copies.ROOT / path).read_text().strip()]
    assert not [path for path in copies.files() if path in (".ansible-lint", ".ansible-lint-ignore", ".config/ansible-lint.yml")]


def test_ansible_lint(collection: Path, root: Path, home: Path) -> None:
    done = copies.run(
        ["ansible-lint", "--offline", "--strict", "--profile", "production", "--nocolor"],
        collection,
        home,
        env={"ANSIBLE_COLLECTIONS_PATH": str(root)},
    )
    assert done.returncode == 0, done.stdout
    passed = re.search(r"Passed: 0 failure\(s\), 0 warning\(s\) in (\d+) files", done.stdout)
    assert passed, done.stdout
    assert int(passed[1]) > 20


def test_documentation(collection: Path, home: Path) -> None:
    command = ["antsibull-docs", "lint-collection-docs", "--plugin-docs", "--validate-collection-refs=self", "--skip-rstcheck", "."]
    done = copies.run(command, collection, home)
    assert done.returncode == 0, done.stdout
    assert not done.stdout.strip()


def test_changelog(collection: Path, home: Path) -> None:
    done = copies.run(["antsibull-changelog", "lint"], collection, home)
    assert done.returncode == 0, done.stdout
    assert list((collection / "changelogs" / "fragments").glob("*.yml"))


def test_yaml(collection: Path, home: Path) -> None:
    found = [path for path in tracked(collection) if path.endswith((".yml", ".yaml"))]
    done = copies.run(["yamllint", "--strict", "--config-data", YAMLLINT, *found], collection, home)
    assert len(found) > 20
    assert done.returncode == 0, done.stdout


def test_the_archive_holds_what_users_need_and_nothing_else(archive: Path, collection: Path) -> None:
    with tarfile.open(archive) as tar:
        names = {member.name for member in tar if not member.isdir()}
    needed = {
        "MANIFEST.json",
        "FILES.json",
        "README.md",
        "LICENSE",
        "CHANGELOG.md",
        "meta/runtime.yml",
        "playbooks/site.yml",
        "plugins/module_utils/module.py",
        "plugins/modules/infer.py",
        "roles/server_host/meta/argument_specs.yml",
    }
    assert not needed - names
    shipped = {path for path in tracked(collection) if path.startswith(("plugins/", "roles/", "playbooks/", "meta/"))}
    assert not shipped - names
    assert not sorted(name for name in names if INTERNAL_FILES.match(name) or name.endswith((".pyc", ".tar.gz")))


def test_the_archive_installs_and_its_modules_run(archive: Path, tmp_path: Path) -> None:
    home, collections = tmp_path / "home", tmp_path / "collections"
    home.mkdir()
    install = ["ansible-galaxy", "collection", "install", str(archive), "--offline", "--no-deps", "--collections-path", str(collections)]
    done = copies.run(install, tmp_path, home)
    assert done.returncode == 0, done.stdout
    samples = collections / "ansible_collections" / "serving" / "triton" / "roles" / "model_repository" / "files" / "samples"
    argv = ["ansible", "localhost", "-m", "serving.triton.model_repository_info", "-a", json.dumps({"path": str(samples)})]
    quiet = {"ANSIBLE_LOCALHOST_WARNING": "0", "ANSIBLE_INVENTORY_UNPARSED_WARNING": "0"}
    done = copies.run(argv, tmp_path, home, env={"ANSIBLE_COLLECTIONS_PATH": str(collections), **quiet})
    answer = json.loads(done.stdout.partition("=>")[2])
    assert answer["changed"] is False
    assert "simple" in {model["name"] for model in answer["models"]}
    verify = ["ansible-galaxy", "collection", "verify", "serving.triton", "--offline", "--collections-path", str(collections)]
    done = copies.run(verify, tmp_path, home)
    assert done.returncode == 0, done.stdout
