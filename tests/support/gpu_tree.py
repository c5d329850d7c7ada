# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Builds the files by which a machine with GPUs is known: sysfs, procfs, package databases, kernels, DKMS, configuration.

    machine = Machine(folder).kernel("6.1.0-28-amd64", module="550.90.07", kind="open", running=True)
    machine.gpu("hopper").loaded("550.90.07", "open").dpkg({"libcuda1": "550.90.07-1"})

Contents are as the real ones are: lines of /proc/driver/nvidia/version, of dpkg's status file and of DKMS' tree were copied from machines.
"""

from __future__ import annotations

import json
import lzma
from collections.abc import Mapping
from pathlib import Path
from typing import Any

KERNEL = "6.1.0-28-amd64"
# One board a generation: the device id, and the name that the driver gives it.
BOARDS = {
    "kepler": (0x102D, "Tesla K80"),
    "maxwell": (0x13F2, "Tesla M60"),
    "pascal": (0x1B38, "Tesla P40"),
    "volta": (0x1DB4, "Tesla V100-PCIE-16GB"),
    "turing": (0x1EB8, "Tesla T4"),
    "ampere": (0x20B2, "NVIDIA A100-SXM4-80GB"),
    "ada": (0x27B8, "NVIDIA L4"),
    "hopper": (0x2330, "NVIDIA H100 80GB HBM3"),
    "blackwell": (0x2901, "NVIDIA B200"),
    "geforce": (0x2684, "NVIDIA GeForce RTX 4090"),
    "unknown": (0x4ABC, "NVIDIA X1000"),
}
SWITCHES = {"ampere": 0x1AF1, "hopper": 0x22A3}
_SIGNATURE = b"~Module signature appended~\n"
_EFI = "8be4df61-93ca-11d2-aa0d-00e098032b8c"


class Machine:
    """A root folder. Every method adds something and returns the machine."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._gpus = 0
        for folder in ("proc/sys/kernel", "sys/bus/pci/devices", "sys/module", "lib/modules", "etc", "dev"):
            (root / folder).mkdir(parents=True, exist_ok=True)

    def file(self, path: str, content: str | bytes = "") -> Machine:
        target = self.root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content.encode() if isinstance(content, str) else content)
        return self

    def folder(self, path: str) -> Machine:
        (self.root / path.lstrip("/")).mkdir(parents=True, exist_ok=True)
        return self

    def link(self, path: str, target: str) -> Machine:
        place = self.root / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(target)
        return self

    def device(self, address: str, vendor: int, device: int, kind: str, bound: str = "") -> Machine:
        """A PCI device. kind: class and subclass with the interface, such as 0x030200. bound: its kernel driver."""
        folder = f"/sys/bus/pci/devices/{address}"
        self.file(f"{folder}/vendor", f"0x{vendor:04x}\n").file(f"{folder}/device", f"0x{device:04x}\n").file(
            f"{folder}/class", f"{kind}\n"
        )
        self.file(f"{folder}/numa_node", "0\n")
        return self.link(f"{folder}/driver", f"../../../bus/pci/drivers/{bound}") if bound else self

    def gpu(self, board: str, bound: str = "", count: int = 1) -> Machine:
        """GPUs of a generation's board, see BOARDS."""
        for _number in range(count):
            self._gpus += 1
            self.device(f"0000:{self._gpus:02x}:00.0", 0x10DE, BOARDS[board][0], "0x030200", bound)
            self.device(f"0000:{self._gpus:02x}:00.1", 0x10DE, 0x10F0, "0x040300")
        return self

    def switch(self, generation: str, count: int = 4) -> Machine:
        for number in range(count):
            self.device(f"0000:{0xC0 + number:02x}:00.0", 0x10DE, SWITCHES[generation], "0x068000")
        return self

    def switch_manager(self, name: str) -> Machine:
        """The ConnectX of an HGX B200 that manages its switches, and one that is a network card."""
        self.file(f"/sys/class/infiniband/{name}/device/vpd", b"\x82\x2a\x00Nvidia ConnectX-7\x90\x20\x00V1 SMDL=SW_MNG\x78")
        return self.file("/sys/class/infiniband/mlx5_0/device/vpd", b"\x82\x2a\x00Nvidia ConnectX-7\x90\x20\x00V1 \x78")

    def processes(self, *names: str) -> Machine:
        """Processes as procfs shows them, beside the first one; the kernel cuts their names."""
        for number, name in enumerate(("systemd", *names)):
            self.file(f"/proc/{number * 100 or 1}/comm", f"{name[:15]}\n")
        return self

    def loaded(self, version: str, kind: str = "proprietary", board: str = "") -> Machine:
        """The driver's module is loaded. board: what the driver calls the first GPU."""
        name = {"open": "UNIX Open Kernel Module for x86_64", "proprietary": "UNIX x86_64 Kernel Module"}[kind]
        line = f"NVRM version: NVIDIA {name}  {version}  Fri May 31 09:35:42 UTC 2024\n"
        self.file("/proc/driver/nvidia/version", f"{line}GCC version:  gcc version 12.2.0 (Debian 12.2.0-14)\n")
        self.file("/sys/module/nvidia/version", f"{version}\n")
        for node in ("nvidia0", "nvidiactl", "nvidia-uvm"):
            self.file(f"/dev/{node}")
        self.file("/run/nvidia-persistenced/socket")
        if board:
            text = f"Model: \t\t {BOARDS[board][1]}\nIRQ:   \t\t 65\nGPU UUID: \t GPU-6e0fd2a5-93c3-44d1-9a4e-0d6f2a1c33b1\n"
            self.file("/proc/driver/nvidia/gpus/0000:01:00.0/information", text)
        return self

    def kernel(
        self,
        release: str = KERNEL,
        *,
        running: bool = False,
        headers: bool = True,
        image: bool = True,
        module: str = "",
        kind: str = "proprietary",
        signed: bool = True,
        path: str = "updates/dkms/nvidia.ko",
    ) -> Machine:
        """An installed kernel, with a module of the driver when it has a version."""
        folder = f"/lib/modules/{release}"
        self.file(f"{folder}/modules.order")
        if running:
            self.file("/proc/sys/kernel/osrelease", f"{release}\n")
        if image:
            self.file(f"/boot/vmlinuz-{release}")
        if headers:
            self.file(f"/usr/src/linux-headers-{release}/Makefile").link(f"{folder}/build", f"/usr/src/linux-headers-{release}")
        if module:
            self.file(f"{folder}/{path}", module_file(module, kind, signed, path))
        return self

    def dpkg(self, packages: Mapping[str, str], *, held: bool = False, state: str = "ok installed") -> Machine:
        """Packages of Debian, name → version."""
        status = self.root / "var/lib/dpkg/status"
        status.parent.mkdir(parents=True, exist_ok=True)
        said = "hold" if held else "install"
        text = "".join(
            f"Package: {name}\nStatus: {said} {state}\nPriority: optional\nArchitecture: amd64\nVersion: {version}\nDepends: libc6\n\n"
            for name, version in packages.items()
        )
        status.write_text((status.read_text() if status.exists() else "") + text)
        return self

    def upgrade(self, old: str, new: str) -> Machine:
        """Every package of the driver has a new version; nothing was loaded since."""
        status = self.root / "var/lib/dpkg/status"
        status.write_text(status.read_text().replace(old, new))
        return self

    def dkms(
        self, version: str, kernels: Mapping[str, str] | None = None, *, name: str = "nvidia", source: bool = True, log: bool = False
    ) -> Machine:
        """DKMS' tree. kernels: release → built or installed; without one the module is added only. log: a build that failed."""
        tree = f"/var/lib/dkms/{name}"
        self.file("/usr/sbin/dkms").link(f"{tree}/{version}/source", f"/usr/src/{name}-{version}")
        if source:
            self.file(f"/usr/src/{name}-{version}/dkms.conf")
        for release, state in (kernels or {}).items():
            self.file(f"{tree}/{version}/{release}/x86_64/module/nvidia.ko")
            if state == "installed":
                self.link(f"{tree}/kernel-{release}-x86_64", f"{version}/{release}/x86_64")
        if log:
            self.file(f"{tree}/{version}/build/make.log", "fatal error: linux/version.h: No such file or directory\n")
        return self

    def secure_boot(self, on: bool, *, validation: bool = True) -> Machine:
        """Started by UEFI. validation: off when shim's own switch is off."""
        folder = "/sys/firmware/efi/efivars"
        attributes = b"\x06\x00\x00\x00"
        self.file(f"{folder}/SecureBoot-{_EFI}", attributes + bytes([on])).file(f"{folder}/SetupMode-{_EFI}", attributes + b"\x00")
        if not validation:
            self.file(f"{folder}/MokSBStateRT-605dab50-e046-4300-abb6-3dd810dd8b23", attributes + b"\x01")
        return self.file(
            "/sys/kernel/security/lockdown", "none [integrity] confidentiality\n" if on else "[none] integrity confidentiality\n"
        )

    def nouveau(self) -> Machine:
        return self.folder("/sys/module/nouveau")

    def blacklist(self) -> Machine:
        """As Debian's alternatives lay it: a link out of /etc to where the text is."""
        self.file("/etc/nvidia/current/nvidia-blacklists-nouveau.conf", "# by nvidia-kernel-support\nblacklist nouveau\n")
        return self.link("/etc/modprobe.d/nvidia-blacklists-nouveau.conf", "/etc/nvidia/current/nvidia-blacklists-nouveau.conf")

    def docker(self, **settings: Any) -> Machine:
        self.file("/usr/bin/dockerd")
        return self.file("/etc/docker/daemon.json", json.dumps(settings)) if settings else self

    def podman(self) -> Machine:
        return self.file("/usr/bin/podman")

    def cdi(self, driver: str, *devices: str, path: str = "/etc/cdi/nvidia.yaml") -> Machine:
        """A specification as nvidia-ctk writes it."""
        entries = "".join(f'- containerEdits:\n    deviceNodes:\n    - path: /dev/nvidia{name}\n  name: "{name}"\n' for name in devices)
        mount = f"/usr/lib/x86_64-linux-gnu/libcuda.so.{driver}"
        edits = "containerEdits:\n  hooks:\n  - args:\n    - nvidia-ctk\n    hookName: createContainer\n"
        mounts = f"  mounts:\n  - containerPath: {mount}\n    hostPath: {mount}\n"
        return self.file(path, f"---\ncdiVersion: 0.5.0\n{edits}{mounts}devices:\n{entries}kind: nvidia.com/gpu\n")


def module_file(version: str, kind: str, signed: bool, path: str) -> bytes:
    """A kernel module, as far as its information and its signature go."""
    licence = {"open": "Dual MIT/GPL", "proprietary": "NVIDIA"}[kind]
    content = f"\x7fELF\x02\0\0\0version={version}\0license={licence}\0srcversion=0123\0".encode() + (_SIGNATURE if signed else b"")
    return lzma.compress(content) if path.endswith(".xz") else content


def healthy(root: Path, board: str = "hopper", version: str = "550.90.07", kind: str = "open") -> Machine:
    """A machine on which everything is as it should be."""
    machine = Machine(root).gpu(board, bound="nvidia").loaded(version, kind, board).blacklist()
    machine.kernel(KERNEL, running=True, module=version, kind=kind).dkms(version, {KERNEL: "installed"})
    machine.dpkg({"libcuda1": f"{version}-1", "nvidia-smi": f"{version}-1", "nvidia-kernel-dkms": f"{version}-1"})
    machine.dpkg({"nvidia-container-toolkit": "1.17.4-1"}).podman().docker(runtimes={"nvidia": {"path": "nvidia-container-runtime"}})
    return machine.cdi(version, "0", "all").secure_boot(True)
