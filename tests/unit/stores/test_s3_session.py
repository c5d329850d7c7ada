# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What S3 URLs name, what servers say in XML, and where credentials come from."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import botocore.session
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.scripted_http import Step, reply, scripted

from ansible_collections.serving.triton.plugins.module_utils.core.errors import InputError, TransientError, UnavailableError
from ansible_collections.serving.triton.plugins.module_utils.stores.bucket import Listed
from ansible_collections.serving.triton.plugins.module_utils.stores.s3 import xml as s3_xml
from ansible_collections.serving.triton.plugins.module_utils.stores.s3.content import terms
from ansible_collections.serving.triton.plugins.module_utils.stores.s3.place import parse_endpoint, parse_place
from ansible_collections.serving.triton.plugins.module_utils.stores.s3.proxy import Proxy
from ansible_collections.serving.triton.plugins.module_utils.stores.s3.session import Session
from ansible_collections.serving.triton.plugins.module_utils.stores.s3.signature import Keys


@pytest.mark.parametrize(
    ("rest", "endpoint", "bucket", "prefix"),
    [
        ("bucket", "None", "bucket", ""),
        ("bucket/", "None", "bucket", ""),
        ("bucket/a/b/", "None", "bucket", "a/b"),
        ("https://host:9000/bucket/a", "https://host:9000", "bucket", "a"),
        ("http://127.0.0.1:9000/bucket", "http://127.0.0.1:9000", "bucket", ""),
        ("host:9000/bucket/a/b", "http://host:9000", "bucket", "a/b"),
        ("https://s3.example.org/bucket", "https://s3.example.org", "bucket", ""),
        ("http://[::1]:9000/bucket", "http://[::1]:9000", "bucket", ""),
    ],
)
def test_a_url_is_read(rest: str, endpoint: str, bucket: str, prefix: str) -> None:
    place = parse_place(rest)
    assert (str(place.endpoint), place.bucket, place.prefix) == (endpoint, bucket, prefix)
    assert place.url == f"s3://{rest.rstrip('/')}"


@pytest.mark.parametrize(
    "rest", ["", "/", "b", "a b", "https://host:9000", "host:9000/", "host:99999/bucket", "bucket/a//b", "bucket/../b"]
)
def test_a_wrong_url_is_refused(rest: str) -> None:
    with pytest.raises(InputError):
        parse_place(rest)


def test_a_password_in_a_url_is_not_shown() -> None:
    with pytest.raises(InputError) as caught:
        parse_place("https://user:hidden@host:9000/bucket")
    assert "hidden" not in str(caught.value)


# --- XML

STAMP = "0123456789abcdef0123456789abcdef"


def listing(objects: str, more: str = "", truncated: str = "false") -> bytes:
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>b</Name>'
        f"<EncodingType>url</EncodingType><IsTruncated>{truncated}</IsTruncated>{more}{objects}</ListBucketResult>"
    ).encode()


SHAPES: list[Callable[[str, int], str]] = [
    lambda key, size: (
        f"<Contents><Key>{key}</Key><LastModified>x</LastModified><ETag>&quot;{STAMP}&quot;</ETag><Size>{size}</Size></Contents>"
    ),
    lambda key, size: (
        f'<Contents><Key>{key}</Key><LastModified>x</LastModified><ETag>"{STAMP}"</ETag><ChecksumAlgorithm>CRC32</ChecksumAlgorithm>'
        f"<ChecksumType>FULL_OBJECT</ChecksumType><Size>{size}</Size><Owner><ID>o</ID></Owner><StorageClass>STANDARD</StorageClass></Contents>"
    ),
    lambda key, size: (
        f"<Contents>\n <Key>{key}</Key>\n <LastModified>x</LastModified>\n <ETag>&#34;{STAMP}&#34;</ETag>\n <Size>{size}</Size></Contents>"
    ),
    lambda key, size: f"<Contents><Size>{size}</Size><ETag>{STAMP}</ETag><Key>{key}</Key></Contents>",
]


@pytest.mark.parametrize("shape", SHAPES)
@given(keys=st.lists(st.text(st.characters(codec="utf-8", min_codepoint=32), min_size=1), max_size=5))
def test_a_listing_is_read_in_any_shape(shape: Callable[[str, int], str], keys: list[str]) -> None:
    body = listing("".join(shape(quote_plus(key, safe="/"), number) for number, key in enumerate(keys)))
    assert s3_xml.read_page(body).objects == [Listed(key, number, STAMP) for number, key in enumerate(keys)]


def test_pages_and_folders_are_read() -> None:
    more = "<NextContinuationToken>a&amp;b</NextContinuationToken><CommonPrefixes><Prefix>m%20x/</Prefix></CommonPrefixes>"
    page = s3_xml.read_page(listing(SHAPES[0]("a%2Bb", 1), more, "true"))
    assert (page.objects, page.folders, page.truncated, page.token) == ([Listed("a+b", 1, STAMP)], ["m x/"], True, "a&b")


@pytest.mark.parametrize("body", [b"", b"<html>proxy</html>", listing("")[:-9]])
def test_what_is_no_listing_is_found(body: bytes) -> None:
    with pytest.raises(TransientError):
        s3_xml.read_page(body)


def test_entities_of_a_server_are_refused() -> None:
    with pytest.raises(TransientError):
        s3_xml.parse(b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>')


def test_an_error_is_read_from_anything() -> None:
    assert s3_xml.read_error(b"<Error><Code>A</Code><Message>b &amp; c</Message><Region>eu</Region></Error>") == ("A", "b & c", "eu")
    assert s3_xml.read_error(b"\xff<html>") == ("", "", "")


# --- credentials, region, endpoint


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An environment without anything of AWS."""
    for name in list(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return tmp_path


def write_profiles(home: Path) -> None:
    (home / "credentials").write_text(
        "[default]\naws_access_key_id=D\naws_secret_access_key=d\n[other]\naws_access_key_id=O\naws_secret_access_key=o\n"
    )
    (home / "config").write_text(
        "[default]\nregion=eu-north-1\n[profile other]\nregion=cn-north-1\nservices=mine\n[services mine]\ns3=\n  endpoint_url=https://mine:9000\n"
    )


@pytest.mark.parametrize(
    ("options", "environ", "keys"),
    [
        ({"access_key": "A", "secret_key": "s"}, {"AWS_PROFILE": "other"}, Keys("A", "s")),
        ({"access_key": "A", "secret_key": "s", "session_token": "t"}, {}, Keys("A", "s", "t")),
        ({}, {"AWS_ACCESS_KEY_ID": "E", "AWS_SECRET_ACCESS_KEY": "e", "AWS_SESSION_TOKEN": "t"}, Keys("E", "e", "t")),
        ({"profile": "other"}, {"AWS_ACCESS_KEY_ID": "E", "AWS_SECRET_ACCESS_KEY": "e"}, Keys("O", "o")),
        ({}, {"AWS_PROFILE": "other"}, Keys("O", "o")),
        ({}, {"AWS_PROFILE": "other", "AWS_ACCESS_KEY_ID": "E", "AWS_SECRET_ACCESS_KEY": "e"}, Keys("E", "e")),
        ({}, {}, Keys("D", "d")),
    ],
)
def test_keys_are_those_that_botocore_finds(
    home: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], environ: dict[str, str], keys: Keys
) -> None:
    write_profiles(home)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert Session(options).keys() == keys
    if "access_key" not in options:
        found = botocore.session.Session(profile=options.get("profile")).get_credentials()
        assert (found.access_key, found.secret_key, found.token or "") == (keys.access_key, keys.secret_key, keys.token)


def test_an_environment_with_keys_needs_no_botocore(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "E")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "e")
    monkeypatch.setitem(sys.modules, "botocore.session", None)
    session = Session({})
    place = parse_place("http://host:9000/bucket")
    assert (session.keys(), session.region(), str(session.endpoint(place, "r"))) == (Keys("E", "e"), "us-east-1", "http://host:9000")
    with pytest.raises(InputError, match="boto3 is missing"):
        session.endpoint(parse_place("bucket"), "us-east-1")


def test_no_keys_at_all_are_told(home: Path) -> None:
    with pytest.raises(InputError, match="no credentials"):
        Session({}).keys()


def test_a_profile_that_does_not_exist_is_told(home: Path) -> None:
    with pytest.raises(UnavailableError, match="missing"):
        Session({"profile": "missing"}).keys()


@pytest.mark.parametrize(
    "options",
    [{"access_key": "A"}, {"secret_key": "s"}, {"web_identity_token_file": "/t"}, {"access_key": "A", "secret_key": "s", "profile": "p"}],
)
def test_options_that_contradict_are_refused(home: Path, options: dict[str, str]) -> None:
    with pytest.raises(InputError) as caught:
        Session(options)
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("options", "environ", "endpoint"),
    [
        ({}, {}, "https://s3.eu-north-1.amazonaws.com"),
        ({"region": "cn-north-1"}, {}, "https://s3.cn-north-1.amazonaws.com.cn"),
        ({"region": "us-gov-west-1"}, {}, "https://s3.us-gov-west-1.amazonaws.com"),
        ({}, {"AWS_DEFAULT_REGION": "ap-south-1"}, "https://s3.ap-south-1.amazonaws.com"),
        ({"profile": "other"}, {}, "https://mine:9000"),
        ({}, {"AWS_ENDPOINT_URL": "http://all:1/base"}, "http://all:1/base"),
        ({}, {"AWS_ENDPOINT_URL": "http://all:1", "AWS_ENDPOINT_URL_S3": "https://s3:2"}, "https://s3:2"),
        ({}, {"AWS_ENDPOINT_URL": "http://all:1", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"}, "https://s3.eu-north-1.amazonaws.com"),
    ],
)
def test_the_endpoint_is_botocores(
    home: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], environ: dict[str, str], endpoint: str
) -> None:
    write_profiles(home)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    session = Session(options)
    assert str(session.endpoint(parse_place("bucket"), session.region())) == endpoint


def test_a_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    endpoint = parse_endpoint("https://host:9000")
    assert Proxy.of(endpoint) is None
    monkeypatch.setenv("https_proxy", "http://user:hidden@proxy:3128")
    proxy = Proxy.of(endpoint)
    assert proxy is not None
    assert (proxy.host, proxy.port, proxy.header) == ("proxy", 3128, "Proxy-Authorization: Basic dXNlcjpoaWRkZW4=\r\n")
    assert "hidden" not in repr(proxy)
    monkeypatch.setenv("no_proxy", "host")
    assert Proxy.of(endpoint) is None


def test_options_become_headers() -> None:
    options = {"encryption": "aws:kms", "kms_key_id": "k", "storage_class": "STANDARD_IA", "tags": {"a b": "c&d"}, "checksum": "auto"}
    how = terms(options, secure=True, aws=True)
    assert how.new == {
        "x-amz-server-side-encryption": "aws:kms",
        "x-amz-server-side-encryption-aws-kms-key-id": "k",
        "x-amz-storage-class": "STANDARD_IA",
        "x-amz-tagging": "a+b=c%26d",
    }
    assert (how.crc32, how.resumable, how.sign_body) == (True, False, False)
    assert not terms({}, secure=False, aws=False).crc32
    with pytest.raises(InputError):
        terms({"kms_key_id": "k"}, secure=True, aws=True)


def assumed(call: str, key: str) -> Step:
    """What the token service answers."""
    keys = f"<AccessKeyId>{key}</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken>"
    body = f"<{call}Result><Credentials>{keys}<Expiration>2999-01-01T00:00:00Z</Expiration></Credentials></{call}Result>"
    return reply(200, f'<{call}Response xmlns="https://sts.amazonaws.com/doc/2011-06-15/">{body}</{call}Response>', kind="text/xml")


def test_a_role_is_assumed_and_its_keys_are_renewed(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_profiles(home)
    with scripted(assumed("AssumeRole", "ASIAONE"), assumed("AssumeRole", "ASIATWO")) as service:
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", service.url)
        session = Session({"role_arn": "arn:aws:iam::123456789012:role/publisher", "external_id": "external"})
        assert session.keys() == session.keys() == Keys("ASIAONE", "s", "t")
        assert session.renew()
        assert session.keys() == Keys("ASIATWO", "s", "t")
    assert b"Action=AssumeRole&" in service.requests[0]
    assert b"ExternalId=external" in service.requests[0]


@pytest.mark.parametrize("by_environment", [True, False])
def test_a_web_identity_is_exchanged(home: Path, monkeypatch: pytest.MonkeyPatch, by_environment: bool) -> None:
    token, role = home / "token", "arn:aws:iam::123456789012:role/publisher"
    token.write_text("webtoken")
    options = {} if by_environment else {"role_arn": role, "web_identity_token_file": str(token)}
    if by_environment:
        monkeypatch.setenv("AWS_ROLE_ARN", role)
        monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(token))
    with scripted(assumed("AssumeRoleWithWebIdentity", "ASIAWEB")) as service:
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", service.url)
        assert Session(options).keys() == Keys("ASIAWEB", "s", "t")
    assert b"WebIdentityToken=webtoken" in service.requests[0]


def test_a_role_that_may_not_be_assumed_is_told(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_profiles(home)
    refused = "<ErrorResponse><Error><Code>AccessDenied</Code><Message>not authorized</Message></Error></ErrorResponse>"
    with scripted(reply(403, refused, kind="text/xml")) as service:
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", service.url)
        with pytest.raises(UnavailableError, match="not authorized"):
            Session({"role_arn": "arn:aws:iam::123456789012:role/publisher"}).keys()
    with pytest.raises(UnavailableError, match="nonexistent"):
        Session({"role_arn": "arn:aws:iam::123456789012:role/publisher", "web_identity_token_file": "/nonexistent"}).keys()
