// SPDX-License-Identifier: Apache-2.0
// `seamless measure`: the MRTD of a firmware image.
#include <cstdio>
#include <fmt/format.h>

#include "cli/commands.h"
#include "guest/builtin.h"
#include "vmm/measure.h"

namespace seamless::cli {
namespace {

Result<vmm::Mrtd, Message> measure_file(const std::string& path)
{
    std::vector<u8> image;
    if (path.empty()) {
        const auto builtin = guest::builtin_firmware();
        image.assign(builtin.begin(), builtin.end());
    } else {
        image = TRY(read_file(path));
    }
    const vmm::Tdvf tdvf = TRY(vmm::parse_tdvf(image));
    return TRY(vmm::measure_tdvf(image, tdvf));
}

} // namespace

int measure_command(const std::string& firmware, bool json)
{
    const auto mrtd = measure_file(firmware);
    if (!mrtd.ok())
        return complain(mrtd.error(), kUsage);
    const std::string hex = fmt::format("{:02x}", fmt::join(mrtd.value(), ""));
    if (json)
        fmt::print("{{\"firmware\":{},\"mrtd\":\"{}\"}}\n", firmware.empty() ? "null" : json_string(firmware),
                   hex);
    else
        fmt::print("MRTD {}\n", hex);
    return 0;
}

} // namespace seamless::cli
