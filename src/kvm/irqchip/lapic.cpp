// SPDX-License-Identifier: Apache-2.0
// Registers of the local APIC. Which exist in which form, and who may read and write them, is the table. What
// KVM ignores rather than refuses is ignored here too: low reserved bits are masked, the error register stays
// zero.
#include "kvm/irqchip/lapic.h"

#include <algorithm>
#include <cstring>

#include "base/table.h"

namespace seamless::kvm {

using namespace spec::apic;
using spec::kvm::kvm_lapic_state;

struct Lapic::Register {
    u32 offset;
    bool in_xapic, in_x2apic;
    bool readable, writable; // in x2APIC form; the xAPIC page reads zero and ignores writes instead
    u32 mask;                // bits that a write keeps
};

namespace {

constexpr bool no = false, yes = true;
constexpr u32 kLvt = LVT_MASKED | bit(12) | 0xff, kLvtMode = kLvt | 0x700, kLvtPin = kLvtMode | 0xe000;
constexpr u32 kAll = ~0u;
constexpr u32 kLvtEntries[] = {LVT_TIMER, LVT_THERMAL, LVT_PERFORMANCE, LVT_LINT0, LVT_LINT1, LVT_ERROR};
constexpr u32 kVersion = 0x50014; // six LVT entries, version 14H
constexpr u32 kTimerModes = 3u << 17, kTimerModePeriodic = 1u << 17;

bool is_lvt(u32 offset) { return offset >= LVT_TIMER && offset <= LVT_ERROR; }
u32 x2apic_ldr(u32 id) { return (id >> 4) << 16 | 1u << (id & 0xf); }

} // namespace

// clang-format off
const Lapic::Register Lapic::kRegisters[] = {
    // offset         xAPIC x2APIC read write
    {ID,              yes,  yes,   yes, no,  0},
    {LVR,             yes,  yes,   yes, no,  0},
    {TPR,             yes,  yes,   yes, yes, 0xff},
    {APR,             yes,  no,    yes, no,  0},
    {PPR,             yes,  yes,   yes, no,  0},
    {EOI,             yes,  yes,   no,  yes, kAll},
    {LDR,             yes,  yes,   yes, no,  0xff000000},
    {DFR,             yes,  no,    yes, yes, kAll},
    {SPIV,            yes,  yes,   yes, yes, 0x13ff},
    {ISR,             yes,  yes,   yes, no,  0},
    {ISR + 0x10,      yes,  yes,   yes, no,  0},
    {ISR + 0x20,      yes,  yes,   yes, no,  0},
    {ISR + 0x30,      yes,  yes,   yes, no,  0},
    {ISR + 0x40,      yes,  yes,   yes, no,  0},
    {ISR + 0x50,      yes,  yes,   yes, no,  0},
    {ISR + 0x60,      yes,  yes,   yes, no,  0},
    {ISR + 0x70,      yes,  yes,   yes, no,  0},
    {TMR,             yes,  yes,   yes, no,  0},
    {TMR + 0x10,      yes,  yes,   yes, no,  0},
    {TMR + 0x20,      yes,  yes,   yes, no,  0},
    {TMR + 0x30,      yes,  yes,   yes, no,  0},
    {TMR + 0x40,      yes,  yes,   yes, no,  0},
    {TMR + 0x50,      yes,  yes,   yes, no,  0},
    {TMR + 0x60,      yes,  yes,   yes, no,  0},
    {TMR + 0x70,      yes,  yes,   yes, no,  0},
    {IRR,             yes,  yes,   yes, no,  0},
    {IRR + 0x10,      yes,  yes,   yes, no,  0},
    {IRR + 0x20,      yes,  yes,   yes, no,  0},
    {IRR + 0x30,      yes,  yes,   yes, no,  0},
    {IRR + 0x40,      yes,  yes,   yes, no,  0},
    {IRR + 0x50,      yes,  yes,   yes, no,  0},
    {IRR + 0x60,      yes,  yes,   yes, no,  0},
    {IRR + 0x70,      yes,  yes,   yes, no,  0},
    {ESR,             yes,  yes,   yes, yes, kAll},
    {ICR,             yes,  yes,   yes, yes, ~ICR_BUSY},
    {ICR2,            yes,  no,    yes, yes, 0xff000000},
    {LVT_TIMER,       yes,  yes,   yes, yes, kLvt | kTimerModes},
    {LVT_THERMAL,     yes,  yes,   yes, yes, kLvtMode},
    {LVT_PERFORMANCE, yes,  yes,   yes, yes, kLvtMode},
    {LVT_LINT0,       yes,  yes,   yes, yes, kLvtPin},
    {LVT_LINT1,       yes,  yes,   yes, yes, kLvtPin},
    {LVT_ERROR,       yes,  yes,   yes, yes, kLvt},
    {TMICT,           yes,  yes,   yes, yes, kAll},
    {TMCCT,           yes,  yes,   yes, no,  0},
    {TDCR,            yes,  yes,   yes, yes, 0xb},
    {SELF_IPI,        no,   yes,   no,  yes, 0xff},
};
// clang-format on

class Lapic::Change {
  public:
    explicit Change(Lapic& lapic) : lapic_(lapic), lock_(lapic.mutex_) {}
    ~Change()
    {
        constexpr auto kExtInt = static_cast<u32>(DeliveryMode::ext_int);
        const u32 lint0 = lapic_.reg(LVT_LINT0);
        lapic_.shown_base_.store(lapic_.base_, std::memory_order_release);
        lapic_.shown_priority_.store(static_cast<u8>(lapic_.reg(TPR)), std::memory_order_release);
        lapic_.shown_external_.store(!lapic_.hardware_enabled() ||
                                         (!(lint0 & LVT_MASKED) && field(lint0, 10, 8) == kExtInt),
                                     std::memory_order_release);
    }
    Change(const Change&) = delete;
    Change& operator=(const Change&) = delete;

  private:
    Lapic& lapic_;
    const std::lock_guard<std::mutex> lock_;
};

Lapic::Lapic(LapicPort& port, base::Clock& clock, HostTimers& timers, u32 id, bool bsp)
    : port_(port),
      clock_(clock),
      id_(id),
      bsp_(bsp),
      base_(kPageBase | BASE_ENABLE | (bsp ? BASE_BSP : 0)),
      host_timer_(timers.make([this] { timer_expired(); }))
{
    static_assert(sizeof(kvm_lapic_state) == 1024);
    const Change change(*this);
    reset_registers();
    set_id();
}

void Lapic::shut_down()
{
    std::unique_ptr<HostTimer> timer;
    {
        const std::lock_guard lock(mutex_); // from now on a callback that runs finds no timer
        stop_timer();
        timer = std::move(host_timer_);
    }
}

void Lapic::set_features(bool x2apic, bool tsc_deadline)
{
    const std::lock_guard lock(mutex_);
    has_x2apic_ = x2apic;
    has_tsc_deadline_ = tsc_deadline;
    // KVM offers suppression of EOI broadcasts where the IOAPIC is user space's, which is always so here.
    reg(LVR) = kVersion | (x2apic ? LVR_DIRECTED_EOI : 0);
}

void Lapic::reset_registers()
{
    constexpr u32 kExtInt = 0x700; // KVM's quirk LINT0_REENABLED: the boot processor's LINT0 passes the 8259
    const u32 version = reg(LVR);
    reg_.fill(0);
    reg(LVR) = version ? version : kVersion | LVR_DIRECTED_EOI;
    for (const u32 lvt : kLvtEntries)
        reg(lvt) = LVT_MASKED;
    if (bsp_)
        reg(LVT_LINT0) = kExtInt;
    reg(DFR) = kAll;
    reg(SPIV) = 0xff;
}

void Lapic::init()
{
    const Change change(*this);
    stop_timer();
    timer_ = {};
    reset_registers();
    set_id();
}

bool Lapic::x2apic() const { return (base_ & (BASE_X2APIC | BASE_ENABLE)) == (BASE_X2APIC | BASE_ENABLE); }
bool Lapic::hardware_enabled() const { return base_ & BASE_ENABLE; }
bool Lapic::software_enabled() const { return reg(SPIV) & SPIV_ENABLED; }

void Lapic::set_id()
{
    if (x2apic())
        reg(LDR) = x2apic_ldr(id_);
    reg(ID) = x2apic() ? id_ : id_ << 24;
}

Result<void, Errno> Lapic::set_base(u64 value, bool host)
{
    constexpr unsigned kPhysicalBits = 52;
    const Change change(*this);
    const u64 reserved = bits(63, kPhysicalBits) | 0x2ff | (has_x2apic_ ? 0 : BASE_X2APIC);
    constexpr u64 kMode = BASE_ENABLE | BASE_X2APIC;
    const u64 from = base_ & kMode, to = value & kMode;
    if ((value & reserved) || to == BASE_X2APIC)
        return fail(Errno{EINVAL});
    if (!host && ((from == kMode && to == BASE_ENABLE) || (from == 0 && to == kMode)))
        return fail(Errno{EINVAL});
    base_ = value;
    if (from != to && to != 0)
        set_id();
    return {};
}

ApicAddress Lapic::address() const
{
    const std::lock_guard lock(mutex_);
    return {.hardware_enabled = hardware_enabled(),
            .software_enabled = software_enabled(),
            .x2apic = x2apic(),
            .id = x2apic() ? id_ : reg(ID) >> 24,
            .ldr = reg(LDR),
            .dfr = reg(DFR)};
}

const Lapic::Register* Lapic::find(u32 offset, bool x2apic)
{
    const Register* row = base::find_row(kRegisters, &Register::offset, offset);
    return row && (x2apic ? row->in_x2apic : row->in_xapic) ? row : nullptr;
}

Result<u64, Errno> Lapic::read_msr(u32 index)
{
    const std::lock_guard lock(mutex_);
    const u32 offset = (index & 0xff) << 4;
    const Register* row = x2apic() ? find(offset, true) : nullptr;
    if (!row || !row->readable)
        return fail(Errno{EINVAL});
    const u64 high = offset == ICR ? u64{reg(ICR2)} << 32 : 0;
    return high | read_register(offset);
}

Result<void, Errno> Lapic::write_msr(u32 index, u64 value)
{
    Effects effects;
    {
        const Change change(*this);
        const u32 offset = (index & 0xff) << 4;
        const Register* row = x2apic() ? find(offset, true) : nullptr;
        if (!row || !row->writable)
            return fail(Errno{EINVAL});
        if (offset == ICR) {
            if (value & kX2apicIcrReserved)
                return fail(Errno{EINVAL});
            write_icr(static_cast<u32>(value), static_cast<u32>(value >> 32), effects);
        } else {
            const bool only_zero = offset == ESR, only_vector = offset == SELF_IPI;
            if (value >> 32 || (only_zero && value != 0) || (only_vector && value > 0xff))
                return fail(Errno{EINVAL});
            TRY(write_register(offset, static_cast<u32>(value), effects));
        }
    }
    perform(effects);
    return {};
}

bool Lapic::is_page(u64 base, u64 gpa, unsigned len)
{
    const u64 page = base & bits(51, 12);
    return (base & BASE_ENABLE) && gpa >= page && gpa + len <= page + kvm_lapic_state{}.regs.size();
}

bool Lapic::mmio_read(u64 gpa, unsigned len, void* data)
{
    if (!is_page(base(), gpa, len))
        return false;
    const std::lock_guard lock(mutex_);
    if (!is_page(base_, gpa, len)) // the page has moved meanwhile
        return false;
    std::memset(data, 0, len);
    if (x2apic()) { // KVM's quirk LAPIC_MMIO_HOLE: the page stays claimed, and empty
        std::memset(data, 0xff, len);
        return true;
    }
    const u32 within = gpa & 0xf;
    const Register* row = find(gpa & 0x3f0, false);
    if (within + len > 4 || !row || !row->readable)
        return true;
    const u32 value = read_register(row->offset);
    std::memcpy(data, reinterpret_cast<const u8*>(&value) + within, len);
    return true;
}

bool Lapic::mmio_write(u64 gpa, unsigned len, const void* data)
{
    if (!is_page(base(), gpa, len))
        return false;
    Effects effects;
    {
        const Change change(*this);
        if (!is_page(base_, gpa, len))
            return false;
        const u32 offset = gpa & 0x3f0;
        const bool identity = offset == ID || offset == LDR; // writable in this form only
        const Register* row = find(offset, false);
        if (x2apic() || len != 4 || (gpa & 0xf) || !row || (!row->writable && !identity))
            return true; // ignored
        u32 value;
        std::memcpy(&value, data, sizeof value);
        if (offset == ID)
            reg(ID) = value;
        else if (offset == LDR)
            reg(LDR) = value & row->mask;
        else if (offset == ICR)
            write_icr(value, reg(ICR2), effects);
        else
            (void)write_register(offset, value, effects);
    }
    perform(effects);
    return true;
}

u32 Lapic::read_register(u32 offset)
{
    if (offset == TMCCT)
        return timer_.mode == TimerMode::tsc_deadline ? 0 : current_count();
    if (offset == PPR)
        update_ppr();
    return reg(offset);
}

Result<void, Errno> Lapic::write_register(u32 offset, u32 value, Effects& effects)
{
    value &= find(offset, offset == SELF_IPI)->mask;
    if (is_lvt(offset) && !software_enabled())
        value |= LVT_MASKED;
    switch (offset) {
    case EOI:
        effects.eoi_vector = end_of_interrupt();
        return {};
    case DFR:
        reg(DFR) = value | 0x0fffffff;
        return {};
    case SPIV:
        write_spurious(value);
        return {};
    case ESR: // no errors are recorded
        return {};
    case SELF_IPI:
        effects.ipi = true;
        effects.irq = {.vector = static_cast<u8>(value), .shorthand = Shorthand::self};
        return {};
    case LVT_TIMER:
        reg(LVT_TIMER) = has_tsc_deadline_ ? value : value & ~(kTimerModes & ~kTimerModePeriodic);
        update_timer_mode();
        return {};
    case TMICT:
        if (timer_.mode != TimerMode::tsc_deadline) {
            stop_timer();
            reg(TMICT) = value;
            start_timer(value);
        }
        return {};
    case TDCR:
        set_divide(value);
        return {};
    default:
        reg(offset) = value;
        return {};
    }
}

void Lapic::write_icr(u32 low, u32 high, Effects& effects)
{
    reg(ICR) = low & ~ICR_BUSY;
    reg(ICR2) = high;
    effects.ipi = true;
    effects.irq = irq_of_icr(reg(ICR), high, x2apic());
}

void Lapic::write_spurious(u32 value)
{
    reg(SPIV) = value;
    if (!(value & SPIV_ENABLED))
        for (const u32 lvt : kLvtEntries)
            reg(lvt) |= LVT_MASKED;
}

void Lapic::perform(const Effects& effects)
{
    if (effects.ipi)
        port_.send_ipi(effects.irq);
    if (effects.timer_vector >= 0)
        port_.timer_interrupt(static_cast<u8>(effects.timer_vector));
    if (effects.eoi_vector >= 0)
        port_.end_of_interrupt(static_cast<u8>(effects.eoi_vector));
}

void Lapic::set_task_priority(u8 value)
{
    const Change change(*this);
    reg(TPR) = value;
}

void Lapic::get_state(kvm_lapic_state& state, bool ids_32bit)
{
    const std::lock_guard lock(mutex_);
    update_ppr();
    reg(TMCCT) = current_count();
    state = {};
    for (std::size_t i = 0; i < reg_.size(); ++i)
        std::memcpy(state.regs.data() + i * 16, &reg_[i], sizeof reg_[i]);
    if (x2apic() && !ids_32bit) { // the old format has room for 8 bits only
        const u32 id = id_ << 24;
        std::memcpy(state.regs.data() + ID, &id, sizeof id);
    }
}

Result<void, Errno> Lapic::set_state(const kvm_lapic_state& state, bool ids_32bit)
{
    {
        const Change change(*this);
        const auto given = [&](u32 offset) {
            u32 value;
            std::memcpy(&value, state.regs.data() + offset, sizeof value);
            return value;
        };
        if (x2apic() && ids_32bit && given(ID) != id_)
            return fail(Errno{EINVAL});
        stop_timer();
        const u32 version = reg(LVR);
        for (std::size_t i = 0; i < reg_.size(); ++i)
            reg_[i] = given(static_cast<u32>(i) << 4);
        requested_.store(true);
        reg(LVR) = version;
        if (x2apic())
            set_id(); // the logical id is fixed by the id
        update_timer_mode();
        if (timer_.mode != TimerMode::tsc_deadline && reg(TMICT) != 0)
            start_timer(reg(TMCCT));
    }
    return {};
}

} // namespace seamless::kvm
