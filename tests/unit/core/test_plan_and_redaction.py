# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.serving.triton.plugins.module_utils.core.errors import ServingError
from ansible_collections.serving.triton.plugins.module_utils.core.plan import Action, Plan
from ansible_collections.serving.triton.plugins.module_utils.core.redaction import MASK, Redactor, is_secret_key


def test_an_empty_plan_is_false_and_shows_no_difference():
    plan = Plan(before="a", after="b")
    assert not plan
    assert plan.diff() == {"before": "a", "after": "a"}


def test_a_plan_describes_its_actions_in_order():
    plan = Plan((Action("put", "m/1"), Action("write", "manifest")), before="", after="m")
    assert plan
    assert plan.describe() == ["put m/1", "write manifest"]
    assert plan.diff() == {"before": "", "after": "m"}


def test_an_error_says_where_what_and_the_remedy():
    assert str(ServingError("is missing", where="models/m", remedy="Add it.")) == "models/m: is missing. Add it."
    assert str(ServingError("is missing")) == "is missing"


@given(secret=st.text("abcdef0123", min_size=4), before=st.text("xyz "), after=st.text("xyz "))
def test_no_known_secret_survives(secret, before, after):
    text = Redactor([secret]).value({"nested": [{"header": before + secret + after}]})["nested"][0]["header"]
    assert text == before + MASK + after


def test_a_secret_that_contains_another_is_masked_whole():
    assert Redactor(["abcd", "abcdefgh"]).text("x abcdefgh y") == f"x {MASK} y"


def test_short_values_do_not_mask_ordinary_words():
    assert Redactor(["a", "on"]).text("a station") == "a station"


@pytest.mark.parametrize("key", ["Authorization", "aws_secret_access_key", "token", "AccessKeyId", "db_password"])
def test_names_of_secrets_are_known(key):
    assert is_secret_key(key)
    assert Redactor(by_key=True).value({key: "value"}) == {key: MASK}


def test_tensors_named_like_secrets_stay_readable():
    assert Redactor().value({"tokens": [1, 2]}) == {"tokens": [1, 2]}
