// cuBLASLt: matrix products with a bias, ReLU or a bias's gradient behind them, one launch each.
// What NVIDIA's pages ask for is asked for here, and what they leave open a test can choose.
#include "products.h"
#include "cublaslt.h"
#include <stdarg.h>

#define REFUSED(...) return refused(__VA_ARGS__)
static cublasStatus_t refused(const char *format, ...) {
    char what[300] = "this use of cuBLASLt: ";
    va_list values;
    va_start(values, format);
    vsnprintf(what + strlen(what), sizeof what - strlen(what), format, values);
    va_end(values);
    return made_up_refuse(what), CUBLAS_STATUS_INVALID_VALUE;
}

// --- what a test may choose ----------------------------------------------------------------------
static struct { unsigned refused; bool drops_nan, other_sums; int status; } chosen;
// Heuristics find nothing for epilogues of these bits; ReLU makes 0 of NaN; BGRADA adds up what
// BGRADB should; each product ends with this status, undone.
API void made_up_cublaslt(unsigned refused, bool drops_nan, bool other_sums, int status) {
    chosen.refused = refused, chosen.drops_nan = drops_nan, chosen.other_sums = other_sums;
    chosen.status = status;
}

// --- what is described ---------------------------------------------------------------------------
enum Mark { CONTEXT = 0xc0de01, DESCRIPTION, LAYOUT, PREFERENCE };
struct cublasLtContext { enum Mark mark; int device; };
struct Description {
    enum Mark mark;
    cublasComputeType_t compute;
    cudaDataType scale;
    int turned_a, turned_b;
    unsigned epilogue;
    void *vector;
};
struct Layout { enum Mark mark; cudaDataType type; uint64_t rows, columns; int64_t leading; };
struct Preference { enum Mark mark; uint64_t bytes; unsigned schemes, aligned[4]; };

static bool is(const void *thing, enum Mark mark) { return thing && *(enum Mark *)thing == mark; }
static cublasStatus_t destroy(void *thing, enum Mark mark) {
    if (!is(thing, mark)) REFUSED("destroying what is not, or no longer, there");
    *(enum Mark *)thing = 0;
    return free(thing), CUBLAS_STATUS_SUCCESS;
}

API cublasStatus_t cublasLtGetProperty(libraryPropertyType type, int *value) {
    if (type != MAJOR_VERSION) REFUSED("property %d", type);
    return *value = 13, CUBLAS_STATUS_SUCCESS;
}
API const char *cublasLtGetStatusName(cublasStatus_t status) {
    switch (status) {
        case CUBLAS_STATUS_SUCCESS: return "CUBLAS_STATUS_SUCCESS";
        case CUBLAS_STATUS_INVALID_VALUE: return "CUBLAS_STATUS_INVALID_VALUE";
        case CUBLAS_STATUS_EXECUTION_FAILED: return "CUBLAS_STATUS_EXECUTION_FAILED";
        case CUBLAS_STATUS_NOT_SUPPORTED: return "CUBLAS_STATUS_NOT_SUPPORTED";
        default: return NULL;
    }
}
API cublasStatus_t cublasLtCreate(cublasLtHandle_t *handle) {
    struct cublasLtContext *made = malloc(sizeof *made);
    *made = (struct cublasLtContext){CONTEXT, current_device};
    return *handle = made, CUBLAS_STATUS_SUCCESS;
}
API cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t *description,
                                            cublasComputeType_t compute, cudaDataType scale) {
    const cudaDataType wanted = compute == CUBLAS_COMPUTE_64F ? CUDA_R_64F : CUDA_R_32F;
    if (compute != CUBLAS_COMPUTE_32F && compute != CUBLAS_COMPUTE_64F)
        REFUSED("to add up in %d", compute);
    if (scale != wanted) REFUSED("factors of type %d to add up in %d", scale, compute);
    struct Description *made = malloc(sizeof *made);
    *made = (struct Description){DESCRIPTION, compute, scale};
    made->epilogue = CUBLASLT_EPILOGUE_DEFAULT;
    return *description = made, CUBLAS_STATUS_SUCCESS;
}
API cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t it) {
    return destroy(it, DESCRIPTION);
}
API cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t it,
                                                  cublasLtMatmulDescAttributes_t attribute,
                                                  const void *value, size_t bytes) {
    const bool address = attribute == CUBLASLT_MATMUL_DESC_BIAS_POINTER;
    if (!is(it, DESCRIPTION) || !value) REFUSED("an attribute of no description");
    if (bytes != (address ? 8 : 4)) REFUSED("attribute %d of %zu bytes", attribute, bytes);
    switch (attribute) {
        case CUBLASLT_MATMUL_DESC_TRANSA: it->turned_a = *(int *)value; break;
        case CUBLASLT_MATMUL_DESC_TRANSB: it->turned_b = *(int *)value; break;
        case CUBLASLT_MATMUL_DESC_EPILOGUE: it->epilogue = *(unsigned *)value; break;
        case CUBLASLT_MATMUL_DESC_BIAS_POINTER: it->vector = *(void **)value; break;
        default: REFUSED("attribute %d of a description", attribute);
    }
    return CUBLAS_STATUS_SUCCESS;
}
API cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t *layout, cudaDataType type,
                                              uint64_t rows, uint64_t columns, int64_t leading) {
    if (!rows || !columns || rows > INT32_MAX || columns > INT32_MAX || leading > INT32_MAX)
        REFUSED("a matrix of %llu by %llu", (long long)rows, (long long)columns);
    if (leading < (int64_t)rows) REFUSED("%d rows, every %d", (int)rows, (int)leading);
    if (type > CUDA_R_16F) REFUSED("a matrix of type %d", type);
    struct Layout *made = malloc(sizeof *made);
    *made = (struct Layout){LAYOUT, type, rows, columns, leading};
    return *layout = made, CUBLAS_STATUS_SUCCESS;
}
API cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t it) {
    return destroy(it, LAYOUT);
}
API cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t *preference) {
    struct Preference *made = malloc(sizeof *made);
    *made = (struct Preference){PREFERENCE, 0, 7, {256, 256, 256, 256}};
    return *preference = made, CUBLAS_STATUS_SUCCESS;
}
API cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t it) {
    return destroy(it, PREFERENCE);
}
API cublasStatus_t cublasLtMatmulPreferenceSetAttribute(
    cublasLtMatmulPreference_t it, cublasLtMatmulPreferenceAttributes_t attribute,
    const void *value, size_t bytes) {
    const bool wide = attribute == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES;
    const int matrix = attribute - CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES;
    if (!is(it, PREFERENCE) || !value) REFUSED("an attribute of no preferences");
    if (bytes != (wide ? 8 : 4)) REFUSED("preference %d of %zu bytes", attribute, bytes);
    if (wide) it->bytes = *(uint64_t *)value;
    else if (attribute == CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK)
        it->schemes = *(unsigned *)value;
    else if (matrix >= 0 && matrix < 4) it->aligned[matrix] = *(unsigned *)value;
    else REFUSED("preference %d", attribute);
    return CUBLAS_STATUS_SUCCESS;
}

// --- a product -----------------------------------------------------------------------------------
// What an algorithm was chosen for: it runs nothing else.
struct Choice {
    unsigned magic, epilogue;
    int m, n, k, ld[3];
    unsigned short turned, types, aligned[4];
    unsigned vector;  // to how many bytes it is aligned
    unsigned bytes;   // of the workspace
};
_Static_assert(sizeof(struct Choice) <= sizeof(cublasLtMatmulAlgo_t), "an algorithm holds it");

static unsigned alignment(const void *address) {
    const uintptr_t place = (uintptr_t)address | 256;
    return place & -place;
}

static cublasStatus_t chosen_for(struct Choice *choice, const struct Description *it,
                                 const struct Layout *a, const struct Layout *b,
                                 const struct Layout *c, const struct Layout *d) {
    const void *all[] = {a, b, c, d};
    for (int i = 0; i < 4; ++i)
        if (!is(it, DESCRIPTION) || !is(all[i], LAYOUT)) REFUSED("something is not described");
    const uint64_t m = it->turned_a ? a->columns : a->rows, k = it->turned_a ? a->rows : a->columns;
    const uint64_t n = it->turned_b ? b->rows : b->columns;
    const uint64_t inner = it->turned_b ? b->columns : b->rows;
    if (k != inner || d->rows != m || d->columns != n || c->rows != m || c->columns != n)
        REFUSED("matrices that don't fit: %d by %d, inner %d", (int)m, (int)n, (int)k);
    const cudaDataType type = a->type;
    if (b->type != type || c->type != type || d->type != type) REFUSED("matrices of several types");
    if ((type == CUDA_R_64F) != (it->compute == CUBLAS_COMPUTE_64F))
        REFUSED("type %d added up in %d", type, it->compute);
    const bool biased = it->epilogue & (CUBLASLT_EPILOGUE_BIAS | CUBLASLT_EPILOGUE_BGRADA);
    if (biased && !it->vector) REFUSED("epilogue %u without a vector", it->epilogue);
    if ((uintptr_t)it->vector % bytes_of(type)) REFUSED("a vector that is not aligned");
    memset(choice, 0, sizeof *choice);
    *choice = (struct Choice){0xa190, it->epilogue, m, n, k, {a->leading, b->leading, d->leading},
                              it->turned_a << 1 | it->turned_b, type};
    choice->vector = biased ? alignment(it->vector) : 0;
    return CUBLAS_STATUS_SUCCESS;
}

API cublasStatus_t cublasLtMatmulAlgoGetHeuristic(
    cublasLtHandle_t handle, cublasLtMatmulDesc_t description, cublasLtMatrixLayout_t a,
    cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
    cublasLtMatmulPreference_t preference, int wanted, cublasLtMatmulHeuristicResult_t results[],
    int *count) {
    struct Choice choice;
    *count = 0;
    if (!is(handle, CONTEXT) || handle->device != current_device)
        REFUSED("a handle of another device");
    if (!is(preference, PREFERENCE) || wanted < 1) REFUSED("heuristics without preferences");
    const int status = chosen_for(&choice, description, a, b, c, d);
    if (status) return status;
    for (int i = 0; i < 4; ++i) {
        if (preference->aligned[i] % bytes_of(a->type)) REFUSED("matrix %d is not aligned", i);
        choice.aligned[i] = preference->aligned[i];
    }
    if (choice.epilogue & chosen.refused) return CUBLAS_STATUS_NOT_SUPPORTED;
    const uint64_t sums = (uint64_t)choice.m * choice.n * (a->type == CUDA_R_64F ? 8 : 4);
    const bool alone = preference->schemes & CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
    choice.bytes = alone && sums <= preference->bytes ? sums : 0;
    memset(results, 0, sizeof *results);
    memcpy(&results->algo, &choice, sizeof choice);
    results->workspaceSize = choice.bytes, results->state = CUBLAS_STATUS_SUCCESS;
    results->wavesCount = 1;
    return *count = 1, CUBLAS_STATUS_SUCCESS;
}

// All that a launch needs, copied: the descriptions may be gone when it runs.
struct Work {
    struct Product product;
    bool sums, other_sums;
    struct Matrix vector;
    void *room;
    size_t bytes;
};

static int work(void *argument) {
    const struct Work *it = argument;
    const struct Product *p = &it->product;
    memset(it->room, 0xff, it->bytes);  // nobody else may count on it
    (p->a.type == DOUBLE ? in_double : in_float)(p);
    for (int i = 0; it->sums && i < p->m; ++i) {
        double sum = 0;
        for (int l = 0; l < p->k; ++l)
            sum += it->other_sums ? element(&p->b, l, i % p->n) : element(&p->a, i, l);
        set(&it->vector, i, 0, sum);
    }
    return 0;
}

// What lies in memory of the current device, so long as it is and aligned to so many bytes.
static bool lies(const void *start, size_t bytes, size_t aligned) {
    const struct Memory *block = memory_at(start);
    return block && block->type == cudaMemoryTypeDevice && block->device == current_device &&
           (const char *)start + bytes <= block->start + block->bytes &&
           !((uintptr_t)start % aligned);
}
static size_t reach(const struct Layout *it) {
    return ((it->columns - 1) * it->leading + it->rows) * bytes_of(it->type);
}

API cublasStatus_t cublasLtMatmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t description,
                                  const void *alpha, const void *a, cublasLtMatrixLayout_t a_layout,
                                  const void *b, cublasLtMatrixLayout_t b_layout, const void *beta,
                                  const void *c, cublasLtMatrixLayout_t c_layout, void *d,
                                  cublasLtMatrixLayout_t d_layout,
                                  const cublasLtMatmulAlgo_t *algorithm, void *workspace,
                                  size_t bytes, cudaStream_t stream) {
    struct Choice now, then;
    if (!is(handle, CONTEXT) || handle->device != current_device)
        REFUSED("a handle of another device");
    if (stream_device(stream) != current_device) REFUSED("a stream of another device");
    const int status = chosen_for(&now, description, a_layout, b_layout, c_layout, d_layout);
    if (status) return status;
    if (!algorithm) REFUSED("no algorithm");
    memcpy(&then, algorithm, sizeof then);
    const unsigned short *aligned = then.aligned;
    memcpy(now.aligned, aligned, sizeof now.aligned);
    if (now.vector % (then.vector ? then.vector : 1))
        REFUSED("a vector less aligned than was told");
    now.vector = then.vector, now.bytes = then.bytes;
    if (memcmp(&now, &then, sizeof now)) REFUSED("an algorithm for another product");
    const void *matrices[] = {a, b, c, d};
    const struct Layout *layouts[] = {a_layout, b_layout, c_layout, d_layout};
    for (int i = 0; i < 4; ++i)
        if (!lies(matrices[i], reach(layouts[i]), aligned[i]))
            REFUSED("matrix %c is not in memory of this device, or less aligned than was told",
                    "ABCD"[i]);
    const size_t size = bytes_of(a_layout->type);
    if (then.vector && !lies(description->vector, then.m * size, size))
        REFUSED("a vector elsewhere");
    if (bytes < then.bytes || !lies(workspace, bytes, 256)) REFUSED("its workspace");
    if (!alpha || !beta) REFUSED("no factors");
    if (chosen.status) return chosen.status;
    const bool doubles = description->compute == CUBLAS_COMPUTE_64F;
    const struct Matrix vector = {description->vector, (enum Type)a_layout->type, then.m, false};
    const bool sums = then.epilogue & CUBLASLT_EPILOGUE_BGRADA;
    struct Work it = {{then.m, then.n, then.k}, sums, chosen.other_sums, vector, workspace};
    it.bytes = then.bytes;
    it.product.alpha = doubles ? *(const double *)alpha : *(const float *)alpha;
    it.product.beta = doubles ? *(const double *)beta : *(const float *)beta;
    const enum Type type = vector.type;
    it.product.a = (struct Matrix){(void *)a, type, a_layout->leading, description->turned_a};
    it.product.b = (struct Matrix){(void *)b, type, b_layout->leading, description->turned_b};
    it.product.c = (struct Matrix){d, type, d_layout->leading, false};
    if (then.epilogue & CUBLASLT_EPILOGUE_BIAS) it.product.added = vector;
    if (then.epilogue & CUBLASLT_EPILOGUE_RELU)
        it.product.then = chosen.drops_nan ? RELU_WITHOUT_NAN : RELU;
    const bool waits = recorded(stream, work, &it, sizeof it);
    note(waits ? NODE : LAUNCH, "launch cublasLt %d %d %d, epilogue %u, stream %p, device %d", then.m, then.n,
         then.k, then.epilogue, (void *)stream, current_device);
    return waits ? CUBLAS_STATUS_SUCCESS : work(&it);
}
