// SPDX-License-Identifier: Apache-2.0
// The commands behind gdb's `monitor`: what only this host can show of a guest.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "trace/inspection.h"

namespace seamless::gdb {

class Monitor {
  public:
    explicit Monitor(trace::Inspection& guests) : guests_(guests) {}

    // What the command says, in lines; `vcpu` is the one the user looks at.
    [[nodiscard]] std::string run(std::string_view line, u32 vcpu);

  private:
    using Words = std::span<const std::string_view>; // behind the command's name
    struct Row {
        std::string_view name, arguments, help;
        unsigned least, most; // how many arguments
        std::string (Monitor::*run)(Words);
    };
    static const Row kCommands[];

    std::string help(Words);
    std::string walk(Words);
    std::string walk_physical(Words);
    std::string memory(Words);
    std::string ve_info(Words);
    std::string td(Words);
    std::string vcpus(Words);
    std::string exits(Words);
    std::string ves(Words);
    std::string vmcalls(Words);
    std::string events(Words);
    std::string history(Words);

    // The last events that `which` wants, as a trace shows them.
    template <typename Which>
    std::string last_events(Words words, const Which& which);
    // A number, or the name of a register that holds one.
    [[nodiscard]] std::optional<u64> address(std::string_view text);

    trace::Inspection& guests_;
    u32 vcpu_ = 0;
};

} // namespace seamless::gdb
