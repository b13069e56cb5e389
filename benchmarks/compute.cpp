// SPDX-License-Identifier: Apache-2.0
// Compute kernels as bare guest code in both engine modes, against the same machine code run natively. Prints
// ratios.
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <sys/mman.h>
#include <utility>

#include "fakes/guest_machine.h"

using namespace seamless;
using fakes::GuestMachine;

namespace {

struct Kernel {
    const char* name;
    u32 which;
    u32 n;
};
constexpr Kernel kKernels[] = {{"sieve", 0, 1'000'000},      {"crc32", 1, 20'000'000},
                               {"quicksort", 2, 400'000},    {"pointer chase", 3, 20'000'000},
                               {"double matmul", 4, 200},    {"recursion", 5, 32},
                               {"interpreter", 6, 1'000'000}};
constexpr u64 kBase = 0x10000;
constexpr u64 kArena = 0x200000;

double seconds(const auto& work)
{
    const auto start = std::chrono::steady_clock::now();
    work();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

} // namespace

int main(int argc, char** argv)
{
    if (argc < 2) {
        std::fprintf(stderr, "usage: bench_compute COMPUTE.bin [RESULTS.json]\n");
        return 2;
    }
    std::ifstream file(argv[1], std::ios::binary);
    const std::vector<char> image((std::istreambuf_iterator<char>(file)), {});
    // Natively the code and its arena are where the guest has them.
    u8* code =
        static_cast<u8*>(mmap(reinterpret_cast<void*>(kBase), 0x10000, PROT_READ | PROT_WRITE | PROT_EXEC,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0));
    void* arena = mmap(reinterpret_cast<void*>(kArena), 4 << 20, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    if (code == MAP_FAILED || arena == MAP_FAILED || image.empty()) {
        std::fprintf(stderr, "bench_compute: cannot map low memory, or no image\n");
        return 2;
    }
    std::copy(image.begin(), image.end(), code);
    const auto native = reinterpret_cast<u64 (*)(u32, u32)>(kBase);

    GuestMachine full(cpu::EngineMode::full);
    GuestMachine step(cpu::EngineMode::step);
    const auto guest = [&](GuestMachine& m, u32 which, u32 n) {
        m.reset_state();
        m.code(kBase, {reinterpret_cast<const u8*>(image.data()), image.size()});
        constexpr u8 vmcall[] = {0x0f, 0x01, 0xc1};
        m.code(0xf000, vmcall);
        m.vmcs.rip = kBase;
        m.vmcs.rsp = GuestMachine::kStack - 8;
        m.put<u64>(m.vmcs.rsp, 0xf000);
        m.gpr(spec::Gpr::rdi) = which;
        m.gpr(spec::Gpr::rsi) = n;
        m.enter();
        return m.gpr(spec::Gpr::rax);
    };

    std::printf("%-16s %10s %10s %8s %14s\n", "kernel", "native ms", "full ms", "ratio", "step Minsn/s");
    std::FILE* json = argc > 2 ? std::fopen(argv[2], "w") : nullptr;
    const char* separator = "[";
    bool wrong = false;
    double product = 1;
    for (const Kernel& k : kKernels) {
        u64 want = 0;
        u64 got = 0;
        native(k.which, k.n);
        double best_native = 1e9;
        double best_full = 1e9;
        for (int i = 0; i < 3; ++i) {
            best_native = std::min(best_native, seconds([&] { want = native(k.which, k.n); }));
            best_full = std::min(best_full, seconds([&] { got = guest(full, k.which, k.n); }));
        }
        const u64 before = step.lp.counters().instructions;
        const double stepped = seconds([&] {
            guest(step, k.which, k.which == 4 ? 20 : k.which == 5 ? 14 : k.n / 200);
        });
        const u64 count = step.lp.counters().instructions - before;
        std::printf("%-16s %10.2f %10.2f %8.2f %14.2f%s\n", k.name, best_native * 1e3, best_full * 1e3,
                    best_full / best_native, static_cast<double>(count) / stepped / 1e6,
                    want == got ? "" : "  WRONG RESULT");
        if (json)
            std::fprintf(
                json, "%s\n{\"kernel\":\"%s\",\"native_s\":%.6f,\"full_s\":%.6f,\"step_minsn_per_s\":%.2f}",
                std::exchange(separator, ","), k.name, best_native, best_full,
                static_cast<double>(count) / stepped / 1e6);
        wrong |= want != got;
        product *= best_full / best_native;
    }
    std::printf("geometric mean %.2f\n", std::pow(product, 1.0 / std::size(kKernels)));
    if (json) {
        std::fprintf(json, "\n]\n");
        std::fclose(json);
    }
    return wrong;
}
