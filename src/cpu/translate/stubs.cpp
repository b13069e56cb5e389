// SPDX-License-Identifier: Apache-2.0
// Host registers hold the guest's of the same name, except: host RSP is a host stack, guest RSP is in R13,
// and the guest's R13, R14 and R15 stay in the frame, so that R14 and R15 are free for the translator.
#include "cpu/translate/stubs.h"

#include "cpu/cpuid.h"
#include "cpu/translate/assembler.h"

namespace seamless::cpu {
namespace {

constexpr Host kMapped[] = {Host::rax, Host::rcx, Host::rdx, Host::rbx, Host::rbp, Host::rsi,
                            Host::rdi, Host::r8,  Host::r9,  Host::r10, Host::r11, Host::r12};

constexpr i32 kReturnBytes = 16 << 10;

constexpr i32 slot(Host r)
{
    return FRAME(state) + static_cast<i32>(offsetof(CpuState, gpr)) + 8 * static_cast<i32>(r);
}

class StubEmitter {
  public:
    StubEmitter(std::span<u8> buffer, u64 exec_base) : a_(buffer, exec_base) {}

    Stubs run(const SlowHelpers& helpers);

  private:
    void save_registers();
    void load_registers();
    void save_flags(); // to host_flags, and back; they use rax and rcx
    void load_flags();
    void xsave_op(u8 op, bool wide); // 0F AE /op [rdi], with EDX:EAX = mask
    void save_extended();            // clobbers rax, rdx, rdi
    void leave_host_clean();
    void helper(SlowHelper fn);
    void extended_is_saved();
    void go_on_at_rip();
    void jump(unsigned set, u64 exit);
    [[nodiscard]] u32 tag_matches(i32 way);
    void limit_depth();
    void begin_returns();
    void look_at_second(unsigned set, bool write, u64 slow, RefillHelper refill);
    void call_refill(unsigned set, u64 slow, RefillHelper refill);
    void exchange(u8 scale, i32 a, i32 b);
    void gs_op(u8 opcode, u8 op, i32 disp)
    {
        a_.byte(0x65);
        a_.byte(opcode);
        a_.byte(static_cast<u8>(0x04 | op << 3));
        a_.byte(0x25);
        a_.imm32(static_cast<u32>(disp));
    }
    u64 align()
    {
        a_.align();
        return a_.address();
    }

    Assembler a_;
    u64 load_extended_ = 0;
    u64 nothing_ = 0;
    u64 exit_registers_saved_ = 0;
};

void StubEmitter::save_registers()
{
    for (const Host r : kMapped)
        a_.store(slot(r), r);
    a_.store(slot(Host::rsp), Host::r13);
}

void StubEmitter::load_registers()
{
    for (const Host r : kMapped)
        a_.load(r, slot(r));
    a_.load(Host::r13, slot(Host::rsp));
}

void StubEmitter::save_flags()
{
    a_.flags_to_rax();
    a_.store(FRAME(host_flags), Host::rax);
}

void StubEmitter::load_flags()
{
    a_.load32(Host::rax, FRAME(host_flags));
    a_.flags_from_rax();
}

void StubEmitter::xsave_op(u8 op, bool wide)
{
    a_.load(Host::rdi, FRAME(xsave));
    a_.load32(Host::rax, FRAME(xsave_mask));
    a_.load32(Host::rdx, FRAME(xsave_mask) + 4);
    if (wide)
        a_.byte(0x48);
    a_.byte(0x0f);
    a_.byte(0xae);
    a_.byte(static_cast<u8>(op << 3 | Assembler::low(Host::rdi)));
}

void StubEmitter::leave_host_clean()
{
    a_.byte(0xdb); // fninit: no pending exception, no full register stack for the C++ above
    a_.byte(0xe3);
    a_.byte(0x65); // ldmxcsr gs:[host_mxcsr]
    a_.byte(0x0f);
    a_.byte(0xae);
    a_.byte(0x14);
    a_.byte(0x25);
    a_.imm32(static_cast<u32>(FRAME(host_mxcsr)));
    if (supported_xcr0() & 4) {
        a_.byte(0xc5); // vzeroupper
        a_.byte(0xf8);
        a_.byte(0x77);
    }
}

void StubEmitter::save_extended()
{
    xsave_op(4, true);
    leave_host_clean();
}

// Entered by CALL from a block. The frame on the host's stack is the return address alone.
void StubEmitter::helper(SlowHelper fn)
{
    a_.store(FRAME(helper_rsp), Host::rsp);
    save_registers();
    save_flags();
    a_.load(Host::r12, FRAME(extended_live));
    a_.rr(true, 0x85, Host::r12, Host::r12);
    const u32 not_live = a_.jcc_forward(4);
    save_extended();
    a_.patch(not_live);

    a_.load(Host::rdi, FRAME(self));
    a_.mov(Host::rsi, Host::r14);
    a_.mov32(Host::rdx, Host::r15);
    a_.byte(0x48); // mov rcx, [rsp]
    a_.byte(0x8b);
    a_.byte(0x0c);
    a_.byte(0x24);
    a_.ri(true, 5, Host::rsp, 8);
    a_.mov_imm(Host::rax, reinterpret_cast<u64>(fn));
    a_.byte(0xff); // call rax
    a_.byte(0xd0);
    a_.ri(true, 0, Host::rsp, 8);
    a_.rr(true, 0x85, Host::rax, Host::rax);
    const u32 not_here = a_.jcc_forward(4);
    a_.mov(Host::r14, Host::rax);
    a_.byte(0x48); // add [rsp], rdx
    a_.byte(0x01);
    a_.byte(0x14);
    a_.byte(0x24);
    a_.rr(true, 0x85, Host::r12, Host::r12);
    const u32 still_not_live = a_.jcc_forward(4);
    xsave_op(5, true);
    a_.patch(still_not_live);
    load_flags();
    load_registers();
    a_.mov_imm(Host::r15, 0); // the whole pointer is in r14
    a_.byte(0xc3);

    a_.patch(not_here); // what was live has been saved above
    extended_is_saved();
    a_.rr(true, 0x85, Host::rdx, Host::rdx);
    const u32 leaves = a_.jcc_forward(4);
    go_on_at_rip();
    a_.patch(leaves);
    a_.jmp(exit_registers_saved_);
}

// Uses rax.
void StubEmitter::extended_is_saved()
{
    a_.store_imm32(FRAME(extended_live), 0);
    a_.mov_imm(Host::rax, load_extended_);
    a_.store(FRAME(ensure_extended), Host::rax);
}

// Perhaps in another mode: what was known of returns has been forgotten.
void StubEmitter::go_on_at_rip()
{
    constexpr u8 kJump = 4;
    a_.load(Host::rsp, FRAME(return_base));
    load_flags();
    load_registers();
    a_.load(Host::r15, FRAME(state) + static_cast<i32>(offsetof(CpuState, rip)));
    gs_op(0xff, kJump, FRAME(target));
}

// With RIP in r15: on to the block that the jump cache has for it, unless somebody waits for this processor.
// Keeps the flags.
void StubEmitter::jump(unsigned set, u64 exit)
{
    constexpr i32 kRip = FRAME(state) + static_cast<i32>(offsetof(CpuState, rip));
    const i32 sets = FRAME(jumps) + static_cast<i32>(set * sizeof(JumpCache));
    const i32 newest = sets + static_cast<i32>(offsetof(JumpCache::Set, newest));
    const i32 older = sets + static_cast<i32>(offsetof(JumpCache::Set, older));
    a_.store(kRip, Host::r15);
    a_.store(FRAME(spill) + 8, Host::rcx);
    a_.mov_imm(Host::r14, 0);
    a_.crc32(Host::r14, Host::r15);
    a_.pext_gs(Host::r14, Host::r14, FRAME(jump_mask));
    a_.lea_scaled(Host::r14, Host::r14, sizeof(JumpCache::Set) / 8, 0);
    a_.load(Host::rcx, FRAME(request));
    a_.lea(Host::r15, Host::r15, Host::rcx, 1, 0);
    const u32 hit = tag_matches(newest);
    const u32 hit_older = tag_matches(older);
    a_.load(Host::rcx, FRAME(spill) + 8);
    a_.mov_imm(Host::r14, static_cast<u64>(ExitCode::jump));
    a_.call(exit);
    for (const auto& [from, way] : {std::pair{hit_older, older}, std::pair{hit, newest}}) {
        a_.land(from);
        a_.load(Host::rcx, FRAME(spill) + 8);
        a_.load(Host::r15, kRip);
        a_.jmp_gs_scaled(Host::r14, 8, way + static_cast<i32>(offsetof(JumpCache::Way, host)));
    }
}

// Jumps if r15 is the address that the way of the set at r14 * 8 is for. Uses rcx.
u32 StubEmitter::tag_matches(i32 way)
{
    constexpr u8 kMovFrom = 0x8b;
    a_.gs_scaled(kMovFrom, Host::rcx, Host::r14, 8, way + static_cast<i32>(offsetof(JumpCache::Way, tag)));
    a_.lea(Host::rcx, Host::rcx, Host::r15, 1, 0);
    return a_.jrcxz_forward();
}

// Where calls lie too deep all is forgotten. Keeps the flags.
void StubEmitter::limit_depth()
{
    a_.store(FRAME(spill) + 8, Host::rcx);
    a_.load(Host::rcx, FRAME(return_limit_negated));
    a_.lea(Host::rcx, Host::rsp, Host::rcx, 1, 0);
    a_.pext_gs(Host::rcx, Host::rcx, FRAME(sign_mask));
    const u32 fits = a_.jrcxz_forward();
    a_.load(Host::rsp, FRAME(return_base));
    a_.land(fits);
    a_.load(Host::rcx, FRAME(spill) + 8);
}

// The bottom of the returns: nothing is known of any call yet.
void StubEmitter::begin_returns()
{
    constexpr u8 kPush = 6;
    gs_op(0xff, kPush, FRAME(return_sentinel)); // where the address would be that a return is for
    gs_op(0xff, kPush, FRAME(return_sentinel));
    a_.store(FRAME(return_base), Host::rsp);
    a_.lea(Host::rax, Host::rsp, -kReturnBytes);
    a_.store(FRAME(return_limit), Host::rax);
    a_.complement(Host::rax);
    a_.lea(Host::rax, Host::rax, 1);
    a_.store(FRAME(return_limit_negated), Host::rax);
}

// Keeps the flags.
void StubEmitter::look_at_second(unsigned set, bool write, u64 slow, RefillHelper refill)
{
    constexpr u8 kMovFrom = 0x8b;
    const i32 first = FRAME(tlb) + static_cast<i32>(set * sizeof(paging::Tlb));
    const i32 second = first + static_cast<i32>(paging::Tlb::kSecond);
    const std::size_t tag =
        write ? offsetof(paging::TlbEntry, write_tag) : offsetof(paging::TlbEntry, read_tag);
    a_.push(Host::rcx);
    a_.push(Host::r15);
    a_.push(Host::r14);
    a_.pext_gs(Host::r15, Host::r15, FRAME(size_mask));
    a_.lea(Host::r15, Host::r15, Host::r14, 1, -1);
    a_.pext_gs(Host::r14, Host::r14, FRAME(index_mask));
    a_.lea_scaled(Host::r14, Host::r14, 8, 0);
    a_.gs_scaled(kMovFrom, Host::rcx, Host::r14, 4, second + static_cast<i32>(tag));
    a_.lea(Host::rcx, Host::rcx, Host::r15, 1, 0);
    a_.pext_gs(Host::rcx, Host::rcx, FRAME(page_mask));
    const u32 hit = a_.jrcxz_forward();
    const u32 neither = a_.jmp_forward();
    a_.land(hit);
    for (i32 at = 0; at < static_cast<i32>(sizeof(paging::TlbEntry)); at += 8)
        exchange(4, first + at, second + at);
    exchange(1, first + static_cast<i32>(paging::Tlb::kFirstGlobal),
             first + static_cast<i32>(paging::Tlb::kSecondGlobal));
    a_.gs_scaled(kMovFrom, Host::r15, Host::r14, 4,
                 first + static_cast<i32>(offsetof(paging::TlbEntry, delta)));
    a_.pop(Host::r14);
    a_.lea(Host::r14, Host::r14, Host::r15, 1, 0);
    a_.pop(Host::r15);
    a_.mov_imm(Host::r15, 0); // as behind a helper
    a_.pop(Host::rcx);
    a_.ret();
    a_.patch(neither);
    a_.pop(Host::r14);
    a_.pop(Host::r15);
    a_.pop(Host::rcx);
    call_refill(set, slow, refill);
}

// Asks the translation cache, whose code leaves vector registers alone; then C++ that does not. Keeps the
// flags.
void StubEmitter::call_refill(unsigned set, u64 slow, RefillHelper refill)
{
    constexpr Host kCallerSaved[] = {Host::rcx, Host::rdx, Host::rsi, Host::rdi,
                                     Host::r8,  Host::r9,  Host::r10, Host::r11};
    constexpr i32 kAlignment = 8; // ten words and the return address: the host's stack is aligned for a call
    const auto restore = [&] {
        a_.lea(Host::rsp, Host::rsp, kAlignment);
        for (auto r = std::rbegin(kCallerSaved); r != std::rend(kCallerSaved); ++r)
            a_.pop(*r);
        a_.pop(Host::rax);
        a_.flags_from_ax();
        a_.pop(Host::rax);
    };
    a_.push(Host::rax);
    a_.flags_to_ax();
    a_.push(Host::rax);
    for (const Host r : kCallerSaved)
        a_.push(r);
    a_.load(Host::rdi, FRAME(mmu));
    a_.mov(Host::rsi, Host::r14);
    a_.mov32(Host::rdx, Host::r15);
    a_.mov_imm(Host::rcx, set);
    a_.mov_imm(Host::rax, reinterpret_cast<u64>(refill));
    a_.lea(Host::rsp, Host::rsp, -kAlignment);
    a_.byte(0xff); // call rax
    a_.byte(0xd0);
    a_.rr(true, 0x85, Host::rax, Host::rax);
    const u32 unknown = a_.jcc_forward(4);
    a_.mov(Host::r14, Host::rax);
    a_.mov_imm(Host::r15, 0);
    restore();
    a_.ret();
    a_.patch(unknown);
    restore();
    a_.jmp(slow);
}

// Two words of the frame, at r14 * scale.
void StubEmitter::exchange(u8 scale, i32 a, i32 b)
{
    a_.push_gs_scaled(Host::r14, scale, a);
    a_.push_gs_scaled(Host::r14, scale, b);
    a_.pop_gs_scaled(Host::r14, scale, a);
    a_.pop_gs_scaled(Host::r14, scale, b);
}

Stubs StubEmitter::run(const SlowHelpers& helpers)
{
    constexpr Host kCalleeSaved[] = {Host::rbp, Host::rbx, Host::r12, Host::r13, Host::r14, Host::r15};
    Stubs s;

    nothing_ = s.nothing = align();
    a_.byte(0xc3);

    // Called by a block that is about to touch extended state while it is not live. Flags and r14, r15 are
    // kept.
    load_extended_ = s.load_extended = align();
    a_.store(FRAME(spill), Host::rax);
    a_.store(FRAME(spill) + 8, Host::rdx);
    a_.push(Host::rdi);
    xsave_op(5, true);
    a_.pop(Host::rdi);
    a_.store_imm32(FRAME(extended_live), 1);
    a_.mov_imm(Host::rax, nothing_);
    a_.store(FRAME(ensure_extended), Host::rax);
    a_.load(Host::rax, FRAME(spill));
    a_.load(Host::rdx, FRAME(spill) + 8);
    a_.byte(0xc3);

    s.enter = reinterpret_cast<void (*)()>(align());
    for (const Host r : kCalleeSaved)
        a_.push(r);
    a_.ri(true, 5, Host::rsp, 8);
    a_.store(FRAME(host_rsp), Host::rsp);
    begin_returns();
    load_flags();
    load_registers();
    gs_op(0xff, 4, FRAME(target));

    s.exit = align();
    gs_op(0x8f, 0, FRAME(exit_from));
    a_.store(FRAME(exit_code), Host::r14);
    save_registers();
    save_flags();
    exit_registers_saved_ = s.exit_registers_saved = a_.address();
    a_.load(Host::rsp, FRAME(host_rsp));
    a_.load(Host::rax, FRAME(extended_live));
    a_.rr(true, 0x85, Host::rax, Host::rax);
    const u32 not_live = a_.jcc_forward(4);
    save_extended();
    extended_is_saved();
    a_.patch(not_live);
    a_.ri(true, 0, Host::rsp, 8);
    for (auto r = std::rbegin(kCalleeSaved); r != std::rend(kCalleeSaved); ++r)
        a_.pop(*r);
    a_.byte(0xc3);

    for (unsigned set = 0; set < kTlbSets; ++set) {
        s.call[set] = align();
        limit_depth();
        const u32 over = a_.jmp_forward();
        s.unknown_return[set] = align();
        a_.lea(Host::rsp, Host::rsp, -8); // it stays there for the next one
        a_.patch(over);
        s.jump[set] = a_.address();
        jump(set, s.exit);
    }
    s.slow = align();
    helper(helpers.slow);
    for (unsigned set = 0; set < kTlbSets; ++set)
        for (const bool write : {false, true}) {
            s.missed[set][write] = align();
            look_at_second(set, write, s.slow, helpers.refill);
        }
    s.commit = align();
    helper(helpers.commit);
    s.system = align();
    helper(helpers.system);
    s.last = align();
    helper(helpers.last);
    s.crossings = emit_crossings(a_, s.last);
    align();
    s.size = a_.offset();
    CHECK(!a_.overflowed());
    return s;
}

} // namespace

Stubs emit_stubs(std::span<u8> buffer, u64 exec_base, const SlowHelpers& helpers)
{
    return StubEmitter(buffer, exec_base).run(helpers);
}

} // namespace seamless::cpu
