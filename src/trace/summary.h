// SPDX-License-Identifier: Apache-2.0
// What a trace says about MMIO and #VE: which instructions access which pages, who answered, how often, how
// long.
#pragma once

#include <map>

#include "trace/episode.h"

namespace seamless::trace {

class Summary : private EpisodeTaker {
  public:
    void add(const Line& line);
    // Ends what is under way.
    void finish() { finder_.finish(*this); }

    u64 events = 0, first_ts = 0, last_ts = 0;
    std::map<AccessKey, Tally> accesses;
    std::map<VeKey, Tally> ves;
    [[nodiscard]] std::size_t vcpus() const { return finder_.vcpus(); }

  private:
    void take(const Episode& episode) override;

    EpisodeFinder finder_;
};

} // namespace seamless::trace
