// SPDX-License-Identifier: Apache-2.0
// Compares what the host and the processor made of a case.
#include "diff/state.h"

#include <cstring>
#include <fmt/format.h>
#include <iterator>

#include "cpu/cpuid.h"

namespace seamless::diff {
namespace {

constexpr unsigned kXstateBv = 512;
constexpr unsigned kPointers = 6, kPointersEnd = 24; // FOP, FIP, FDP
constexpr unsigned kLegacyEnd = 416;                 // behind XMM15
constexpr const char* kNames[] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                  "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};

std::string hex(const u8* bytes, unsigned count)
{
    std::string text;
    for (unsigned i = count; i-- > 0;)
        text += fmt::format("{:02x}", bytes[i]);
    return text;
}

struct Field {
    std::string name;
    unsigned offset;
    unsigned size;
};

// DEVIATION of the processor: x87 instruction and operand pointers are not kept, so they are no fields here.
std::vector<Field> xsave_fields()
{
    std::vector<Field> fields = {{"fcw", 0, 2}, {"fsw", 2, 2}, {"ftw", 4, 1}, {"mxcsr", 24, 4}};
    for (unsigned i = 0; i < 8; ++i)
        fields.push_back({fmt::format("st{}", i), 32 + 16 * i, 10});
    for (unsigned i = 0; i < 16; ++i)
        fields.push_back({fmt::format("xmm{}", i), 160 + 16 * i, 16});
    for (unsigned component = 2; component < 8; ++component) {
        if (!test(cpu::supported_xcr0(), component))
            continue;
        const cpu::CpuidResult r = cpu::native_cpuid(0xd, component);
        const unsigned step = component == 5 ? 8 : component == 6 ? 32 : component == 7 ? 64 : 16;
        for (unsigned at = 0; at < r.eax; at += step)
            fields.push_back({fmt::format("component {} [{}]", component, at / step), r.ebx + at, step});
    }
    return fields;
}

} // namespace

void normalize(cpu::XsaveArea& area)
{
    static const cpu::XsaveArea reset = [] {
        cpu::XsaveArea r;
        r.reset();
        return r;
    }();
    u64 bv = 0;
    std::memcpy(&bv, area.bytes + kXstateBv, sizeof bv);
    if (!test(bv, 0)) {
        std::memcpy(area.bytes, reset.bytes, 24);
        std::memset(area.bytes + 32, 0, 128);
    }
    if (!test(bv, 1))
        std::memset(area.bytes + 160, 0, 256);
    for (unsigned i = 2; i < 8; ++i)
        if (test(cpu::supported_xcr0(), i) && !test(bv, i)) {
            static const auto rows = [] {
                std::array<cpu::CpuidResult, 8> table{};
                for (unsigned n = 2; n < 8; ++n)
                    table[n] = cpu::native_cpuid(0xd, n);
                return table;
            }();
            std::memset(area.bytes + rows[i].ebx, 0, rows[i].eax);
        }
    std::memset(area.bytes + kPointers, 0, kPointersEnd - kPointers);
    std::memset(area.bytes + 28, 0, 4); // MXCSR_MASK
    std::memset(area.bytes + kLegacyEnd, 0, 576 - kLegacyEnd);
}

std::string compare(const Outcome& host, const Outcome& guest, const Mask& mask)
{
    std::string text;
    const auto differ = [&](std::string_view name, u64 a, u64 b) {
        if (a != b)
            text += fmt::format("  {:<12} host {:#x}, guest {:#x}\n", name, a, b);
    };
    differ("vector", static_cast<u64>(host.vector), static_cast<u64>(guest.vector));
    // In the upper half the host may have a page of its kernel, the guest has none: P is not compared.
    const u64 error_bits = host.cr2 >> 63 ? ~u64{1} : ~u64{0};
    differ("error code", host.error_code & error_bits, guest.error_code & error_bits);
    const u64 cr2_bits = mask.fault_offset ? ~(kPageSize - 1) : ~u64{0};
    differ("cr2", host.cr2 & cr2_bits, guest.cr2 & cr2_bits);
    differ("rip", host.rip, guest.rip);
    differ("rflags", host.rflags & mask.flags, guest.rflags & mask.flags);
    for (unsigned i = 0; i < spec::kGprCount; ++i)
        differ(kNames[i], host.gpr[i], guest.gpr[i]);
    static const std::vector<Field> fields = xsave_fields();
    for (const Field& f : fields)
        if (std::memcmp(host.xsave.bytes + f.offset, guest.xsave.bytes + f.offset, f.size) != 0)
            text +=
                fmt::format("  {:<12} host {}, guest {}\n", f.name, hex(host.xsave.bytes + f.offset, f.size),
                            hex(guest.xsave.bytes + f.offset, f.size));
    if (std::memcmp(host.data.data(), guest.data.data(), kDataBytes) == 0)
        return text;
    unsigned shown = 0;
    for (u64 i = 0; i < kDataBytes && shown < 16; ++i)
        if (host.data[i] != guest.data[i] && !(kData + i >= mask.data_begin && kData + i < mask.data_end)) {
            differ(fmt::format("[{:#x}]", kData + i), host.data[i], guest.data[i]);
            ++shown;
        }
    return text;
}

} // namespace seamless::diff
