# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The filter pgp_fingerprints."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible.errors import AnsibleFilterError

from ..module_utils.core.errors import InputError
from ..module_utils.core.pgp import fingerprints

DOCUMENTATION = r"""
name: pgp_fingerprints
short_description: The fingerprints of OpenPGP public keys
version_added: 0.1.0
author: serving.triton contributors (@serving-triton)
description:
  - Reads ASCII-armored public keys, such as those of package repositories, without gpg.
  - A key is known by its fingerprint. The file's own checksum changes with every comment in it.
options:
  _input:
    description: The text of the keys.
    type: str
    required: true
  lenient:
    description: Whether to return an empty list where the text holds no key. Otherwise that is an error.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Show the fingerprint of a repository's key
  ansible.builtin.debug:
    msg: "{{ lookup('ansible.builtin.file', '/usr/share/keyrings/nvidia.asc') | serving.triton.pgp_fingerprints }}"
"""

RETURN = r"""
_value:
  description: The fingerprints of the primary keys, in their order.
  type: list
  elements: str
  sample: [EB693B3035CD5710E231E123A4B469963BF863CC]
"""


def read(text: str, lenient: bool = False) -> list[str]:
    """The filter; errors are Ansible's."""
    try:
        return fingerprints(text)
    except InputError as error:
        if lenient:
            return []
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    """Ansible's entry."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"pgp_fingerprints": read}
