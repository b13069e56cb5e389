// SPDX-License-Identifier: Apache-2.0
// Matrix products: double precision one element at a time, single precision in packed SSE and AVX. All
// numbers are small whole ones, so that each result is exact.
#include "work.h"

enum { wide = 128, narrow = 96 };

typedef float four __attribute__((vector_size(16), aligned(16)));
typedef float eight __attribute__((vector_size(32), aligned(32)));

static double* doubles; // three matrices, the product last
static float* singles;

static void prepare_doubles(void)
{
    doubles = allocate(3 * sizeof(double) * narrow * narrow);
    for (int i = 0; i < 2 * narrow * narrow; ++i)
        doubles[i] = i % 7;
}

static void prepare_singles(void)
{
    singles = allocate(3 * sizeof(float) * wide * wide);
    for (int i = 0; i < 2 * wide * wide; ++i)
        singles[i] = (float)(i % 5);
}

__attribute__((optimize("no-tree-vectorize"))) static uint64_t multiply_doubles(void)
{
    const double* left = doubles;
    const double* right = left + narrow * narrow;
    double* product = doubles + 2 * narrow * narrow;
    double sum = 0;
    for (int row = 0; row < narrow; ++row)
        for (int column = 0; column < narrow; ++column) {
            double element = 0;
            for (int i = 0; i < narrow; ++i)
                element += left[row * narrow + i] * right[i * narrow + column];
            product[row * narrow + column] = element;
            sum += element * (column + 1);
        }
    return (uint64_t)sum;
}

static uint64_t checksum(void)
{
    const float* product = singles + 2 * wide * wide;
    uint64_t sum = 0;
    for (int i = 0; i < wide * wide; ++i)
        sum = sum * 3 + (uint64_t)product[i];
    return sum;
}

// Four columns of four rows at a time, as far as the registers reach.
#define MULTIPLY(vector)                                                                                     \
    enum { lanes = sizeof(vector) / sizeof(float) };                                                         \
    const float* left = singles;                                                                             \
    const vector* right = (const vector*)(left + wide * wide);                                               \
    vector* product = (vector*)(singles + 2 * wide * wide);                                                  \
    for (int row = 0; row < wide; row += 4)                                                                  \
        for (int column = 0; column < wide / lanes; ++column) {                                              \
            vector sum[4] = {{0}};                                                                           \
            for (int i = 0; i < wide; ++i)                                                                   \
                for (int r = 0; r < 4; ++r)                                                                  \
                    sum[r] += left[(row + r) * wide + i] * right[i * (wide / lanes) + column];               \
            for (int r = 0; r < 4; ++r)                                                                      \
                product[(row + r) * (wide / lanes) + column] = sum[r];                                       \
        }

static uint64_t multiply_sse(void)
{
    MULTIPLY(four)
    return checksum();
}

__attribute__((target("avx"))) static void multiply_eight(void) { MULTIPLY(eight) }

static uint64_t multiply_avx(void)
{
    multiply_eight();
    return checksum();
}

static bool has_avx(void) { return __builtin_cpu_supports("avx"); }

// clang-format off
const struct benchmark matrix_benchmarks[] = {
    {.name = "matmul_double", .item = "flop", .prepare = prepare_doubles, .run = multiply_doubles, .items = 2ull * narrow * narrow * narrow, .want = 0x1703bd92},
    {.name = "matmul_sse",    .item = "flop", .prepare = prepare_singles, .run = multiply_sse,     .items = 2ull * wide * wide * wide,       .want = 0x1b38c5d5e02c6572},
    {.name = "matmul_avx",    .item = "flop", .prepare = prepare_singles, .run = multiply_avx,     .items = 2ull * wide * wide * wide,       .want = 0x1b38c5d5e02c6572,
     .possible = has_avx},
    {.name = NULL},
};
// clang-format on
