# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The revision of what a service is to read: in which list it is kept, and that nothing else there is lost."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.serving.triton.plugins.module_utils.core.errors import InputError
from ansible_collections.serving.triton.plugins.module_utils.eas.plan import Wanted
from ansible_collections.serving.triton.plugins.module_utils.eas.revision import VARIABLE, completed, revision_of

OTHER = {"name": "A", "value": "1"}
OLD, NEW = {"name": VARIABLE, "value": "old"}, {"name": VARIABLE, "value": "new"}
TRITON = {"processor": "triton"}
IMAGE = {"image": "triton", "port": 8000}


def after(config: dict[str, Any] | None, actual: dict[str, Any], revision: str | None = "new") -> dict[str, Any] | None:
    return completed(Wanted("digits", config=config, revision=revision), actual).config


@pytest.mark.parametrize(
    ("config", "actual", "expected"),
    [
        # A new service, of either form.
        ({"processor": "triton"}, {}, {"processor": "triton", "processor_envs": [NEW]}),
        ({"containers": [IMAGE, {"image": "b"}]}, {}, {"containers": [{**IMAGE, "env": [NEW]}, {"image": "b"}]}),
        # Lists are taken whole: what the user says counts, and what is there where the user says nothing of them.
        ({**TRITON, "processor_envs": [OTHER]}, {"processor_envs": [OLD]}, {**TRITON, "processor_envs": [OTHER, NEW]}),
        ({"processor": "triton"}, {"processor_envs": [OTHER, OLD]}, {"processor": "triton", "processor_envs": [OTHER, NEW]}),
        ({"containers": [{**IMAGE, "env": [OTHER, OLD]}]}, {}, {"containers": [{**IMAGE, "env": [OTHER, NEW]}]}),
        # Nothing but the revision.
        ({}, {"processor": "triton", "processor_envs": [OTHER]}, {"processor_envs": [OTHER, NEW]}),
        ({}, {"containers": [{**IMAGE, "env": [OTHER]}]}, {"containers": [{**IMAGE, "env": [OTHER, NEW]}]}),
    ],
)
def test_a_revision_stands_beside_the_other_variables(config: Any, actual: Any, expected: Any) -> None:
    assert after(config, actual) == expected
    assert revision_of(expected) == "new"


@pytest.mark.parametrize(
    ("config", "actual", "expected"),
    [
        (None, {"processor_envs": [OLD]}, None),
        ({"processor": "triton"}, {"processor_envs": [OLD]}, {"processor": "triton"}),
        ({**TRITON, "processor_envs": [OTHER]}, {"processor_envs": [OLD]}, {**TRITON, "processor_envs": [OTHER, OLD]}),
        ({"containers": [IMAGE]}, {"containers": [{**IMAGE, "env": [OLD]}]}, {"containers": [{**IMAGE, "env": [OLD]}]}),
        ({"containers": [IMAGE]}, {}, {"containers": [IMAGE]}),
    ],
)
def test_without_one_the_revision_that_is_there_stays(config: Any, actual: Any, expected: Any) -> None:
    assert after(config, actual, None) == expected


@pytest.mark.parametrize("revision", [None, "old"])
def test_a_replaced_configuration_keeps_the_revision_and_no_other_variable(revision: str | None) -> None:
    actual = {**TRITON, "processor_envs": [OTHER, OLD]}
    wanted = Wanted("digits", config=dict(TRITON), replace=True, revision=revision)
    assert completed(wanted, actual).config == {**TRITON, "processor_envs": [OLD]}
    own = Wanted("digits", config={"processor_path": "oss://a/b"}, replace=True)
    assert completed(own, actual) == own


def test_a_revision_of_nothing_is_refused() -> None:
    with pytest.raises(InputError, match="neither a processor nor an image"):
        after({}, {"processor_path": "oss://a/b"})
    assert revision_of({}) == ""
