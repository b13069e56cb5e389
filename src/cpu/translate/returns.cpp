// SPDX-License-Identifier: Apache-2.0
// Calls and returns. A guest's CALL is a host's, too: it leaves on the host's stack where it goes on behind
// it, and the linear address (complemented) for which that is right. A guest's RET is then a host's RET,
// which the host predicts, and one comparison. Leaving translated code forgets all of it; so does a guest
// that nests too deep.
#include "cpu/translate/emitter.h"

namespace seamless::cpu {

namespace {

constexpr u8 kBelow = 2;

}

void Emitter::remember_return(i64 next)
{
    rip_to_r15(next);
    a_.complement(kScratch2);
    a_.push(kScratch2);
}

// Every call looks at the depth: guests call and do not return. Requests are noticed by calls backward or
// into another page.
void Emitter::call_and_return(i64 target, i64 next)
{
    if (links_far() && !in_page(target))
        return far_call(target, next);
    if (!links_to(target) || target_flags_live_) {
        remember_return(next);
        rip_to_r15(target);
        a_.call(stubs_.call[mode_.tlb_set]);
        return land_behind_call(next);
    }
    if (target <= block_.insns.back().offset)
        poll(static_cast<u16>(target));
    constexpr u8 kCmpFrom = 0x3b;
    a_.gs(true, kCmpFrom, Host::rsp, FRAME(return_limit));
    const u32 deep = a_.jcc_forward(kBelow);
    const u32 on = a_.offset();
    out_of_line_.push_back([this, deep, on] {
        a_.patch(deep);
        a_.load(Host::rsp, FRAME(return_base));
        a_.jmp(a_.address_of(on));
    });
    remember_return(next);
    link_site(a_.call_forward(), static_cast<u16>(target));
    land_behind_call(next);
}

void Emitter::call_temp_and_return(i64 next)
{
    remember_return(next);
    a_.load(kScratch2, FRAME(temp));
    a_.call(stubs_.call[mode_.tlb_set]);
    land_behind_call(next);
}

// A return has come here, with RIP in r15.
void Emitter::land_behind_call(i64 next)
{
    const u64 elsewhere = stubs_.jump[mode_.tlb_set];
    if (!links_to(next)) {
        a_.lea(Host::rsp, Host::rsp, 8);
        return a_.jmp(elsewhere);
    }
    // Whatever the code here does with the flags: a return may be for elsewhere, where they are read.
    a_.store(FRAME(spill) + 8, Host::rcx);
    a_.pop(Host::rcx);
    a_.lea(Host::rcx, Host::rcx, kScratch2, 1, 1);
    const u32 right = a_.jrcxz_forward();
    const u32 wrong = a_.offset();
    a_.load(Host::rcx, FRAME(spill) + 8);
    a_.jmp(elsewhere);
    a_.land(right);
    a_.load(Host::rcx, FRAME(request)); // by itself: RIP may be any number
    const u32 quiet = a_.jrcxz_forward();
    a_.jmp(a_.address_of(wrong));
    a_.land(quiet);
    a_.load(Host::rcx, FRAME(spill) + 8);
    a_.lea(kScratch, kScratch2, -static_cast<i32>(next));
    a_.store(FRAME(page_gva), kScratch);
    link_site(a_.jmp_forward(), static_cast<u16>(next));
}

} // namespace seamless::cpu
