// SPDX-License-Identifier: Apache-2.0
// Describes the machine's devices.
#include "vmm/acpi/dsdt.h"

#include <array>
#include <fmt/format.h>

#include "devices/machine_end.h"
#include "devices/rtc.h"
#include "devices/serial.h"

namespace seamless::vmm::acpi {
namespace {

constexpr u32 kSerialGsi = 4;

Aml sleep_state()
{
    const Aml type = integer(devices::SleepPorts::kPowerOffType);
    const std::array<Aml, 4> elements{type, type, integer(0), integer(0)};
    return name("_S5_", package(elements));
}

Aml serial_port()
{
    const std::array<Aml, 2> resources{io_ports(devices::Serial::kCom1, devices::Serial::kPorts),
                                       edge_interrupt(kSerialGsi)};
    const std::array<Aml, 3> terms{name("_HID", eisa_id("PNP0501")), name("_UID", integer(0)),
                                   name("_CRS", resource_template(resources))};
    return device("COM1", terms);
}

Aml real_time_clock()
{
    const std::array<Aml, 1> resources{io_ports(devices::Rtc::kPort, devices::Rtc::kPorts)};
    const std::array<Aml, 2> terms{name("_HID", eisa_id("PNP0B00")),
                                   name("_CRS", resource_template(resources))};
    return device("RTC_", terms);
}

Aml virtio_mmio(u64 index, const VirtioMmio& transport)
{
    const std::array<Aml, 2> resources{memory32_fixed(static_cast<u32>(transport.registers.start),
                                                      static_cast<u32>(transport.registers.size)),
                                       edge_interrupt(transport.gsi)};
    const std::array<Aml, 4> terms{name("_HID", string("LNRO0005")), name("_UID", integer(index)),
                                   name("_CCA", integer(1)), name("_CRS", resource_template(resources))};
    return device(fmt::format("VR{:02X}", index), terms);
}

} // namespace

Aml dsdt_body(const MachineDescription& machine)
{
    std::vector<Aml> devices{serial_port(), real_time_clock()};
    for (u64 i = 0; i < machine.virtio.size(); ++i)
        devices.push_back(virtio_mmio(i, machine.virtio[i]));
    Aml body = sleep_state();
    const Aml bus = scope("_SB_", devices);
    body.insert(body.end(), bus.begin(), bus.end());
    return body;
}

} // namespace seamless::vmm::acpi
