// SPDX-License-Identifier: Apache-2.0
// AVX instructions whose elements fault one by one: masked moves and gathers. The vector registers are in the
// XSAVE image while C++ runs. SDM: "VMASKMOV", "VPMASKMOV", "VPGATHERDD/VPGATHERQD" and their kin.
#include <algorithm>
#include <cstring>

#include "cpu/cpuid.h"
#include "cpu/system/operand.h"
#include "cpu/system/system.h"

namespace seamless::cpu::op {

using decode::Instruction;

namespace {

constexpr unsigned kXmm = 160, kXstateBv = 512, kAvxComponent = 2;

// SDM: "AVX Instructions: #UD and #NM".
Result<void, Fault> check_avx(Core& core)
{
    const CpuState& s = core.state();
    if (!(s.cr4 & spec::cr4::OSXSAVE) || (s.xcr0 & 6) != 6)
        return fail(core.ud());
    if (s.cr0 & spec::cr0::TS)
        return fail(core.exception(spec::Vector::NM));
    return {};
}

u32 avx_offset()
{
    static const u32 offset = native_cpuid(0xd, kAvxComponent).ebx;
    return offset;
}

struct Ymm {
    u8 bytes[32] = {};

    [[nodiscard]] u64 element(unsigned i, unsigned size) const
    {
        u64 value = 0;
        std::memcpy(&value, bytes + i * size, size);
        return value;
    }
    void set(unsigned i, unsigned size, u64 value) { std::memcpy(bytes + i * size, &value, size); }
    [[nodiscard]] bool sign(unsigned i, unsigned size) const { return bytes[i * size + size - 1] >> 7; }
};

unsigned number(ZydisRegister r) { return static_cast<unsigned>(ZydisRegisterGetId(r)); }

Ymm read(Core& core, ZydisRegister r)
{
    Ymm value;
    const u8* image = core.xsave().bytes;
    std::memcpy(value.bytes, image + kXmm + 16 * number(r), 16);
    std::memcpy(value.bytes + 16, image + avx_offset() + 16 * number(r), 16);
    return value;
}

void write(Core& core, ZydisRegister r, const Ymm& value)
{
    u8* image = core.xsave().bytes;
    std::memcpy(image + kXmm + 16 * number(r), value.bytes, 16);
    std::memcpy(image + avx_offset() + 16 * number(r), value.bytes + 16, 16);
    image[kXstateBv] |= 6; // SSE and AVX state are in use
}

// The operation's width in bytes.
unsigned vector_bytes(const Instruction& insn) { return insn.z.avx.vector_length / 8u; }

unsigned masked_element(const Instruction& insn)
{
    return insn.z.mnemonic == ZYDIS_MNEMONIC_VMASKMOVPS || insn.z.mnemonic == ZYDIS_MNEMONIC_VPMASKMOVD ? 4
                                                                                                        : 8;
}

struct GatherForm {
    unsigned index; // bytes of an index
    unsigned data;  // bytes of an element
};

GatherForm gather_form(const Instruction& insn)
{
    switch (insn.z.mnemonic) {
    case ZYDIS_MNEMONIC_VPGATHERDD:
    case ZYDIS_MNEMONIC_VGATHERDPS:
        return {.index = 4, .data = 4};
    case ZYDIS_MNEMONIC_VPGATHERDQ:
    case ZYDIS_MNEMONIC_VGATHERDPD:
        return {.index = 4, .data = 8};
    case ZYDIS_MNEMONIC_VPGATHERQD:
    case ZYDIS_MNEMONIC_VGATHERQPS:
        return {.index = 8, .data = 4};
    default:
        return {.index = 8, .data = 8};
    }
}

} // namespace

Result<Flow, Fault> vmaskmov(Core& core, const Instruction& insn)
{
    TRY(check_avx(core));
    const bool store = insn.operands[0].type == ZYDIS_OPERAND_TYPE_MEMORY;
    const ZydisDecodedOperand& memory = insn.operands[store ? 0 : 2];
    const unsigned size = masked_element(insn);
    const unsigned count = vector_bytes(insn) / size;
    const Gva gva = linear_address(core, insn, memory);
    const Ymm mask = read(core, insn.operands[1].reg.value);
    const Access access = store ? Access::write : Access::read;
    for (unsigned i = 0; i < count; ++i) // nothing is written unless all of it can be
        if (mask.sign(i, size))
            for (const unsigned byte : {0u, size - 1})
                TRY(core.mmu().translate(gva + i * size + byte, access, purpose_of(memory)));
    Ymm value = store ? read(core, insn.operands[2].reg.value) : Ymm{};
    for (unsigned i = 0; i < count; ++i) {
        if (!mask.sign(i, size))
            continue;
        if (store)
            TRY(core.mmu().store_n(gva + i * size, size, value.element(i, size), purpose_of(memory)));
        else
            value.set(i, size, TRY(core.mmu().load_n(gva + i * size, size, purpose_of(memory))));
    }
    if (!store)
        write(core, insn.operands[0].reg.value, value);
    return Flow::next;
}

// An element that has been loaded is no longer asked for: a fault keeps what was done.
Result<Flow, Fault> gather(Core& core, const Instruction& insn)
{
    TRY(check_avx(core));
    const ZydisRegister target = insn.operands[0].reg.value;
    const ZydisDecodedOperand& memory = insn.operands[1];
    const ZydisRegister mask_register = insn.operands[2].reg.value;
    const ZydisRegister index_register = memory.mem.index;
    if (number(target) == number(mask_register) || number(target) == number(index_register) ||
        number(mask_register) == number(index_register))
        return fail(core.ud());
    const GatherForm form = gather_form(insn);
    const unsigned count = vector_bytes(insn) / std::max(form.index, form.data);
    const CpuState& s = core.state();
    const Ymm index = read(core, index_register);
    Ymm value = read(core, target);
    Ymm mask = read(core, mask_register);
    u64 base = memory.mem.disp.has_displacement ? static_cast<u64>(memory.mem.disp.value) : 0;
    if (memory.mem.base != ZYDIS_REGISTER_NONE)
        base += read_register(s, memory.mem.base);
    for (unsigned i = 0; i < count; ++i) {
        if (!mask.sign(i, form.data))
            continue;
        const u64 at = base + sign_extend(index.element(i, form.index), form.index * 8) * memory.mem.scale;
        const Gva gva =
            linear_address(s, segment_of(memory.mem.segment), truncate(at, insn.z.address_width / 8));
        const Result<u64, Fault> element = core.mmu().load_n(gva, form.data, purpose_of(memory));
        if (!element) {
            write(core, target, value);
            write(core, mask_register, mask);
            return fail(element.error());
        }
        value.set(i, form.data, element.value());
        mask.set(i, form.data, 0);
    }
    std::memset(value.bytes + count * form.data, 0, sizeof value.bytes - count * form.data);
    write(core, target, value);
    write(core, mask_register, {});
    return Flow::next;
}

} // namespace seamless::cpu::op
