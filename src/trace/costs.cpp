// SPDX-License-Identifier: Apache-2.0
// Pairs exits with entries and requests with answers, for each vCPU. What has no partner is counted without a
// time.
#include "trace/costs.h"

#include <algorithm>
#include <utility>

namespace seamless::trace {
namespace {

u64 since(u64 start, u64 now) { return now - std::min(now, start); }

} // namespace

template <typename Key>
void Costs::close(std::optional<Open<Key>>& open, std::map<Key, Tally>& tallies, const u64* ts)
{
    if (!open)
        return;
    tallies[std::move(open->key)].add(ts ? std::optional(since(open->ts, *ts)) : std::nullopt);
    open.reset();
}

void Costs::add(const Line& line)
{
    ++events[std::string(line.text("ev"))];
    if (line.row == nullptr)
        return;
    Vcpu& vcpu = vcpus_[line.vcpu];
    switch (line.row->event) {
    case Event::kvm_exit:
        return exit(vcpu, line);
    case Event::kvm_entry:
        close(vcpu.exit, exits, &line.ts);
        vcpu.entered = line.ts;
        return;
    case Event::kvm_tdx_vmcall:
        close(vcpu.vmcall, vmcalls, nullptr);
        vcpu.vmcall = {std::string(line.text("leaf")), line.ts};
        return;
    case Event::kvm_tdx_vmcall_done:
        return close(vcpu.vmcall, vmcalls, &line.ts);
    case Event::kvm_userspace_exit:
        ++user_exits[std::string(line.text("reason"))];
        return;
    case Event::tdx_seamcall:
    case Event::tdx_tdcall:
        ++leaves[{line.row->event == Event::tdx_seamcall, std::string(line.text("leaf")),
                  std::string(line.text("status"))}];
        return;
    default:
        return;
    }
}

void Costs::exit(Vcpu& vcpu, const Line& line)
{
    close(vcpu.exit, exits, nullptr);
    vcpu.exit = {ExitKey{std::string(line.text("reason")), std::string(line.text("hw_reason")),
                         std::string(line.text("vm"))},
                 line.ts};
    if (vcpu.entered)
        in_guest.add(since(*vcpu.entered, line.ts));
    vcpu.entered.reset();
}

void Costs::finish()
{
    for (auto& [id, vcpu] : vcpus_) {
        close(vcpu.exit, exits, nullptr);
        close(vcpu.vmcall, vmcalls, nullptr);
    }
}

} // namespace seamless::trace
