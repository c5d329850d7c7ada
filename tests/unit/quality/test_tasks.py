# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Every task of every role and playbook keeps the rules."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from support.rules import places, tasks

TEMPLATES = sorted(path for role in places.roles() for path in (role / "templates").rglob("*") if path.is_file())
SETTINGS = sorted(path for role in places.roles() for part in ("defaults", "vars") for path in (role / part).rglob("*.yml"))
PLAYBOOK_SETTINGS = sorted((places.ROOT / "playbooks" / "vars").glob("*.yml"))


@pytest.mark.parametrize("path", places.yaml_sources(), ids=places.name)
def test_tasks_keep_the_rules(path: Path) -> None:
    assert not tasks.violations(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", [*TEMPLATES, *SETTINGS, *PLAYBOOK_SETTINGS], ids=places.name)
def test_templates_read_no_injected_facts(path: Path) -> None:
    assert not tasks.injected_facts_in_template(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("role", places.roles(), ids=lambda path: path.name)
def test_no_secret_is_in_an_environment(role: Path) -> None:
    settings = [yaml.safe_load(path.read_text(encoding="utf-8")) for part in ("defaults", "vars") for path in (role / part).glob("*.yml")]
    variables = {name: value for each in settings for name, value in (each or {}).items()}
    for path in (role / "tasks").glob("*.yml"):
        assert not tasks.secrets_on_command_lines(path.read_text(encoding="utf-8"), variables), path


def test_a_secret_in_an_environment_is_found() -> None:
    variables = {"x_environment": "{{ x_variables | dict2items }}", "x_variables": {"TOKEN": "{{ x_api_key }}"}}
    text = "- {name: A, ansible.builtin.command: {argv: [a]}, no_log: true, environment: '{{ x_environment }}'}"
    assert tasks.secrets_on_command_lines(text, variables) == ["A: has x_api_key in its environment"]
    assert not tasks.secrets_on_command_lines(text, {})


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("- ansible.builtin.ping:", "has no name"),
        ("- {name: ping, ansible.builtin.ping: }", "capital"),
        ("- {name: A, ping: }", "is no FQCN"),
        ("- {name: A, block: [{name: B, rescue: [{name: C, ping: }], block: []}]}", "C: ping is no FQCN"),
        ("- {name: P, hosts: all, post_tasks: [{name: C, ping: }]}", "C: ping is no FQCN"),
        ("- {name: A, serving.triton.release: {state: done}}", "without throttle: 1"),
        ("- {name: A, ansible.builtin.shell: {cmd: ls}}", "runs a shell"),
        ("- {name: A, ansible.builtin.command: ls, changed_when: true}", "without argv"),
        ("- {name: A, ansible.builtin.command: {cmd: ls}, changed_when: true}", "without argv"),
        ("- {name: A, ansible.builtin.debug: {msg: '{{ ansible_distribution }}'}}", "ansible_distribution is an injected fact"),
        ("- {name: A, ansible.builtin.ping: , when: ansible_os_family == 'Debian'}", "ansible_os_family is an injected fact"),
        ("- {name: A, ansible.builtin.assert: {that: [ansible_memtotal_mb > 3]}}", "ansible_memtotal_mb is an injected fact"),
        ("- {name: A, ansible.builtin.command: {argv: [helm, upgrade]}, changed_when: false, check_mode: false}", "changes something"),
        ("- {name: A, ansible.builtin.command: {argv: [helm, list]}, changed_when: false}", "only reads"),
        ("- {name: A, ansible.builtin.copy: {content: '{{ x_api_key }}', dest: /a}}", "handles x_api_key without no_log"),
        ("- {name: A, ansible.builtin.assert: {that: [a], fail_msg: '{{ x_token }}'}}", "handles x_token"),
        ("- {name: A, ansible.builtin.uri: {url: a, headers: {b: '{{ x_token }}'}}}", "handles x_token"),
        (
            "- {name: A, ansible.builtin.command: {argv: [a]}, environment: {B: '{{ db_password }}'}, changed_when: true}",
            "handles db_password",
        ),
    ],
)
def test_a_bad_task_is_found(text: str, complaint: str) -> None:
    found = tasks.violations(text)
    assert len(found) == 1
    assert complaint in found[0]


@pytest.mark.parametrize(
    "text",
    [
        "- {name: A, ansible.builtin.debug: {msg: \"{{ ansible_facts['distribution'] }} {{ ansible_play_hosts }}\"}}",
        "- {name: A, ansible.builtin.ping: , when: \"ansible_facts['ansible_local'] is defined\"}",
        "- {name: A, ansible.builtin.command: {argv: [helm, list]}, changed_when: false, check_mode: false}",
        "- {name: A, when: not ansible_check_mode, block: [{name: B, ansible.builtin.command: {argv: [id]}, changed_when: false}]}",
        "- {name: A, ansible.builtin.command: {argv: [helm, upgrade]}, changed_when: x.rc == 0}",
        "- {name: A, ansible.builtin.copy: {content: '{{ x_api_key }}', dest: /a}, no_log: true}",
        "- {name: A, no_log: true, block: [{name: B, ansible.builtin.copy: {content: '{{ x_api_key }}', dest: /a}}]}",
        "- {name: A, ansible.builtin.assert: {that: [x_api_key | length > 20]}}",
        "- {name: A, ansible.builtin.file: {path: '{{ x_api_key_file }}', state: absent}}",
    ],
)
def test_a_good_task_is_fine(text: str) -> None:
    assert not tasks.violations(text)


def test_an_injected_fact_in_a_template_is_found() -> None:
    assert tasks.injected_facts_in_template("{% if ansible_hostname %}a{% endif %}")
    assert not tasks.injected_facts_in_template("# {{ ansible_managed }} {{ ansible_facts['hostname'] }} ansible_hostname")
