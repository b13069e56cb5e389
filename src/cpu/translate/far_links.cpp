// SPDX-License-Identifier: Apache-2.0
// Direct jumps and calls into other pages. Linked, they cost one comparison; else they go by the jump cache,
// and every so often by C++, which links the one that asked: what runs often is linked soon.
#include "cpu/translate/far_links.h"

#include "cpu/translate/emitter.h"

namespace seamless::cpu {

// Leaves 0 in rcx, which is spilled, if the link leads to RIP, in r15, and nobody waits for this processor:
// who has dropped code that others may be about to enter says so by a request. Returns where the jump is that
// is taken then.
u32 Emitter::compare_far(LinkSite& site, i64 target, bool call)
{
    a_.store(FRAME(spill) + 8, Host::rcx);
    a_.load(Host::rcx, FRAME(link_epochs) + 8 * mode_.tlb_set);
    a_.load(kScratch, FRAME(request));
    a_.lea(Host::rcx, Host::rcx, kScratch, 1, 0);
    if (call) { // 1 where calls nest too deep
        a_.load(kScratch, FRAME(return_limit_negated));
        a_.lea(kScratch, Host::rsp, kScratch, 1, 0);
        a_.pext_gs(kScratch, kScratch, FRAME(sign_mask));
        a_.lea(Host::rcx, Host::rcx, kScratch, 1, 0);
    }
    a_.lea(Host::rcx, Host::rcx, kScratch2, 1, 0);
    site.bias = a_.mov_imm64(kScratch, FarLinks::unlinked(static_cast<u64>(target)));
    a_.lea(Host::rcx, Host::rcx, kScratch, 1, 0);
    return a_.jrcxz_forward();
}

// The way of those that are not linked: counts down to the one that C++ is to link.
void Emitter::far_miss(u32 from, u32 number, const Emit& otherwise)
{
    a_.patch(from);
    a_.load(Host::rcx, FRAME(patience));
    a_.lea(Host::rcx, Host::rcx, -1);
    a_.store(FRAME(patience), Host::rcx);
    const u32 now = a_.jrcxz_forward();
    a_.load(Host::rcx, FRAME(spill) + 8);
    otherwise();
    a_.land(now);
    a_.load(Host::rcx, FRAME(spill) + 8);
    a_.store(FRAME(state) + static_cast<i32>(offsetof(CpuState, rip)), kScratch2);
    exit_with(ExitCode::link, number << 8);
}

void Emitter::far_jump(i64 target)
{
    LinkSite site;
    rip_to_r15(target);
    const u32 linked = compare_far(site, target, false);
    const u32 miss = a_.jmp_forward();
    a_.land(linked);
    a_.load(Host::rcx, FRAME(spill) + 8);
    site.patch = a_.jmp_forward();
    const u32 number = static_cast<u32>(block_.links.size());
    block_.links.push_back(site);
    out_of_line_.push_back(
        [this, miss, number] { far_miss(miss, number, [this] { a_.jmp(stubs_.jump[mode_.tlb_set]); }); });
}

void Emitter::far_call(i64 target, i64 next)
{
    LinkSite site;
    remember_return(next);
    rip_to_r15(target);
    const u32 linked = compare_far(site, target, true);
    const u32 miss = a_.jmp_forward();
    a_.land(linked);
    a_.load(Host::rcx, FRAME(spill) + 8);
    site.patch = a_.call_forward();
    const u32 number = static_cast<u32>(block_.links.size());
    block_.links.push_back(site);
    const u32 landing = a_.offset();
    land_behind_call(next);
    out_of_line_.push_back([this, miss, number, landing] {
        far_miss(miss, number, [this, landing] {
            a_.call(stubs_.call[mode_.tlb_set]);
            a_.jmp(a_.address_of(landing));
        });
    });
}

} // namespace seamless::cpu
