// SPDX-License-Identifier: Apache-2.0
// Fills fw_cfg as firmware written for QEMU expects it.
#include "vmm/firmware_config.h"

#include "vmm/virtio_layout.h"

namespace seamless::vmm {
namespace {

using devices::FwCfg;
using devices::FwCfgKey;

void add_sized(FwCfg& fw_cfg, FwCfgKey size, FwCfgKey data, std::span<const u8> content,
               FwCfg::WasRead was_read = {})
{
    fw_cfg.add_number(size, content.size(), 4);
    fw_cfg.add_external(data, content, std::move(was_read));
}

// The setup part is delivered as the file has it: who measures it sees the kernel's own bytes.
void add_linux(FwCfg& fw_cfg, const LinuxPayload& payload)
{
    add_sized(fw_cfg, FwCfgKey::SETUP_SIZE, FwCfgKey::SETUP_DATA, payload.setup());
    add_sized(fw_cfg, FwCfgKey::KERNEL_SIZE, FwCfgKey::KERNEL_DATA, payload.rest(),
              [&file = payload.kernel](std::span<const u8> part) { file.release(part); });
    add_sized(fw_cfg, FwCfgKey::INITRD_SIZE, FwCfgKey::INITRD_DATA, payload.initrd.bytes(),
              [&file = payload.initrd](std::span<const u8> part) { file.release(part); });
    add_sized(fw_cfg, FwCfgKey::CMDLINE_SIZE, FwCfgKey::CMDLINE_DATA, payload.command_line_bytes());
}

void add_acpi(FwCfg& fw_cfg, const MachinePlan& plan)
{
    acpi::TableFiles files = machine_tables(plan.config.cpus);
    fw_cfg.add_file(acpi::kRsdpFile, std::move(files.rsdp));
    fw_cfg.add_file(acpi::kTablesFile, std::move(files.tables));
    fw_cfg.add_file(acpi::kLoaderFile, std::move(files.loader));
}

} // namespace

void fill_fw_cfg(FwCfg& fw_cfg, const MachinePlan& plan)
{
    fw_cfg.add_number(FwCfgKey::RAM_SIZE, plan.config.memory, 8);
    fw_cfg.add_number(FwCfgKey::NB_CPUS, plan.config.cpus, 2);
    fw_cfg.add_number(FwCfgKey::MAX_CPUS, plan.config.cpus, 2);
    if (plan.config.payload != nullptr)
        add_linux(fw_cfg, *plan.config.payload);
    add_acpi(fw_cfg, plan);
}

} // namespace seamless::vmm
