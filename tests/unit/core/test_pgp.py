# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Fingerprints of keys, held against gpg's where gpg is there."""

from __future__ import annotations

import base64
import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest

from ansible_collections.serving.triton.plugins.module_utils.core.errors import InputError
from ansible_collections.serving.triton.plugins.module_utils.core.pgp import fingerprints

BODY = b"\x04" + b"\x5f\x00\x00\x00" + b"\x16" + bytes(range(60))
FINGERPRINT = hashlib.sha1(b"\x99" + len(BODY).to_bytes(2, "big") + BODY).hexdigest().upper()
USER = b"\xb4\x04test"


def armor(data: bytes, header: str = "Comment: x\n\n") -> str:
    text = base64.encodebytes(data).decode()
    return f"-----BEGIN PGP PUBLIC KEY BLOCK-----\n{header}{text}=abcd\n-----END PGP PUBLIC KEY BLOCK-----\n"


@pytest.mark.parametrize(
    "packet",
    [
        b"\x98" + bytes([len(BODY)]) + BODY,
        b"\x99\x00" + bytes([len(BODY)]) + BODY,
        b"\xc6" + bytes([len(BODY)]) + BODY,
        b"\xc6\xff\x00\x00\x00" + bytes([len(BODY)]) + BODY,
    ],
)
@pytest.mark.parametrize("header", ["Comment: x\n\n", "\n", ""])
def test_both_formats_of_packets(packet: bytes, header: str) -> None:
    assert fingerprints(armor(packet + USER, header)) == [FINGERPRINT]
    assert fingerprints(armor(USER + packet).replace("\n", "\r\n") + armor(packet)) == [FINGERPRINT, FINGERPRINT]


@pytest.mark.parametrize("text", ["", "no key", armor(USER), armor(b"\xb4\x03\x04ab" + b"\x01"), armor(b"").replace("=abcd", "!!!!=")])
def test_what_is_no_key_is_an_error(text: str) -> None:
    with pytest.raises(InputError):
        fingerprints(text)


@pytest.mark.skipif(not shutil.which("gpg"), reason="gpg is not installed")
@pytest.mark.parametrize("algorithm", ["rsa2048", "ed25519"])
def test_gpg_agrees(tmp_path: Path, algorithm: str) -> None:
    gpg = ["gpg", "--homedir", str(tmp_path), "--batch", "--pinentry-mode", "loopback", "--passphrase", ""]
    try:
        subprocess.run([*gpg, "--quick-generate-key", "a test", algorithm, "sign"], check=True, capture_output=True, timeout=60)
        key = subprocess.run([*gpg, "--armor", "--export"], check=True, capture_output=True, text=True, timeout=60).stdout
        told = subprocess.run([*gpg, "--list-keys", "--with-colons"], check=True, capture_output=True, text=True, timeout=60).stdout
    finally:
        subprocess.run(["gpgconf", "--homedir", str(tmp_path), "--kill", "all"], check=False, timeout=60)
    assert fingerprints(key) == [line.split(":")[9] for line in told.splitlines() if line.startswith("fpr:")]
