// SPDX-License-Identifier: Apache-2.0
// Hands what comes from outside to the machine of the moment.
#include "cli/running_machine.h"

namespace seamless::cli {

void RunningMachine::set(vmm::Machine* machine)
{
    const std::lock_guard lock(mutex_);
    machine_ = machine;
    if (machine_ != nullptr && outcome_)
        machine_->end(*outcome_);
}

void RunningMachine::end(vmm::Outcome outcome)
{
    const std::lock_guard lock(mutex_);
    if (!outcome_)
        outcome_ = std::move(outcome);
    if (machine_ != nullptr)
        machine_->end(*outcome_);
}

std::size_t RunningMachine::receive(std::span<const u8> bytes)
{
    const std::lock_guard lock(mutex_);
    return machine_ != nullptr ? machine_->receive(bytes) : 0;
}

std::size_t RunningMachine::receive_console(std::span<const u8> bytes)
{
    const std::lock_guard lock(mutex_);
    return machine_ != nullptr ? machine_->receive_console(bytes) : 0;
}

} // namespace seamless::cli
