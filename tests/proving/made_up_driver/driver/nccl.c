// NCCL: what CuPy can ask of it. nccl.py is told of every call, checks it, and carries the arrays.
#include "state.h"

enum { SUCCESS, INVALID_ARGUMENT = 4, INVALID_USAGE };
typedef struct { char bytes[128]; } Id;
typedef const char *Text;
typedef void *Stream, *Comm;

struct Call {  // `Call` in nccl.py has the same fields
    const char *name;
    const Id *id;
    const void *from;
    void *to;
    size_t count;
    long long comm, type, op, root, stream, found;
    int device, stream_device;
};
typedef int Told(struct Call *);
static Told *told;
static _Thread_local char last_text[1000];

API void made_up_nccl(Told *by) { told = by; }
API void made_up_nccl_failed(const char *text) { snprintf(last_text, sizeof last_text, "%s", text); }
int made_up_nccl_refuse(const char *what) {
    made_up_refuse(what);
    snprintf(last_text, sizeof last_text, "the made-up NCCL does not have %s", what);
    return INVALID_USAGE;
}

// How much of a block lies behind an address, if it is memory of this device; else nothing.
API size_t made_up_room(const void *address, int device) {
    const struct Memory *block = memory_at(address);
    if (!block || block->type != cudaMemoryTypeDevice || block->device != device) return 0;
    return block->start + block->bytes - (const char *)address;
}
// A collective, to be carried; not while its stream is captured.
static int tell(struct Call call) {
    if (!told) return made_up_nccl_refuse("a carrier");
    const struct Capture *capture = capture_of((const void *)call.stream);
    if (capture && capture->graph) return made_up_nccl_refuse("collectives in a capture");
    call.device = current_device;
    call.stream_device = stream_device((const void *)call.stream);
    return told(&call);
}
static int ask(const char *name, Comm comm, int *found) {
    struct Call call = {.name = name, .comm = (long long)comm};
    if (!told) return made_up_nccl_refuse("a carrier");
    call.device = current_device;
    const int status = told(&call);
    if (found) *found = call.found;
    return status;
}

API Text ncclGetErrorString(int status) { return status ? last_text : "no error"; }
API int ncclGetVersion(int *version) { return *version = 22707, SUCCESS; }

// A name has bytes of all kinds, zero among them.
API int ncclGetUniqueId(Id *id) {
    FILE *source = fopen("/dev/urandom", "rb");
    const bool there = source && fread(id, sizeof *id, 1, source);
    if (source) fclose(source);
    id->bytes[0] = 0, id->bytes[1] = (char)0xff;
    return there ? ask("getUniqueId", NULL, NULL) : INVALID_USAGE;
}
API int ncclCommInitRankConfig(Comm *comm, int ranks, Id id, int rank, void *config) {
    struct Call call = {.name = "initRank", .id = &id, .count = ranks, .root = rank};
    if (!told || config) return made_up_nccl_refuse("a configuration");
    call.device = current_device;
    const int status = told(&call);
    *comm = status ? NULL : (Comm)call.found;
    return status;
}
API int ncclCommDestroy(Comm comm) { return ask("destroy", comm, NULL); }
API int ncclCommAbort(Comm comm) { return ask("abort", comm, NULL); }
API int ncclCommCount(Comm comm, int *found) { return ask("size", comm, found); }
API int ncclCommUserRank(Comm comm, int *found) { return ask("rank", comm, found); }
API int ncclCommCuDevice(Comm comm, int *found) { return ask("device", comm, found); }
API int ncclCommGetAsyncError(Comm comm, int *found) { return *found = SUCCESS, SUCCESS; }
API int ncclGroupStart(void) { return ask("groupStart", NULL, NULL); }
API int ncclGroupEnd(void) { return ask("groupEnd", NULL, NULL); }

API int ncclReduceScatter(const void *from, void *to, size_t count, int type, int op, Comm comm,
                          Stream stream) {
    return tell((struct Call){.name = "reduceScatter", .from = from, .to = to, .count = count,
        .type = type, .op = op, .comm = (long long)comm, .stream = (long long)stream});
}
API int ncclReduce(const void *from, void *to, size_t count, int type, int op, int root, Comm comm,
                   Stream stream) {
    return tell((struct Call){.name = "reduce", .from = from, .to = to, .count = count, .type = type,
        .op = op, .root = root, .comm = (long long)comm, .stream = (long long)stream});
}
API int ncclAllGather(const void *from, void *to, size_t count, int type, Comm comm, Stream stream) {
    return tell((struct Call){.name = "allGather", .from = from, .to = to, .count = count,
        .type = type, .comm = (long long)comm, .stream = (long long)stream});
}
API int ncclBcast(void *at, size_t count, int type, int root, Comm comm, Stream stream) {
    return tell((struct Call){.name = "bcast", .from = at, .to = at, .count = count, .type = type,
        .root = root, .comm = (long long)comm, .stream = (long long)stream});
}
