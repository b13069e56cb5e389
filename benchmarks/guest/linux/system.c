// SPDX-License-Identifier: Apache-2.0
// What the kernel and the instructions that leave the guest cost: system call, page fault, fork and exec,
// context switch, CPUID, RDTSC; and work of all processors at once.
#define _GNU_SOURCE
#include "work.h"

#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { calls = 5000, pages = 250, programs = 3, switches = 300, instructions = 1000 };
enum { data_size = 1 << 20, rounds = 3 };

static uint64_t system_call(void)
{
    const long parent = syscall(SYS_getppid);
    uint64_t right = 0;
    for (int i = 0; i < calls; ++i)
        right += syscall(SYS_getppid) == parent;
    return right;
}

static uint64_t page_fault(void)
{
    uint8_t* memory = mmap(NULL, pages * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        give_up("mmap");
    madvise(memory, pages * 4096, MADV_NOHUGEPAGE);
    uint64_t empty = 0;
    for (size_t i = 0; i < pages; ++i) {
        ++memory[i * 4096];
        empty += memory[i * 4096] == 1;
    }
    munmap(memory, pages * 4096);
    return empty;
}

static uint64_t fork_exec(void)
{
    uint64_t done = 0;
    for (int i = 0; i < programs; ++i) {
        const pid_t child = fork();
        if (child < 0)
            give_up("fork");
        if (child == 0) {
            execl("/proc/self/exe", "work", "--nothing", (char*)NULL);
            _exit(1);
        }
        int status = 1;
        done += waitpid(child, &status, 0) == child && status == 0;
    }
    return done;
}

static int there[2];
static int back[2];

static void echo_bytes(void)
{
    uint8_t byte;
    close(there[1]);
    while (read(there[0], &byte, 1) == 1)
        if (write(back[1], &byte, 1) != 1)
            break;
    _exit(0);
}

// A process on the same processor that answers each byte with the same one, until this one ends.
static void prepare_switch(void)
{
    cpu_set_t first;
    CPU_ZERO(&first);
    CPU_SET(0, &first);
    if (sched_setaffinity(0, sizeof(first), &first) || pipe(there) || pipe(back))
        give_up("pipe");
    const pid_t child = fork();
    if (child < 0)
        give_up("fork");
    if (child == 0)
        echo_bytes();
}

static uint64_t switch_context(void)
{
    uint64_t right = 0;
    for (int i = 0; i < switches / 2; ++i) {
        const uint8_t sent = (uint8_t)i;
        uint8_t got = 0;
        if (write(there[1], &sent, 1) == 1 && read(back[0], &got, 1) == 1)
            right += got == sent ? 2 : 0;
    }
    return right;
}

static uint64_t cpuid(void)
{
    uint64_t right = 0;
    for (int i = 0; i < instructions; ++i) {
        uint32_t eax = 0x80000000, ebx, ecx = 0, edx;
        __asm__ volatile("cpuid" : "+a"(eax), "=b"(ebx), "+c"(ecx), "=d"(edx));
        right += eax >= 0x80000000;
    }
    return right;
}

static uint64_t rdtsc(void)
{
    uint64_t right = 0;
    uint64_t last = 0;
    for (int i = 0; i < instructions; ++i) {
        const uint64_t time = __builtin_ia32_rdtsc();
        right += time >= last;
        last = time;
    }
    return right;
}

static uint8_t* data;

static void prepare_parallel(void)
{
    data = allocate(data_size);
    uint64_t state = 11;
    for (size_t i = 0; i < data_size; ++i)
        data[i] = (uint8_t)next_random(&state);
}

static void* hash_data(void* result)
{
    uint32_t state[8];
    for (int i = 0; i < rounds; ++i)
        sha256(data, data_size, state);
    *(uint64_t*)result = state[0];
    return NULL;
}

static uint64_t parallel(void)
{
    enum { most = 64 };
    if (threads > most)
        give_up("too many threads");
    pthread_t running[most];
    uint64_t results[most];
    uint64_t sum = 0;
    for (unsigned i = 0; i < threads; ++i)
        if (pthread_create(&running[i], NULL, hash_data, &results[i]))
            give_up("pthread_create");
    for (unsigned i = 0; i < threads; ++i) {
        pthread_join(running[i], NULL);
        sum += results[i];
    }
    return sum;
}

// clang-format off
const struct benchmark system_benchmarks[] = {
    {.name = "syscall",    .item = "call",        .run = system_call,    .items = calls,        .want = calls},
    {.name = "page_fault", .item = "page",        .run = page_fault,     .items = pages,        .want = pages},
    {.name = "fork_exec",  .item = "program",     .run = fork_exec,      .items = programs,     .want = programs},
    {.name = "switch",     .item = "switch",      .prepare = prepare_switch, .run = switch_context, .items = switches, .want = switches},
    {.name = "cpuid",      .item = "instruction", .run = cpuid,          .items = instructions, .want = instructions},
    {.name = "rdtsc",      .item = "instruction", .run = rdtsc,          .items = instructions, .want = instructions},
    {.name = "parallel",   .item = "byte",        .prepare = prepare_parallel, .run = parallel, .items = (uint64_t)data_size * rounds,
     .want = 0x4d85b58c, .each_thread = true},
    {.name = NULL},
};
// clang-format on
