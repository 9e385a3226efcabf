// Memory of the devices: pages of the host's, full of NaN bits at first. They lie in a range of
// addresses of their own, where nobody may touch what is not allocated, or no longer.
#include "state.h"
#include <sys/mman.h>

static const size_t PAGE = 4096, POISONED = 16 << 20;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct Memory *blocks;  // in order of their addresses
static size_t count, room, used[DEVICES];
static const size_t RANGE = 1ull << 40;
static char *range, *next;  // allocations begin in its middle half, each behind the one before

// The place of the first block that begins behind `address`.
static size_t behind(const void *address) {
    size_t low = 0, high = count;
    while (low < high) {
        const size_t middle = (low + high) / 2;
        if (blocks[middle].start <= (const char *)address) low = middle + 1;
        else high = middle;
    }
    return low;
}

// A copy, in this thread, of what is known of the block.
struct Memory *memory_at(const void *address) {
    static _Thread_local struct Memory found;
    pthread_mutex_lock(&lock);
    const size_t place = behind(address);
    if (place) found = blocks[place - 1];
    pthread_mutex_unlock(&lock);
    return place && (const char *)address < found.start + found.bytes ? &found : NULL;
}

size_t free_memory(int device) { return MEMORY - used[device]; }

// Addresses that no block has, from page to page, with a page before and behind.
static char *free_pages(size_t bytes) {
    if (!range) {
        range = mmap(NULL, RANGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        next = range == MAP_FAILED ? NULL : range + RANGE / 4;
    }
    while (next) {
        if (next + bytes + 2 * PAGE > range + RANGE / 4 * 3) next = range + RANGE / 4;
        const size_t before = behind(next + bytes + 2 * PAGE);
        if (!before) break;
        const struct Memory *last = &blocks[before - 1];
        char *end = (char *)((uintptr_t)last->start & -PAGE) + last->mapped;
        if (end <= next) break;
        next = end;
    }
    char *found = next ? next + PAGE : NULL;
    next += bytes + PAGE;
    return found;
}

// The end of what was asked for, rounded up to what CUDA aligns to, lies at a page of no access.
static int allocate(void **result, size_t bytes, int device, enum cudaMemoryType type) {
    *result = NULL;
    if (!bytes) return cudaSuccess;
    const size_t whole = (bytes + 511) / 512 * 512, pages = (whole + PAGE - 1) / PAGE * PAGE;
    pthread_mutex_lock(&lock);
    int status = cudaErrorMemoryAllocation;
    if (type == cudaMemoryTypeHost || (bytes <= MEMORY && pages <= free_memory(device))) {
        char *start = free_pages(pages);
        if (start && !mprotect(start, pages, PROT_READ | PROT_WRITE)) {
            start += pages - whole;
            memset(start, 0xff, whole < POISONED ? whole : POISONED);
            if (count == room) blocks = realloc(blocks, (room = 2 * room + 64) * sizeof *blocks);
            const size_t place = behind(start);
            memmove(blocks + place + 1, blocks + place, (count++ - place) * sizeof *blocks);
            blocks[place] = (struct Memory){start, bytes, pages, device, type};
            if (type == cudaMemoryTypeDevice) used[device] += pages;
            *result = start, status = cudaSuccess;
        }
    }
    pthread_mutex_unlock(&lock);
    return status;
}

static int release(void *start, enum cudaMemoryType type) {
    if (!start) return cudaSuccess;
    pthread_mutex_lock(&lock);
    const size_t place = behind(start);
    const bool known = place && blocks[place - 1].start == start && blocks[place - 1].type == type;
    if (known) {
        const struct Memory block = blocks[place - 1];
        mmap((void *)((uintptr_t)start & -PAGE), block.mapped, PROT_NONE,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
        memmove(blocks + place - 1, blocks + place, (count-- - place) * sizeof *blocks);
        if (type == cudaMemoryTypeDevice) used[block.device] -= block.mapped;
    }
    pthread_mutex_unlock(&lock);
    return known ? cudaSuccess : failed(cudaErrorInvalidValue, "%p was not allocated", start);
}

API cudaError_t cudaMalloc(void **result, size_t bytes) {
    note(ALLOCATION, "allocate %zu on %d", bytes, current_device);
    return allocate(result, bytes, current_device, cudaMemoryTypeDevice);
}
API cudaError_t cudaFree(void *start) {
    note(RELEASE, "release %p", start);
    return release(start, cudaMemoryTypeDevice);
}
API cudaError_t cudaHostAlloc(void **result, size_t bytes, unsigned flags) {
    return allocate(result, bytes, 0, cudaMemoryTypeHost);
}
API cudaError_t cudaFreeHost(void *start) { return release(start, cudaMemoryTypeHost); }
API cudaError_t cudaMemGetInfo(size_t *available, size_t *total) {
    *available = free_memory(current_device), *total = MEMORY;
    return cudaSuccess;
}
API cudaError_t cudaPointerGetAttributes(struct cudaPointerAttributes *to, const void *address) {
    memset(to, 0, sizeof *to);
    const struct Memory *block = memory_at(address);
    to->type = block ? block->type : cudaMemoryTypeUnregistered;
    to->device = block ? block->device : -1;
    if (block || address) to->hostPointer = (void *)address;
    if (block && block->type == cudaMemoryTypeDevice) {
        to->devicePointer = (void *)address;
        to->hostPointer = NULL;
    }
    return cudaSuccess;
}

// --- copies --------------------------------------------------------------------------------------
// Both ends must be what `kind` says, and no byte may lie outside of its block.
static int copy(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind) {
    const bool device[] = {kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice,
                           kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice};
    const void *ends[] = {to, from};
    for (int i = 0; i < 2 && bytes; ++i) {
        const struct Memory *block = memory_at(ends[i]);
        const bool there = block && block->type == cudaMemoryTypeDevice;
        if (kind != cudaMemcpyDefault && there != device[i])
            return failed(cudaErrorInvalidValue, "a copy of kind %d, but %p is %s memory", kind,
                          ends[i], there ? "device" : "no device");
        if (block && (const char *)ends[i] + bytes > block->start + block->bytes)
            return failed(cudaErrorInvalidValue, "a copy of %zu bytes leaves the block of %p", bytes,
                          ends[i]);
    }
    memmove(to, from, bytes);
    return cudaSuccess;
}

static const char *const KIND_NAMES[] = {"host to host", "host to device", "device to host",
                                         "device to device", "default"};
API cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind) {
    note(COPY, "copy %zu %s", bytes, KIND_NAMES[kind]);
    note(WAIT, "wait for a copy");
    return copy(to, from, bytes, kind);
}
struct Copy { void *to; const void *from; size_t bytes; enum cudaMemcpyKind kind; };
static int copy_again(void *argument) {
    const struct Copy *asked = argument;
    return copy(asked->to, asked->from, asked->bytes, asked->kind);
}
API cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind,
                                cudaStream_t stream) {
    const struct Copy asked = {to, from, bytes, kind};
    if (recorded(stream, copy_again, &asked, sizeof asked))
        return note(NODE, "record copy %zu %s", bytes, KIND_NAMES[kind]), cudaSuccess;
    note(COPY, "copy %zu %s, stream %p", bytes, KIND_NAMES[kind], (void *)stream);
    return copy(to, from, bytes, kind);
}
API cudaError_t cudaMemcpyPeer(void *to, int device, const void *from, int source, size_t bytes) {
    note(COPY, "copy %zu from device %d to %d", bytes, source, device);
    return copy(to, from, bytes, cudaMemcpyDeviceToDevice);
}
API cudaError_t cudaMemcpyPeerAsync(void *to, int device, const void *from, int source,
                                    size_t bytes, cudaStream_t stream) {
    return cudaMemcpyPeer(to, device, from, source, bytes);
}
static int fill(void *to, int value, size_t bytes) {
    const struct Memory *block = memory_at(to);
    if (bytes && (!block || (char *)to + bytes > block->start + block->bytes))
        return failed(cudaErrorInvalidValue, "a fill of %zu bytes leaves the block of %p", bytes, to);
    memset(to, value, bytes);
    return cudaSuccess;
}
struct Fill { void *to; int value; size_t bytes; };
static int fill_again(void *argument) {
    const struct Fill *asked = argument;
    return fill(asked->to, asked->value, asked->bytes);
}
API cudaError_t cudaMemsetAsync(void *to, int value, size_t bytes, cudaStream_t stream) {
    const struct Fill asked = {to, value, bytes};
    if (recorded(stream, fill_again, &asked, sizeof asked))
        return note(NODE, "record fill %zu", bytes), cudaSuccess;
    note(FILL, "fill %zu", bytes);
    return fill(to, value, bytes);
}
API cudaError_t cudaMemset(void *to, int value, size_t bytes) {
    return cudaMemsetAsync(to, value, bytes, NULL);
}
