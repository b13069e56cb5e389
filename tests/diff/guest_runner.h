// SPDX-License-Identifier: Apache-2.0
// Runs a case on the processor under test, at CPL 3 of a guest with the same linear layout as the host's.
#pragma once

#include "diff/state.h"
#include "fakes/guest_machine.h"

namespace seamless::diff {

class GuestRunner final : public Runner {
  public:
    GuestRunner(cpu::EngineMode mode, u64 fs_base);
    void run(const Inputs& in, Outcome& out) override;

  private:
    void map_page(u64 linear, u64 physical, u64 page_table_flags);
    void enter(const Inputs& in);
    void load_code(const Inputs& in);
    [[nodiscard]] u8* code_at(u64 linear);

    fakes::GuestMachine machine_;
    u64 fs_base_;
    u64 loaded_rip_ = kCode; // the code that is in place: running it again uses what was translated
    std::vector<u8> loaded_;
};

} // namespace seamless::diff
