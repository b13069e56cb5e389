// SPDX-License-Identifier: Apache-2.0
// Writes a trace as one self-contained HTML page: the parts in html/, and the trace in base64 between them.
#pragma once

#include <map>
#include <ostream>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "trace/costs.h"
#include "trace/packed_stream.h"

namespace seamless::trace {

// What the page says about instructions; the trace itself has but their bytes.
class CodeNames {
  public:
    virtual ~CodeNames() = default;
    // "mov eax, dword ptr [rsi]" for "8b06"; empty if the bytes are no instruction.
    [[nodiscard]] virtual std::string disassembled(std::string_view insn, u64 rip) const = 0;
    // "function+0x12"; empty if there is none.
    [[nodiscard]] virtual std::string symbol(u64 rip) const = 0;
};

class Page : private EpisodeTaker {
  public:
    // `title` names the trace; `out` and `names` must outlive the page. Events go out as they come.
    Page(std::ostream& out, std::string title, const CodeNames& names);
    void add(const Line& line);
    void finish();

  private:
    // What episodes have in common; the page holds each of these once.
    struct Kind {
        bool is_access = false, is_ve = false;
        AccessKey access;
        VeKey ve;
        auto operator<=>(const Kind&) const = default;
    };
    struct KindEntry {
        u64 number = 0;
        Tally tally;
    };

    void take(const Episode& episode) override;
    u64 string_id(std::string_view text);
    u64 vcpu_id(u32 vcpu);
    void pack_fields(const Line& line);
    [[nodiscard]] std::string tables() const;

    std::ostream& out_;
    std::string title_;
    const CodeNames& names_;
    u64 events_ = 0, first_ts_ = 0, last_ts_ = 0, previous_ts_ = 0;
    std::unordered_map<std::string, u64> string_ids_;
    std::vector<const std::string*> strings_;
    std::unordered_map<u32, u64> vcpu_ids_;
    std::vector<u32> vcpus_;
    std::map<Kind, KindEntry> kinds_;
    EpisodeFinder finder_;
    Costs costs_;
    u64 episodes_ = 0, previous_episode_ = 0;
    std::string episode_bytes_; // packed; they go out after the events
    std::string fields_;        // of the event at hand, packed
    PackedStream packed_;
};

} // namespace seamless::trace
