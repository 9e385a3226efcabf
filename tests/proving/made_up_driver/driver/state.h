// What the parts of the made-up CUDA driver share. Host memory stands in for device memory, and
// all work is done in the call that asks for it.
#pragma once
#define _GNU_SOURCE
#define __CUDA_API_VERSION_INTERNAL  // cuda.h renames no function
#include <cuda.h>
#include <cuda_runtime_api.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define API __attribute__((visibility("default")))
#define DEVICES 4  // that there are; two of them are visible, or those of CUDA_VISIBLE_DEVICES
#define MEMORY (4ull << 30)  // bytes of each device

// What is counted; `NAMES` in counting.py are in this order.
enum Kind { LAUNCH, COPY, FILL, WAIT, ALLOCATION, RELEASE, NODE, GRAPH, ORDER, KINDS };
API void note(enum Kind kind, const char *format, ...) __attribute__((format(printf, 2, 3)));

// The error of a function that this driver does not have, or of a use of it: 801, which both the
// driver and the runtime call "not supported". Its text, and `made_up_refused`, tell which.
API int made_up_refuse(const char *what);
// An error whose text is `format`.
int failed(int status, const char *format, ...) __attribute__((format(printf, 2, 3)));

API extern _Thread_local int current_device;

struct Graph;
struct Capture { struct Graph *graph; bool broken; };
struct Stream { int device; unsigned flags; int priority; struct Capture capture; };
API int stream_device(const void *stream);  // that of a stream; the current one of a default stream

// What a stream captures; null for a default stream, which can't.
API struct Capture *capture_of(const void *stream);
// Work, of which an argument tells all. Whoever is asked for some asks first whether the stream
// captures: then `bytes` of the argument were written down, and nothing is to be done.
typedef int Work(void *argument);
API bool recorded(const void *stream, Work *work, const void *argument, size_t bytes);
// Whether the stream captures, which whoever waits for it ends: the error is told.
bool breaks_capture(const void *stream);

// The block of memory that holds an address; null where it is none of this driver's.
struct Memory { char *start; size_t bytes, mapped; int device; enum cudaMemoryType type; };
API struct Memory *memory_at(const void *address);
size_t free_memory(int device);
