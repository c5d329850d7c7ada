# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Where an OSS repository is."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.serving.triton.plugins.module_utils.core.errors import InputError
from ansible_collections.serving.triton.plugins.module_utils.stores.oss.place import Place, locate


@pytest.mark.parametrize(
    ("rest", "options", "endpoint", "region"),
    [
        ("models/a/b", {"region": "cn-shanghai"}, "https://oss-cn-shanghai.aliyuncs.com", "cn-shanghai"),
        ("models/a/b/", {"region": "oss-cn-shanghai"}, "https://oss-cn-shanghai.aliyuncs.com", "cn-shanghai"),
        ("models/a/b", {"region": "cn-shanghai", "internal": True}, "https://oss-cn-shanghai-internal.aliyuncs.com", "cn-shanghai"),
        (
            "models/a/b",
            {"endpoint": "oss-eu-central-1-internal.aliyuncs.com"},
            "https://oss-eu-central-1-internal.aliyuncs.com",
            "eu-central-1",
        ),
        ("models/a/b", {"endpoint": "http://127.0.0.1:80/", "region": "x"}, "http://127.0.0.1:80", "x"),
        ("models/a/b", {"endpoint": "http://127.0.0.1:80", "signature_version": "v1"}, "http://127.0.0.1:80", ""),
        ("models.oss-cn-shanghai.aliyuncs.com/a/b", {}, "https://oss-cn-shanghai.aliyuncs.com", "cn-shanghai"),
        ("models.oss-cn-shanghai-internal.aliyuncs.com/a/b", {}, "https://oss-cn-shanghai-internal.aliyuncs.com", "cn-shanghai"),
        ("models.oss-cn-shanghai.aliyuncs.com/a/b", {"internal": True}, "https://oss-cn-shanghai-internal.aliyuncs.com", "cn-shanghai"),
        ("models.oss-cn-shanghai.aliyuncs.com/a/b", {"endpoint": "http://10.0.0.1"}, "http://10.0.0.1", "cn-shanghai"),
    ],
)
def test_endpoint_and_region_are_found(rest: str, options: dict[str, Any], endpoint: str, region: str) -> None:
    place = locate(rest, options, {})
    assert place == Place(f"oss://{rest}".rstrip("/"), "models", "a/b/", endpoint, region)


def test_the_environment_tells_what_nobody_else_does() -> None:
    environment = {"OSS_REGION": "cn-beijing", "OSS_ENDPOINT": "http://gateway.example:8080"}
    assert locate("models", {}, environment) == Place("oss://models", "models", "", "http://gateway.example:8080", "cn-beijing")
    assert locate("models", {"region": "cn-hangzhou"}, environment).endpoint == "https://oss-cn-hangzhou.aliyuncs.com"


@pytest.mark.parametrize(
    ("rest", "options", "what"),
    [
        ("Models/a", {"region": "x"}, "no name of a bucket"),
        ("ab/a", {"region": "x"}, "no name of a bucket"),
        ("-models/a", {"region": "x"}, "no name of a bucket"),
        ("models/a//b", {"region": "x"}, "empty part"),
        ("models/a", {}, "region is not known"),
        ("models/a", {"endpoint": "http://127.0.0.1:80"}, "region is not known"),
        ("models/a", {"region": "x", "endpoint": "http://user@host/path"}, "no endpoint"),
        ("models/a", {"region": "x", "endpoint": "http://127.0.0.1:80", "internal": True}, "Alibaba Cloud's own"),
    ],
)
def test_what_cannot_be_is_refused(rest: str, options: dict[str, Any], what: str) -> None:
    with pytest.raises(InputError, match=what):
        locate(rest, options, {})
