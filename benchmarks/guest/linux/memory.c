// SPDX-License-Identifier: Apache-2.0
// What memory costs: pointers followed in the first-level cache and far outside all caches, bytes copied.
#include "work.h"

#include <string.h>

enum {
    line = 64,
    near_nodes = 16384 / line,
    far_nodes = (64 << 20) / line,
    near_hops = 2000000,
    far_hops = 50000
};
enum { copied = 8 << 20, copies = 4, moved = 256 << 10, moves = 40 };

struct node {
    struct node* next;
    uint64_t number;
    uint8_t rest[line - 16];
};

static struct node* nodes;

// One cycle through all nodes in random order (Sattolo's shuffle).
static void prepare_chase(size_t count)
{
    nodes = allocate(count * sizeof(*nodes));
    uint32_t* order = allocate(count * sizeof(*order));
    uint64_t state = 3;
    for (size_t i = 0; i < count; ++i)
        order[i] = (uint32_t)i;
    for (size_t i = count - 1; i > 0; --i) {
        const size_t other = next_random(&state) % i;
        const uint32_t kept = order[i];
        order[i] = order[other];
        order[other] = kept;
    }
    for (size_t i = 0; i < count; ++i) {
        nodes[i].next = &nodes[order[i]];
        nodes[i].number = i;
    }
}

static uint64_t chase(size_t hops)
{
    const struct node* node = nodes;
    for (size_t i = 0; i < hops; ++i)
        node = node->next;
    return node->number;
}

static void prepare_near(void) { prepare_chase(near_nodes); }
static void prepare_far(void) { prepare_chase(far_nodes); }
static uint64_t chase_near(void) { return chase(near_hops); }

// Each call goes on where the last one ended, so that nothing is in a cache.
static uint64_t chase_far(void)
{
    static const struct node* node;
    node = node ? node : nodes;
    for (size_t i = 0; i < far_hops; ++i)
        node = node->next;
    return nodes[node->number].number == node->number;
}

static uint8_t* from;
static uint8_t* to;

// The distance decides whether a page that is read and one that is written meet in one entry of a software
// TLB.
static void prepare_copy(size_t distance)
{
    from = allocate(distance + copied);
    to = from + distance;
    uint64_t state = 5;
    for (size_t i = 0; i < copied; ++i)
        from[i] = (uint8_t)next_random(&state);
}

static void prepare_apart(void) { prepare_copy(copied + 5 * 4096); }
static void prepare_moves(void) { prepare_copy(copied + moved); }
static void prepare_meeting(void) { prepare_copy(2 * copied); }

static void* (*volatile libc_memcpy)(void*, const void*, size_t) = memcpy;

// A byte that changes before each copy must have arrived after it.
static uint64_t copy(void)
{
    uint64_t sum = 0;
    for (uint64_t i = 0; i < copies; ++i) {
        from[i * 4096 + 1] = (uint8_t)i;
        libc_memcpy(to, from, copied);
        sum += to[i * 4096 + 1];
    }
    return sum * 1000 + (memcmp(from, to, copied) == 0);
}

// volatile, so that no compiler makes a memcpy or vectors of it.
static uint64_t copy_words(void)
{
    const volatile uint64_t* source = (const uint64_t*)from;
    volatile uint64_t* target = (uint64_t*)to;
    for (int i = 0; i < moves; ++i)
        for (size_t word = 0; word < moved / 8; ++word)
            target[word] = source[word];
    return memcmp(from, to, moved) == 0;
}

// clang-format off
const struct benchmark memory_benchmarks[] = {
    {.name = "chase_16k",  .item = "hop",  .prepare = prepare_near, .run = chase_near, .items = near_hops,                  .want = 0x8},
    {.name = "chase_64m",  .item = "hop",  .prepare = prepare_far,  .run = chase_far,  .items = far_hops,                   .want = 1},
    {.name = "memcpy_8m",  .item = "byte", .prepare = prepare_apart, .run = copy,       .items = (uint64_t)copied * copies,  .want = 6001},
    {.name = "copy8_256k", .item = "byte", .prepare = prepare_moves, .run = copy_words, .items = (uint64_t)moved * moves,    .want = 1},
    {.name = "copy8_meeting", .item = "byte", .prepare = prepare_meeting, .run = copy_words, .items = (uint64_t)moved * moves,    .want = 1},
    {.name = NULL},
};
// clang-format on
