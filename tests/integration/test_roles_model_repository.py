# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The role model_repository: check predicts the run, a second run is idle, absent undoes it, and bad models stop it in time."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from support import build_samples
from support.rolecheck import ROOT, PlaybookRun, Promise, Workspace, keep
from support.s3_server import S3UnderTest, open_store_under_test

SAMPLES = build_samples.FILES / "samples"
MODELS = sorted(path.name for path in SAMPLES.iterdir())
PLUGINS = {"ANSIBLE_CONNECTION_PLUGINS": str(ROOT / "tests/support/connection_plugins")}


def inventory(connection: str) -> dict[str, Any]:
    host = {"ansible_connection": connection, "ansible_python_interpreter": "{{ ansible_playbook_python }}"}
    return {"all": {"hosts": {"served": host}}}


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A host on the controller."""
    return Workspace(tmp_path / "work", inventory=inventory("local"))


@pytest.fixture
def remote(tmp_path: Path) -> Workspace:
    """A host that does not share the controller's files."""
    return Workspace(tmp_path / "work", inventory=inventory("elsewhere"), env=PLUGINS)


def play(**variables: Any) -> list[dict[str, Any]]:
    """Applies the role, and leaves the fact that it sets in a file beside the play."""
    role = {"name": "Publish", "ansible.builtin.import_role": {"name": "serving.triton.model_repository"}}
    note = {
        "name": "Note the fact",
        "ansible.builtin.copy": {"content": "{{ triton_published | to_json }}", "dest": "{{ playbook_dir }}/fact.json", "mode": "0600"},
        "changed_when": False,
        "check_mode": False,
        "diff": False,
    }
    return [{"hosts": "served", "gather_facts": False, "vars": variables, "tasks": [role, note]}]


def fact(workspace: Workspace) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((workspace.folder / "fact.json").read_text())
    return value


def ran(run: PlaybookRun, task: str) -> bool:
    return any(each.task.endswith(task) and each.status != "skipped" for each in run.tasks)


def tree(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found if path.name != ".serving-triton.json"}


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """Two models of our own to change."""
    source = tmp_path / "models"
    for name in ("simple", "simple_identity"):
        shutil.copytree(SAMPLES / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    return source


@pytest.mark.parametrize("connection", ["local", pytest.param("elsewhere", marks=pytest.mark.long)])
def test_the_samples_keep_the_promise(connection: str, tmp_path: Path) -> None:
    # A folder for temporary files of its own: other tests publish at the same time.
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    workspace = Workspace(tmp_path / "work", inventory=inventory(connection), env={**PLUGINS, "TMPDIR": str(temporary)})
    repository = tmp_path / "far" / "below" / "repository"

    def there() -> None:
        assert tree(repository) == tree(SAMPLES)
        assert (repository / ".serving-triton.json").exists()

    def gone() -> None:
        assert not repository.exists()

    promise = Promise(
        play(model_repository_dest=str(repository)),
        absent={"model_repository_state": "absent"},
        after_run=there,
        after_absent=gone,
    )
    keep(promise, workspace)
    assert not list(temporary.glob("serving-triton-*"))


def test_the_fact_tells_what_was_published(workspace: Workspace, models: Path, tmp_path: Path) -> None:
    given = play(model_repository_dest=str(tmp_path / "repository"), model_repository_src=str(models))
    assert workspace.run(given, "--check").rc == 0
    predicted = fact(workspace)
    assert workspace.run(given).rc == 0
    for told in (predicted, fact(workspace)):
        assert [(each["name"], each["versions"], each["state"]) for each in told["models"]] == [
            ("simple", [1], "new"),
            ("simple_identity", [1], "new"),
        ]
        assert told["changed_models"] == ["simple", "simple_identity"]
        assert told["repository"] == str(tmp_path / "repository")
        assert told["bytes"] > 0
    assert workspace.run(given).rc == 0
    assert fact(workspace)["changed_models"] == []


def test_modes_and_a_choice_of_models(remote: Workspace, tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    given = play(
        model_repository_dest=str(repository),
        model_repository_models=["simple", "digits"],
        model_repository_mode="0640",
        model_repository_directory_mode="0750",
    )
    assert remote.run(given).rc == 0
    assert sorted(path.name for path in repository.iterdir() if path.is_dir()) == ["digits", "simple"]
    assert (repository / "digits/1/model.onnx").stat().st_mode & 0o777 == 0o640
    assert (repository / "digits/1").stat().st_mode & 0o777 == 0o750


def broken(source: Path) -> None:
    config = source / "simple" / "config.pbtxt"
    config.write_text(config.read_text().replace("TYPE_INT32", "TYPE_INT33", 1))


def test_a_model_that_cannot_work_stops_the_run_before_anything_changes(remote: Workspace, models: Path, tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    given = play(model_repository_dest=str(repository), model_repository_src=str(models))
    assert remote.run(given).rc == 0
    before = tree(repository)
    broken(models)
    (models / "simple_identity/config.pbtxt").write_text('name: "other"\n')
    for flags in ((), ("--check",)):
        run = remote.run(given, *flags)
        assert run.rc == 2
        [failed] = [each for each in run.tasks if each.status == "failed"]
        assert failed.task.endswith("Stop for models that cannot work")
        assert all(part in failed.message for part in ("Nothing was changed", "simple/config.pbtxt", "simple_identity"))
        assert not ran(run, "Publish the models")
        assert not ran(run, "Bring the models to the host")
        assert tree(repository) == before


def test_findings_can_be_shown_only(workspace: Workspace, models: Path, tmp_path: Path) -> None:
    (models / "simple" / ".DS_Store").write_text("what a file manager left")
    variables = {"model_repository_dest": str(tmp_path / "repository"), "model_repository_src": str(models)}
    run = workspace.run(play(**variables))
    assert run.rc == 0
    assert ".DS_Store" in run.stdout
    assert [each["severity"] for each in fact(workspace)["findings"]] == ["warning"]
    assert workspace.run(play(**variables, model_repository_fail_on="warning")).rc == 2
    rule = fact(workspace)["findings"][0]["rule"]
    assert workspace.run(play(**variables, model_repository_fail_on="warning", model_repository_ignore_rules=[rule])).rc == 0


def test_lint_alone_publishes_nothing(workspace: Workspace, models: Path, tmp_path: Path) -> None:
    given = play(model_repository_dest=str(tmp_path / "repository"), model_repository_src=str(models))
    run = workspace.run(given, "--tags", "model_repository_lint")
    assert run.rc == 0
    assert ran(run, "Lint the models")
    assert not (tmp_path / "repository").exists()


def test_a_changed_version_is_refused_and_a_new_one_taken(workspace: Workspace, models: Path, tmp_path: Path) -> None:
    given = play(model_repository_dest=str(tmp_path / "repository"), model_repository_src=str(models))
    assert workspace.run(given).rc == 0
    code = models / "simple_identity/1/model.py"
    original = code.read_text()
    code.write_text(original + "\n# changed\n")
    run = workspace.run(given)
    assert run.rc == 2
    assert "version 2" in run.stdout
    shutil.copytree(models / "simple_identity/1", models / "simple_identity/2")
    code.write_text(original)
    assert workspace.run(given).rc == 0
    assert [each["versions"] for each in fact(workspace)["models"]] == [[1], [1, 2]]
    assert fact(workspace)["changed_models"] == ["simple_identity"]


def test_what_others_put_there_stays(workspace: Workspace, models: Path, tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    (repository / "theirs" / "1").mkdir(parents=True)
    (repository / "theirs" / "config.pbtxt").write_text('backend: "python"')
    given = {"model_repository_dest": str(repository), "model_repository_src": str(models)}
    assert workspace.run(play(**given)).rc == 0
    assert len(tree(repository)) == 5
    assert workspace.run(play(**given, model_repository_state="absent")).rc == 0
    assert sorted(tree(repository)) == ["theirs/config.pbtxt"]


def test_models_that_lie_on_the_host_are_not_copied(remote: Workspace, models: Path, tmp_path: Path) -> None:
    given = {"model_repository_dest": str(tmp_path / "repository"), "model_repository_src": str(models)}
    run = remote.run(play(**given, model_repository_src_on="target"))
    assert run.rc == 0
    assert ran(run, "Publish the models")
    assert not ran(run, "Bring the models to the host")


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"model_repository_src": "/no/models"}, "/no/models is no folder on the controller"),
        ({"model_repository_src": "models"}, "an absolute path or one that starts with ~"),
        ({"model_repository_src": "/no/models", "model_repository_src_on": "target"}, "/no/models"),
        ({"model_repository_dest": ""}, "model_repository_dest must be a path or a URL"),
        ({"model_repository_dest": "gopher://x"}, "no store serves gopher://"),
        ({"model_repository_models": ["missing"]}, "missing"),
        ({"model_repository_fail_on": "sometimes"}, "sometimes"),
    ],
)
def test_bad_input_is_told(workspace: Workspace, variables: Mapping[str, Any], message: str, tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    run = workspace.run(play(**{"model_repository_dest": str(repository), **variables}))
    assert run.rc == 2
    assert message in " ".join(each.message for each in run.tasks if each.status == "failed")
    assert not repository.exists()


def test_an_empty_source_is_told(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    run = workspace.run(play(model_repository_dest=str(tmp_path / "repository"), model_repository_src=str(tmp_path / "models")))
    assert run.rc == 2
    assert not (tmp_path / "repository").exists()


def test_an_unprivileged_users_home_is_understood(models: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    os.rename(models, home / "models")
    workspace = Workspace(tmp_path / "work", inventory=inventory("local"), env={"HOME": str(home)})
    run = workspace.run(play(model_repository_dest=str(tmp_path / "repository"), model_repository_src="~/models"))
    assert run.rc == 0, run.tail()
    assert (tmp_path / "repository/simple/1/model.onnx").exists()


@pytest.fixture(scope="module")
def bucket() -> Iterator[S3UnderTest]:
    with open_store_under_test() as store:
        yield store


def two(play_: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The play on both hosts."""
    return [{**play_[0], "hosts": "all"}]


@pytest.fixture
def hosts(tmp_path: Path) -> Workspace:
    """Two hosts that do not share the controller's files."""
    host = {"ansible_connection": "elsewhere", "ansible_python_interpreter": "{{ ansible_playbook_python }}"}
    return Workspace(tmp_path / "work", inventory={"all": {"hosts": {"served": host, "spare": host}}}, env=PLUGINS)


def test_a_bucket_is_published_to_once_from_here(hosts: Workspace, models: Path, bucket: S3UnderTest) -> None:
    store = bucket.at("role")
    given = two(play(model_repository_dest=store.url, model_repository_src=str(models), model_repository_store=dict(store.module_options)))

    def once(run: PlaybookRun) -> None:
        assert [each.host for each in run.tasks if each.changed] == ["served"]
        assert not ran(run, "Bring the models to the host")
        assert not any(secret in f"{run.stdout}{run.stderr}" for secret in store.secrets)

    once(hosts.run(given, "--check", "-vvv"))
    assert not store.keys()
    once(hosts.run(given))
    assert store.keys() - {".serving-triton.json"} == set(tree(models))
    told = fact(hosts)
    assert told["changed_models"] == ["simple", "simple_identity"]
    assert told["repository"] == store.url
    again = hosts.run(given)
    assert again.rc == 0
    assert not [each for each in again.tasks if each.changed]
    once(hosts.run(given, variables={"model_repository_state": "absent"}))
    assert not store.keys()


def test_a_bucket_that_refuses_is_told_to_every_host(hosts: Workspace, models: Path, bucket: S3UnderTest) -> None:
    store = bucket.at("refused")
    wrong = {"s3": {**store.module_options["s3"], "secret_key": "not-the-secret-of-anybody"}}
    run = hosts.run(two(play(model_repository_dest=store.url, model_repository_src=str(models), model_repository_store=wrong)))
    assert run.rc == 2
    failed = {each.host: each.message for each in run.tasks if each.status == "failed"}
    assert "signature" in failed["served"]
    assert store.bucket in failed["served"]
    assert "served published to" in failed["spare"]
    assert "not-the-secret-of-anybody" not in f"{run.stdout}{run.stderr}"
