// SPDX-License-Identifier: Apache-2.0
// GDB manual: "i386 Features". Names, sizes and order of the standard features are gdb's; those of system
// registers are ours.
#include "gdb/registers.h"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <fmt/format.h>

namespace seamless::gdb {
namespace {

using spec::Gpr;
using spec::Seg;

constexpr const char *kCore = "org.gnu.gdb.i386.core", *kSse = "org.gnu.gdb.i386.sse",
                     *kSegments = "org.gnu.gdb.i386.segments", *kAvx = "org.gnu.gdb.i386.avx",
                     *kAvx512 = "org.gnu.gdb.i386.avx512", *kControl = "org.seamless.x86.control",
                     *kDescriptors = "org.seamless.x86.descriptors", *kDebug = "org.seamless.x86.debug",
                     *kMsrs = "org.seamless.x86.msr";

constexpr std::size_t kVector = offsetof(VcpuRegisters, vector);
constexpr std::size_t kLegacy = kVector + offsetof(trace::VectorState, legacy);
constexpr std::size_t kFcw = 0, kFsw = 2, kTags = 4, kFop = 6, kFip = 8, kFdp = 16, kMxcsr = 24, kSt = 32,
                      kXmm = 160; // in FXSAVE's image

#define AT(member) offsetof(VcpuRegisters, member)

constexpr std::size_t gpr_at(Gpr r) { return AT(gpr) + sizeof(u64) * static_cast<std::size_t>(r); }
constexpr std::size_t segment_at(Seg s)
{
    return AT(seg) + sizeof(spec::Segment) * static_cast<std::size_t>(s);
}

u8 legacy(const VcpuRegisters& r, std::size_t at) { return r.vector.legacy[at]; }

// What FXSAVE keeps in one bit for each physical register, as FSTENV would: 0 valid, 1 zero, 2 special, 3
// empty. SDM: "x87 FPU Tag Word".
u64 read_tags(const VcpuRegisters& r)
{
    const unsigned top = legacy(r, kFsw + 1) >> 3 & 7;
    u64 word = 0;
    for (unsigned physical = 0; physical < 8; ++physical) {
        u64 significand = 0;
        u16 exponent = 0;
        const std::size_t st = kSt + 16 * ((physical - top) & 7);
        std::memcpy(&significand, &r.vector.legacy[st], sizeof significand);
        std::memcpy(&exponent, &r.vector.legacy[st + 8], sizeof exponent);
        exponent &= 0x7fff;
        u64 tag = exponent == 0x7fff || !(significand >> 63) ? 2 : 0;
        if (exponent == 0 && significand == 0)
            tag = 1;
        if (!test(legacy(r, kTags), physical))
            tag = 3;
        word |= tag << (2 * physical);
    }
    return word;
}

void write_tags(VcpuRegisters& r, u64 word)
{
    u8 tags = 0;
    for (unsigned i = 0; i < 8; ++i)
        if ((word >> (2 * i) & 3) != 3)
            tags = static_cast<u8>(tags | 1u << i);
    r.vector.legacy[kTags] = tags;
}

class Table {
  public:
    std::vector<Register> rows;

    void add(std::string name, unsigned width, const char* type, std::size_t offset, unsigned bytes)
    {
        rows.push_back({.name = std::move(name),
                        .bits = width,
                        .type = type,
                        .feature = feature,
                        .group = group,
                        .offset = offset,
                        .bytes = bytes});
    }
    void word(std::string name, std::size_t offset, unsigned bytes = 8)
    {
        add(std::move(name), 64, "int64", offset, bytes);
    }

    const char* feature = nullptr;
    const char* group = nullptr;
};

void add_core(Table& t)
{
    static constexpr std::pair<const char*, Gpr> kGeneral[] = {
        {"rax", Gpr::rax}, {"rbx", Gpr::rbx}, {"rcx", Gpr::rcx}, {"rdx", Gpr::rdx},
        {"rsi", Gpr::rsi}, {"rdi", Gpr::rdi}, {"rbp", Gpr::rbp}, {"rsp", Gpr::rsp},
        {"r8", Gpr::r8},   {"r9", Gpr::r9},   {"r10", Gpr::r10}, {"r11", Gpr::r11},
        {"r12", Gpr::r12}, {"r13", Gpr::r13}, {"r14", Gpr::r14}, {"r15", Gpr::r15}};
    static constexpr std::pair<const char*, Seg> kSelectors[] = {
        {"cs", Seg::cs}, {"ss", Seg::ss}, {"ds", Seg::ds}, {"es", Seg::es}, {"fs", Seg::fs}, {"gs", Seg::gs}};
    t.feature = kCore;
    for (const auto& [name, r] : kGeneral) {
        const bool pointer = r == Gpr::rbp || r == Gpr::rsp;
        t.add(name, 64, pointer ? "data_ptr" : "int64", gpr_at(r), 8);
    }
    t.add("rip", 64, "code_ptr", AT(rip), 8);
    t.add("eflags", 32, "i386_eflags", AT(rflags), 4);
    for (const auto& [name, s] : kSelectors)
        t.add(name, 32, "int32", segment_at(s) + offsetof(spec::Segment, selector), 2);
    for (unsigned i = 0; i < 8; ++i)
        t.add(fmt::format("st{}", i), 80, "i387_ext", kLegacy + kSt + 16 * i, 10);
    t.group = "float";
    t.add("fctrl", 32, "int", kLegacy + kFcw, 2);
    t.add("fstat", 32, "int", kLegacy + kFsw, 2);
    t.add("ftag", 32, "int", 0, 0);
    t.rows.back().read = read_tags;
    t.rows.back().write = write_tags;
    t.add("fiseg", 32, "int", kLegacy + kFip + 4, 2);
    t.add("fioff", 32, "int", kLegacy + kFip, 4);
    t.add("foseg", 32, "int", kLegacy + kFdp + 4, 2);
    t.add("fooff", 32, "int", kLegacy + kFdp, 4);
    t.add("fop", 32, "int", kLegacy + kFop, 2);
    t.group = nullptr;
}

void add_vectors(Table& t, u64 components)
{
    constexpr u64 kHasAvx = bit(2), kHasAvx512 = bits(7, 5);
    t.feature = kSse;
    for (unsigned i = 0; i < 16; ++i)
        t.add(fmt::format("xmm{}", i), 128, "vec128", kLegacy + kXmm + 16 * i, 16);
    t.group = "vector";
    t.add("mxcsr", 32, "i386_mxcsr", kLegacy + kMxcsr, 4);
    t.group = nullptr;
    t.feature = kSegments;
    t.word("fs_base", segment_at(Seg::fs) + offsetof(spec::Segment, base));
    t.word("gs_base", segment_at(Seg::gs) + offsetof(spec::Segment, base));
    if (!(components & kHasAvx))
        return;
    t.feature = kAvx;
    for (unsigned i = 0; i < 16; ++i)
        t.add(fmt::format("ymm{}h", i), 128, "uint128",
              kVector + offsetof(trace::VectorState, ymm_high) + 16 * i, 16);
    if ((components & kHasAvx512) != kHasAvx512)
        return;
    const std::size_t upper = kVector + offsetof(trace::VectorState, zmm_upper);
    t.feature = kAvx512;
    for (unsigned i = 0; i < 16; ++i)
        t.add(fmt::format("xmm{}", 16 + i), 128, "vec128", upper + 64 * i, 16);
    for (unsigned i = 0; i < 16; ++i)
        t.add(fmt::format("ymm{}h", 16 + i), 128, "uint128", upper + 64 * i + 16, 16);
    for (unsigned i = 0; i < 8; ++i)
        t.add(fmt::format("k{}", i), 64, "uint64", kVector + offsetof(trace::VectorState, opmask) + 8 * i, 8);
    for (unsigned i = 0; i < 16; ++i)
        t.add(fmt::format("zmm{}h", i), 256, "v2ui128",
              kVector + offsetof(trace::VectorState, zmm_high) + 32 * i, 32);
    for (unsigned i = 0; i < 16; ++i)
        t.add(fmt::format("zmm{}h", 16 + i), 256, "v2ui128", upper + 64 * i + 32, 32);
}

void add_system(Table& t)
{
    static constexpr std::pair<const char*, std::size_t> kControls[] = {{"cr0", AT(cr0)}, {"cr2", AT(cr2)},
                                                                        {"cr3", AT(cr3)}, {"cr4", AT(cr4)},
                                                                        {"cr8", AT(cr8)}, {"xcr0", AT(xcr0)}};
    static constexpr std::pair<const char*, std::size_t> kMsrRows[] = {{"efer", AT(efer)},
                                                                       {"star", AT(star)},
                                                                       {"lstar", AT(lstar)},
                                                                       {"cstar", AT(cstar)},
                                                                       {"fmask", AT(fmask)},
                                                                       {"kernel_gs_base", AT(kernel_gs_base)},
                                                                       {"sysenter_cs", AT(sysenter_cs)},
                                                                       {"sysenter_esp", AT(sysenter_esp)},
                                                                       {"sysenter_eip", AT(sysenter_eip)},
                                                                       {"tsc_aux", AT(tsc_aux)},
                                                                       {"pat", AT(pat)},
                                                                       {"debugctl", AT(debugctl)},
                                                                       {"spec_ctrl", AT(spec_ctrl)},
                                                                       {"xss", AT(xss)}};
    static constexpr std::pair<const char*, Seg> kSegs[] = {
        {"es", Seg::es}, {"cs", Seg::cs}, {"ss", Seg::ss},     {"ds", Seg::ds},
        {"fs", Seg::fs}, {"gs", Seg::gs}, {"ldtr", Seg::ldtr}, {"tr", Seg::tr}};
    t.group = "system";
    t.feature = kControl;
    for (const auto& [name, at] : kControls)
        t.word(name, at);
    t.word("pkru", AT(pkru), 4);
    t.feature = kDebug;
    for (unsigned i = 0; i < 4; ++i)
        t.word(fmt::format("dr{}", i), AT(dr) + 8 * i);
    t.word("dr6", AT(dr6));
    t.word("dr7", AT(dr7));
    t.feature = kDescriptors;
    t.word("gdt_base", AT(gdtr) + offsetof(spec::DescriptorTable, base));
    t.word("gdt_limit", AT(gdtr) + offsetof(spec::DescriptorTable, limit), 2);
    t.word("idt_base", AT(idtr) + offsetof(spec::DescriptorTable, base));
    t.word("idt_limit", AT(idtr) + offsetof(spec::DescriptorTable, limit), 2);
    for (const auto& [name, s] : kSegs) {
        const std::size_t at = segment_at(s);
        if (s == Seg::ldtr || s == Seg::tr)
            t.word(name, at + offsetof(spec::Segment, selector), 2);
        if (s != Seg::fs && s != Seg::gs) // they are gdb's own
            t.word(fmt::format("{}_base", name), at + offsetof(spec::Segment, base));
        t.word(fmt::format("{}_limit", name), at + offsetof(spec::Segment, limit), 4);
        t.word(fmt::format("{}_attr", name), at + offsetof(spec::Segment, ar), 4);
    }
    t.feature = kMsrs;
    for (const auto& [name, at] : kMsrRows)
        t.word(name, at);
}

// What a vector of 128 bits is made of.
const std::string kVectorTypes =
    R"(<vector id="v4f" type="ieee_single" count="4"/><vector id="v2d" type="ieee_double" count="2"/>
<vector id="v16i8" type="int8" count="16"/><vector id="v8i16" type="int16" count="8"/>
<vector id="v4i32" type="int32" count="4"/><vector id="v2i64" type="int64" count="2"/>
<union id="vec128"><field name="v4_float" type="v4f"/><field name="v2_double" type="v2d"/>
<field name="v16_int8" type="v16i8"/><field name="v8_int16" type="v8i16"/><field name="v4_int32" type="v4i32"/>
<field name="v2_int64" type="v2i64"/><field name="uint128" type="uint128"/></union>
)";

// Types that a feature needs and gdb does not know by itself.
std::string types_of(std::string_view feature)
{
    if (feature == kCore)
        return R"(<flags id="i386_eflags" size="4">
<field name="CF" start="0" end="0"/><field name="" start="1" end="1"/><field name="PF" start="2" end="2"/>
<field name="AF" start="4" end="4"/><field name="ZF" start="6" end="6"/><field name="SF" start="7" end="7"/>
<field name="TF" start="8" end="8"/><field name="IF" start="9" end="9"/><field name="DF" start="10" end="10"/>
<field name="OF" start="11" end="11"/><field name="NT" start="14" end="14"/><field name="RF" start="16" end="16"/>
<field name="VM" start="17" end="17"/><field name="AC" start="18" end="18"/><field name="VIF" start="19" end="19"/>
<field name="VIP" start="20" end="20"/><field name="ID" start="21" end="21"/></flags>
)";
    if (feature == kSse)
        return kVectorTypes +
               R"(<flags id="i386_mxcsr" size="4"><field name="IE" start="0" end="0"/><field name="DE" start="1" end="1"/>
<field name="ZE" start="2" end="2"/><field name="OE" start="3" end="3"/><field name="UE" start="4" end="4"/>
<field name="PE" start="5" end="5"/><field name="DAZ" start="6" end="6"/><field name="IM" start="7" end="7"/>
<field name="DM" start="8" end="8"/><field name="ZM" start="9" end="9"/><field name="OM" start="10" end="10"/>
<field name="UM" start="11" end="11"/><field name="PM" start="12" end="12"/><field name="FZ" start="15" end="15"/></flags>
)";
    if (feature == kAvx512)
        return kVectorTypes + R"(<vector id="v2ui128" type="uint128" count="2"/>
)";
    return {};
}

} // namespace

std::vector<Register> register_table(u64 components)
{
    Table t;
    add_core(t);
    add_vectors(t, components);
    add_system(t);
    return std::move(t.rows);
}

std::vector<u8> value_of(const Register& reg, const VcpuRegisters& from)
{
    std::vector<u8> value(reg.bits / 8);
    if (reg.read) {
        const u64 number = reg.read(from);
        std::memcpy(value.data(), &number, std::min(value.size(), sizeof number));
    } else {
        std::memcpy(value.data(), reinterpret_cast<const u8*>(&from) + reg.offset, reg.bytes);
    }
    return value;
}

bool set_value(const Register& reg, VcpuRegisters& to, std::span<const u8> value)
{
    if (value.size() != reg.bits / 8)
        return false;
    if (reg.write) {
        u64 number = 0;
        std::memcpy(&number, value.data(), std::min(value.size(), sizeof number));
        reg.write(to, number);
        return true;
    }
    if (std::ranges::any_of(value.subspan(reg.bytes), [](u8 byte) { return byte != 0; }))
        return false;
    std::memcpy(reinterpret_cast<u8*>(&to) + reg.offset, value.data(), reg.bytes);
    return true;
}

std::string target_description(std::span<const Register> table)
{
    std::string xml = "<?xml version=\"1.0\"?><!DOCTYPE target SYSTEM \"gdb-target.dtd\">\n<target "
                      "version=\"1.0\"><architecture>i386:x86-64</architecture>\n";
    const char* open = nullptr;
    for (const Register& reg : table) {
        if (reg.feature != open) {
            if (open != nullptr)
                xml += "</feature>\n";
            xml += fmt::format("<feature name=\"{}\">\n{}", reg.feature, types_of(reg.feature));
            open = reg.feature;
        }
        const std::string group = reg.group ? fmt::format(" group=\"{}\"", reg.group) : "";
        xml += fmt::format("<reg name=\"{}\" bitsize=\"{}\" type=\"{}\"{}/>\n", reg.name, reg.bits, reg.type,
                           group);
    }
    return xml + "</feature></target>\n";
}

} // namespace seamless::gdb
