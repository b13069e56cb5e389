// SPDX-License-Identifier: Apache-2.0
// Integer benchmarks: sieve, CRC-32, quicksort, SHA-256, compression, an interpreter's loop, recursion.
#include "work.h"

#include <string.h>

enum {
    cells = 500000,
    text_size = 1 << 20,
    sorted = 40000,
    hashed = 512 << 10,
    packed = 256 << 10,
    depth = 28
};

static uint8_t* flags;
static uint8_t* text;
static uint8_t* output;
static uint32_t* numbers;

static void prepare_sieve(void) { flags = allocate(cells); }

static uint64_t sieve(void)
{
    memset(flags, 1, cells);
    uint64_t primes = 0;
    for (size_t i = 2; i < cells; ++i) {
        if (!flags[i])
            continue;
        ++primes;
        for (size_t j = 2 * i; j < cells; j += i)
            flags[j] = 0;
    }
    return primes;
}

// Text of few words: what a compressor finds work in.
static void prepare_text(void)
{
    static const char* const words[] = {"the ",  "page ",   "guest ", "of ",
                                        "host ", "table\n", "a ",     "processor "};
    text = allocate(text_size + 16);
    output = allocate(2 * packed);
    uint64_t state = 1;
    for (size_t at = 0; at < text_size;) {
        const uint64_t random = next_random(&state);
        if (random % 16 == 0) {
            text[at++] = (uint8_t)(random >> 8);
            continue;
        }
        const char* word = words[(random >> 4) % 8];
        const size_t length = strlen(word);
        memcpy(text + at, word, length);
        at += length;
    }
}

static uint32_t crc_table[256];

static void prepare_crc32(void)
{
    prepare_text();
    for (uint32_t i = 0; i < 256; ++i) {
        uint32_t value = i;
        for (int bit = 0; bit < 8; ++bit)
            value = value >> 1 ^ (value & 1 ? 0xedb88320 : 0);
        crc_table[i] = value;
    }
}

static uint64_t crc32(void)
{
    uint32_t crc = ~0u;
    for (size_t i = 0; i < text_size; ++i)
        crc = crc >> 8 ^ crc_table[(uint8_t)crc ^ text[i]];
    return (uint32_t)~crc;
}

static void prepare_quicksort(void) { numbers = allocate(sorted * sizeof(*numbers)); }

static void sort(uint32_t* first, uint32_t* last)
{
    while (last - first > 1) {
        const uint32_t pivot = first[(last - first) / 2];
        uint32_t* low = first;
        uint32_t* high = last - 1;
        while (low <= high) {
            while (*low < pivot)
                ++low;
            while (*high > pivot)
                --high;
            if (low > high)
                break;
            const uint32_t other = *low;
            *low++ = *high;
            *high-- = other;
        }
        sort(first, high + 1);
        first = low;
    }
}

static uint64_t quicksort(void)
{
    uint64_t state = 7;
    for (size_t i = 0; i < sorted; ++i)
        numbers[i] = (uint32_t)next_random(&state);
    sort(numbers, numbers + sorted);
    uint64_t sum = 0;
    for (size_t i = 0; i < sorted; ++i)
        sum = sum * 31 + numbers[i];
    return sum;
}

static const uint32_t sha_constants[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

static uint32_t rotated(uint32_t value, int by) { return value >> by | value << (32 - by); }

static void sha256_block(const uint8_t* block, uint32_t state[8])
{
    uint32_t w[64];
    for (int i = 0; i < 16; ++i) {
        memcpy(&w[i], block + 4 * i, 4);
        w[i] = __builtin_bswap32(w[i]);
    }
    for (int i = 16; i < 64; ++i)
        w[i] = w[i - 16] + w[i - 7] + (rotated(w[i - 15], 7) ^ rotated(w[i - 15], 18) ^ w[i - 15] >> 3) +
               (rotated(w[i - 2], 17) ^ rotated(w[i - 2], 19) ^ w[i - 2] >> 10);
    uint32_t a = state[0], b = state[1], c = state[2], d = state[3];
    uint32_t e = state[4], f = state[5], g = state[6], h = state[7];
    for (int i = 0; i < 64; ++i) {
        const uint32_t one = h + (rotated(e, 6) ^ rotated(e, 11) ^ rotated(e, 25)) + ((e & f) ^ (~e & g)) +
                             sha_constants[i] + w[i];
        const uint32_t two =
            (rotated(a, 2) ^ rotated(a, 13) ^ rotated(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
        h = g, g = f, f = e, e = d + one;
        d = c, c = b, b = a, a = one + two;
    }
    const uint32_t all[8] = {a, b, c, d, e, f, g, h};
    for (int i = 0; i < 8; ++i)
        state[i] += all[i];
}

// Whole blocks, without the padding of a last one.
void sha256(const uint8_t* data, size_t size, uint32_t state[8])
{
    static const uint32_t start[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                      0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    memcpy(state, start, sizeof(start));
    for (size_t at = 0; at + 64 <= size; at += 64)
        sha256_block(data + at, state);
}

static uint64_t hash(void)
{
    uint32_t state[8];
    sha256(text, hashed, state);
    return (uint64_t)state[0] << 32 | state[7];
}

// A coder of the family of LZ77: a table of the last place of each three bytes, matches of up to 255,
// literals in runs.
static size_t longest(const uint8_t* at, const uint8_t* before, const uint8_t* end)
{
    size_t length = 0;
    while (length < 255 && at + length < end && at[length] == before[length])
        ++length;
    return length;
}

static uint64_t compress(void)
{
    static uint32_t places[1 << 14];
    memset(places, 0, sizeof(places));
    const uint8_t* end = text + packed;
    uint8_t* out = output;
    for (const uint8_t* at = text; at + 3 < end;) {
        uint32_t key;
        memcpy(&key, at, 4);
        uint32_t* place = &places[(key & 0xffffff) * 2654435761u >> 18];
        const uint8_t* before = text + *place;
        *place = (uint32_t)(at - text);
        const size_t length = before < at && at - before < 65536 ? longest(at, before, end) : 0;
        if (length < 4) {
            *out++ = 0;
            *out++ = *at++;
            continue;
        }
        const uint16_t distance = (uint16_t)(at - before);
        *out++ = (uint8_t)length;
        memcpy(out, &distance, 2);
        out += 2;
        at += length;
    }
    uint64_t sum = (uint64_t)(out - output);
    for (const uint8_t* byte = output; byte < out; byte += 16)
        sum = sum * 31 + *byte;
    return sum;
}

// An interpreter's loop: a switch on each operation, over a stack.
enum operation { push, add, multiply, drop_sum, again };

static uint64_t interpret(void)
{
    static const uint8_t program[] = {push,     3,        push, 5,  add,      push, 7,
                                      multiply, drop_sum, push, 11, drop_sum, again};
    uint64_t stack[16];
    uint64_t sum = 0;
    unsigned top = 0;
    unsigned turns = 75000;
    for (const uint8_t* at = program;;) {
        switch ((enum operation) * at++) {
        case push:
            stack[top++] = *at++ + turns;
            break;
        case add:
            stack[top - 2] += stack[top - 1];
            --top;
            break;
        case multiply:
            stack[top - 2] *= stack[top - 1];
            --top;
            break;
        case drop_sum:
            sum = sum * 5 + stack[--top];
            break;
        case again:
            if (--turns == 0)
                return sum;
            at = program;
            break;
        }
    }
}

// Else the compiler turns half of the calls into a loop.
__attribute__((noinline, optimize("no-optimize-sibling-calls"))) static uint64_t fibonacci(unsigned n)
{
    return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2);
}

static uint64_t recursion(void) { return fibonacci(depth); }

// clang-format off
const struct benchmark compute_benchmarks[] = {
    {.name = "sieve",       .item = "cell", .prepare = prepare_sieve,     .run = sieve,     .items = cells,       .want = 41538},
    {.name = "crc32",       .item = "byte", .prepare = prepare_crc32,     .run = crc32,     .items = text_size,   .want = 0x85ba169a},
    {.name = "quicksort",   .item = "item", .prepare = prepare_quicksort, .run = quicksort, .items = sorted,      .want = 0xd601e825c36784ec},
    {.name = "sha256",      .item = "byte", .prepare = prepare_text,      .run = hash,      .items = hashed,      .want = 0xced21d141b62d8d0},
    {.name = "compress",    .item = "byte", .prepare = prepare_text,      .run = compress,  .items = packed,      .want = 0xffe707e234526e9a},
    {.name = "interpreter", .item = "op",                                 .run = interpret, .items = 75000 * 9,  .want = 0xed48676800274eb4},
    {.name = "recursion",   .item = "call",                               .run = recursion, .items = 1028457,     .want = 317811},
    {.name = NULL},
};
// clang-format on
