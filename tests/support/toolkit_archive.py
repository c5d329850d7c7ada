# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Makes a signed apt repository with stand-ins of the NVIDIA container toolkit's packages, laid out as NVIDIA's is. Run inside a
test machine.

Arguments: the folder of the repository, the stand-in of nvidia-ctk. Needs dpkg-deb, apt-ftparchive and gpg.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

VERSIONS = ("1.17.8", "1.18.1")
INTERPRETER = "#!/usr/bin/python3\n"
RUNTIME = '#!/bin/sh\nexec runc "$@"\n'
PACKAGES = {
    "nvidia-container-toolkit": "nvidia-container-toolkit-base (= {version}-1), libnvidia-container-tools (= {version}-1)",
    "nvidia-container-toolkit-base": "python3",
    "libnvidia-container-tools": "libnvidia-container1 (= {version}-1)",
    "libnvidia-container1": "",
}


def build(folder: Path, name: str, version: str, ctk: str) -> None:
    with tempfile.TemporaryDirectory() as work:
        root = Path(work)
        (root / "DEBIAN").mkdir(mode=0o755)
        depends = PACKAGES[name].format(version=version)
        control = [f"Package: {name}", f"Version: {version}-1", "Architecture: amd64", "Maintainer: tests <root@localhost>"]
        control += [f"Depends: {depends}"] if depends else []
        (root / "DEBIAN" / "control").write_text("\n".join([*control, "Description: stand-in", ""]))
        if name == "nvidia-container-toolkit-base":
            (root / "usr" / "bin").mkdir(parents=True)
            for program, text in (("nvidia-ctk", INTERPRETER + ctk.replace("1.17.8", version)), ("nvidia-container-runtime", RUNTIME)):
                (root / "usr" / "bin" / program).write_text(text)
                (root / "usr" / "bin" / program).chmod(0o755)
        root.chmod(0o755)
        subprocess.run(["dpkg-deb", "--root-owner-group", "--build", work, str(folder / f"{name}_{version}-1_amd64.deb")], check=True)


def sign(folder: Path) -> None:
    home = tempfile.mkdtemp()
    gpg = ["gpg", "--homedir", home, "--batch", "--yes", "--pinentry-mode", "loopback", "--passphrase", ""]
    subprocess.run([*gpg, "--quick-generate-key", "Toolkit tests", "rsa3072", "sign", "never"], check=True)
    listing = subprocess.run([*gpg, "--list-keys", "--with-colons"], check=True, capture_output=True, text=True).stdout
    fingerprint = next(line.split(":")[9] for line in listing.splitlines() if line.startswith("fpr:"))
    subprocess.run([*gpg, "--armor", "--output", str(folder / "gpgkey"), "--export"], check=True)
    subprocess.run([*gpg, "--clearsign", "--output", str(folder / "InRelease"), str(folder / "Release")], check=True)
    (folder / "fingerprint").write_text(fingerprint)
    subprocess.run(["gpgconf", "--homedir", home, "--kill", "all"], check=False)
    shutil.rmtree(home)


def main() -> None:
    folder, ctk = Path(sys.argv[1]), Path(sys.argv[2]).read_text()
    folder.mkdir(parents=True, exist_ok=True)
    for version in VERSIONS:
        for name in PACKAGES:
            build(folder, name, version, ctk)
    os.chdir(folder)
    for file, command in (("Packages", ["packages", "."]), ("Release", ["-o", "APT::FTPArchive::Release::Origin=tests", "release", "."])):
        done = subprocess.run(["apt-ftparchive", *command], check=True, capture_output=True)
        Path(file).write_bytes(done.stdout)
    sign(folder)


if __name__ == "__main__":
    main()
