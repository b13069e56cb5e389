// SPDX-License-Identifier: Apache-2.0
// `seamless caps`: what the simulated machine offers.
#include <cstdio>
#include <fmt/format.h>

#include "cli/commands.h"
#include "cli/software_host.h"
#include "vmm/tdx_capabilities.h"

namespace seamless::cli {
namespace {

void print_text(const vmm::KvmOffer& offer)
{
    fmt::print("Seamless {}\nKVM API version {}\n", SEAMLESS_VERSION, offer.api_version);
    for (const vmm::Capability& cap : offer.capabilities)
        fmt::print("  KVM_CAP_{} ({}): {}\n", cap.name, cap.number, cap.value);
    if (!offer.tdx) {
        fmt::print("TDs: none\n");
        return;
    }
    fmt::print("TDs:\n  attributes {:#018x}\n  xfam       {:#018x}\n  configurable CPUID leaves {}\n",
               offer.tdx->attributes, offer.tdx->xfam, offer.tdx->masks.size());
    for (const auto& m : offer.tdx->masks)
        fmt::print("    {:#010x}.{:#x}  eax {:#010x}  ebx {:#010x}  ecx {:#010x}  edx {:#010x}\n", m.function,
                   m.index, m.eax, m.ebx, m.ecx, m.edx);
}

void print_json(const vmm::KvmOffer& offer)
{
    std::string text = fmt::format("{{\"version\":\"{}\",\"api_version\":{},\"capabilities\":{{",
                                   SEAMLESS_VERSION, offer.api_version);
    std::string_view comma;
    for (const vmm::Capability& cap : offer.capabilities) {
        text += fmt::format("{}\"{}\":{}", comma, cap.name, cap.value);
        comma = ",";
    }
    text += "},\"tdx\":";
    if (offer.tdx)
        text += fmt::format("{{\"attributes\":\"{:#x}\",\"xfam\":\"{:#x}\",\"cpuid_leaves\":{}}}",
                            offer.tdx->attributes, offer.tdx->xfam, offer.tdx->masks.size());
    else
        text += "null";
    fmt::print("{}}}\n", text);
}

} // namespace

int caps_command(bool json)
{
    auto host = SoftwareHost::make({});
    if (!host.ok())
        return complain(host.error(), kOurBug);
    const auto offer = vmm::read_offer(host.value()->kvm());
    if (!offer.ok())
        return complain(offer.error(), kOurBug);
    json ? print_json(offer.value()) : print_text(offer.value());
    return 0;
}

} // namespace seamless::cli
