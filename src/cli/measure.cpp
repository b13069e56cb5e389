// SPDX-License-Identifier: Apache-2.0
// `seamless measure`: what a TD's measurement registers will hold.
#include <cstdio>
#include <fmt/format.h>

#include "cli/commands.h"
#include "cli/firmware.h"
#include "vmm/machine_plan.h"
#include "vmm/measure.h"

namespace seamless::cli {
namespace {

struct Measurements {
    vmm::Mrtd mrtd{};
    std::vector<vmm::Digest> rtmr; // none without a kernel
};

Result<Measurements, Message> measure(const MeasureOptions& o)
{
    Measurements out;
    if (!o.kernel.empty()) {
        if (o.cpus == 0 || o.cpus > vmm::kMaxCpus)
            return fail(
                Message{fmt::format("--cpus {}: a machine has 1 to {} processors", o.cpus, vmm::kMaxCpus)});
        const vmm::LinuxPayload payload = TRY(vmm::load_linux(o.kernel, o.initrd, o.append));
        const auto rtmr = TRY(vmm::measure_linux(payload, o.cpus));
        out.rtmr.assign(rtmr.begin(), rtmr.end());
    }
    const std::vector<u8> image = TRY(firmware_image(o.firmware, !o.kernel.empty()));
    const vmm::Tdvf tdvf = TRY(vmm::parse_tdvf(image));
    out.mrtd = TRY(vmm::measure_tdvf(image, tdvf));
    return out;
}

std::string hex(const vmm::Digest& digest) { return fmt::format("{:02x}", fmt::join(digest, "")); }

void print_json(const MeasureOptions& o, const Measurements& m)
{
    std::string text = fmt::format("{{\"firmware\":{},\"mrtd\":\"{}\"",
                                   o.firmware.empty() ? "null" : json_string(o.firmware), hex(m.mrtd));
    for (std::size_t i = 0; i < m.rtmr.size(); ++i)
        text += fmt::format(",\"rtmr{}\":\"{}\"", i, hex(m.rtmr[i]));
    fmt::print("{}}}\n", text);
}

} // namespace

int measure_command(const MeasureOptions& o)
{
    const auto measured = measure(o);
    if (!measured.ok())
        return complain(measured.error(), kUsage);
    const Measurements& m = measured.value();
    if (o.json) {
        print_json(o, m);
        return 0;
    }
    fmt::print("MRTD {}\n", hex(m.mrtd));
    for (std::size_t i = 0; i < m.rtmr.size(); ++i)
        fmt::print("RTMR{} {}\n", i, hex(m.rtmr[i]));
    return 0;
}

} // namespace seamless::cli
