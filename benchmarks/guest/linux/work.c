// SPDX-License-Identifier: Apache-2.0
// work [THREADS] NAME...: runs benchmarks and prints a line `BENCH name nanoseconds ns/item` for each.
// Repeats each for at least 0.3 s and takes the best repetition: other work on the machine only ever adds
// time.
#include "work.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

static const struct benchmark* const lists[] = {compute_benchmarks, memory_benchmarks, matrix_benchmarks,
                                                system_benchmarks, device_benchmarks};

void give_up(const char* what)
{
    perror(what);
    exit(1);
}

void* allocate(size_t size)
{
    void* memory =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (memory == MAP_FAILED)
        give_up("mmap");
    return memory;
}

uint64_t next_random(uint64_t* state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return *state >> 33;
}

unsigned threads;

static int64_t now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000ll + time.tv_nsec;
}

static int64_t timed(const struct benchmark* bench, uint64_t want)
{
    const int64_t start = now();
    const uint64_t got = bench->run();
    const int64_t end = now();
    if (got != want) {
        fprintf(stderr, "work: %s computed %#" PRIx64 " for %#" PRIx64 "\n", bench->name, got, want);
        exit(1);
    }
    return end - start;
}

static void measure(const struct benchmark* bench)
{
    if (bench->possible && !bench->possible()) {
        printf("SKIP %s\n", bench->name);
        return;
    }
    const uint64_t times = bench->each_thread ? threads : 1;
    if (bench->prepare)
        bench->prepare();
    timed(bench, bench->want * times); // touches the memory, and lets a translator see the code
    int64_t best = INT64_MAX;
    for (int64_t total = 0; total < 300000000;) {
        const int64_t once = timed(bench, bench->want * times);
        total += once;
        best = once < best ? once : best;
    }
    printf("BENCH %s %.4f ns/%s\n", bench->name, (double)best / (double)(bench->items * times), bench->item);
    fflush(stdout);
}

static const struct benchmark* find(const char* name)
{
    for (size_t list = 0; list < sizeof(lists) / sizeof(*lists); ++list)
        for (const struct benchmark* bench = lists[list]; bench->name; ++bench)
            if (strcmp(bench->name, name) == 0)
                return bench;
    return NULL;
}

int main(int argc, char** argv)
{
    if (argc == 2 && strcmp(argv[1], "--nothing") == 0)
        return 0; // what fork_exec starts
    threads = argc > 1 ? (unsigned)atoi(argv[1]) : 0;
    const int first = threads ? 2 : 1;
    threads = threads ? threads : (unsigned)sysconf(_SC_NPROCESSORS_ONLN);
    for (int i = first; i < argc; ++i) {
        const struct benchmark* bench = find(argv[i]);
        if (!bench) {
            fprintf(stderr, "work: there is no benchmark %s\n", argv[i]);
            return 2;
        }
        measure(bench);
    }
    return 0;
}
