// A matrix product, as both cuBLAS and cuBLASLt compute it. Matrices are stored by columns, as there.
#pragma once
#include "state.h"

// --- elements ------------------------------------------------------------------------------------
enum Type { FLOAT = 0, DOUBLE = 1, HALF = 2 };  // cudaDataType's numbers
struct Matrix { void *data; enum Type type; long long rows; bool transposed; };

static double element(const struct Matrix *of, long long row, long long column) {
    const long long at = of->transposed ? row * of->rows + column : column * of->rows + row;
    switch (of->type) {
        case FLOAT: return ((float *)of->data)[at];
        case DOUBLE: return ((double *)of->data)[at];
        default: return (double)((_Float16 *)of->data)[at];
    }
}

static void set(const struct Matrix *of, long long row, long long column, double value) {
    const long long at = column * of->rows + row;
    switch (of->type) {
        case FLOAT: ((float *)of->data)[at] = (float)value; break;
        case DOUBLE: ((double *)of->data)[at] = value; break;
        default: ((_Float16 *)of->data)[at] = (_Float16)(float)value;
    }
}

// --- a product -----------------------------------------------------------------------------------
struct Product {
    int m, n, k;
    double alpha, beta;
    struct Matrix a, b, c;
    struct Matrix added;  // a column, or nothing
    enum { AS_IT_IS, RELU, RELU_WITHOUT_NAN } then;
};

// c = then(alpha a b + beta c + added), a column of it after another; T is what it is added up in.
#define PRODUCT(name, T)                                                                           \
    static void name(const struct Product *p) {                                                    \
        T *a = malloc(((size_t)p->m * p->k + p->m + 1) * sizeof(T)), *sums = a + (size_t)p->m * p->k; \
        for (int l = 0; l < p->k; ++l)                                                             \
            for (int i = 0; i < p->m; ++i) a[(size_t)l * p->m + i] = (T)element(&p->a, i, l);      \
        for (int j = 0; j < p->n; ++j) {                                                           \
            for (int i = 0; i < p->m; ++i) sums[i] = 0;                                            \
            for (int l = 0; l < p->k; ++l) {                                                       \
                const T factor = (T)element(&p->b, l, j), *column = a + (size_t)l * p->m;          \
                for (int i = 0; i < p->m; ++i) sums[i] += column[i] * factor;                      \
            }                                                                                      \
            for (int i = 0; i < p->m; ++i) {                                                       \
                const T old = p->beta ? (T)p->beta * (T)element(&p->c, i, j) : 0;                  \
                T value = (T)p->alpha * sums[i] + old;                                             \
                if (p->added.data) value += (T)element(&p->added, i, 0);                           \
                if (p->then && !(value > 0) && (p->then != RELU || value == value)) value = 0;     \
                set(&p->c, i, j, value);                                                           \
            }                                                                                      \
        }                                                                                          \
        free(a);                                                                                   \
    }
PRODUCT(in_float, float)
PRODUCT(in_double, double)

static size_t bytes_of(enum Type type) { return type == DOUBLE ? 8 : type == FLOAT ? 4 : 2; }
