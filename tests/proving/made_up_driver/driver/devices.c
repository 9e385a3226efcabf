// Devices, their contexts and what they tell of themselves.
#include "state.h"
#include <dlfcn.h>

_Thread_local int current_device;
static _Thread_local bool bound;  // a context was made current in this thread
static int contexts[DEVICES];     // the primary contexts are their addresses
#define CONTEXT(device) ((CUcontext)&contexts[device])
#define VERSION 13000
static const char NAME[] = "made-up GPU on the CPU";
static int places[DEVICES] = {0, 1}, visible = 2;  // where in the machine each visible one is

// The list of CUDA_VISIBLE_DEVICES ends, as NVIDIA's does, at the first number that there is not.
__attribute__((constructor)) static void look(void) {
    const char *list = getenv("CUDA_VISIBLE_DEVICES");
    if (!list) return;
    for (visible = 0; visible < DEVICES; list += *list == ',') {
        char *end;
        const long place = strtol(list, &end, 10);
        if (end == list || place < 0 || place >= DEVICES) break;
        places[visible++] = place;
        list = end;
    }
}

static int attribute(int which) {
    switch (which) {
        case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR: return 7;  // as __CUDA_ARCH__
        case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR: return 5;
        case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT: return 4;
        case CU_DEVICE_ATTRIBUTE_WARP_SIZE: return 32;
        case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK: return 1024;
        case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR: return 1024;
        case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_X: return 1024;
        case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Y: return 1024;
        case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Z: return 64;
        case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X: return 0x7fffffff;
        case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Y: return 65535;
        case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Z: return 65535;
        case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK: return 48 << 10;
        case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN: return 64 << 10;
        case CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING: return 1;
        default: return 0;  // it has no such feature
    }
}

// --- the driver ----------------------------------------------------------------------------------
API CUresult cuInit(unsigned flags) { return flags ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS; }
API CUresult cuDriverGetVersion(int *version) { return *version = VERSION, CUDA_SUCCESS; }
API CUresult cuDeviceGetCount(int *count) { return *count = visible, CUDA_SUCCESS; }
API CUresult cuDeviceGet(CUdevice *device, int ordinal) {
    if (ordinal < 0 || ordinal >= visible) return CUDA_ERROR_INVALID_DEVICE;
    return *device = ordinal, CUDA_SUCCESS;
}
API CUresult cuDeviceGetAttribute(int *value, CUdevice_attribute which, CUdevice device) {
    return *value = attribute(which), CUDA_SUCCESS;
}
API CUresult cuCtxGetCurrent(CUcontext *context) {
    return *context = bound ? CONTEXT(current_device) : NULL, CUDA_SUCCESS;
}
API CUresult cuCtxSetCurrent(CUcontext context) {
    bound = context;
    if (context) current_device = (int *)context - contexts;
    return CUDA_SUCCESS;
}
API CUresult cuCtxGetDevice(CUdevice *device) {
    if (!bound) return CUDA_ERROR_INVALID_CONTEXT;
    return *device = current_device, CUDA_SUCCESS;
}
API CUresult cuDevicePrimaryCtxRetain(CUcontext *context, CUdevice device) {
    return *context = CONTEXT(device), CUDA_SUCCESS;
}
API CUresult cuDevicePrimaryCtxRelease_v2(CUdevice device) { return CUDA_SUCCESS; }
API CUresult cuStreamGetCtx(CUstream stream, CUcontext *context) {
    return *context = CONTEXT(stream_device(stream)), CUDA_SUCCESS;
}

static void *function_of(const char *name, const char *version) {
    extern const char *const made_up_refusals[];  // libraries.py writes them
    static void *self;
    Dl_info info;
    if (!self && dladdr((void *)cuInit, &info)) self = dlopen(info.dli_fname, RTLD_NOW);
    char whole[200];
    snprintf(whole, sizeof whole, "%s%s", name, version);
    for (const char *const *refusal = made_up_refusals; *refusal; ++refusal)
        if (!strcmp(whole, *refusal)) return NULL;
    return dlsym(self, whole);
}

// What looks functions up by name, as Numba does, is told here what there is none of.
API CUresult cuGetProcAddress_v2(const char *name, void **function, int version, cuuint64_t flags,
                                 CUdriverProcAddressQueryResult *result) {
    *function = function_of(name, "_v2");
    if (!*function) *function = function_of(name, "");
    const bool found = *function;
    if (result) *result = found ? CU_GET_PROC_ADDRESS_SUCCESS : CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
    return found ? CUDA_SUCCESS : CUDA_ERROR_NOT_FOUND;
}
API CUresult cuGetProcAddress(const char *name, void **function, int version, cuuint64_t flags) {
    return cuGetProcAddress_v2(name, function, version, flags, NULL);
}
// NVIDIA's tables of private functions: Numba asks whether there are any.
API CUresult cuGetExportTable(const void **table, const CUuuid *which) {
    return *table = NULL, CUDA_ERROR_NOT_FOUND;
}

// --- the runtime ---------------------------------------------------------------------------------
API cudaError_t cudaDriverGetVersion(int *version) { return *version = VERSION, cudaSuccess; }
API cudaError_t cudaRuntimeGetVersion(int *version) { return *version = VERSION, cudaSuccess; }
API cudaError_t cudaGetDeviceCount(int *count) {
    return *count = visible, visible ? cudaSuccess : cudaErrorNoDevice;
}
API cudaError_t cudaGetDevice(int *device) { return *device = current_device, cudaSuccess; }
API cudaError_t cudaSetDevice(int device) {
    if (device < 0 || device >= visible) return cudaErrorInvalidDevice;
    current_device = device, bound = true;
    return cudaSuccess;
}
API cudaError_t cudaDeviceGetAttribute(int *value, enum cudaDeviceAttr which, int device) {
    if (device < 0 || device >= visible) return cudaErrorInvalidDevice;
    return *value = attribute(which), cudaSuccess;
}
API cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *to, int device) {
    if (device < 0 || device >= visible) return cudaErrorInvalidDevice;
    memset(to, 0, sizeof *to);
    strcpy(to->name, NAME);
    to->major = attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR);
    to->minor = attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR);
    to->multiProcessorCount = attribute(CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT);
    to->warpSize = 32;
    to->totalGlobalMem = MEMORY;
    to->sharedMemPerBlock = attribute(CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK);
    to->maxThreadsPerBlock = to->maxThreadsPerMultiProcessor = 1024;
    memcpy(to->maxThreadsDim, (int[]){1024, 1024, 64}, sizeof to->maxThreadsDim);
    memcpy(to->maxGridSize, (int[]){0x7fffffff, 65535, 65535}, sizeof to->maxGridSize);
    to->l2CacheSize = 4 << 20;
    to->unifiedAddressing = 1;
    to->pciBusID = places[device];
    return cudaSuccess;
}
API cudaError_t cudaDeviceGetPCIBusId(char *id, int room, int device) {
    if (device < 0 || device >= visible) return cudaErrorInvalidDevice;
    snprintf(id, room, "0000:%02X:00.0", places[device]);
    return cudaSuccess;
}
API cudaError_t cudaDeviceCanAccessPeer(int *can, int device, int peer) {
    return *can = 1, cudaSuccess;
}
API cudaError_t cudaDeviceEnablePeerAccess(int peer, unsigned flags) { return cudaSuccess; }
