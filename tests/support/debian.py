# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Programs of Debian's packages for tests: those on PATH, or the package unpacked into the cache, without root."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


class NoPackageError(Exception):
    """There is none to be had on this machine; the message says why."""


def program(package: str, name: str) -> Path:
    """The path of a program. Downloads its package on first use where PATH has none."""
    on_path = shutil.which(name)
    if on_path:
        return Path(on_path).resolve()
    cache = ROOT / ".cache" / package
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (cache / ".ready").exists():
            _unpack(package, cache)
            (cache / ".ready").touch()
    return cache / "usr" / "bin" / name


def _unpack(package: str, cache: Path) -> None:
    if not shutil.which("apt-get"):
        raise NoPackageError(f"there is no {package} on PATH, and no apt-get to download it with")
    download = ["download", package]
    if _apt(cache, *download).returncode:
        # A container without package lists, or an ordinary user: apt keeps lists of our own.
        private = cache / "apt"
        (private / "state" / "lists" / "partial").mkdir(parents=True, exist_ok=True)
        (private / "cache" / "archives" / "partial").mkdir(parents=True, exist_ok=True)
        settings = {"Dir::State": private / "state", "Dir::State::status": "/var/lib/dpkg/status", "Dir::Cache": private / "cache"}
        options = [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]
        for arguments in (["update"], download):
            done = _apt(cache, *options, *arguments)
            if done.returncode:
                raise NoPackageError(f"apt-get {arguments[0]} failed: {done.stderr.strip()}")
        shutil.rmtree(private, ignore_errors=True)
    for archive in cache.glob("*.deb"):
        subprocess.run(["dpkg-deb", "-x", str(archive), str(cache)], check=True, timeout=120)
        archive.unlink()


def _apt(cache: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["apt-get", "-q", "-o", "APT::Sandbox::User=", *arguments]
    return subprocess.run(command, cwd=cache, capture_output=True, text=True, timeout=300, check=False)
