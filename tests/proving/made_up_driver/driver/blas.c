// cuBLAS: the matrix products that CuPy calls, added up in the type that the call names.
#include "products.h"

enum { OK = 0, NOT_SUPPORTED = 15 };
struct Handle { void *stream; int math, pointers; };

static int refused(const char *what) { return made_up_refuse(what), NOT_SUPPORTED; }

API int cublasCreate_v2(struct Handle **handle) {
    return *handle = calloc(1, sizeof **handle), OK;
}
API int cublasDestroy_v2(struct Handle *handle) { return free(handle), OK; }
API int cublasGetVersion_v2(struct Handle *handle, int *version) { return *version = 130000, OK; }
API int cublasSetStream_v2(struct Handle *handle, void *to) { return handle->stream = to, OK; }
API int cublasGetStream_v2(struct Handle *handle, void **is) { return *is = handle->stream, OK; }
API int cublasSetMathMode(struct Handle *handle, int to) { return handle->math = to, OK; }
API int cublasGetMathMode(struct Handle *handle, int *is) { return *is = handle->math, OK; }
API int cublasSetPointerMode_v2(struct Handle *handle, int to) { return handle->pointers = to, OK; }
API int cublasGetPointerMode_v2(struct Handle *handle, int *is) { return *is = handle->pointers, OK; }

static int multiply(struct Handle *handle, const struct Product *p, bool in_doubles) {
    if (stream_device(handle->stream) != current_device) return refused("a stream of another device");
    const struct Matrix *all[] = {&p->a, &p->b, &p->c};
    for (int i = 0; i < 3; ++i)
        if (all[i]->type > HALF) return refused("this type in a product of cuBLAS");
    note(LAUNCH, "launch gemm %d %d %d, stream %p, device %d", p->m, p->n, p->k, handle->stream,
         current_device);
    (in_doubles ? in_double : in_float)(p);
    return OK;
}

#define GEMM(name, T, kind)                                                                        \
    API int name(struct Handle *handle, int ta, int tb, int m, int n, int k, const T *alpha,       \
                 T *a, int lda, T *b, int ldb, const T *beta, T *c, int ldc) {                     \
        const struct Product p = {m, n, k, *alpha, *beta, {a, kind, lda, ta != 0},                 \
                                  {b, kind, ldb, tb != 0}, {c, kind, ldc, false}};                 \
        return multiply(handle, &p, kind == DOUBLE);                                               \
    }
GEMM(cublasSgemm_v2, float, FLOAT)
GEMM(cublasDgemm_v2, double, DOUBLE)

// `compute` is a cublasComputeType_t: what is added up in, and the type of alpha and beta.
API int cublasGemmStridedBatchedEx(struct Handle *handle, int ta, int tb, int m, int n, int k,
                                   const void *alpha, char *a, enum Type a_type, int lda,
                                   long long a_step, char *b, enum Type b_type, int ldb,
                                   long long b_step, const void *beta, char *c, enum Type c_type,
                                   int ldc, long long c_step, int count, int compute,
                                   int algorithm) {
    enum { COMPUTE_32F = 68, COMPUTE_32F_PEDANTIC = 69, COMPUTE_64F = 70, COMPUTE_64F_PEDANTIC = 71 };
    const bool doubles = compute == COMPUTE_64F || compute == COMPUTE_64F_PEDANTIC;
    if (!doubles && compute != COMPUTE_32F && compute != COMPUTE_32F_PEDANTIC)
        return refused("this type to add up in, in a product of cuBLAS");
    const double factor = doubles ? *(const double *)alpha : *(const float *)alpha;
    const double kept = doubles ? *(const double *)beta : *(const float *)beta;
    for (int i = 0; i < count; ++i) {
        const struct Product p = {
            m, n, k, factor, kept, {a + i * a_step * bytes_of(a_type), a_type, lda, ta != 0},
            {b + i * b_step * bytes_of(b_type), b_type, ldb, tb != 0},
            {c + i * c_step * bytes_of(c_type), c_type, ldc, false}};
        const int status = multiply(handle, &p, doubles);
        if (status) return status;
    }
    return OK;
}
API int cublasGemmEx(struct Handle *handle, int ta, int tb, int m, int n, int k, const void *alpha,
                     char *a, enum Type a_type, int lda, char *b, enum Type b_type, int ldb,
                     const void *beta, char *c, enum Type c_type, int ldc, int compute,
                     int algorithm) {
    return cublasGemmStridedBatchedEx(handle, ta, tb, m, n, k, alpha, a, a_type, lda, 0, b, b_type,
                                      ldb, 0, beta, c, c_type, ldc, 0, 1, compute, algorithm);
}
