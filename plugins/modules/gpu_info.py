#!/usr/bin/python
# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: gpu_info
short_description: NVIDIA GPUs of a host, their driver and what containers know of them
version_added: 0.1.0
author: serving.triton contributors (@serving-triton)
description:
  - Reads PCI devices from sysfs, the driver's state from procfs and sysfs, the packages from the databases of dpkg or rpm, DKMS' state
    from its tree, and asks NVML where the driver is loaded and Python's C(pynvml) (PyPI C(nvidia-ml-py)) is there.
  - Works without GPU and without driver, as root and as an ordinary user. What cannot be known is null, or an empty text or list.
  - The role C(serving.triton.gpu_driver) plans by it, and the filters P(serving.triton.triton_images_for#filter) and
    P(serving.triton.triton_driver_for#filter) answer from it.
options:
  root:
    description:
      - The folder that is looked at in place of C(/). A machine's image, a chroot, or a tree of fixtures.
      - With another root than V(/) neither NVML nor C(nvidia-smi) is asked, since they would tell of this machine.
    type: path
    default: /
  kernel:
    description:
      - The release of the kernel that runs, as C(uname -r) tells it.
      - Left out it is read from C(/proc/sys/kernel/osrelease) below O(root).
      - In a container that is the host's kernel, for which the container has no modules. See RV(kernels).
    type: str
  nvml:
    description: Whether to ask NVML. V(false) reads files alone, which takes no driver call.
    type: bool
    default: true
extends_documentation_fragment:
  - serving.triton.promises.reads
requirements:
  - nvidia-ml-py, optional
seealso:
  - plugin: serving.triton.gpu_module_kind
    plugin_type: filter
  - plugin: serving.triton.triton_images_for
    plugin_type: filter
  - plugin: serving.triton.triton_driver_for
    plugin_type: filter
  - plugin: serving.triton.triton_gpu_problems
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Look at the GPUs
  serving.triton.gpu_info:
  register: gpu

- name: Which images of Triton run here
  ansible.builtin.debug:
    msg: "{{ gpu | serving.triton.triton_images_for | map(attribute='image') }}"

- name: Reboot where another driver is installed than loaded
  ansible.builtin.reboot:
  when: gpu.driver.pending == 'reboot'

- name: Look into an image that is mounted
  serving.triton.gpu_info:
    root: /mnt/image
"""

RETURN = r"""
present:
  description: Whether the machine has an NVIDIA GPU.
  type: bool
  returned: success
  sample: true
gpus:
  description: The GPUs, by PCI address. Virtual functions count.
  type: list
  elements: dict
  returned: success
  contains:
    address:
      description: The PCI address.
      type: str
      sample: "0000:17:00.0"
    device_id:
      description: The PCI device id, four hexadecimal digits in lower case. The vendor is always C(10de).
      type: str
      sample: "2330"
    name:
      description: The name that the driver gives it, else that of the host's pci.ids, else one made of the chip and the device id.
      type: str
      sample: NVIDIA H100 80GB HBM3
    chip:
      description: NVIDIA's name of the chip, empty when the device id is unknown.
      type: str
      sample: GH100
    generation:
      description:
        - V(maxwell), V(pascal), V(volta), V(turing), V(ampere), V(ada), V(hopper) or V(blackwell); V(kepler) and V(fermi) for older ones.
        - Empty when the device id is unknown, as that of a newer GPU is.
      type: str
      sample: hopper
    datacenter:
      description: Whether it is a data-centre GPU, the only kind that CUDA's forward compatibility is for. null when unknown.
      type: bool
      sample: true
    compute_capability:
      description: CUDA's compute capability, from the driver or from the chip. Empty when unknown.
      type: str
      sample: "9.0"
    memory_mib:
      description: Memory of the GPU in MiB, null unless the driver tells.
      type: int
      sample: 81559
    uuid:
      description: The GPU's UUID, empty unless the driver tells.
      type: str
      sample: GPU-6e0fd2a5-93c3-44d1-9a4e-0d6f2a1c33b1
    bound:
      description: The kernel driver that the device is bound to, such as V(nvidia), V(nouveau) or V(vfio-pci). Empty for none.
      type: str
      sample: nvidia
    numa_node:
      description: The NUMA node, -1 for none.
      type: int
      sample: 0
    modules:
      description: The kinds of kernel module that can drive it, of V(open) and V(proprietary). Empty when unknown.
      type: list
      elements: str
      sample: [open]
    last_branch:
      description: The last driver branch that supports the GPU, null while none ended it.
      type: int
      sample: null
    mig:
      description: MIG of the GPU.
      type: dict
      contains:
        capable:
          description: Whether the GPU can be partitioned.
          type: bool
          sample: true
        enabled:
          description: Whether MIG mode is on, null unless NVML tells.
          type: bool
          sample: true
        pending:
          description: Whether MIG mode will be on after a reset of the GPU, null unless NVML tells.
          type: bool
          sample: true
        devices:
          description: The MIG devices that exist. Each has C(uuid), C(profile), C(memory_mib), C(gpu_instance) and C(compute_instance).
          type: list
          elements: dict
          sample:
            - uuid: MIG-3c9b1a52-7f6d-5a6e-8a4c-53b8c0f1a2de
              profile: 3g.40gb
              memory_mib: 40320
              gpu_instance: 2
              compute_instance: 0
generations:
  description: The known generations of RV(gpus), each once, oldest first.
  type: list
  elements: str
  returned: success
  sample: [hopper]
fabric:
  description: What connects the GPUs.
  type: dict
  returned: success
  contains:
    nvswitches:
      description: PCI addresses of NVSwitches.
      type: list
      elements: str
      sample: ["0000:07:00.0", "0000:08:00.0"]
    nvlink_managers:
      description:
        - Names of the InfiniBand devices that manage the NVLink switches of HGX B200 and later, which are no PCI devices.
        - The kernel shows them to root alone.
      type: list
      elements: str
      sample: []
    manager_needed:
      description: Whether CUDA works only while NVIDIA's fabric manager, of exactly the driver's version, runs.
      type: bool
      sample: true
    manager_version:
      description: The installed fabric manager's version, empty for none.
      type: str
      sample: 550.90.07
    manager_running:
      description:
        - Whether the fabric manager runs, by its process.
        - V(null) where none is needed, and where processes are not to be seen, as in an image.
      type: bool
      sample: true
driver:
  description: The driver.
  type: dict
  returned: success
  contains:
    loaded:
      description: Version of the loaded kernel module, empty when none is loaded.
      type: str
      sample: 550.54.15
    loaded_kind:
      description: V(open) or V(proprietary), empty when none is loaded.
      type: str
      sample: open
    installed:
      description:
        - Version of the installed user space (the package that carries C(libcuda) or C(nvidia-smi)) as NVIDIA numbers it, empty for none.
      type: str
      sample: 550.90.07
    installed_kind:
      description:
        - The kind of the kernel module that is installed, V(open) or V(proprietary). Empty when none is installed or it cannot be told.
      type: str
      sample: open
    branch:
      description: Branch of RV(driver.installed), else of RV(driver.loaded). null when there is no driver.
      type: int
      sample: 550
    pending:
      description:
        - What has to happen until the installed driver works. Empty when nothing has to.
        - V(reboot) when a module of another version than the installed driver is loaded, or nouveau holds a GPU.
        - V(load) when a module for the running kernel is installed and not loaded.
        - V(build) when the running kernel has no module, while packages or DKMS should bring one.
      type: str
      sample: reboot
    reason:
      description: Why something is pending, in words.
      type: str
      sample: the loaded module is 550.54.15, the installed driver is 550.90.07
    packages:
      description: Installed packages that belong to the driver. C(version) is the package's, C(driver) NVIDIA's version within it.
      type: list
      elements: dict
      sample:
        - name: nvidia-kernel-open-dkms
          version: 550.90.07-1
          driver: 550.90.07
          architecture: amd64
          held: false
    runfile:
      description: Whether a driver was installed by NVIDIA's runfile, which packages must not be installed over.
      type: bool
      sample: false
    device_nodes:
      description: Device files of the driver in C(/dev).
      type: list
      elements: str
      sample: [nvidia0, nvidiactl, nvidia-uvm]
    persistence:
      description: Whether the persistence daemon runs.
      type: bool
      sample: true
kernel:
  description: Release of the running kernel.
  type: str
  returned: success
  sample: 6.1.0-28-amd64
kernels:
  description:
    - The kernels that are installed, by C(/lib/modules), oldest first, with what there is for each.
    - In a container none of them is RV(kernel).
  type: list
  elements: dict
  returned: success
  contains:
    release:
      description: The kernel's release.
      type: str
      sample: 6.1.0-28-amd64
    running:
      description: Whether it is the one that runs.
      type: bool
      sample: true
    image:
      description: Whether the kernel itself is there, not just modules or headers.
      type: bool
      sample: true
    headers:
      description: Whether its headers are there, so that DKMS can build for it.
      type: bool
      sample: true
    module:
      description: Version of the nvidia module that is installed for it. Empty for none, V(unknown) when its file does not tell.
      type: str
      sample: 550.90.07
    module_kind:
      description: V(open) or V(proprietary), empty for no module.
      type: str
      sample: open
    module_signed:
      description: Whether the module carries a signature, null when it has none or it cannot be told.
      type: bool
      sample: true
    module_path:
      description: The file of the module, without O(root).
      type: str
      sample: /lib/modules/6.1.0-28-amd64/updates/dkms/nvidia.ko
dkms:
  description: DKMS and its modules of NVIDIA.
  type: dict
  returned: success
  contains:
    present:
      description: Whether DKMS is installed.
      type: bool
      sample: true
    modules:
      description:
        - The state by module, version and kernel.
        - C(state) is V(added) (nothing was built), V(built) (not installed), V(installed) or V(broken) (its source is gone).
        - V(added) has no kernel.
      type: list
      elements: dict
      sample:
        - name: nvidia
          version: 550.90.07
          kernel: 6.1.0-28-amd64
          architecture: x86_64
          state: installed
    failed:
      description: Logs of builds that did not end, as paths.
      type: list
      elements: str
      sample: []
secure_boot:
  description: Secure Boot.
  type: dict
  returned: success
  contains:
    state:
      description: V(enabled), V(disabled), V(unsupported) where the machine was not started by UEFI, V(unknown) when it cannot be read.
      type: str
      sample: enabled
    setup_mode:
      description: Whether the firmware is in setup mode, where it enforces nothing.
      type: bool
      sample: false
    lockdown:
      description: The kernel's lockdown, V(none), V(integrity) or V(confidentiality). Empty when it cannot be read.
      type: str
      sample: integrity
    unsigned:
      description: Releases of kernels whose nvidia module carries no signature, so that Secure Boot will refuse it.
      type: list
      elements: str
      sample: []
nouveau:
  description: The driver nouveau (and its successor nova), which excludes NVIDIA's.
  type: dict
  returned: success
  contains:
    loaded:
      description: Whether it is loaded.
      type: bool
      sample: false
    blacklisted:
      description: Whether modprobe's configuration or the kernel's command line keeps it from being loaded.
      type: bool
      sample: true
    by:
      description: The files, without O(root), and V(/proc/cmdline) that do so.
      type: list
      elements: str
      sample: [/etc/modprobe.d/nvidia-blacklists-nouveau.conf]
cuda:
  description: CUDA.
  type: dict
  returned: success
  contains:
    driver:
      description: The newest version of CUDA that the loaded driver supports by itself, as it says. Empty when it cannot be asked.
      type: str
      sample: "12.4"
    compat:
      description: Installed packages of forward compatibility, each with C(name), C(cuda) and C(driver), the version of its libraries.
      type: list
      elements: dict
      sample:
        - {name: cuda-compat-12-6, cuda: "12.6", driver: 560.35.05}
    toolkits:
      description: Versions of CUDA toolkits below C(/usr/local/cuda-*).
      type: list
      elements: str
      sample: ["12.4"]
containers:
  description: Container runtimes and what they know of NVIDIA.
  type: dict
  returned: success
  contains:
    toolkit:
      description: Version of the NVIDIA container toolkit, empty when it is not installed.
      type: str
      sample: 1.17.4
    legacy:
      description: Packages of its predecessors, C(nvidia-docker2) and C(nvidia-container-runtime).
      type: list
      elements: str
      sample: []
    runtimes:
      description: The runtimes that are installed.
      type: list
      elements: dict
      contains:
        name:
          description: V(docker), V(containerd), V(crio) or V(podman).
          type: str
          sample: docker
        program:
          description: Its program, without O(root).
          type: str
          sample: /usr/bin/dockerd
        config:
          description: The files of its configuration that exist, without O(root).
          type: list
          elements: str
          sample: [/etc/docker/daemon.json]
        nvidia:
          description: Whether NVIDIA's runtime is configured. Always false for podman, which needs CDI alone.
          type: bool
          sample: true
        default:
          description: Whether NVIDIA's runtime is the default one.
          type: bool
          sample: false
        cdi:
          description: Whether the runtime resolves CDI names by its configuration, null when that is up to its version's default.
          type: bool
          sample: true
        cdi_dirs:
          description: The folders where it looks for CDI specifications.
          type: list
          elements: str
          sample: [/etc/cdi, /var/run/cdi]
        problem:
          description: Why its configuration could not be read, empty when it could.
          type: str
          sample: ""
cdi:
  description: CDI specifications of NVIDIA devices in C(/etc/cdi) and C(/var/run/cdi).
  type: list
  elements: dict
  returned: success
  contains:
    path:
      description: The file, without O(root).
      type: str
      sample: /etc/cdi/nvidia.yaml
    kind:
      description: Vendor and class.
      type: str
      sample: nvidia.com/gpu
    devices:
      description: Names of its devices.
      type: list
      elements: str
      sample: ["0", "1", all]
    driver:
      description:
        - Version of the driver whose libraries it mounts, empty when it cannot be told.
        - Another one than RV(driver.loaded) means that the specification is out of date.
      type: str
      sample: 550.54.15
    problem:
      description: Why it could not be read, empty when it could.
      type: str
      sample: ""
nvml:
  description: Whether NVML was asked, and why not.
  type: dict
  returned: success
  contains:
    source:
      description: V(nvml) by Python's C(pynvml), V(nvidia-smi) where pynvml is missing, V(none).
      type: str
      sample: nvml
    problem:
      description: Why NVML did not answer, empty when it did.
      type: str
      sample: ""
packages:
  description: The package database that was read, V(dpkg), V(rpm) or V(none).
  type: str
  returned: success
  sample: dpkg
problems:
  description: What could not be read, each as one text. A machine without an NVIDIA GPU has none.
  type: list
  elements: str
  returned: success
  sample: []
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.gpu.info import Request, inspect
from ..module_utils.module import run_info

OPTIONS = {
    "root": {"type": "path", "default": "/"},
    "kernel": {"type": "str"},
    "nvml": {"type": "bool", "default": True},
}


def main() -> None:
    module = AnsibleModule(OPTIONS, supports_check_mode=True)
    given = module.params
    run_info(module, lambda: inspect(Request(given["root"], given["kernel"] or "", given["nvml"])))


if __name__ == "__main__":
    main()
