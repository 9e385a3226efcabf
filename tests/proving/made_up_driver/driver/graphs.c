// Stream capture: what is asked of a capturing stream is written down, and done whenever the graph
// is launched.
#include "state.h"

struct Node { Work *work; void *argument; };
struct Graph { struct Node *nodes; size_t count, room; int users; };

bool recorded(const void *stream, Work *work, const void *argument, size_t bytes) {
    struct Graph *graph = capture_of(stream) ? capture_of(stream)->graph : NULL;
    if (!graph) return false;
    if (graph->count == graph->room)
        graph->nodes = realloc(graph->nodes, (graph->room = 2 * graph->room + 16) * sizeof *graph->nodes);
    void *kept = malloc(bytes);
    memcpy(kept, argument, bytes);
    graph->nodes[graph->count++] = (struct Node){work, kept};
    return true;
}

bool breaks_capture(const void *stream) {
    struct Capture *capture = capture_of(stream);
    if (!capture || !capture->graph) return false;
    capture->broken = true;
    failed(cudaErrorStreamCaptureUnsupported, "operation not permitted when stream is capturing");
    return true;
}

static void release(struct Graph *graph) {
    if (--graph->users) return;
    for (size_t i = 0; i < graph->count; ++i) free(graph->nodes[i].argument);
    free(graph->nodes);
    free(graph);
}

API cudaError_t cudaStreamBeginCapture(cudaStream_t stream, enum cudaStreamCaptureMode mode) {
    struct Capture *capture = capture_of(stream);
    if (!capture)
        return failed(cudaErrorStreamCaptureUnsupported, "a default stream can't be captured");
    if (capture->graph) return failed(cudaErrorIllegalState, "the stream is capturing already");
    *capture = (struct Capture){calloc(1, sizeof(struct Graph)), false};
    return capture->graph->users = 1, cudaSuccess;
}
API cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph) {
    struct Capture *capture = capture_of(stream);
    *graph = NULL;
    if (!capture || !capture->graph)
        return failed(cudaErrorIllegalState, "the stream is not capturing");
    struct Graph *made = capture->graph;
    capture->graph = NULL;
    if (capture->broken) {
        release(made);
        return failed(cudaErrorStreamCaptureInvalidated, "the capture was invalidated before");
    }
    return *graph = (cudaGraph_t)made, cudaSuccess;
}
API cudaError_t cudaStreamIsCapturing(cudaStream_t stream, enum cudaStreamCaptureStatus *status) {
    const struct Capture *capture = capture_of(stream);
    const bool captures = capture && capture->graph;
    *status = !captures ? cudaStreamCaptureStatusNone
              : capture->broken ? cudaStreamCaptureStatusInvalidated : cudaStreamCaptureStatusActive;
    return cudaSuccess;
}
API cudaError_t cudaGraphInstantiate(cudaGraphExec_t *result, cudaGraph_t graph,
                                     unsigned long long flags) {
    ++((struct Graph *)graph)->users;
    return *result = (cudaGraphExec_t)graph, cudaSuccess;
}
API cudaError_t cudaGraphUpload(cudaGraphExec_t graph, cudaStream_t stream) { return cudaSuccess; }
API cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
    return release((struct Graph *)graph), cudaSuccess;
}
API cudaError_t cudaGraphExecDestroy(cudaGraphExec_t graph) {
    return release((struct Graph *)graph), cudaSuccess;
}
API cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream) {
    const struct Graph *graph = (const struct Graph *)exec;
    note(GRAPH, "launch a graph of %zu, stream %p", graph->count, (void *)stream);
    if (capture_of(stream) && capture_of(stream)->graph)
        return made_up_refuse("a graph in a graph");
    for (size_t i = 0; i < graph->count; ++i) {
        const int status = graph->nodes[i].work(graph->nodes[i].argument);
        if (status) return status;
    }
    return cudaSuccess;
}
