// Streams and events. All work is done when it is asked for, so whatever waits finds it done.
#include "state.h"

struct Event { bool recorded; long long when; };
static long long moment;  // microseconds of made-up time: one for each record

int stream_device(const void *stream) {
    const bool own = (uintptr_t)stream > 2;  // 0, 1 and 2 are the default streams
    return own ? ((const struct Stream *)stream)->device : current_device;
}

struct Capture *capture_of(const void *stream) {
    return (uintptr_t)stream > 2 ? &((struct Stream *)stream)->capture : NULL;
}

API cudaError_t cudaStreamCreateWithPriority(cudaStream_t *stream, unsigned flags, int priority) {
    struct Stream *made = malloc(sizeof *made);
    *made = (struct Stream){current_device, flags, priority, {NULL, false}};
    return *stream = (cudaStream_t)made, cudaSuccess;
}
API cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned flags) {
    return cudaStreamCreateWithPriority(stream, flags, 0);
}
API cudaError_t cudaStreamCreate(cudaStream_t *stream) {
    return cudaStreamCreateWithPriority(stream, 0, 0);
}
API cudaError_t cudaStreamDestroy(cudaStream_t stream) { return free(stream), cudaSuccess; }
API cudaError_t cudaStreamQuery(cudaStream_t stream) { return cudaSuccess; }
API cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
    note(WAIT, "wait for stream %p", (void *)stream);
    if (breaks_capture(stream)) return cudaErrorStreamCaptureUnsupported;
    return cudaSuccess;
}
API cudaError_t cudaDeviceSynchronize(void) {
    note(WAIT, "wait for device %d", current_device);
    return cudaSuccess;
}
API cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags) {
    note(ORDER, "stream %p goes on behind an event", (void *)stream);
    return cudaSuccess;
}

API cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned flags) {
    return *event = calloc(1, sizeof(struct Event)), cudaSuccess;
}
API cudaError_t cudaEventCreate(cudaEvent_t *event) { return cudaEventCreateWithFlags(event, 0); }
API cudaError_t cudaEventDestroy(cudaEvent_t event) { return free(event), cudaSuccess; }
API cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
    *(struct Event *)event = (struct Event){true, __atomic_add_fetch(&moment, 1, __ATOMIC_RELAXED)};
    return cudaSuccess;
}
API cudaError_t cudaEventQuery(cudaEvent_t event) { return cudaSuccess; }
API cudaError_t cudaEventSynchronize(cudaEvent_t event) {
    note(WAIT, "wait for an event");
    return cudaSuccess;
}
API cudaError_t cudaEventElapsedTime(float *milliseconds, cudaEvent_t start, cudaEvent_t end) {
    const struct Event *from = (struct Event *)start, *to = (struct Event *)end;
    if (!from->recorded || !to->recorded) return cudaErrorInvalidResourceHandle;
    return *milliseconds = (to->when - from->when) / 1e3f, cudaSuccess;
}
