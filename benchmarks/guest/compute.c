// SPDX-License-Identifier: Apache-2.0
// Small compute kernels that run natively, and as bare guest code on the processor: each returns a checksum.
typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long u64;

static u8 *const arena = (u8 *)ARENA;

static u64 sieve(u32 n)
{
    u64 count = 0;
    for (u32 i = 0; i < n; ++i)
        arena[i] = 1;
    for (u32 i = 2; i < n; ++i) {
        if (!arena[i])
            continue;
        ++count;
        for (u32 j = i * 2; j < n; j += i)
            arena[j] = 0;
    }
    return count;
}

static u64 crc32(u32 n)
{
    u32 *table = (u32 *)arena;
    for (u32 i = 0; i < 256; ++i) {
        u32 c = i;
        for (int k = 0; k < 8; ++k)
            c = c & 1 ? 0xedb88320u ^ (c >> 1) : c >> 1;
        table[i] = c;
    }
    u32 crc = ~0u;
    for (u32 i = 0; i < n; ++i)
        crc = table[(crc ^ (i * 31)) & 0xff] ^ (crc >> 8);
    return crc;
}

static void quicksort(u32 *a, long lo, long hi)
{
    while (lo < hi) {
        u32 pivot = a[(lo + hi) / 2];
        long i = lo, j = hi;
        while (i <= j) {
            while (a[i] < pivot)
                ++i;
            while (a[j] > pivot)
                --j;
            if (i <= j) {
                u32 t = a[i];
                a[i++] = a[j];
                a[j--] = t;
            }
        }
        quicksort(a, lo, j);
        lo = i;
    }
}

static u64 sort(u32 n)
{
    u32 *a = (u32 *)arena;
    u32 x = 12345;
    for (u32 i = 0; i < n; ++i)
        a[i] = x = x * 1664525 + 1013904223;
    quicksort(a, 0, n - 1);
    u64 sum = 0;
    for (u32 i = 0; i < n; ++i)
        sum = sum * 31 + a[i];
    return sum;
}

static u64 chase(u32 n)
{
    u32 *next = (u32 *)arena;
    for (u32 i = 0; i < 4096; ++i)
        next[i] = (i * 2053 + 1) & 4095;
    u32 at = 0;
    for (u32 i = 0; i < n; ++i)
        at = next[at];
    return at;
}

static u64 matmul(u32 n)
{
    double *a = (double *)arena, *b = a + n * n, *c = b + n * n;
    for (u32 i = 0; i < n * n; ++i) {
        a[i] = i % 7;
        b[i] = i % 5;
    }
    for (u32 i = 0; i < n; ++i)
        for (u32 j = 0; j < n; ++j) {
            double s = 0;
            for (u32 k = 0; k < n; ++k)
                s += a[i * n + k] * b[k * n + j];
            c[i * n + j] = s;
        }
    double sum = 0;
    for (u32 i = 0; i < n * n; ++i)
        sum += c[i];
    return (u64)sum;
}

static u64 fib(u32 n) { return n < 2 ? n : fib(n - 1) + fib(n - 2); }

static u64 interpret(u32 n)
{
    static const u8 program[] = {0, 1, 2, 3, 1, 0, 2, 1, 3, 0, 4};
    u64 acc = 1, x = 7;
    u32 left = n;
    for (;;)
        for (u32 pc = 0;;) {
            switch (program[pc++]) {
            case 0:
                acc += x;
                continue;
            case 1:
                acc ^= acc << 3;
                continue;
            case 2:
                x = x * 5 + 1;
                continue;
            case 3:
                acc -= x >> 2;
                continue;
            default:
                break;
            }
            if (--left == 0)
                return acc;
            break;
        }
}

__attribute__((section(".entry"))) u64 entry(u32 which, u32 n)
{
    switch (which) {
    case 0:
        return sieve(n);
    case 1:
        return crc32(n);
    case 2:
        return sort(n);
    case 3:
        return chase(n);
    case 4:
        return matmul(n);
    case 5:
        return fib(n);
    default:
        return interpret(n);
    }
}
