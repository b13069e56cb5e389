// SPDX-License-Identifier: Apache-2.0
// What a trace says about MMIO and #VE: which instructions access which pages, who answered, how often, how
// long.
#pragma once

#include <compare>
#include <map>
#include <string>

#include "trace/reader.h"

namespace seamless::trace {

enum class Answer : u8 { nobody, fast_bus, kernel_bus, user_space };
[[nodiscard]] std::string_view name_of(Answer answer);

// One kind of MMIO access.
struct AccessKey {
    u64 page = 0;
    u64 rip = 0;
    std::string insn; // hex bytes; empty where the trace does not say
    u64 size = 0;
    bool write = false;
    Answer answer = Answer::nobody;
    auto operator<=>(const AccessKey&) const = default;
};

// One kind of #VE.
struct VeKey {
    std::string exit_reason;
    u64 rip = 0;
    std::string insn;
    std::string call; // the TDG.VP.VMCALL that followed; empty if there was none
    auto operator<=>(const VeKey&) const = default;
};

struct Tally {
    u64 count = 0;
    u64 ns = 0; // from the #VE or exit to the guest's next entry, where the trace has both
};

class Summary {
  public:
    void add(const Line& line);
    // Ends what is under way.
    void finish();

    u64 events = 0, first_ts = 0, last_ts = 0;
    std::map<AccessKey, Tally> accesses;
    std::map<VeKey, Tally> ves;
    [[nodiscard]] std::size_t vcpus() const { return vcpus_.size(); }

  private:
    // What a vCPU does between a #VE or an exit, and its return to the guest.
    struct Vcpu {
        bool in_ve = false; // since ve_inject
        bool in_access = false;
        u64 start = 0;
        VeKey ve;
        AccessKey access;
    };

    void exit(Vcpu& vcpu, const Line& line);
    void ve_inject(Vcpu& vcpu, const Line& line);
    void mmio(Vcpu& vcpu, const Line& line);
    void done(Vcpu& vcpu, u64 ts);
    void dispatch(Vcpu& vcpu, const Line& line);

    std::map<u32, Vcpu> vcpus_;
};

} // namespace seamless::trace
