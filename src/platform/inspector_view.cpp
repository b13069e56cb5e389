// SPDX-License-Identifier: Apache-2.0
// What the inspection port shows of guests that stand still, and what it lets a tool change.
#include <algorithm>

#include "cpu/cpuid.h"

#include "mem/guest_access.h"
#include "platform/inspector.h"
#include "platform/vector_state.h"
#include "spec/apic.h"

namespace seamless::platform {

using namespace spec;
using trace::VcpuRegisters;

namespace {

// Calls move(ours, the guest's) for each register that both have as they are.
template <typename Vmcs, typename Context, typename Registers, typename Move>
void for_each_register(Registers& r, Vmcs& v, Context& c, const Move& move)
{
    for (unsigned i = 0; i < kGprCount; ++i)
        if (i != static_cast<unsigned>(Gpr::rsp))
            move(r.gpr[i], c.gpr[i]);
    move(r.gpr[static_cast<unsigned>(Gpr::rsp)], v.rsp);
    for (unsigned i = 0; i < 4; ++i)
        move(r.dr[i], c.dr[i]);
    for (unsigned i = 0; i < kSegCount; ++i)
        move(r.seg[i], v.seg[i]);
    move(r.rip, v.rip);
    move(r.rflags, v.rflags);
    move(r.gdtr, v.gdtr);
    move(r.idtr, v.idtr);
    move(r.cr0, v.cr0);
    move(r.cr2, c.cr2);
    move(r.cr3, v.cr3);
    move(r.cr4, v.cr4);
    move(r.cr8, c.cr8);
    move(r.xcr0, c.xcr0);
    move(r.dr6, c.dr6);
    move(r.dr7, v.dr7);
    move(r.efer, v.efer);
    move(r.pat, v.pat);
    move(r.debugctl, v.debugctl);
    move(r.star, c.star);
    move(r.lstar, c.lstar);
    move(r.cstar, c.cstar);
    move(r.fmask, c.fmask);
    move(r.kernel_gs_base, c.kernel_gs_base);
    move(r.sysenter_cs, v.sysenter_cs);
    move(r.sysenter_esp, v.sysenter_esp);
    move(r.sysenter_eip, v.sysenter_eip);
    move(r.tsc_aux, c.tsc_aux);
    move(r.spec_ctrl, c.spec_ctrl);
    move(r.xss, c.xss);
    move(r.pkru, c.pkru);
    move(r.interruptibility, v.interruptibility);
}

VcpuRegisters registers_of(const cpu::Vmcs& v, const cpu::GuestContext& c)
{
    VcpuRegisters r;
    for_each_register(r, v, c, [](auto& ours, const auto& guests) { ours = guests; });
    r.halted = v.activity == Activity::hlt;
    r.vector = vector_state_of(c.xsave);
    return r;
}

// What the processor takes for granted of its state stays as the guest made it.
bool same_mode(const VcpuRegisters& a, const VcpuRegisters& b)
{
    constexpr u64 kFixed = rflags::VM | rflags::VIF | rflags::VIP | ~rflags::kDefined;
    for (unsigned i = 0; i < kSegCount; ++i) {
        Segment moved = b.seg[i];
        moved.base = a.seg[i].base; // bases are the tool's business
        if (!(moved == a.seg[i]))
            return false;
    }
    return a.cr0 == b.cr0 && a.cr4 == b.cr4 && a.efer == b.efer && a.xcr0 == b.xcr0 && a.xss == b.xss &&
           a.dr6 == b.dr6 && a.dr7 == b.dr7 && a.debugctl == b.debugctl && a.pat == b.pat &&
           a.interruptibility == b.interruptibility && a.halted == b.halted &&
           ((a.rflags ^ b.rflags) & kFixed) == 0 && (b.rflags & rflags::FIXED1) && a.cr8 == b.cr8 &&
           a.spec_ctrl == b.spec_ctrl && a.gdtr == b.gdtr && a.idtr == b.idtr &&
           (b.cr3 & bits(63, 52)) == (a.cr3 & bits(63, 52));
}

} // namespace

std::vector<trace::VcpuStatus> Inspector::vcpus()
{
    const std::lock_guard lock(mutex_);
    std::vector<trace::VcpuStatus> list;
    for (const auto& [vcpu, slot] : slots_)
        list.push_back({.id = vcpu,
                        .td = slot.any_vmcs().td_shared_bit != 0,
                        .stopped = slot.where == Where::stopped,
                        .exit_reason = slot.where == Where::outside ? slot.last_vmcs.exit_reason : 0});
    return list;
}

Inspector::Slot* Inspector::sight_of(u32 vcpu)
{
    const auto at = slots_.find(vcpu);
    return at != slots_.end() && at->second.in_sight() ? &at->second : nullptr;
}

std::optional<VcpuRegisters> Inspector::registers(u32 vcpu)
{
    const std::lock_guard lock(mutex_);
    const Slot* slot = sight_of(vcpu);
    if (slot == nullptr)
        return {};
    return registers_of(slot->seen_vmcs(), slot->seen_context());
}

bool Inspector::set_registers(u32 vcpu, const VcpuRegisters& registers)
{
    const std::lock_guard lock(mutex_);
    Slot* slot = sight_of(vcpu);
    if (slot == nullptr || slot->where != Where::stopped)
        return false;
    if (!same_mode(registers_of(*slot->vmcs, *slot->context), registers) ||
        !set_vector_state(slot->context->xsave, registers.vector))
        return false;
    for_each_register(registers, *slot->vmcs, *slot->context,
                      [](const auto& ours, auto& guests) { guests = ours; });
    return true;
}

u64 Inspector::read(u32 vcpu, Gva from, std::span<u8> to)
{
    const std::lock_guard lock(mutex_);
    const Slot* slot = sight_of(vcpu);
    return slot ? GuestView(slot->seen_vmcs()).read(from, to) : 0;
}

u64 Inspector::read(u32 vcpu, Gpa from, std::span<u8> to)
{
    const std::lock_guard lock(mutex_);
    const Slot* slot = sight_of(vcpu);
    return slot ? GuestView(slot->seen_vmcs()).read(from, to) : 0;
}

void Inspector::code_changes()
{
    for (auto& [vcpu, slot] : slots_)
        slot.code_changed = true;
}

u64 Inspector::write(u32 vcpu, Gva to, std::span<const u8> from)
{
    const std::lock_guard lock(mutex_);
    const Slot* slot = sight_of(vcpu);
    code_changes();
    return slot ? GuestView(slot->seen_vmcs()).write(to, from) : 0;
}

u64 Inspector::write(u32 vcpu, Gpa to, std::span<const u8> from)
{
    const std::lock_guard lock(mutex_);
    const Slot* slot = sight_of(vcpu);
    code_changes();
    return slot ? GuestView(slot->seen_vmcs()).write(to, from) : 0;
}

trace::Walk Inspector::walk(u32 vcpu, Gva gva)
{
    const std::lock_guard lock(mutex_);
    const Slot* slot = sight_of(vcpu);
    return slot ? GuestView(slot->seen_vmcs()).walk(gva) : trace::Walk{};
}

trace::Walk Inspector::walk(u32 vcpu, Gpa gpa)
{
    const std::lock_guard lock(mutex_);
    const Slot* slot = sight_of(vcpu);
    return slot ? GuestView(slot->seen_vmcs()).walk(gpa) : trace::Walk{};
}

u64 Inspector::components() { return cpu::supported_xcr0(); }

std::optional<trace::TdFacts> Inspector::td_facts(u32 vcpu)
{
    const std::lock_guard lock(mutex_);
    const Slot* slot = sight_of(vcpu);
    if (slot == nullptr || module_ == nullptr || slot->any_vmcs().td_shared_bit == 0)
        return {};
    // #VE information is at the start of the TDVPR page. The vCPU is being run, so its pages stay its own.
    const tdx::PamtEntry& page = module_->pamt().entry(Hpa(slot->any_vmcs().ve_information_address), 0);
    if (page.type != TdxPageType::TDVPR)
        return {};
    const auto* found = static_cast<const tdx::Vcpu*>(page.object);
    const tdx::Td& td = found->td;
    trace::TdFacts facts{.attributes = td.attributes,
                         .xfam = td.xfam,
                         .config_flags = td.config_flags,
                         .td_ctls = td.td_ctls,
                         .notify_enables = td.notify_enables,
                         .tdr = td.tdr.value(),
                         .sept_root = mem::without_hkid(td.sept_root()).value(),
                         .shared_bit = td.shared_bit(),
                         .hkid = td.hkid,
                         .op_state = static_cast<u8>(td.op_state.load()),
                         .fatal = td.fatal,
                         .vcpus = td.num_vcpus,
                         .max_vcpus = td.max_vcpus};
    facts.mrtd = td.mrtd;
    facts.mrconfigid = td.mrconfigid;
    facts.mrowner = td.mrowner;
    facts.mrownerconfig = td.mrownerconfig;
    for (unsigned i = 0; i < tdx::kRtmrs; ++i)
        facts.rtmr[i] = td.rtmr_value(i);
    facts.tdvpr = found->tdvpr.value();
    facts.vcpu_state = static_cast<u8>(found->state.load());
    facts.ve_info = found->ve_info();
    return facts;
}

std::vector<trace::Record> Inspector::recent_events()
{
    return events_ ? events_->recent() : std::vector<trace::Record>();
}

std::vector<trace::Record> Inspector::memory_events(u64 gpa)
{
    u64 shared_bit = 0;
    {
        const std::lock_guard lock(mutex_);
        for (const auto& [vcpu, slot] : slots_)
            shared_bit |= slot.any_vmcs().td_shared_bit;
    }
    return events_ ? events_->of_page(gpa, shared_bit) : std::vector<trace::Record>();
}

std::vector<trace::Crossing> Inspector::crossings(u32 vcpu)
{
    const std::lock_guard lock(mutex_);
    const ExitHistory* history = watch_ != nullptr ? watch_->history(vcpu) : nullptr;
    return history != nullptr ? history->crossings() : std::vector<trace::Crossing>();
}

std::optional<trace::ApicState> Inspector::apic(u32 vcpu)
{
    constexpr u64 kWordBytes = 16; // between the registers of 32 bits
    const std::lock_guard lock(mutex_);
    const Slot* slot = sight_of(vcpu);
    if (slot == nullptr || slot->seen_vmcs().virtual_apic_page == 0)
        return {};
    const Hpa page = mem::without_hkid(Hpa(slot->seen_vmcs().virtual_apic_page));
    const auto word = [&](u64 offset) {
        u32 value = 0;
        return mem::try_load(page + offset, value) ? value : 0;
    };
    trace::ApicState state;
    state.task_priority = static_cast<u8>(word(spec::apic::TPR));
    state.software_enabled = (word(spec::apic::SPIV) & spec::apic::SPIV_ENABLED) != 0;
    for (u64 i = 0; i < 8; ++i) {
        state.requested[i / 2] |= u64{word(spec::apic::IRR + i * kWordBytes)} << (i % 2 * 32);
        state.in_service[i / 2] |= u64{word(spec::apic::ISR + i * kWordBytes)} << (i % 2 * 32);
    }
    if (slot->seen_vmcs().posted_intr_desc != 0) // SDM: "Posted-Interrupt Descriptor": PIR comes first
        for (u64 i = 0; i < 4; ++i)
            (void)mem::try_load(mem::without_hkid(Hpa(slot->seen_vmcs().posted_intr_desc)) + i * 8,
                                state.posted[i]);
    return state;
}

} // namespace seamless::platform
