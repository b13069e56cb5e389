// SPDX-License-Identifier: Apache-2.0
// Where EPT maps the pages of guest page tables. SDM: "Caching Translation Information", guest-physical
// mappings: they last until INVEPT, or until the page's own walk fails.
#pragma once

#include <array>

#include "base/address.h"
#include "paging/ept_walk.h"

namespace seamless::paging {

class GpaCache {
  public:
    [[nodiscard]] bool find(Gpa gpa, Access access, Hpa& out) const
    {
        const Entry& entry = entries_[index(gpa)];
        if (access != Access::read || entry.tag != tag(gpa))
            return false;
        out = entry.host + gpa.page_offset();
        return true;
    }
    void fill(Gpa gpa, Access access, Hpa hpa)
    {
        if (access == Access::read)
            entries_[index(gpa)] = {.tag = tag(gpa), .host = hpa.page()};
    }
    void drop(Gpa gpa)
    {
        if (Entry& entry = entries_[index(gpa)]; entry.tag == tag(gpa))
            entry = {};
    }
    void flush() { entries_.fill({}); }

  private:
    struct Entry {
        u64 tag = 0; // the page, and 1
        Hpa host;
    };
    static constexpr unsigned kEntries = 128;
    [[nodiscard]] static constexpr u64 tag(Gpa gpa) { return gpa.page().value() | 1; }
    [[nodiscard]] static constexpr u64 index(Gpa gpa) { return (gpa.value() >> kPageShift) % kEntries; }

    std::array<Entry, kEntries> entries_;
};

} // namespace seamless::paging
