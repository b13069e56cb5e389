// SPDX-License-Identifier: Apache-2.0
// Addresses are types, never bare integers: Gva (guest linear), Gpa (guest physical), Hpa (host physical),
// and the frame numbers Gfn and Pfn. All are in bytes or in 4 KiB frames; none converts into another by
// itself.
#pragma once

#include <compare>
#include <functional>

#include "base/bits.h"

namespace seamless::base {

inline constexpr u64 kPageSize = 4096;
inline constexpr unsigned kPageShift = 12;
inline constexpr u64 kPageMask = kPageSize - 1;

template <typename Tag>
class Address {
  public:
    constexpr Address() = default;
    constexpr explicit Address(u64 value) : value_(value) {}

    [[nodiscard]] constexpr u64 value() const { return value_; }
    [[nodiscard]] constexpr u64 page_offset() const { return value_ & kPageMask; }
    [[nodiscard]] constexpr Address page() const { return Address(value_ & ~kPageMask); }
    [[nodiscard]] constexpr bool page_aligned() const { return page_offset() == 0; }

    friend constexpr Address operator+(Address a, u64 n) { return Address(a.value_ + n); }
    friend constexpr Address operator-(Address a, u64 n) { return Address(a.value_ - n); }
    friend constexpr u64 operator-(Address a, Address b) { return a.value_ - b.value_; }
    constexpr Address& operator+=(u64 n)
    {
        value_ += n;
        return *this;
    }
    friend constexpr auto operator<=>(Address, Address) = default;

  private:
    u64 value_ = 0;
};

template <typename Tag>
class Frame {
  public:
    constexpr Frame() = default;
    constexpr explicit Frame(u64 value) : value_(value) {}

    [[nodiscard]] constexpr u64 value() const { return value_; }

    friend constexpr Frame operator+(Frame a, u64 n) { return Frame(a.value_ + n); }
    friend constexpr Frame operator-(Frame a, u64 n) { return Frame(a.value_ - n); }
    friend constexpr u64 operator-(Frame a, Frame b) { return a.value_ - b.value_; }
    friend constexpr Frame operator|(Frame a, u64 bits) { return Frame(a.value_ | bits); }
    friend constexpr Frame operator&(Frame a, u64 bits) { return Frame(a.value_ & bits); }
    constexpr Frame& operator++()
    {
        ++value_;
        return *this;
    }
    friend constexpr auto operator<=>(Frame, Frame) = default;

  private:
    u64 value_ = 0;
};

using Gva = Address<struct GvaTag>;
using Gpa = Address<struct GpaTag>;
using Hpa = Address<struct HpaTag>;
using Gfn = Frame<struct GfnTag>;
using Pfn = Frame<struct PfnTag>;

[[nodiscard]] constexpr Gfn gfn_of(Gpa gpa) { return Gfn(gpa.value() >> kPageShift); }
[[nodiscard]] constexpr Gpa gpa_of(Gfn gfn) { return Gpa(gfn.value() << kPageShift); }
[[nodiscard]] constexpr Pfn pfn_of(Hpa hpa) { return Pfn(hpa.value() >> kPageShift); }
[[nodiscard]] constexpr Hpa hpa_of(Pfn pfn) { return Hpa(pfn.value() << kPageShift); }

} // namespace seamless::base

template <typename Tag>
struct std::hash<seamless::base::Address<Tag>> {
    std::size_t operator()(seamless::base::Address<Tag> a) const noexcept
    {
        return std::hash<std::uint64_t>{}(a.value());
    }
};

template <typename Tag>
struct std::hash<seamless::base::Frame<Tag>> {
    std::size_t operator()(seamless::base::Frame<Tag> f) const noexcept
    {
        return std::hash<std::uint64_t>{}(f.value());
    }
};
