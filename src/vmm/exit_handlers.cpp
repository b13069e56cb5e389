// SPDX-License-Identifier: Apache-2.0
// The table of exit reasons and what is done about each.
#include "vmm/exit_handlers.h"

#include <algorithm>
#include <cerrno>
#include <fmt/format.h>
#include <iterator>

#include "base/row_index.h"
#include "base/table.h"
#include "vmm/death_report.h"

namespace seamless::vmm {

using namespace spec::kvm;

namespace {

using End = std::optional<Outcome>;

Outcome died(const ExitContext& c, Death death, std::string report)
{
    return {.kind = Outcome::Kind::guest_died,
            .report = std::move(report),
            .death = death,
            .vcpu = c.vcpu.index()};
}

Outcome our_bug(const Vcpu& vcpu, std::string_view what)
{
    return {.kind = Outcome::Kind::internal_error, .report = fmt::format("vCPU {}: {}", vcpu.index(), what)};
}

End on_io(const ExitContext& c)
{
    const auto& io = c.vcpu.run().io;
    const std::span<u8> data = c.vcpu.io_data();
    if (io.size == 0 || data.empty())
        return our_bug(c.vcpu, "KVM_EXIT_IO without data");
    const std::lock_guard lock(c.board.mutex);
    for (std::size_t i = 0; i < data.size(); i += io.size) {
        const std::span<u8> item = data.subspan(i, io.size);
        if (io.direction == KVM_EXIT_IO_OUT)
            c.board.pio.write(io.port, item);
        else
            c.board.pio.read(io.port, item);
    }
    return {};
}

End on_mmio(const ExitContext& c)
{
    auto& mmio = c.vcpu.run().mmio;
    if (mmio.len == 0 || mmio.len > sizeof(mmio.data))
        return our_bug(c.vcpu, fmt::format("KVM_EXIT_MMIO of {} bytes", mmio.len));
    const std::span<u8> data(mmio.data, mmio.len);
    const std::lock_guard lock(c.board.mutex);
    if (mmio.is_write != 0)
        c.board.mmio.write(mmio.phys_addr, data);
    else
        c.board.mmio.read(mmio.phys_addr, data);
    return {};
}

End on_hypercall(const ExitContext& c)
{
    auto& call = c.vcpu.run().hypercall;
    if (call.nr != KVM_HC_MAP_GPA_RANGE) {
        call.ret = u64{0} - KVM_ENOSYS;
        return {};
    }
    const u64 gpa = call.args[0], pages = call.args[1];
    const bool to_private = (call.args[2] & KVM_MAP_GPA_RANGE_ENCRYPTED) != 0;
    const bool valid = pages != 0 && pages <= (~u64{0} >> base::kPageShift);
    const int error = valid ? c.memory.convert({gpa, pages << base::kPageShift}, to_private) : EINVAL;
    call.ret = u64{0} - static_cast<u64>(error);
    return {};
}

End on_shutdown(const ExitContext& c) { return died(c, Death::triple_fault, report_triple_fault(c.vcpu)); }
End on_internal_error(const ExitContext& c)
{
    return died(c, Death::internal_error, report_internal_error(c.vcpu));
}
End on_fail_entry(const ExitContext& c)
{
    return died(c, Death::entry_failure, report_entry_failure(c.vcpu));
}

End on_system_event(const ExitContext& c)
{
    switch (c.vcpu.run().system_event.type) {
    case KVM_SYSTEM_EVENT_TDX_FATAL:
        return died(c, Death::fatal_error, report_fatal_error(c.vcpu));
    case KVM_SYSTEM_EVENT_SHUTDOWN:
        return Outcome{.kind = Outcome::Kind::powered_off};
    case KVM_SYSTEM_EVENT_RESET:
        return Outcome{.kind = Outcome::Kind::reset, .report = "the guest asked for a reset"};
    default:
        return died(c, Death::crash_event,
                    fmt::format("vCPU {}: the guest crashed (KVM_EXIT_SYSTEM_EVENT, type {})", c.vcpu.index(),
                                c.vcpu.run().system_event.type));
    }
}

// KVM says so only for the vectors of level-triggered pins.
End on_ioapic_eoi(const ExitContext& c)
{
    const std::lock_guard lock(c.board.mutex);
    c.board.ioapic.end_of_interrupt(c.vcpu.run().eoi.vector);
    return {};
}

// KVM presets the answer that a VMM without the service gives.
End on_tdx(const ExitContext&) { return {}; }

// With the local APIC in KVM, a halt does not come here; on a KVM without one the guest would never wake up.
End on_hlt(const ExitContext& c)
{
    return died(c, Death::halt,
                fmt::format("vCPU {}: HLT with nothing that could wake the processor", c.vcpu.index()));
}

End on_intr(const ExitContext&) { return {}; }

struct Row {
    u32 reason;
    std::string_view name;
    End (*handle)(const ExitContext&);
};

// clang-format off
constexpr Row kRows[] = {
    {KVM_EXIT_IO,             "KVM_EXIT_IO",             on_io},
    {KVM_EXIT_HYPERCALL,      "KVM_EXIT_HYPERCALL",      on_hypercall},
    {KVM_EXIT_HLT,            "KVM_EXIT_HLT",            on_hlt},
    {KVM_EXIT_MMIO,           "KVM_EXIT_MMIO",           on_mmio},
    {KVM_EXIT_SHUTDOWN,       "KVM_EXIT_SHUTDOWN",       on_shutdown},
    {KVM_EXIT_FAIL_ENTRY,     "KVM_EXIT_FAIL_ENTRY",     on_fail_entry},
    {KVM_EXIT_INTR,           "KVM_EXIT_INTR",           on_intr},
    {KVM_EXIT_INTERNAL_ERROR, "KVM_EXIT_INTERNAL_ERROR", on_internal_error},
    {KVM_EXIT_SYSTEM_EVENT,   "KVM_EXIT_SYSTEM_EVENT",   on_system_event},
    {KVM_EXIT_IOAPIC_EOI,     "KVM_EXIT_IOAPIC_EOI",     on_ioapic_eoi},
    {KVM_EXIT_TDX,            "KVM_EXIT_TDX",            on_tdx},
};
// clang-format on
static_assert(base::strictly_ascending(kRows, &Row::reason));
constexpr auto kIndex = base::index_rows<64>(kRows, &Row::reason);

// The guest used a page as private that is shared, or the other way round: it gets what it asked for, as it
// would from other VMMs.
End on_memory_fault(const ExitContext& c)
{
    const auto& fault = c.vcpu.run().memory_fault;
    if ((fault.flags & ~KVM_MEMORY_EXIT_FLAG_PRIVATE) != 0)
        return our_bug(c.vcpu, fmt::format("KVM_EXIT_MEMORY_FAULT with unknown flags {:#x}", fault.flags));
    const int error =
        c.memory.convert({fault.gpa, fault.size}, (fault.flags & KVM_MEMORY_EXIT_FLAG_PRIVATE) != 0);
    if (error == 0)
        return {};
    Outcome outcome = died(c, Death::memory_fault, report_memory_fault(c.vcpu, error));
    outcome.gpa = fault.gpa;
    outcome.private_ = (fault.flags & KVM_MEMORY_EXIT_FLAG_PRIVATE) != 0;
    return outcome;
}

End on_error(const ExitContext& c, int error)
{
    switch (error) {
    case EINTR:
    case EAGAIN:
        return {};
    case EFAULT:
        if (c.vcpu.run().exit_reason == KVM_EXIT_MEMORY_FAULT)
            return on_memory_fault(c);
        break;
    case EIO:
        return died(c, Death::dead_vm, report_dead_vm(c.vcpu, c.td));
    default:
        break;
    }
    return our_bug(c.vcpu, fmt::format("KVM_RUN: {}", errno_text(error)));
}

} // namespace

std::string_view exit_reason_name(u32 reason)
{
    const Row* row = kIndex.find(reason);
    return row == nullptr ? std::string_view{} : row->name;
}

std::optional<Outcome> handle_exit(const ExitContext& context, int result)
{
    if (result < 0)
        return on_error(context, -result);
    const u32 reason = context.vcpu.run().exit_reason;
    const Row* row = kIndex.find(reason);
    if (row == nullptr)
        return our_bug(
            context.vcpu,
            fmt::format("KVM_RUN returned with exit reason {}, which this VMM does not know", reason));
    return row->handle(context);
}

} // namespace seamless::vmm
