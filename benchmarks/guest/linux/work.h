// SPDX-License-Identifier: Apache-2.0
// What a benchmark of the program `work` is. The same static program runs natively and in every guest.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// run() does `items` things and returns a checksum of all it computed, which must be `want`. It is timed as a
// whole; prepare(), if there is one, is called once before and is not.
struct benchmark {
    const char* name;
    const char* item;
    void (*prepare)(void);
    uint64_t (*run)(void);
    uint64_t items;
    uint64_t want;
    bool (*possible)(void);
    bool each_thread; // `items` and `want` are for one of `threads`, which run() keeps busy
};

extern const struct benchmark compute_benchmarks[];
extern const struct benchmark memory_benchmarks[];
extern const struct benchmark matrix_benchmarks[];
extern const struct benchmark system_benchmarks[];
extern const struct benchmark device_benchmarks[];

// As many as there are processors, or as the command line says.
extern unsigned threads;

// Ends the program with a message: a benchmark that cannot do its work has no time.
_Noreturn void give_up(const char* what);
void* allocate(size_t size);

// The same sequence everywhere.
uint64_t next_random(uint64_t* state);

void sha256(const uint8_t* data, size_t size, uint32_t state[8]);
