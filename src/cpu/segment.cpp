// SPDX-License-Identifier: Apache-2.0
// Descriptors and segment registers. SDM: "Protected-Mode Memory Management", "Segment Descriptors".
#include "cpu/core.h"

namespace seamless::cpu {

using namespace spec;

Segment Core::segment_from(u64 d, u16 selector)
{
    Segment s;
    s.selector = selector;
    s.base = field(d, 39, 16) | field(d, 63, 56) << 24;
    s.ar = static_cast<u32>(field(d, 47, 40) | field(d, 55, 52) << 12);
    const u32 limit = static_cast<u32>(field(d, 15, 0) | field(d, 51, 48) << 16);
    s.limit = s.ar & segment_ar::G ? limit << 12 | 0xfff : limit;
    return s;
}

Result<u64, Fault> Core::read_descriptor(u16 selector, Vector vector)
{
    const CpuState& s = frame_.state;
    const u32 error = selector & 0xfffcu;
    const u32 at = selector & 0xfff8u;
    u64 base = s.gdtr.base;
    u64 limit = s.gdtr.limit;
    if (selector & 4) {
        const Segment& ldtr = s.segment(Seg::ldtr);
        if (ldtr.ar & segment_ar::UNUSABLE)
            return fail(exception(vector, error));
        base = ldtr.base;
        limit = ldtr.limit;
    }
    if (at + 7 > limit)
        return fail(exception(vector, error));
    return mmu_.load<u64>(Gva(base + at), Purpose::implicit);
}

// SDM: "MOV—Move", the checks on segment registers; LSS and POP make the same ones.
Result<void, Fault> Core::load_segment(Seg seg, u16 selector)
{
    CpuState& s = frame_.state;
    const unsigned cpl = s.cpl();
    const unsigned rpl = selector & 3;
    const u32 error = selector & 0xfffcu;
    Segment& target = s.segment(seg);
    if (!s.protected_mode()) {
        target.selector = selector;
        target.base = u64{selector} << 4;
        return {};
    }
    if (error == 0) {
        if (seg == Seg::ss && (!s.code64() || cpl == 3 || rpl != cpl))
            return fail(gp(0));
        // Intel clears the base with a null selector, also of FS and GS; AMD keeps it.
        target = {.base = 0,
                  .limit = 0,
                  .ar = segment_ar::UNUSABLE | (seg == Seg::ss ? cpl << 5 : 0),
                  .selector = selector};
        return {};
    }
    const u64 descriptor = TRY(read_descriptor(selector));
    Segment loaded = segment_from(descriptor, selector);
    const unsigned type = segment_ar::type(loaded.ar);
    const unsigned dpl = segment_ar::dpl(loaded.ar);
    const bool code = type & 8;
    if (!(loaded.ar & segment_ar::S))
        return fail(gp(error));
    if (seg == Seg::ss) {
        if (rpl != cpl || code || !(type & 2) || dpl != cpl)
            return fail(gp(error));
        if (!(loaded.ar & segment_ar::P))
            return fail(exception(Vector::SS, error));
    } else {
        if (code && !(type & 2))
            return fail(gp(error));
        const bool conforming = code && (type & 4);
        if (!conforming && (rpl > dpl || cpl > dpl))
            return fail(gp(error));
        if (!(loaded.ar & segment_ar::P))
            return fail(exception(Vector::NP, error));
    }
    if (!(type & 1)) { // the accessed flag, in memory and in the register
        const u64 base = selector & 4 ? s.segment(Seg::ldtr).base : s.gdtr.base;
        TRY(mmu_.store<u8>(Gva(base + (selector & 0xfff8u) + 5),
                           static_cast<u8>(field(descriptor, 47, 40) | 1), Purpose::implicit));
        loaded.ar |= 1;
    }
    target = loaded;
    return {};
}

} // namespace seamless::cpu
