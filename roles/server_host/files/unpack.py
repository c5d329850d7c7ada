# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Takes the shared libraries out of a Debian package, for a user who may not install it.

Usage: unpack.py PACKAGE FOLDER
"""

from __future__ import annotations

import glob
import os
import shutil
import subprocess
import sys
import tempfile

SECONDS = 300


def main(package: str, folder: str) -> int:
    """Downloads the package that apt knows and copies its *.so.* files to the folder."""
    with tempfile.TemporaryDirectory(prefix="unpack-") as work:
        for command in (["apt-get", "download", package], ["dpkg-deb", "--extract"]):
            packages = glob.glob(os.path.join(work, "*.deb"))
            argv = [*command, *packages, work] if packages else command
            done = subprocess.run(argv, cwd=work, capture_output=True, text=True, timeout=SECONDS, check=False)  # noqa: S603 - argv of our own making
            if done.returncode:
                print(f"{' '.join(argv)}: {done.stderr.strip() or done.stdout.strip()}", file=sys.stderr)
                return 1
        found = glob.glob(os.path.join(work, "usr", "lib", "**", "*.so.*"), recursive=True)
        os.makedirs(folder, exist_ok=True)
        for path in found:
            shutil.copy2(path, folder)
    return 0 if found else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
