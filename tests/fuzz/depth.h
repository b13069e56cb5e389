// SPDX-License-Identifier: Apache-2.0
// How deep a target's inputs get: what they have reached, by kind. The replay prints the numbers and holds
// them against the floors in CMakeLists.txt, so that a corpus which no longer gets anywhere fails a test.
#pragma once

#include <map>
#include <mutex>
#include <set>
#include <string>
#include <string_view>

#include "trace/trace.h"

namespace seamless::fuzz {

class Depth {
  public:
    using Kinds = std::map<std::string, std::set<std::string>, std::less<>>;

    static void reached(std::string_view kind, std::string_view what)
    {
        const std::lock_guard lock(mutex_);
        auto at = kinds_.find(kind);
        if (at == kinds_.end())
            at = kinds_.emplace(kind, std::set<std::string>()).first;
        at->second.emplace(what);
    }
    // A SEAMCALL, TDCALL, exit or the like, by its name.
    static void reached(const trace::Record& record)
    {
        using enum trace::Event;
        switch (record.event) {
        case tdx_seamcall:
        case tdx_tdcall:
            return leaf(record);
        case kvm_exit:
            return named("exits", record.values[0]);
        case kvm_userspace_exit:
            return named("user_exits", record.values[0]);
        case kvm_tdx_vmcall:
            return named("vmcalls", record.values[0]);
        case ve_inject:
            return named("ves", record.values[0]);
        case kvm_emulate_insn:
            return record.values[2].number == 0 ? reached("emulations", "any") : reached("failures", "any");
        default:
            return;
        }
    }
    [[nodiscard]] static const Kinds& kinds() { return kinds_; }

  private:
    static void named(std::string_view kind, const trace::Value& value)
    {
        if (value.kind == trace::Value::Kind::text)
            reached(kind, value.text);
    }
    // "leaves" that succeeded, and every pair of leaf and status; the operand in the low half says little.
    static void leaf(const trace::Record& record)
    {
        const std::string name = record.values[0].text;
        if (record.values[1].kind != trace::Value::Kind::number)
            return reached("leaves", name); // TDG.VP.VMCALL has no status yet
        const u64 status = record.values[1].number;
        if (status >> 63 == 0)
            reached("leaves", name);
        reached("statuses", name + " " + std::to_string(status >> 32));
    }
    static inline std::mutex mutex_;
    static inline Kinds kinds_;
};

struct DepthSink : trace::Sink {
    void write(const trace::Record& record) override { Depth::reached(record); }
};

} // namespace seamless::fuzz
