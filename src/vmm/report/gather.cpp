// SPDX-License-Identifier: Apache-2.0
// Registers, memory and interrupts of vCPUs that no thread runs any more.
#include "vmm/report/gather.h"

#include <algorithm>
#include <cstring>
#include <fmt/format.h>

#include "spec/apic.h"
#include "spec/kvm_abi.h"
#include "spec/kvm_abi_irq.h"
#include "vmm/report/history.h"
#include "vmm/report/stack.h"
#include "vmm/virtio_layout.h"

namespace seamless::vmm::report {

using namespace spec::kvm;
using spec::Gpr;
using spec::Seg;
using trace::VcpuRegisters;

namespace {

constexpr std::size_t kLongestInstruction = 15;

// A plain VM's registers are what KVM says: it has moved them since the last exit, if it emulated.
void ask_kvm(const Vcpu& vcpu, VcpuFacts& facts)
{
    kvm_regs r{};
    kvm_sregs s{};
    if (vcpu.fd().ioctl(KVM_GET_REGS, &r) < 0 || vcpu.fd().ioctl(KVM_GET_SREGS, &s) < 0)
        return;
    VcpuRegisters& to = facts.registers ? *facts.registers : facts.registers.emplace();
    const u64 gprs[spec::kGprCount] = {r.rax, r.rcx, r.rdx, r.rbx, r.rsp, r.rbp, r.rsi, r.rdi,
                                       r.r8,  r.r9,  r.r10, r.r11, r.r12, r.r13, r.r14, r.r15};
    std::copy(std::begin(gprs), std::end(gprs), to.gpr);
    to.rip = r.rip;
    to.rflags = r.rflags;
    to.cr0 = s.cr0;
    to.cr2 = s.cr2;
    to.cr3 = s.cr3;
    to.cr4 = s.cr4;
    to.efer = s.efer;
    to.seg[static_cast<unsigned>(Seg::cs)].selector = s.cs.selector;
}

std::optional<trace::ApicState> ask_lapic(const Vcpu& vcpu)
{
    kvm_lapic_state page{};
    if (vcpu.fd().ioctl(KVM_GET_LAPIC, &page) < 0)
        return {};
    const auto word = [&](u32 offset) {
        u32 value = 0;
        std::memcpy(&value, page.regs.data() + offset, sizeof(value));
        return value;
    };
    trace::ApicState state;
    state.task_priority = static_cast<u8>(word(spec::apic::TPR));
    state.software_enabled = (word(spec::apic::SPIV) & spec::apic::SPIV_ENABLED) != 0;
    for (u32 i = 0; i < 8; ++i) {
        state.requested[i / 2] |= u64{word(spec::apic::IRR + i * 16)} << (i % 2 * 32);
        state.in_service[i / 2] |= u64{word(spec::apic::ISR + i * 16)} << (i % 2 * 32);
    }
    return state;
}

unsigned code_bits(const VcpuRegisters& r)
{
    const u32 ar = r.seg[static_cast<unsigned>(Seg::cs)].ar;
    if ((r.efer & spec::efer::LMA) && (ar & spec::segment_ar::L))
        return 64;
    return ar & spec::segment_ar::DB ? 32 : 16;
}

class Gatherer {
  public:
    Gatherer(trace::Inspection& guests, const Tools& tools, u32 vcpu)
        : guests_(guests), tools_(tools), vcpu_(vcpu)
    {}

    void fill(VcpuFacts& facts)
    {
        const VcpuRegisters& r = *facts.registers;
        const ReadMemory memory = [this](u64 from, std::span<u8> to) {
            return guests_.read(vcpu_, Gva(from), to);
        };
        const u64 code = code_bits(r) == 64 ? 0 : r.seg[static_cast<unsigned>(Seg::cs)].base;
        facts.instruction = instruction(code + r.rip, memory, code_bits(r));
        facts.backtrace = backtrace(r, memory, tools_.symbol, tools_.has_symbols);
        for (const Frame& frame : exception_frames(r, memory))
            facts.interrupted.push_back(instruction(frame.address, memory, 64));
        u8 byte;
        const u64 rsp = r.gpr[static_cast<unsigned>(Gpr::rsp)];
        facts.stack_mapped = code_bits(r) != 64 || memory(rsp - 8, {&byte, 1}) == 1;
    }

  private:
    [[nodiscard]] Instruction instruction(u64 rip, const ReadMemory& memory, unsigned bits) const
    {
        u8 bytes[kLongestInstruction];
        const u64 there = std::min<u64>(memory(rip, bytes), sizeof(bytes));
        return tools_.decode(rip, std::span(bytes).first(there), bits);
    }

    trace::Inspection& guests_;
    const Tools& tools_;
    u32 vcpu_;
};

VcpuFacts vcpu_facts(const Vcpu& vcpu, bool td, trace::Inspection* guests, const Tools& tools)
{
    VcpuFacts facts{.id = vcpu.index()};
    if (guests != nullptr) {
        facts.inspected = true;
        facts.registers = guests->registers(facts.id);
        facts.entered = facts.registers.has_value();
        facts.events = events_of(guests->crossings(facts.id));
        facts.td = guests->td_facts(facts.id);
        facts.apic = guests->apic(facts.id);
    }
    if (!td) {
        ask_kvm(vcpu, facts);
        facts.apic = ask_lapic(vcpu);
    }
    if (guests != nullptr && facts.entered)
        look_inside(facts, *guests, tools);
    return facts;
}

std::string device_at_pin(unsigned pin)
{
    constexpr unsigned kSerial = 4;
    if (pin == kSerial)
        return "serial port";
    if (pin >= kFirstVirtioGsi && pin < kFirstVirtioGsi + kVirtioTransports)
        return fmt::format("virtio-mmio transport {}", pin - kFirstVirtioGsi);
    return "no device";
}

std::vector<PinFacts> pin_facts(const devices::Ioapic& ioapic)
{
    std::vector<PinFacts> pins;
    for (unsigned i = 0; i < devices::Ioapic::kPins; ++i) {
        const devices::Ioapic::Pin pin = ioapic.pin(i);
        if (!pin.masked || pin.vector != 0 || pin.asserted || pin.lost)
            pins.push_back({i, device_at_pin(i), pin});
    }
    return pins;
}

std::optional<u8> sept_state(trace::Inspection& guests, u32 vcpu, u64 gpa)
{
    const trace::Walk walk = guests.walk(vcpu, Gpa(gpa));
    if (walk.steps.empty() || walk.steps.back().table != trace::WalkStep::Table::secure_ept)
        return {};
    return walk.steps.back().state;
}

} // namespace

void look_inside(VcpuFacts& facts, trace::Inspection& guests, const Tools& tools)
{
    Gatherer(guests, tools, facts.id).fill(facts);
}

Facts gather(const Machine& machine, const Outcome& outcome, trace::Inspection* guests, const Tools& tools)
{
    Facts facts{.outcome = outcome, .td = machine.td()};
    for (const Vcpu& vcpu : machine.vcpus()) {
        facts.vcpus.push_back(vcpu_facts(vcpu, machine.td(), guests, tools));
        if (facts.vcpus.back().td)
            facts.shared_bit = facts.vcpus.back().td->shared_bit;
    }
    facts.pins = pin_facts(machine.ioapic());
    facts.dma = machine.dma_mistakes();
    facts.owner = [&machine](u64 gpa) { return std::string(machine.owner(gpa)); };
    facts.symbol = tools.symbol;
    facts.sept_state = [guests](u32 vcpu, u64 gpa) {
        return guests != nullptr ? sept_state(*guests, vcpu, gpa) : std::nullopt;
    };
    return facts;
}

} // namespace seamless::vmm::report
