# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The order of switches, and the configuration that is pinned while a version comes in."""

from __future__ import annotations

import pytest
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st
from support.publish_sources import file_of
from tritonclient.grpc.model_config_pb2 import ModelConfig

from ansible_collections.serving.triton.plugins.module_utils.repository.publish import ModelChange
from ansible_collections.serving.triton.plugins.module_utils.repository.publish_steps import (
    is_compound,
    needs_pin,
    pin,
    pin_versions,
    served_versions,
    steps,
    upload_order,
)

FILE = file_of("a")


def shape(change: ModelChange) -> list[tuple[str, str]]:
    return [(step.op, step.target) for step in steps(change)]


def test_a_new_model_is_one_switch() -> None:
    change = ModelChange("m", "new", added={1: {"model.py": FILE}, 2: {}}, files={"config.pbtxt": FILE}, versions=(1, 2))
    (step,) = steps(change)
    assert (step.op, step.target, step.folders) == ("put_tree", "m", ("m/2",))
    assert set(step.files or ()) == {"m/1/model.py", "m/config.pbtxt"}


def test_a_new_version_alone_needs_no_pin() -> None:
    change = ModelChange("m", "changed", added={2: {}}, versions=(1, 2))
    assert shape(change) == [("put_tree", "m/2")]
    assert not needs_pin(change)


def test_a_new_version_with_its_configuration_comes_in_under_a_pin() -> None:
    change = ModelChange("m", "changed", added={2: {}, 3: {}}, files={"config.pbtxt": FILE}, removed_versions=(1,), versions=(2, 3))
    assert shape(change) == [
        ("put_tree", "m/3"),
        ("put_tree", "m/2"),
        ("put_file", "m/config.pbtxt"),
        ("drop_tree", "m/1"),
    ]
    assert needs_pin(change)
    step = pin(change, "", [1])
    assert step
    assert (step.op, step.target) == ("put_text", "m/config.pbtxt")
    assert b"specific { versions: [ 1 ] }" in step.text
    # Of what is there, also of somebody else's.
    assert b"[ 7 ]" in getattr(pin(change, "", [1, 7]), "text", b"")
    assert not is_compound(change)


def test_a_configuration_comes_after_all_other_files() -> None:
    change = ModelChange("m", "changed", files={"config.pbtxt": FILE, "labels.txt": FILE, "z": FILE}, versions=(1,))
    assert shape(change) == [("put_file", "m/labels.txt"), ("put_file", "m/z"), ("put_file", "m/config.pbtxt")]
    assert is_compound(change)


def test_stores_without_rename_get_the_model_file_after_its_weights() -> None:
    files = dict.fromkeys(["m/config.pbtxt", "m/1/model.py", "m/1/weights", "m/labels.txt"], FILE)
    assert [path for path, _unused in upload_order(files)] == ["m/1/weights", "m/labels.txt", "m/1/model.py", "m/config.pbtxt"]


PLAIN = 'name: "m" backend: "python" max_batch_size: 4'
POLICIES = {
    "": [3],
    "version_policy: { latest { num_versions: 2 } }": [2, 3],
    "version_policy { latest { num_versions: 9 } }": [1, 2, 3],
    "version_policy: { latest {} }": [3],
    "version_policy < all < > >": [1, 2, 3],
    "version_policy { specific { versions: [1, 3, 8] } }": [1, 3],
    "version_policy { specific { versions: 1 versions: 2 } } # all": [1, 2],
}


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize(
    "rest",
    [
        PLAIN,
        "# version_policy { all { } }\n" + PLAIN,
        PLAIN + ' parameters { key: "version_policy { " value { string_value: "} \\" # {" } }',
        PLAIN + " instance_group [ { count: 2 kind: KIND_CPU } ] dynamic_batching { }",
        "name: 'it\\'s }' ",
    ],
)
def test_a_pin_changes_the_policy_and_nothing_else(rest: str, policy: str) -> None:
    pinned = text_format.Parse(pin_versions(f"{rest}\n{policy}", [1, 2, 3]) or "?", ModelConfig())
    assert list(pinned.version_policy.specific.versions) == POLICIES[policy]
    pinned.ClearField("version_policy")
    assert pinned == text_format.Parse(rest, ModelConfig())


@given(st.text(alphabet="{}<>\"\\'# \nab:version_policy[]", max_size=60))
def test_a_pin_never_breaks_what_can_be_read(text: str) -> None:
    pinned = pin_versions(text, [1])
    try:
        read = text_format.Parse(text, ModelConfig(), allow_unknown_field=True)
    except text_format.ParseError:
        return
    assert pinned is not None
    again = text_format.Parse(pinned, ModelConfig(), allow_unknown_field=True)
    assert list(again.version_policy.specific.versions) == [1]
    again.ClearField("version_policy")
    read.ClearField("version_policy")
    assert again == read


@pytest.mark.parametrize("text", ["}", "{", "version_policy { all {", 'parameters { key: "a" '])
def test_what_cannot_be_read_is_left_alone(text: str) -> None:
    assert pin_versions(text, [1]) is None


def test_a_configuration_that_serves_nothing_of_what_is_there_goes_on_to_serve_nothing() -> None:
    pinned = pin_versions("version_policy { specific { versions: [7] } }", [1]) or ""
    assert served_versions(pinned, [1, 7]) == ()
    assert text_format.Parse(pinned, ModelConfig()).version_policy.HasField("specific")
