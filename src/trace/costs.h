// SPDX-License-Identifier: Apache-2.0
// What a trace says about costs: how often each exit, TDVMCALL, SEAMCALL and TDCALL was, and how long exits
// and TDVMCALLs took.
#pragma once

#include <array>
#include <compare>
#include <map>
#include <optional>
#include <string>

#include "trace/episode.h"

namespace seamless::trace {

struct ExitKey {
    std::string reason, hw_reason, vm;
    auto operator<=>(const ExitKey&) const = default;
};

struct LeafKey {
    bool seamcall = false; // else a TDCALL
    std::string leaf, status;
    auto operator<=>(const LeafKey&) const = default;
};

class Costs {
  public:
    void add(const Line& line);
    // Counts what is under way, without a time.
    void finish();

    std::map<ExitKey, Tally> exits;        // the time is from the exit to the next entry
    std::map<std::string, Tally> vmcalls;  // from KVM's reading of the request to its answer
    std::map<std::string, u64> user_exits; // KVM_RUN returning to the VMM, by reason
    std::map<LeafKey, u64> leaves;
    std::map<std::string, u64> events; // by name
    Tally in_guest;                    // from entries to the next exit

  private:
    template <typename Key>
    struct Open {
        Key key;
        u64 ts = 0;
    };
    struct Vcpu {
        std::optional<Open<ExitKey>> exit;
        std::optional<Open<std::string>> vmcall;
        std::optional<u64> entered;
    };

    template <typename Key>
    static void close(std::optional<Open<Key>>& open, std::map<Key, Tally>& tallies, const u64* ts);
    void exit(Vcpu& vcpu, const Line& line);

    std::map<u32, Vcpu> vcpus_;
};

} // namespace seamless::trace
