# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Stands in for nvidia-ctk, which is in no archive that tests reach: what it documents of `--version`, `cdi generate` and
`cdi list`, and nothing else.

The GPUs and the driver that it describes are those of /etc/stand-in.json ({"driver": "550.163.01", "gpus": 2}); without that
file there is no driver, and it fails as the real one does.
"""

import argparse
import glob
import json
import os
import sys

VERSION = "1.17.8"
GPUS = "/etc/stand-in.json"
SPEC = """---
cdiVersion: 0.5.0
kind: nvidia.com/gpu
devices:
{devices}containerEdits:
  env:
  - NVIDIA_VISIBLE_DEVICES=void
  deviceNodes:
  - path: /dev/nvidiactl
  mounts:
  - hostPath: /usr/lib/x86_64-linux-gnu/libcuda.so.{driver}
    containerPath: /usr/lib/x86_64-linux-gnu/libcuda.so.{driver}
    options: [ro, nosuid, nodev, bind]
"""
DEVICE = """- name: "{name}"
  containerEdits:
    deviceNodes:
    - path: /dev/nvidia{name}
"""


def generate(output: str) -> int:
    if not os.path.exists(GPUS):
        print("ERRO[0000] failed to generate CDI spec: failed to initialize NVML: ERROR_LIBRARY_NOT_FOUND", file=sys.stderr)
        return 1
    with open(GPUS, encoding="utf-8") as file:
        told = json.load(file)
    names = [str(index) for index in range(told["gpus"])] + ["all"]
    text = SPEC.format(devices="".join(DEVICE.format(name=name) for name in names), driver=told["driver"])
    if not output:
        print(text, end="")
        return 0
    os.makedirs(os.path.dirname(output), exist_ok=True)
    with open(output, "w", encoding="utf-8") as file:
        file.write(text)
    return 0


def listed() -> int:
    names = []
    for path in [*glob.glob("/etc/cdi/*.yaml"), *glob.glob("/var/run/cdi/*.yaml")]:
        with open(path, encoding="utf-8") as file:
            names += [line.split('"')[1] for line in file if line.startswith("- name:")]
    print(f"INFO[0000] Found {len(names)} CDI devices")
    print("\n".join(f"nvidia.com/gpu={name}" for name in names))
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="nvidia-ctk", allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"NVIDIA Container Toolkit CLI version {VERSION}")
    cdi = parser.add_subparsers(dest="command", required=True).add_parser("cdi").add_subparsers(dest="action", required=True)
    cdi.add_parser("generate").add_argument("--output", default="")
    cdi.add_parser("list")
    given = parser.parse_args()
    return generate(given.output) if given.action == "generate" else listed()


if __name__ == "__main__":
    sys.exit(main())
