// SPDX-License-Identifier: Apache-2.0
// String instructions, one element at a time or a page at a time; an interrupt is taken between elements,
// with the registers showing how far it got. SDM: "REP/REPE/REPZ/REPNE/REPNZ".
#include <algorithm>
#include <cstring>
#include <span>

#include "cpu/system/operand.h"
#include "cpu/system/system.h"

namespace seamless::cpu::op {

using decode::Instruction;
using spec::Gpr;
using spec::Seg;
namespace rf = spec::rflags;

namespace {

enum class Repeat : u8 { none, rep, repne };
enum class Go : u8 { on, stop };

// The arithmetic flags of a - b. SDM: "CMP".
u64 compare_flags(u64 a, u64 b, unsigned size)
{
    const unsigned top = size * 8 - 1;
    const u64 r = truncate(a - b, size);
    u64 flags = 0;
    if (a < b)
        flags |= rf::CF;
    if (r == 0)
        flags |= rf::ZF;
    if (test(r, top))
        flags |= rf::SF;
    if (test((a ^ b) & (a ^ r), top))
        flags |= rf::OF;
    if ((a ^ b ^ r) & 0x10)
        flags |= rf::AF;
    if (!(std::popcount(r & 0xff) & 1))
        flags |= rf::PF;
    return flags;
}

// How one string instruction counts and steps.
class StringLoop {
  public:
    StringLoop(Core& core, const Instruction& insn, unsigned element)
        : core_(core),
          s_(core.state()),
          width_(insn.z.address_width / 8u),
          element_(element),
          step_(s_.rflags & rf::DF ? -static_cast<i64>(element) : element),
          repeat_(insn.has(ZYDIS_ATTRIB_HAS_REPNE)                         ? Repeat::repne
                  : insn.has(ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE) ? Repeat::rep
                                                                           : Repeat::none)
    {
        for (const ZydisDecodedOperand& operand : insn.all_operands())
            if (operand.type == ZYDIS_OPERAND_TYPE_MEMORY && operand.mem.base != ZYDIS_REGISTER_NONE &&
                (operand.mem.base == ZYDIS_REGISTER_RSI || operand.mem.base == ZYDIS_REGISTER_ESI ||
                 operand.mem.base == ZYDIS_REGISTER_SI))
                source_ = segment_of(operand.mem.segment);
    }

    [[nodiscard]] unsigned element() const { return element_; }
    [[nodiscard]] Repeat repeat() const { return repeat_; }
    [[nodiscard]] bool forward() const { return step_ > 0; }
    [[nodiscard]] u64 remaining() const
    {
        return repeat_ == Repeat::none ? 1 : truncate(s_.reg(Gpr::rcx), width_);
    }
    [[nodiscard]] Gva source() const
    {
        return linear_address(s_, source_, truncate(s_.reg(Gpr::rsi), width_));
    }
    [[nodiscard]] Gva destination() const
    {
        return linear_address(s_, Seg::es, truncate(s_.reg(Gpr::rdi), width_));
    }
    [[nodiscard]] Purpose source_purpose() const
    {
        return source_ == Seg::ss ? Purpose::stack : Purpose::data;
    }

    void advance_source(u64 count) { step(Gpr::rsi, count); }
    void advance_destination(u64 count) { step(Gpr::rdi, count); }
    void count_down(u64 count)
    {
        if (repeat_ != Repeat::none)
            set(Gpr::rcx, s_.reg(Gpr::rcx) - count);
    }

    // Sets the flags of a - b; REPE goes on while they are equal, REPNE while they differ.
    [[nodiscard]] Go compare(u64 a, u64 b)
    {
        s_.rflags = (s_.rflags & ~rf::kArithmetic) | compare_flags(a, b, element_);
        return (a == b) == (repeat_ == Repeat::rep) ? Go::on : Go::stop;
    }

    // There is more to do, but somebody waits, or the iteration was one to trap behind.
    [[nodiscard]] bool interrupted() const { return core_.request_pending() || traps(); }

    // What saves RFLAGS between two iterations saves RF set. SDM: "Instruction-Breakpoint Exception
    // Condition".
    void leave_unfinished() { s_.rflags |= rf::RF; }

    // How many whole elements both addresses have left in their pages; 0 if an element leaves its page.
    [[nodiscard]] u64 run_length(u64 most, std::initializer_list<Gva> addresses) const
    {
        if (!forward() || traps())
            return 0;
        for (const Gva gva : addresses)
            most = std::min(most, (kPageSize - gva.page_offset()) / element_);
        return most;
    }

  private:
    // Single-stepping and data breakpoints trap behind the iteration, not behind the last.
    // SDM: "Single-Step Exception Condition", "Data Memory and I/O Breakpoint Exception Conditions".
    [[nodiscard]] bool traps() const { return (s_.rflags & rf::TF) || (s_.dr7 & spec::dr7::ENABLED); }
    void set(Gpr r, u64 value)
    {
        u64& reg = s_.reg(r);
        reg = width_ == 8 ? value : width_ == 4 ? static_cast<u32>(value) : with_field(reg, 15, 0, value);
    }
    void step(Gpr r, u64 count) { set(r, s_.reg(r) + static_cast<u64>(step_) * count); }

    Core& core_;
    CpuState& s_;
    unsigned width_; // of the address, in bytes
    unsigned element_;
    i64 step_;
    Repeat repeat_;
    Seg source_ = Seg::ds;
};

unsigned element_size(const Instruction& insn)
{
    for (const ZydisDecodedOperand& operand : insn.all_operands())
        if (operand.type == ZYDIS_OPERAND_TYPE_MEMORY)
            return operand.size / 8u;
    return 1;
}

// Element after element, until the count or the condition ends it. Between two, whoever waits may have the
// processor.
template <typename Element>
Result<Flow, Fault> repeat(StringLoop& loop, const Element& element)
{
    while (loop.remaining() != 0) {
        const Go go = TRY(element());
        if (loop.repeat() == Repeat::none || go == Go::stop)
            break;
        if (loop.remaining() != 0 && loop.interrupted()) {
            loop.leave_unfinished();
            return Flow::stay;
        }
    }
    return Flow::next;
}

bool probe_lost(Hpa hpa)
{
    u8 value = 0;
    return !mem::try_load(hpa, value);
}

// A whole run within one source and one destination page. False: take single elements.
Result<bool, Fault> move_run(Core& core, StringLoop& loop)
{
    const Gva from = loop.source();
    const Gva to = loop.destination();
    const u64 count = loop.run_length(loop.remaining(), {from, to});
    if (count < 2)
        return false;
    const Hpa source = TRY(core.mmu().translate(from, Access::read, loop.source_purpose()));
    const Hpa target = TRY(core.mmu().translate(to, Access::write));
    const u64 bytes = count * loop.element();
    const u64 distance = target.value() - source.value();
    if (distance != 0 && distance < bytes)
        return false; // overlapping forwards: each element sees what the one before it wrote
    const u64 copied = mem::try_copy(mem::host_ptr(target), mem::host_ptr(source), bytes);
    const u64 done = copied / loop.element();
    loop.advance_source(done);
    loop.advance_destination(done);
    loop.count_down(done);
    if (done < count) [[unlikely]] // which of the two it was shows when it is accessed alone
        return fail(core.host_memory_gone(probe_lost(source + copied) ? source + copied : target + copied));
    return true;
}

Result<bool, Fault> store_run(Core& core, StringLoop& loop, u64 value)
{
    const Gva to = loop.destination();
    const u64 count = loop.run_length(loop.remaining(), {to});
    if (count < 2)
        return false;
    const Hpa target = TRY(core.mmu().translate(to, Access::write));
    const u64 done = mem::try_fill(target, value, loop.element(), count);
    loop.advance_destination(done);
    loop.count_down(done);
    if (done < count) [[unlikely]]
        return fail(core.host_memory_gone(target + done * loop.element()));
    return true;
}

} // namespace

Result<Flow, Fault> movs(Core& core, const Instruction& insn)
{
    StringLoop loop(core, insn, element_size(insn));
    return repeat(loop, [&]() -> Result<Go, Fault> {
        if (TRY(move_run(core, loop)))
            return Go::on;
        const u64 value = TRY(core.mmu().load_n(loop.source(), loop.element(), loop.source_purpose()));
        TRY(core.mmu().store_n(loop.destination(), loop.element(), value));
        loop.advance_source(1);
        loop.advance_destination(1);
        loop.count_down(1);
        return Go::on;
    });
}

Result<Flow, Fault> stos(Core& core, const Instruction& insn)
{
    StringLoop loop(core, insn, element_size(insn));
    const u64 value = truncate(core.state().reg(Gpr::rax), loop.element());
    return repeat(loop, [&]() -> Result<Go, Fault> {
        if (TRY(store_run(core, loop, value)))
            return Go::on;
        TRY(core.mmu().store_n(loop.destination(), loop.element(), value));
        loop.advance_destination(1);
        loop.count_down(1);
        return Go::on;
    });
}

Result<Flow, Fault> lods(Core& core, const Instruction& insn)
{
    StringLoop loop(core, insn, element_size(insn));
    constexpr ZydisRegister kAccumulator[] = {ZYDIS_REGISTER_AL, ZYDIS_REGISTER_AX, ZYDIS_REGISTER_EAX,
                                              ZYDIS_REGISTER_RAX};
    return repeat(loop, [&]() -> Result<Go, Fault> {
        const u64 value = TRY(core.mmu().load_n(loop.source(), loop.element(), loop.source_purpose()));
        write_register(core.state(), kAccumulator[std::countr_zero(loop.element())], value);
        loop.advance_source(1);
        loop.count_down(1);
        return Go::on;
    });
}

Result<Flow, Fault> scas(Core& core, const Instruction& insn)
{
    StringLoop loop(core, insn, element_size(insn));
    const u64 value = truncate(core.state().reg(Gpr::rax), loop.element());
    return repeat(loop, [&]() -> Result<Go, Fault> {
        const u64 found = TRY(core.mmu().load_n(loop.destination(), loop.element()));
        loop.advance_destination(1);
        loop.count_down(1);
        return loop.compare(value, found);
    });
}

Result<Flow, Fault> cmps(Core& core, const Instruction& insn)
{
    StringLoop loop(core, insn, element_size(insn));
    return repeat(loop, [&]() -> Result<Go, Fault> {
        const u64 a = TRY(core.mmu().load_n(loop.source(), loop.element(), loop.source_purpose()));
        const u64 b = TRY(core.mmu().load_n(loop.destination(), loop.element()));
        loop.advance_source(1);
        loop.advance_destination(1);
        loop.count_down(1);
        return loop.compare(a, b);
    });
}

Result<Flow, Fault> xlat(Core& core, const Instruction& insn)
{
    CpuState& s = core.state();
    Seg seg = Seg::ds;
    for (const ZydisDecodedOperand& operand : insn.all_operands())
        if (operand.type == ZYDIS_OPERAND_TYPE_MEMORY)
            seg = segment_of(operand.mem.segment);
    const u64 at = truncate(s.reg(Gpr::rbx) + (s.reg(Gpr::rax) & 0xff), insn.z.address_width / 8);
    write_register(s, ZYDIS_REGISTER_AL, TRY(core.mmu().load_n(linear_address(s, seg, at), 1)));
    return Flow::next;
}

namespace {

constexpr unsigned kFsw = 2, kFtw = 4, kSt = 32, kXmm = 160, kXstateBv = 512;

// What an MMX instruction does to x87 state: all registers valid, TOP 0. The image holds them from TOP on.
// SDM: "Effect of MMX Instructions on x87 Floating-Point Tag Word".
void enter_mmx(u8* image)
{
    const unsigned top = image[kFsw + 1] >> 3 & 7u;
    std::rotate(image + kSt, image + kSt + 16 * ((8 - top) & 7), image + kSt + 128);
    image[kFsw + 1] &= 0xc7;
    image[kFtw] = 0xff;
    image[kXstateBv] |= 1;
}

Result<void, Fault> check_maskmov(Core& core, bool mmx)
{
    const CpuState& s = core.state();
    if (s.cr0 & spec::cr0::EM || (!mmx && !(s.cr4 & spec::cr4::OSFXSR)))
        return fail(core.ud());
    if (s.cr0 & spec::cr0::TS)
        return fail(core.exception(spec::Vector::NM));
    if (mmx && (core.xsave().bytes[kFsw] & 0x80))
        return fail(core.exception(spec::Vector::MF));
    return {};
}

// The two register operands, data and mask.
bool maskmov_registers(Core& core, const Instruction& insn, bool mmx, std::span<u8> data, std::span<u8> mask)
{
    const u8* image = core.xsave().bytes;
    const unsigned top = mmx ? image[kFsw + 1] >> 3 & 7u : 0;
    unsigned found = 0;
    for (const ZydisDecodedOperand& operand : insn.all_operands()) {
        if (operand.type != ZYDIS_OPERAND_TYPE_REGISTER || found == 2 ||
            operand.visibility == ZYDIS_OPERAND_VISIBILITY_HIDDEN)
            continue;
        const auto id = static_cast<unsigned>(ZydisRegisterGetId(operand.reg.value));
        const u8* from = mmx ? image + kSt + 16 * ((id - top) & 7) : image + kXmm + 16 * id;
        std::copy_n(from, data.size(), (found++ == 0 ? data : mask).begin());
    }
    return found == 2;
}

} // namespace

// MASKMOVQ and MASKMOVDQU: only the selected bytes are written, and only they can fault.
Result<Flow, Fault> maskmov(Core& core, const Instruction& insn)
{
    CpuState& s = core.state();
    const bool mmx = insn.z.mnemonic == ZYDIS_MNEMONIC_MASKMOVQ;
    const unsigned size = mmx ? 8 : 16;
    TRY(check_maskmov(core, mmx));
    u8 data[16];
    u8 mask[16];
    if (!maskmov_registers(core, insn, mmx, std::span(data).first(size), std::span(mask).first(size)))
        return fail(core.ud());
    Seg seg = Seg::ds;
    for (const ZydisDecodedOperand& operand : insn.all_operands())
        if (operand.type == ZYDIS_OPERAND_TYPE_MEMORY)
            seg = segment_of(operand.mem.segment);
    const u64 base = truncate(s.reg(Gpr::rdi), insn.z.address_width / 8);
    for (unsigned i = 0; i < size; ++i)
        if (mask[i] & 0x80)
            TRY(core.mmu().translate(linear_address(s, seg, base + i), Access::write));
    for (unsigned i = 0; i < size; ++i)
        if (mask[i] & 0x80)
            TRY(core.mmu().store<u8>(linear_address(s, seg, base + i), data[i]));
    if (mmx)
        enter_mmx(core.xsave().bytes);
    return Flow::next;
}

} // namespace seamless::cpu::op
