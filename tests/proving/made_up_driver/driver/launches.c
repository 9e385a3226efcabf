// Modules, which are libraries that g++ made of CUDA C text, and launches of their kernels.
#include "state.h"
#include <dlfcn.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>

typedef const char *Run(void *const *values, const unsigned *shape, size_t dynamic, size_t limit,
                        long long order);
// How many bytes each argument has, and how many there are.
typedef int Sizes(size_t *sizes);
struct Function { char name[200]; Run *run; Sizes *sizes; const char *(*where)(void); int dynamic; };

// `image` is what compiling.py made of a text: the mark, then the path of a library.
static const char MARK[] = "made-up kernels ";
API CUresult cuModuleLoadData(CUmodule *module, const void *image) {
    if (strncmp(image, MARK, sizeof MARK - 1))
        return failed(CUDA_ERROR_NO_BINARY_FOR_GPU,
                      "the made-up driver runs no machine code of GPUs, only CUDA C text");
    void *library = dlopen((const char *)image + sizeof MARK - 1, RTLD_NOW | RTLD_LOCAL);
    if (!library) return failed(CUDA_ERROR_NO_BINARY_FOR_GPU, "%s", dlerror());
    static char *stacks;  // one launch at a time has them
    size_t (*lend)(void *) = (size_t (*)(void *))dlsym(library, "onepass_lend");
    if (!stacks)
        stacks = mmap(NULL, lend(NULL), PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (stacks != MAP_FAILED) lend(stacks);
    return *module = library, CUDA_SUCCESS;
}
// Numba's way in.
API CUresult cuModuleLoadDataEx(CUmodule *module, const void *image, unsigned count,
                                CUjit_option *options, void **values) {
    return cuModuleLoadData(module, image);
}
API CUresult cuModuleUnload(CUmodule module) { return dlclose(module), CUDA_SUCCESS; }
API CUresult cuModuleGetFunction(CUfunction *function, CUmodule module, const char *name) {
    char symbol[200];
    snprintf(symbol, sizeof symbol, "onepass_launch_%s", name);
    Run *run = (Run *)dlsym(module, symbol);
    if (!run) return failed(CUDA_ERROR_NOT_FOUND, "the module has no kernel %s", name);
    struct Function *made = calloc(1, sizeof *made);  // as long as its module, in CUDA as here
    snprintf(made->name, sizeof made->name, "%s", name);
    made->run = run, made->dynamic = 48 << 10;
    snprintf(symbol, sizeof symbol, "onepass_sizes_%s", name);
    made->sizes = (Sizes *)dlsym(module, symbol);
    made->where = (const char *(*)(void))dlsym(module, "onepass_where");
    return *function = (CUfunction)made, CUDA_SUCCESS;
}
API CUresult cuFuncGetAttribute(int *value, CUfunction_attribute which, CUfunction function) {
    switch (which) {
        case CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK: *value = 1024; break;
        case CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES:
            *value = ((struct Function *)function)->dynamic;
            break;
        default: return made_up_refuse("this attribute in cuFuncGetAttribute");
    }
    return CUDA_SUCCESS;
}
API CUresult cuFuncSetAttribute(CUfunction function, CUfunction_attribute which, int value) {
    if (which != CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES)
        return made_up_refuse("this attribute in cuFuncSetAttribute");
    if (value > 64 << 10) return CUDA_ERROR_INVALID_VALUE;
    return ((struct Function *)function)->dynamic = value, CUDA_SUCCESS;
}
API CUresult cuOccupancyMaxActiveBlocksPerMultiprocessor(int *count, CUfunction function,
                                                         int threads, size_t dynamic) {
    return *count = 1024 / threads, CUDA_SUCCESS;
}
API CUresult cuOccupancyMaxPotentialBlockSize(int *blocks, int *threads, CUfunction function,
                                              CUoccupancyB2DSize size, size_t dynamic, int limit) {
    return *blocks = 4, *threads = 256, CUDA_SUCCESS;
}

// --- a launch ------------------------------------------------------------------------------------
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static sigjmp_buf before;
static int signalled;
static void *where;

static void trapped(int signal, siginfo_t *info, void *context) {
    signalled = signal, where = info->si_addr;
    siglongjmp(before, 1);
}

// Runs the kernel; signals that it raises, on a fiber's stack, lead back here.
static int run_alone(struct Function *kernel, void **values, const unsigned *shape, unsigned dynamic) {
    static const int SIGNALS[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL};
    enum { COUNT = sizeof SIGNALS / sizeof *SIGNALS };
    struct sigaction ours = {.sa_sigaction = trapped, .sa_flags = SA_SIGINFO}, kept[COUNT];
    for (int i = 0; i < COUNT; ++i) sigaction(SIGNALS[i], &ours, &kept[i]);
    const char *wrong = "";
    signalled = 0;
    if (!sigsetjmp(before, 1)) wrong = kernel->run(values, shape, dynamic, kernel->dynamic, 0);
    for (int i = 0; i < COUNT; ++i) sigaction(SIGNALS[i], &kept[i], NULL);
    if (signalled == SIGSEGV || signalled == SIGBUS)
        return failed(CUDA_ERROR_ILLEGAL_ADDRESS,
                      "an illegal memory access was encountered: kernel %s, address %p, %s",
                      kernel->name, where, kernel->where());
    if (signalled)
        return failed(CUDA_ERROR_LAUNCH_FAILED, "unspecified launch failure: kernel %s, %s, %s",
                      kernel->name, strsignal(signalled), kernel->where());
    if (*wrong)
        return failed(CUDA_ERROR_LAUNCH_FAILED, "unspecified launch failure: kernel %s, %s",
                      kernel->name, wrong);
    return CUDA_SUCCESS;
}

// One kernel at a time.
static int run(struct Function *kernel, void **values, const unsigned *shape, unsigned dynamic) {
    pthread_mutex_lock(&lock);
    const int status = run_alone(kernel, values, shape, dynamic);
    pthread_mutex_unlock(&lock);
    return status;
}

// A launch that is written down, with its arguments behind one another.
enum { ARGUMENTS = 64 };
struct Launch {
    struct Function *kernel;
    unsigned shape[6], dynamic;
    int count;
    size_t starts[ARGUMENTS];
    char bytes[4096];
};
static int launch_again(void *argument) {
    struct Launch *asked = argument;
    void *values[ARGUMENTS];
    for (int i = 0; i < asked->count; ++i) values[i] = asked->bytes + asked->starts[i];
    return run(asked->kernel, values, asked->shape, asked->dynamic);
}
static int write_down(struct Function *kernel, void **values, const unsigned *shape,
                      unsigned dynamic, CUstream stream) {
    struct Launch asked = {kernel, .dynamic = dynamic};
    size_t sizes[ARGUMENTS], end = 0;
    memcpy(asked.shape, shape, sizeof asked.shape);
    asked.count = kernel->sizes(sizes);
    for (int i = 0; i < asked.count; ++i) {
        end = (end + 15) / 16 * 16;
        asked.starts[i] = end;
        if (end + sizes[i] > sizeof asked.bytes) abort();
        memcpy(asked.bytes + end, values[i], sizes[i]);
        end += sizes[i];
    }
    recorded(stream, launch_again, &asked, sizeof asked);
    return CUDA_SUCCESS;
}

API CUresult cuLaunchKernel(CUfunction function, unsigned grid_x, unsigned grid_y, unsigned grid_z,
                            unsigned block_x, unsigned block_y, unsigned block_z, unsigned dynamic,
                            CUstream stream, void **values, void **extra) {
    struct Function *kernel = (struct Function *)function;
    const unsigned shape[] = {grid_x, grid_y, grid_z, block_x, block_y, block_z};
    static const unsigned most[] = {0x7fffffff, 65535, 65535, 1024, 1024, 64};
    const bool captures = capture_of(stream) && capture_of(stream)->graph;
    note(captures ? NODE : LAUNCH, "launch %s, grid %u %u %u, block %u %u %u, shared %u, stream %p, device %d",
         kernel->name, grid_x, grid_y, grid_z, block_x, block_y, block_z, dynamic, (void *)stream,
         current_device);
    if (extra) return made_up_refuse("cuLaunchKernel with `extra`");
    for (int i = 0; i < 6; ++i)
        if (!shape[i] || shape[i] > most[i])
            return failed(CUDA_ERROR_INVALID_VALUE, "kernel %s: size %d of the launch is %u",
                          kernel->name, i, shape[i]);
    if (block_x * block_y * block_z > 1024)
        return failed(CUDA_ERROR_INVALID_VALUE, "kernel %s: more than 1024 threads a block",
                      kernel->name);
    if (stream_device(stream) != current_device)
        return failed(CUDA_ERROR_INVALID_HANDLE, "kernel %s: its stream is another device's",
                      kernel->name);
    return captures ? write_down(kernel, values, shape, dynamic, stream)
                    : run(kernel, values, shape, dynamic);
}
