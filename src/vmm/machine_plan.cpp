// SPDX-License-Identifier: Apache-2.0
// Checks a machine's configuration against its firmware and lays it out.
#include "vmm/machine_plan.h"

#include <algorithm>
#include <cstring>
#include <fmt/format.h>

#include "devices/testdev.h"

namespace seamless::vmm {
namespace {

Result<void, Message> check_sections(const MachinePlan& plan)
{
    for (const TdvfSection& s : plan.tdvf.sections) {
        const bool in_memory = s.added() || s.type == TdvfType::PermMem;
        if (in_memory && !plan.map.backed({s.address, s.size}))
            return fail(Message{fmt::format("firmware: the {} section at {:#x} (size {:#x}) lies outside RAM "
                                            "({} MiB) and the firmware area",
                                            name_of(s.type), s.address, s.size, plan.config.memory >> 20)});
    }
    return {};
}

// Kernel and initial RAM disk must be below 4 GiB while the kernel unpacks itself, and both files fit beside.
Result<void, Message> check_payload(const MachinePlan& plan)
{
    const LinuxPayload* payload = plan.config.payload;
    if (payload == nullptr)
        return {};
    const u64 ram = plan.map.ram.front().size;
    const u64 kernel = std::max<u64>(payload->header.init_size, payload->kernel.bytes().size());
    const u64 initrd = payload->initrd.bytes().size();
    if (kernel + initrd > ram)
        return fail(Message{
            fmt::format("--memory: the kernel ({} MiB unpacked) and the initial RAM disk ({} MiB) do not "
                        "fit into the {} MiB below 4 GiB",
                        kernel >> 20, initrd >> 20, ram >> 20)});
    return {};
}

Result<void, Message> check_devices(const MachinePlan& plan)
{
    const auto& testdevs = plan.config.testdevs;
    for (std::size_t i = 0; i < testdevs.size(); ++i) {
        TRY(plan.map.check_mmio(testdevs[i]));
        if (testdevs[i].size > devices::TestDevice::kMaxSize)
            return fail(
                Message{fmt::format("testdev at {:#x}: {:#x} bytes are more than {} MiB", testdevs[i].start,
                                    testdevs[i].size, devices::TestDevice::kMaxSize >> 20)});
        for (std::size_t k = 0; k < i; ++k)
            if (testdevs[i].overlaps(testdevs[k]))
                return fail(Message{fmt::format("the testdevs at {:#x} and {:#x} overlap", testdevs[k].start,
                                                testdevs[i].start)});
    }
    return {};
}

Result<void, Message> write_hob(MachinePlan& plan)
{
    const TdvfSection* section = plan.tdvf.hob();
    if (section == nullptr)
        return {};
    std::vector<MemoryRange> added;
    for (const TdvfSection& s : plan.tdvf.sections)
        if (s.added())
            added.push_back({s.address, s.size});
    plan.hob_address = section->address;
    plan.hob = build_hob_list({.address = section->address,
                               .ram = plan.map.ram,
                               .added = added,
                               .mmio = plan.config.testdevs,
                               .unaccepted = plan.config.kind == VmKind::td});
    if (plan.hob.size() > section->size)
        return fail(Message{
            fmt::format("firmware: the hand-off blocks need {:#x} bytes, its TD_HOB section has {:#x}",
                        plan.hob.size(), section->size)});
    plan.hob.resize(section->size);
    return {};
}

} // namespace

void MachinePlan::page(const TdvfSection& section, u64 index, std::span<u8, base::kPageSize> out) const
{
    if (section.type == TdvfType::TD_HOB)
        std::memcpy(out.data(), hob.data() + index * base::kPageSize, base::kPageSize);
    else
        section_page(config.firmware, section, index, out);
}

Result<MachinePlan, Message> plan_machine(MachineConfig config)
{
    if (config.cpus == 0 || config.cpus > kMaxCpus)
        return fail(
            Message{fmt::format("--cpus {}: a machine has 1 to {} processors", config.cpus, kMaxCpus)});
    MachinePlan plan;
    plan.tdvf = TRY(parse_tdvf(config.firmware));
    plan.map = TRY(make_memory_map(config.memory, config.firmware.size()));
    plan.config = std::move(config);
    TRY(check_sections(plan));
    TRY(check_devices(plan));
    TRY(check_payload(plan));
    TRY(write_hob(plan));
    return plan;
}

} // namespace seamless::vmm
