/* Copyright: serving.triton contributors
   GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

   A libnvidia-ml.so.1 of a machine without GPU: two GPUs, one of them in MIG mode, as NVIDIA's nvml.h lays their structures.
   FAKE_NVML=mismatch answers as after an upgrade without reboot; FAKE_NVML=lost has the second GPU fall off the bus. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OK = 0, INVALID = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, LOST = 15, MISMATCH = 18 };
enum { PLAIN = 1, PARTITIONED = 2, SLICE = 3 };

struct pci { char legacy[16]; unsigned domain, bus, device, id, subsystem; char bus_id[32]; };
struct memory { unsigned long long total, free, used; };

static int is(const char *mode) { const char *asked = getenv("FAKE_NVML"); return asked && !strcmp(asked, mode); }
static int copy(char *to, unsigned length, const char *text) { snprintf(to, length, "%s", text); return OK; }

int nvmlInitWithFlags(unsigned flags) { (void)flags; return is("mismatch") ? MISMATCH : OK; }
int nvmlShutdown(void) { return OK; }
const char *nvmlErrorString(int code) { return code == MISMATCH ? "Driver/library version mismatch" : code == LOST ? "GPU is lost" : "error"; }
int nvmlSystemGetCudaDriverVersion_v2(int *version) { *version = 12040; return OK; }
int nvmlDeviceGetCount_v2(unsigned *count) { *count = 2; return OK; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device) {
  if (index && is("lost")) return LOST;
  *device = (void *)(long)(index ? PARTITIONED : PLAIN);
  return OK;
}
int nvmlDeviceGetPciInfo_v3(void *device, struct pci *info) {
  memset(info, 0, sizeof *info);
  return copy(info->bus_id, sizeof info->bus_id, (long)device == PLAIN ? "00000000:01:00.0" : "00000000:02:00.0");
}
int nvmlDeviceGetCudaComputeCapability(void *device, int *major, int *minor) { *major = (long)device == PLAIN ? 8 : 9; *minor = (long)device == PLAIN ? 9 : 0; return OK; }
int nvmlDeviceGetName(void *device, char *name, unsigned length) {
  return copy(name, length, (long)device == PLAIN ? "NVIDIA L4" : (long)device == SLICE ? "NVIDIA H100 80GB HBM3 MIG 3g.40gb" : "NVIDIA H100 80GB HBM3");
}
int nvmlDeviceGetUUID(void *device, char *uuid, unsigned length) {
  return copy(uuid, length, (long)device == PLAIN ? "GPU-1" : (long)device == SLICE ? "MIG-3" : "GPU-2");
}
int nvmlDeviceGetMemoryInfo(void *device, struct memory *memory) {
  memset(memory, 0, sizeof *memory);
  memory->total = ((long)device == PLAIN ? 23034ULL : (long)device == SLICE ? 40320ULL : 81559ULL) << 20;
  return OK;
}
int nvmlDeviceGetMigMode(void *device, unsigned *current, unsigned *pending) {
  if ((long)device == PLAIN) return NOT_SUPPORTED;
  *current = *pending = 1;
  return OK;
}
int nvmlDeviceGetMaxMigDeviceCount(void *device, unsigned *count) { (void)device; *count = 7; return OK; }
int nvmlDeviceGetMigDeviceHandleByIndex(void *device, unsigned index, void **slice) {
  (void)device;
  if (index != 1) return NOT_FOUND;
  *slice = (void *)(long)SLICE;
  return OK;
}
int nvmlDeviceGetGpuInstanceId(void *device, unsigned *id) { *id = 2; return (long)device == SLICE ? OK : INVALID; }
int nvmlDeviceGetComputeInstanceId(void *device, unsigned *id) { *id = 0; return (long)device == SLICE ? OK : INVALID; }
