# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Deletes: many in one request, each checked; one by one where the server does not know that."""

from __future__ import annotations

from collections.abc import Sequence

from ...core.errors import TransientError, UnavailableError
from .client import Client, Request
from .content import md5_of
from .errors import RefusedError, may_pass
from .signature import payload_hash
from .workers import gather
from .xml import dump_deletes, read_deletes

_AT_ONCE = 16
_GONE = ("NoSuchKey", "NoSuchVersion")
# Named in one message.
_SHOWN = 5


def delete_all(client: Client, keys: Sequence[str]) -> None:
    """Deletes at most 1,000 objects. Raises UnavailableError that names those that are still there."""
    for attempt in range(1, client.attempts + 1):
        try:
            failed = _delete(client, keys)
        except RefusedError as error:
            if error.status not in (405, 501):
                raise
            # Google's XML API and some gateways.
            gather(lambda key: client.call(Request("DELETE", key), allow=(404,)), keys, _AT_ONCE)
            return
        if not failed:
            return
        if attempt == client.attempts or any(not may_pass(code) for _key, code, _message in failed):
            raise _error(client, failed)
        keys = [key for key, _code, _message in failed]
        client.rest(attempt)


def _delete(client: Client, keys: Sequence[str]) -> list[tuple[str, str, str]]:
    body = dump_deletes(keys)
    # Without this checksum S3 refuses the request.
    request = Request("POST", query=(("delete", ""),), headers={"content-md5": md5_of(body)}, body=body, sha256=payload_hash(body))
    answer = client.call(request)
    return [each for each in read_deletes(answer.body) if each[1] not in _GONE]


def _error(client: Client, failed: Sequence[tuple[str, str, str]]) -> UnavailableError | TransientError:
    named = ", ".join(f"{key} ({code})" for key, code, _message in failed[:_SHOWN])
    more = f" and {len(failed) - _SHOWN} more" if len(failed) > _SHOWN else ""
    what = f"objects could not be deleted: {named}{more}"
    if all(may_pass(code) for _key, code, _message in failed):
        return TransientError(what, where=client.where(), remedy="Run this again.")
    remedy = "The credentials need s3:DeleteObject below the prefix; a retention lock or a bucket policy may forbid it too."
    return UnavailableError(what, where=client.where(), remedy=remedy)
