// SPDX-License-Identifier: Apache-2.0
// From operands to linear addresses, with the checks of segmentation. SDM: "Limit Checking", "Type Checking",
// "Canonical Addressing".
#include "emul/emulator.h"

namespace seamless::emul {

using namespace spec;

namespace {

// Data segments: bit 1 writable, bit 2 expand-down. Code segments (bit 3): bit 1 readable.
bool type_allows(u32 ar, bool write, bool fetch)
{
    const unsigned type = segment_ar::type(ar);
    const bool code = type & 8;
    if (fetch)
        return true;
    return write ? !code && (type & 2) : !code || (type & 2);
}

bool within_limit(const Segment& s, u64 offset, unsigned bytes)
{
    const u64 last = offset + bytes - 1;
    const unsigned type = segment_ar::type(s.ar);
    const bool expand_down = !(type & 8) && (type & 4);
    if (!expand_down)
        return last <= s.limit;
    return offset > s.limit && last <= (s.ar & segment_ar::DB ? 0xffffffffu : 0xffffu);
}

} // namespace

u64 Emulator::offset_of(const ZydisDecodedOperand& operand) const
{
    const auto& m = operand.mem;
    u64 offset = m.disp.has_displacement ? static_cast<u64>(m.disp.value) : 0;
    if (m.base == ZYDIS_REGISTER_RIP || m.base == ZYDIS_REGISTER_EIP)
        offset += rip_ + insn_->length();
    else if (m.base != ZYDIS_REGISTER_NONE)
        offset += regs_.read(m.base);
    if (m.index != ZYDIS_REGISTER_NONE)
        offset += regs_.read(m.index) * m.scale;
    if ((row_->form & kBitOffset) && insn_->operands[1].type == ZYDIS_OPERAND_TYPE_REGISTER) {
        // The bit's number is signed and counts from the operand's start, which moves by whole operands.
        const u64 number = sign_extend(regs_.read(insn_->operands[1].reg.value), operand.size);
        offset += sign_extend((number & ~u64{operand.size - 1u}) >> 3, 61);
    }
    return truncate(offset, insn_->z.address_width / 8u);
}

// The first byte and the last.
bool Emulator::canonical(u64 address, unsigned bytes)
{
    const unsigned width = cpu_.cr4() & cr4::LA57 ? 57 : 48;
    const u64 last = address + bytes - 1;
    return sign_extend(address, width) == address && sign_extend(last, width) == last;
}

// SDM: "Data Access and Alignment" of SSE. An operand of 16 bytes is aligned, but for the moves whose purpose
// is that it need not be.
Result<u64, X86Emul> Emulator::linear_of(const ZydisDecodedOperand& operand, unsigned bytes, bool write)
{
    const u64 linear =
        TRY(linearize(segment_of(operand.mem.segment), offset_of(operand), bytes, write, false));
    if ((row_->form & kSse) && !(row_->form & kUnaligned) && linear % 16 != 0)
        return raise(Vector::GP);
    return linear;
}

Result<u64, X86Emul> Emulator::linearize(Seg seg, u64 offset, unsigned bytes, bool write, bool fetch)
{
    const Vector vector = seg == Seg::ss ? Vector::SS : Vector::GP;
    if (mode_ == decode::CodeSize::bits64) {
        const bool has_base = seg == Seg::fs || seg == Seg::gs;
        const u64 linear = has_base ? offset + cpu_.segment(seg).base : offset;
        if (!canonical(linear, bytes))
            return raise(vector);
        return linear;
    }
    const Segment s = cpu_.segment(seg);
    if (!real_or_virtual_8086() && ((s.ar & segment_ar::UNUSABLE) || !type_allows(s.ar, write, fetch)))
        return raise(vector);
    if (!within_limit(s, offset, bytes))
        return raise(vector);
    return u64{static_cast<u32>(s.base + offset)};
}

} // namespace seamless::emul
