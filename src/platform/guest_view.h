// SPDX-License-Identifier: Apache-2.0
// A guest's memory as one of its vCPUs sees it, for inspection: the walks of the processor without any of
// their effects, every entry noted. Entries may be garbage and memory may be gone: then the walk ends.
#pragma once

#include "cpu/vmx/vmcs.h"
#include "trace/inspection.h"

namespace seamless::platform {

class GuestView {
  public:
    explicit GuestView(const cpu::Vmcs& vmcs) : vmcs_(vmcs) {}

    [[nodiscard]] trace::Walk walk(Gva gva) const;
    [[nodiscard]] trace::Walk walk(Gpa gpa) const;

    // How many bytes were there.
    template <typename Address>
    [[nodiscard]] u64 read(Address from, std::span<u8> to) const;
    template <typename Address>
    [[nodiscard]] u64 write(Address to, std::span<const u8> from) const;

  private:
    // Goes on with `walk`; true if it found memory.
    bool walk_ept(Gpa gpa, trace::Walk& walk) const;
    bool walk_guest(Gva gva, trace::Walk& walk) const;
    // Reads the guest's entry at `gpa`.
    [[nodiscard]] bool read_entry(Gpa gpa, bool narrow, u64& entry, trace::Walk& walk) const;

    const cpu::Vmcs& vmcs_;
};

} // namespace seamless::platform
