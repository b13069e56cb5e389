// SPDX-License-Identifier: Apache-2.0
// Fuzzes what reads a Linux kernel: its setup header, the machine that is planned for it, and what firmware
// gets of it through fw_cfg, which must be the file, byte for byte.
#include <cctype>

#include "fuzz/depth.h"
#include "fuzz/file_of_bytes.h"
#include "fuzz/fw_cfg_driver.h"
#include "fuzz/input.h"
#include "fuzz/target.h"
#include "unit/vmm/firmware_image.h"
#include "unit/vmm/kernel_image.h"
#include "vmm/firmware_config.h"

namespace seamless::fuzz {
namespace {

using devices::FwCfgKey;
using Bytes = std::vector<u8>;

// A kernel that is good but for what the input says.
Bytes draw_kernel(Input& in)
{
    vmm::test::KernelBuilder kernel;
    constexpr u64 places[] = {0x1f1, 0x1f4, 0x1fe, 0x202, 0x206, 0x236, 0x238, 0x260};
    for (u64 i = in.below(4); i > 0; --i) {
        const u64 at = in.pick(places);
        if (in.flag())
            kernel.put(at, in.take<u32>());
        else
            kernel.bytes[at] = in.byte();
    }
    if (in.flag())
        kernel.bytes.resize(in.below(2 * kernel.bytes.size()));
    return kernel.bytes;
}

std::string without_numbers(std::string text)
{
    text = text.substr(text.rfind("/fd/") == std::string::npos ? 0 : text.rfind("/fd/") + 4);
    std::erase_if(text, [](char c) { return std::isdigit(static_cast<unsigned char>(c)); });
    return text;
}

// The bytes of an item, read in pieces of `piece` bytes.
void append_item(devices::FwCfg& device, FwCfgMemory& memory, FwCfgKey key, u64 size, u32 piece, Bytes& to)
{
    constexpr u64 kRequest = FwCfgMemory::kStart, kBuffer = kRequest + 16;
    u32 control = static_cast<u32>(key) << 16 | FwCfgRequest::kSelect | FwCfgRequest::kRead;
    for (u64 done = 0; done < size; done += piece) {
        const auto length = static_cast<u32>(std::min<u64>(piece, size - done));
        FwCfgRequest{.control = control, .length = length, .address = kBuffer}.put(memory.map(kRequest, 16));
        start_dma(device, kRequest);
        if (memory.map(kRequest, 4)[3] != 0)
            std::abort();
        const u8* got = memory.map(kBuffer, length);
        to.insert(to.end(), got, got + length);
        control = FwCfgRequest::kRead;
    }
}

void boot(const vmm::MachinePlan& plan, const Bytes& kernel, const Bytes& initrd, u32 piece)
{
    FwCfgMemory memory;
    devices::FwCfg device(memory);
    vmm::fill_fw_cfg(device, plan);
    const vmm::LinuxPayload& payload = *plan.config.payload;
    Bytes got;
    append_item(device, memory, FwCfgKey::SETUP_DATA, payload.setup().size(), piece, got);
    append_item(device, memory, FwCfgKey::KERNEL_DATA, payload.rest().size(), piece, got);
    Bytes got_initrd, got_line;
    append_item(device, memory, FwCfgKey::INITRD_DATA, payload.initrd.bytes().size(), piece, got_initrd);
    append_item(device, memory, FwCfgKey::CMDLINE_DATA, payload.command_line.size() + 1, piece, got_line);
    const std::string& line = payload.command_line;
    if (got != kernel || got_initrd != initrd || got_line.back() != 0 ||
        !std::equal(line.begin(), line.end(), got_line.begin()))
        std::abort();
}

void run(Input in)
{
    Bytes kernel;
    Bytes initrd;
    vmm::MachineConfig config{.firmware = vmm::test::ImageBuilder().build()};
    std::string line;
    u32 piece = 4096;
    if (in.flag()) {
        config.memory = in.flag() ? in.number() : u64{64} << 20;
        config.kind = in.flag() ? vmm::VmKind::plain : vmm::VmKind::td;
        line = std::string(in.below(600), 'a');
        initrd.assign(in.below(3 * 4096), u8{0x5a});
        piece = static_cast<u32>(1 + in.below(4096));
        kernel = draw_kernel(in);
    } else {
        kernel.assign(in.rest().begin(), in.rest().end());
    }
    const FileOfBytes kernel_file(kernel), initrd_file(initrd);
    const bool good = vmm::parse_kernel(kernel).ok();
    const auto payload = vmm::load_linux(kernel_file.path(), initrd.empty() ? "" : initrd_file.path(), line);
    Depth::reached("answers", payload.ok() ? "a kernel" : without_numbers(payload.error().text));
    if (payload.ok() && !good)
        std::abort();
    if (!payload.ok())
        return;
    config.payload = &payload.value();
    const auto plan = vmm::plan_machine(std::move(config));
    Depth::reached("plans", plan.ok() ? "a machine" : without_numbers(plan.error().text));
    if (plan.ok())
        boot(plan.value(), kernel, initrd, piece);
}

} // namespace
} // namespace seamless::fuzz

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    seamless::fuzz::run({data, size});
    return 0;
}
