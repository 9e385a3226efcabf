// What was asked of the driver: counted, and written to a file on demand; and what went wrong.
#include "state.h"
#include <stdarg.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static long long counts[KINDS];
static FILE *trace;
static char refused[2000];
static _Thread_local int last_status;
static _Thread_local char last_text[1000];

void note(enum Kind kind, const char *format, ...) {
    pthread_mutex_lock(&lock);
    ++counts[kind];
    if (trace) {
        va_list values;
        va_start(values, format);
        vfprintf(trace, format, values);
        va_end(values);
        fputc('\n', trace);
    }
    pthread_mutex_unlock(&lock);
}

API void made_up_counts(long long *result, bool reset) {
    pthread_mutex_lock(&lock);
    memcpy(result, counts, sizeof counts);
    if (reset) memset(counts, 0, sizeof counts);
    pthread_mutex_unlock(&lock);
}

// Each call is a line of the file from now on; null ends that.
API bool made_up_trace(const char *path) {
    pthread_mutex_lock(&lock);
    if (trace) fclose(trace);
    trace = path ? fopen(path, "w") : NULL;
    pthread_mutex_unlock(&lock);
    return trace || !path;
}

int failed(int status, const char *format, ...) {
    va_list values;
    va_start(values, format);
    vsnprintf(last_text, sizeof last_text, format, values);
    va_end(values);
    last_status = status;
    return status;
}

int made_up_refuse(const char *what) {
    pthread_mutex_lock(&lock);
    const size_t used = strlen(refused);
    snprintf(refused + used, sizeof refused - used, "%s%s", used ? ", " : "", what);
    pthread_mutex_unlock(&lock);
    return failed(cudaErrorNotSupported, "the made-up driver does not have %s", what);
}

// All that was refused since it was last asked.
API void made_up_refused(char *result) {
    pthread_mutex_lock(&lock);
    memcpy(result, refused, sizeof refused);
    *refused = 0;
    pthread_mutex_unlock(&lock);
}

// --- names and texts of errors -------------------------------------------------------------------
// status, the driver's name, the runtime's name, text
static const struct { int status; const char *driver, *runtime, *text; } errors[] = {
    {0, "CUDA_SUCCESS", "cudaSuccess", "no error"},
    {1, "CUDA_ERROR_INVALID_VALUE", "cudaErrorInvalidValue", "invalid argument"},
    {2, "CUDA_ERROR_OUT_OF_MEMORY", "cudaErrorMemoryAllocation", "out of memory"},
    {100, "CUDA_ERROR_NO_DEVICE", "cudaErrorNoDevice", "no CUDA-capable device is detected"},
    {101, "CUDA_ERROR_INVALID_DEVICE", "cudaErrorInvalidDevice", "invalid device ordinal"},
    {201, "CUDA_ERROR_INVALID_CONTEXT", "cudaErrorDeviceUninitialized", "invalid device context"},
    {209, "CUDA_ERROR_NO_BINARY_FOR_GPU", "cudaErrorNoKernelImageForDevice",
     "no kernel image is available for execution on the device"},
    {400, "CUDA_ERROR_INVALID_HANDLE", "cudaErrorInvalidResourceHandle",
     "invalid resource handle"},
    {500, "CUDA_ERROR_NOT_FOUND", "cudaErrorSymbolNotFound", "named symbol not found"},
    {700, "CUDA_ERROR_ILLEGAL_ADDRESS", "cudaErrorIllegalAddress",
     "an illegal memory access was encountered"},
    {719, "CUDA_ERROR_LAUNCH_FAILED", "cudaErrorLaunchFailure", "unspecified launch failure"},
    {801, "CUDA_ERROR_NOT_SUPPORTED", "cudaErrorNotSupported", "operation not supported"},
};
#define LOOK_UP(number, field, otherwise)                                                          \
    for (size_t i = 0; i < sizeof errors / sizeof *errors; ++i)                                    \
        if (errors[i].status == (int)(number)) return errors[i].field;                             \
    return otherwise

static const char *driver_name(int status) { LOOK_UP(status, driver, "CUDA_ERROR_UNKNOWN"); }
static const char *text_of(int status) {
    if (status && status == last_status) return last_text;
    LOOK_UP(status, text, "unknown error");
}

API CUresult cuGetErrorName(CUresult status, const char **name) {
    *name = driver_name(status);
    return CUDA_SUCCESS;
}
API CUresult cuGetErrorString(CUresult status, const char **text) {
    *text = text_of(status);
    return CUDA_SUCCESS;
}
API const char *cudaGetErrorName(cudaError_t status) {
    LOOK_UP(status, runtime, "cudaErrorUnknown");
}
API const char *cudaGetErrorString(cudaError_t status) { return text_of(status); }
API cudaError_t cudaGetLastError(void) { return cudaSuccess; }  // each call tells its own error
API cudaError_t cudaPeekAtLastError(void) { return cudaSuccess; }
