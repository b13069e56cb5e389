// SPDX-License-Identifier: Apache-2.0
// Episodes: the MMIO accesses and #VEs of a trace, each with the events it consists of. The summary and the
// page show the same episodes.
#pragma once

#include <compare>
#include <map>
#include <optional>
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
    u64 timed = 0; // of how many the trace has both ends
    u64 ns = 0, longest = 0;

    void add(std::optional<u64> took);
};

// One access, one #VE, or both: an access of a TD that became #VE.
struct Episode {
    u32 vcpu = 0;
    u64 first_event = 0, last_event = 0; // numbers of events in the trace, from 0
    std::optional<u64> ns; // from the #VE or exit to the guest's next entry, where the trace has both
    bool first = false;    // it made KVM write the MMIO entry
    const AccessKey* access = nullptr; // null: no MMIO
    const VeKey* ve = nullptr;         // null: no #VE
};

class EpisodeTaker {
  public:
    virtual ~EpisodeTaker() = default;
    virtual void take(const Episode& episode) = 0;
};

class EpisodeFinder {
  public:
    // The next event of the trace; `taker` gets what it ends.
    void add(const Line& line, EpisodeTaker& taker);
    // Ends what is under way.
    void finish(EpisodeTaker& taker);
    [[nodiscard]] std::size_t vcpus() const { return vcpus_.size(); }

  private:
    struct Touch {
        u64 event = 0;
        u64 page = 0; // with the shared bit
    };
    // What a vCPU does between a #VE or an exit, and its return to the guest.
    struct Vcpu {
        u64 first_event = 0, last_event = 0;
        std::optional<u64> start; // when the #VE or exit was
        bool in_ve = false;       // since ve_inject
        bool in_access = false;
        bool first = false;
        VeKey ve;
        AccessKey access;
        // What may be its beginning:
        std::optional<Touch> violation; // the last EPT violation that exited...
        bool marked = false;            // ... and whether it made an MMIO entry
        std::optional<Touch> touch;     // the violation or misconfiguration of this very access
    };

    void dispatch(Vcpu& vcpu, const Line& line);
    void touch(Vcpu& vcpu, const Line& line);
    void exit(Vcpu& vcpu, const Line& line);
    void ve_inject(Vcpu& vcpu, const Line& line);
    void mmio(Vcpu& vcpu, const Line& line);
    // Ends what is under way; `end`: the event by which the guest goes on, where there is one.
    void done(u32 id, Vcpu& vcpu, const Line* end);

    EpisodeTaker* taker_ = nullptr; // during a call
    std::map<u32, Vcpu> vcpus_;
    u64 event_ = 0; // number of the event at hand
};

} // namespace seamless::trace
