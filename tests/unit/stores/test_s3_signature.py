# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The signer says what botocore says."""

from __future__ import annotations

import datetime
from unittest.mock import patch

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.serving.triton.plugins.module_utils.stores.s3.signature import UNSIGNED, Keys, Signer, encode_path, encode_query

SECONDS = 1_763_683_200
texts = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=20)
names = st.from_regex(r"x-amz-[a-z]{1,10}(-[a-z0-9]{1,8})?", fullmatch=True).filter(
    lambda name: name not in ("x-amz-date", "x-amz-content-sha256", "x-amz-security-token")
)
values = st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters=" "), min_size=1, max_size=10)
spaced = st.lists(values, min_size=1, max_size=3).map("  ".join)


def by_botocore(target: tuple[str, str, str], headers: dict[str, str], payload: str, token: str) -> str:
    method, path, query = target
    url = f"http://host:9000{path}{'?' if query else ''}{query}"
    request = AWSRequest(method, url, {**headers, "x-amz-content-sha256": payload})
    request.context["timestamp"] = ""
    moment = datetime.datetime.fromtimestamp(SECONDS, datetime.timezone.utc)
    signer = S3SigV4Auth(Credentials("AKID", "secret/+=", token or None), "s3", "eu-west-3")
    with (
        patch("botocore.auth.get_current_datetime", return_value=moment),
        patch.object(S3SigV4Auth, "payload", lambda _self, _request: payload),
    ):
        signer.add_auth(request)
    return str(request.headers["Authorization"])


@given(
    method=st.sampled_from(["GET", "PUT", "POST", "DELETE", "HEAD"]),
    key=texts.filter(lambda key: "//" not in key),
    pairs=st.lists(st.tuples(texts.filter(bool), texts), max_size=4),
    more=st.dictionaries(names, spaced, max_size=4),
    token=st.sampled_from(["", "token+/=="]),
    payload=st.sampled_from([UNSIGNED, "ab" * 32]),
)
def test_it_signs_as_botocore_does(
    *, method: str, key: str, pairs: list[tuple[str, str]], more: dict[str, str], token: str, payload: str
) -> None:
    headers = {"host": "host:9000", **more}
    path, query = f"/bucket/{encode_path(key)}", encode_query(pairs)
    signed = Signer(Keys("AKID", "secret/+=", token), "eu-west-3").sign((method, path, query), headers, payload, SECONDS + 0.4)
    assert signed["authorization"] == by_botocore((method, path, query), headers, payload, token)
    assert signed.get("x-amz-security-token", "") == token


def test_the_day_and_the_second_are_followed() -> None:
    signer = Signer(Keys("a", "b"), "r")
    stamps = [signer.sign(("GET", "/", ""), {}, UNSIGNED, SECONDS + more)["x-amz-date"] for more in (0, 0.5, 1, 86_400)]
    assert stamps == ["20251121T000000Z", "20251121T000000Z", "20251121T000001Z", "20251122T000000Z"]
    last = signer.sign(("GET", "/", ""), {}, UNSIGNED, SECONDS + 86_400)
    assert last == Signer(Keys("a", "b"), "r").sign(("GET", "/", ""), {}, UNSIGNED, SECONDS + 86_400)
    assert "/20251122/r/s3/aws4_request" in last["authorization"]


def test_keys_do_not_show_their_secret() -> None:
    assert "secret" not in repr(Keys("a", "secret", "secret"))
