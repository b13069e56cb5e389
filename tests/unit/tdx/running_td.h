// SPDX-License-Identifier: Apache-2.0
// A TD that runs: its guest is a script, and each step sees what the module left at the entry.
#pragma once

#include <algorithm>

#include "unit/tdx/td_host.h"

namespace seamless::tdx {

constexpr u64 kInterrupted = 1; // RAX of a TD exit for an external interrupt

constexpr u32 exception(spec::Vector v, bool error = false)
{
    return spec::intr_info::VALID | spec::intr_info::HARDWARE_EXCEPTION | static_cast<u32>(v) |
           (error ? spec::intr_info::ERROR_CODE : 0);
}

struct RunningTd : testing::Test, TdHost {
    void SetUp() override { build(); }

    using Step = std::function<void(cpu::Vmcs&, cpu::GuestContext&)>;
    // The guest exits with `reason` after `prepare`; `check` sees the next entry; then an interrupt ends the
    // run.
    void runs(spec::ExitReason reason, Step prepare, Step check, u32 length = 2, u64 qualification = 0)
    {
        lp().then([=](cpu::Vmcs& vmcs, cpu::GuestContext& c) {
            exit(vmcs, reason, length, qualification);
            prepare(vmcs, c);
        });
        lp().then([=](cpu::Vmcs& vmcs, cpu::GuestContext& c) {
            check(vmcs, c);
            exit(vmcs, spec::ExitReason::EXTERNAL_INTERRUPT, 0);
        });
        EXPECT_EQ(code(enter(vcpu)), kInterrupted);
        EXPECT_EQ(lp().left(), 0u);
    }
    // The exception injected at the entry after the exit of `prepare`.
    u32 injected(spec::ExitReason reason, Step prepare, u64 qualification = 0)
    {
        u32 info = 0;
        runs(
            reason, std::move(prepare), [](cpu::Vmcs&, cpu::GuestContext&) {}, 2, qualification);
        info = lp().history.back().vmcs.entry_intr_info;
        ve_info().valid = 0;
        return info & spec::intr_info::VALID ? info : 0;
    }
    spec::VeInfo& ve_info() { return *mem::host_ptr<spec::VeInfo>(vcpu); }
};

} // namespace seamless::tdx
