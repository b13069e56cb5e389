// SPDX-License-Identifier: Apache-2.0
// Saving and restoring extended state. Around C++ the guest's state is in an XSAVE image in the host's
// standard format; these functions move components between that and the guest's memory, masked by XCR0. SDM:
// "Managing State Using the XSAVE Feature Set".
#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "cpu/cpuid.h"
#include "cpu/system/operand.h"
#include "cpu/system/system.h"

namespace seamless::cpu {

namespace {

constexpr u64 kX87 = 1, kSse = 2, kAvx = 4;
constexpr unsigned kHeader = 512, kLegacyBytes = 576, kMxcsr = 24, kXmm = 160, kXmmBytes = 256;
constexpr u32 kMxcsrMask = 0xffff;

struct Component {
    u32 offset; // standard format
    u32 size;
    bool align64; // compacted format
};

Component component(unsigned i)
{
    static const auto table = [] {
        std::array<Component, 63> t{};
        for (unsigned n = 2; n < 63; ++n) {
            const CpuidResult r = native_cpuid(0xd, n);
            t[n] = {.offset = r.ebx, .size = r.eax, .align64 = (r.ecx & 2) != 0};
        }
        return t;
    }();
    return table[i];
}

u64& xstate_bv(XsaveArea& area) { return *reinterpret_cast<u64*>(area.bytes + kHeader); }

u32 load_u32(const u8* at)
{
    u32 value = 0;
    std::memcpy(&value, at, 4);
    return value;
}

} // namespace

void XsaveArea::reset()
{
    std::memset(bytes, 0, sizeof bytes);
    const u16 fcw = 0x37f;
    std::memcpy(bytes, &fcw, 2);
    std::memcpy(bytes + kMxcsr, &spec::kMxcsrReset, 4);
    xstate_bv(*this) = kX87 | kSse; // what XSAVE writes for legacy state; keeps MXCSR and FCW as set here
}

namespace op {

using decode::Instruction;
using spec::Gpr;

namespace {

// #UD and #NM before anything else. `xsave`: of the XSAVE family.
Result<void, Fault> check_available(Core& core, bool xsave)
{
    const CpuState& s = core.state();
    if (xsave ? !(s.cr4 & spec::cr4::OSXSAVE) : (s.cr0 & spec::cr0::EM) != 0)
        return fail(xsave ? core.ud() : core.exception(spec::Vector::NM));
    if (s.cr0 & spec::cr0::TS)
        return fail(core.exception(spec::Vector::NM));
    return {};
}

Result<Gva, Fault> area_address(Core& core, const Instruction& insn, u64 alignment)
{
    const Gva gva = linear_address(core, insn, insn.operands[0]);
    if (!aligned(gva.value(), alignment))
        return fail(core.gp());
    return gva;
}

u64 requested(const CpuState& s) { return s.reg(Gpr::rdx) << 32 | static_cast<u32>(s.reg(Gpr::rax)); }

// DEVIATION: the last instruction and operand pointers of x87 are not tracked and read as zero.
void clear_x87_pointers(u8* legacy) { std::memset(legacy + 8, 0, 16); }

// What loading x87 state makes of a control and a status word: reserved bits are dropped, and ES and B follow
// from the rest.
void settle_x87(u8* legacy)
{
    const unsigned control = ((legacy[0] | legacy[1] << 8) & 0x1f7f) | 0x40;
    const bool pending = (legacy[2] & ~control & 0x3f) != 0;
    legacy[0] = static_cast<u8>(control);
    legacy[1] = static_cast<u8>(control >> 8);
    legacy[2] = static_cast<u8>((legacy[2] & 0x7f) | (pending ? 0x80 : 0));
    legacy[3] = static_cast<u8>((legacy[3] & 0x7f) | (pending ? 0x80 : 0));
}

bool initial(const XsaveArea& area, unsigned i)
{
    const u8* b = area.bytes;
    const auto zero = [](const u8* at, unsigned size) {
        return std::all_of(at, at + size, [](u8 v) { return v == 0; });
    };
    if (i == 0) {
        u16 fcw = 0;
        std::memcpy(&fcw, b, 2);
        return fcw == 0x37f && zero(b + 2, 6) && zero(b + 32, 128);
    }
    if (i == 1)
        return zero(b + kXmm, kXmmBytes);
    return zero(b + component(i).offset, component(i).size);
}

// XSAVES and XRSTORS: ring 0, and as VMX allows.
bool is_supervisor_form(const Instruction& insn) { return insn.z.meta.isa_set == ZYDIS_ISA_SET_XSAVES; }

Result<void, Fault> check_supervisor_form(Core& core, bool supervisor)
{
    if (!supervisor)
        return {};
    if (!(core.vmcs().proc_based2 & spec::proc2::XSAVES))
        return fail(core.ud());
    if (user_mode(core))
        return fail(core.gp());
    return {};
}

} // namespace

Result<Flow, Fault> fxsave(Core& core, const Instruction& insn)
{
    TRY(check_available(core, false));
    const Gva gva = TRY(area_address(core, insn, 16));
    u8 image[512] = {};
    TRY(core.mmu().read(gva, image)); // the last 96 bytes stay what they are
    std::memcpy(image, core.xsave().bytes, core.state().code64() ? 416 : 288);
    clear_x87_pointers(image);
    std::memcpy(image + 28, &kMxcsrMask, 4);
    TRY(core.mmu().write(gva, image));
    return Flow::next;
}

Result<Flow, Fault> fxrstor(Core& core, const Instruction& insn)
{
    TRY(check_available(core, false));
    const Gva gva = TRY(area_address(core, insn, 16));
    u8 image[512];
    TRY(core.mmu().read(gva, image));
    if (load_u32(image + kMxcsr) & ~kMxcsrMask)
        return fail(core.gp());
    clear_x87_pointers(image);
    settle_x87(image);
    std::memcpy(core.xsave().bytes, image, core.state().code64() ? 416 : 288);
    xstate_bv(core.xsave()) |= kX87 | kSse;
    return Flow::next;
}

Result<Flow, Fault> xsave(Core& core, const Instruction& insn)
{
    TRY(check_available(core, true));
    const CpuState& s = core.state();
    const bool supervisor = is_supervisor_form(insn);
    TRY(check_supervisor_form(core, supervisor));
    const Gva gva = TRY(area_address(core, insn, 64));
    const u64 mask = requested(s) & (supervisor ? s.xcr0 | s.xss : s.xcr0);
    const bool compact = supervisor || insn.z.meta.isa_set == ZYDIS_ISA_SET_XSAVEC;
    XsaveArea& area = core.xsave();
    u64 in_use = 0;
    for (u64 left = mask; left; left &= left - 1) {
        const unsigned i = static_cast<unsigned>(std::countr_zero(left));
        if (test(xstate_bv(area), i) && !initial(area, i))
            in_use |= bit(i);
    }
    u32 mxcsr = load_u32(area.bytes + kMxcsr);
    if (mxcsr != spec::kMxcsrReset && (mask & kSse) && compact)
        in_use |= kSse; // the init optimisation of XSAVEC and XSAVES looks at MXCSR too

    u8 header[64] = {};
    TRY(core.mmu().read(gva + kHeader, header));
    u64 bv = 0;
    std::memcpy(&bv, header, 8);
    bv = compact ? in_use : (bv & ~mask) | in_use;
    const u64 xcomp_bv = mask | bit(63);

    // All pages are probed before the first byte is stored.
    u64 end = kLegacyBytes;
    u64 offsets[63] = {};
    for (u64 left = mask & ~u64{3}; left; left &= left - 1) {
        const unsigned i = static_cast<unsigned>(std::countr_zero(left));
        const Component c = component(i);
        if (compact && c.align64)
            end = align_up<u64>(end, 64);
        offsets[i] = compact ? end : c.offset;
        end = compact ? end + c.size : std::max<u64>(end, u64{c.offset} + c.size);
    }
    for (u64 at = 0; at < end; at += kPageSize - (gva + at).page_offset())
        TRY(core.mmu().translate(gva + at, Access::write));

    u8 legacy[512];
    TRY(core.mmu().read(gva, legacy));
    if ((mask & kX87) && (!compact || (in_use & kX87))) {
        std::memcpy(legacy, area.bytes, kMxcsr);
        std::memcpy(legacy + 32, area.bytes + 32, 128);
        clear_x87_pointers(legacy);
    }
    if (mask & (kSse | kAvx)) {
        std::memcpy(legacy + kMxcsr, &mxcsr, 4);
        std::memcpy(legacy + kMxcsr + 4, &kMxcsrMask, 4);
    }
    if ((mask & kSse) && (!compact || (in_use & kSse)))
        std::memcpy(legacy + kXmm, area.bytes + kXmm, kXmmBytes);
    TRY(core.mmu().write(gva, legacy));
    for (u64 left = mask & ~u64{3}; left; left &= left - 1) {
        const unsigned i = static_cast<unsigned>(std::countr_zero(left));
        if (!compact || test(in_use, i))
            TRY(core.mmu().write(gva + offsets[i], {area.bytes + component(i).offset, component(i).size}));
    }
    std::memcpy(header, &bv, 8);
    if (compact)
        std::memcpy(header + 8, &xcomp_bv, 8);
    TRY(core.mmu().write(gva + kHeader, {header, compact ? 16u : 8u}));
    return Flow::next;
}

Result<Flow, Fault> xrstor(Core& core, const Instruction& insn)
{
    TRY(check_available(core, true));
    const CpuState& s = core.state();
    const bool supervisor = is_supervisor_form(insn);
    TRY(check_supervisor_form(core, supervisor));
    const Gva gva = TRY(area_address(core, insn, 64));
    const u64 mask = requested(s) & (supervisor ? s.xcr0 | s.xss : s.xcr0);
    u8 image[kLegacyBytes];
    TRY(core.mmu().read(gva, image));
    u64 bv = 0;
    u64 xcomp_bv = 0;
    std::memcpy(&bv, image + kHeader, 8);
    std::memcpy(&xcomp_bv, image + kHeader + 8, 8);
    const bool compact = test(xcomp_bv, 63);
    const auto reserved_set = [&](unsigned from) {
        return std::any_of(image + kHeader + from, image + kHeader + 64, [](u8 b) { return b != 0; });
    };
    if ((supervisor && !compact) || (bv & ~s.xcr0) != 0 || reserved_set(compact ? 16 : 8) ||
        (compact && ((bv & ~xcomp_bv) || (xcomp_bv & ~(s.xcr0 | bit(63))))))
        return fail(core.gp());
    const bool loads_mxcsr = compact ? (mask & kSse & bv) != 0 : (mask & (kSse | kAvx)) != 0;
    if (loads_mxcsr && (load_u32(image + kMxcsr) & ~kMxcsrMask))
        return fail(core.gp());

    XsaveArea next = core.xsave();
    u64 end = kLegacyBytes;
    for (u64 left = (compact ? xcomp_bv & ~bit(63) : mask) & ~u64{3}; left; left &= left - 1) {
        const unsigned i = static_cast<unsigned>(std::countr_zero(left));
        const Component c = component(i);
        if (compact && c.align64)
            end = align_up<u64>(end, 64);
        const u64 at = compact ? end : c.offset;
        end += c.size;
        if (!test(mask, i))
            continue;
        if (test(bv, i))
            TRY(core.mmu().read(gva + at, {next.bytes + c.offset, c.size}));
        else
            std::memset(next.bytes + c.offset, 0, c.size);
        xstate_bv(next) |= bit(i);
    }
    XsaveArea reset;
    reset.reset();
    const u8* x87_from = bv & kX87 ? image : reset.bytes;
    const u8* sse_from = bv & kSse ? image : reset.bytes;
    if (mask & kX87) {
        std::memcpy(next.bytes, x87_from, kMxcsr);
        std::memcpy(next.bytes + 32, x87_from + 32, 128);
        clear_x87_pointers(next.bytes);
        settle_x87(next.bytes);
    }
    if (mask & kSse)
        std::memcpy(next.bytes + kXmm, sse_from + kXmm, kXmmBytes);
    if (loads_mxcsr)
        std::memcpy(next.bytes + kMxcsr, image + kMxcsr, 4);
    else if ((mask & kSse) && compact)
        std::memcpy(next.bytes + kMxcsr, &spec::kMxcsrReset, 4);
    xstate_bv(next) |= mask & (kX87 | kSse);
    core.xsave() = next;
    return Flow::next;
}

Result<Flow, Fault> xgetbv(Core& core, const Instruction&)
{
    CpuState& s = core.state();
    if (!(s.cr4 & spec::cr4::OSXSAVE))
        return fail(core.ud());
    u64 value = s.xcr0;
    switch (static_cast<u32>(s.reg(Gpr::rcx))) {
    case 0:
        break;
    case 1:
        for (unsigned i = 0; i < 63; ++i)
            if (test(value, i) && initial(core.xsave(), i))
                value &= ~bit(i);
        break;
    default:
        return fail(core.gp());
    }
    s.reg(Gpr::rax) = static_cast<u32>(value);
    s.reg(Gpr::rdx) = value >> 32;
    return Flow::next;
}

Result<Flow, Fault> xsetbv(Core& core, const Instruction&)
{
    if (!(core.state().cr4 & spec::cr4::OSXSAVE))
        return fail(core.ud());
    if (user_mode(core))
        return fail(core.gp());
    return fail(core.exit(spec::ExitReason::XSETBV));
}

} // namespace op
} // namespace seamless::cpu
