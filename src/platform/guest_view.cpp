// SPDX-License-Identifier: Apache-2.0
// Walks for inspection. SDM: "Paging", "EPT Translation Mechanism".
#include "platform/guest_view.h"

#include <algorithm>

#include "mem/guest_access.h"
#include "spec/ept.h"
#include "tdx/sept.h"

namespace seamless::platform {
namespace {

using namespace spec;
using trace::Walk;
using trace::WalkStep;

constexpr u64 kPresent = bit(0), kLarge = bit(7);

// How the guest's tables look. No paging: no levels.
struct Format {
    unsigned levels = 0;
    bool narrow = false; // entries of 4 bytes
    bool pae = false;    // the top table has four entries and stands at 31:5
    unsigned largest_leaf = 0;

    [[nodiscard]] unsigned index_bits() const { return narrow ? 10 : 9; }
    [[nodiscard]] unsigned shift(unsigned level) const { return kPageShift + index_bits() * level; }
    [[nodiscard]] u64 frame(u64 entry) const { return entry & (narrow ? bits(31, 12) : bits(51, 12)); }
};

Format format_of(const cpu::Vmcs& v)
{
    if (!(v.cr0 & cr0::PG))
        return {};
    if (v.efer & efer::LMA)
        return {.levels = v.cr4 & cr4::LA57 ? 5u : 4u, .largest_leaf = 2};
    if (v.cr4 & cr4::PAE)
        return {.levels = 3, .pae = true, .largest_leaf = 1};
    return {.levels = 2, .narrow = true, .largest_leaf = v.cr4 & cr4::PSE ? 1u : 0u};
}

u64 frame_of_leaf(const Format& format, u64 entry, unsigned level)
{
    u64 frame = format.frame(entry) & ~(bit(format.shift(level)) - 1);
    if (format.narrow && level > 0)
        frame |= field(entry, 20, 13) << 32; // PSE-36
    return frame;
}

} // namespace

bool GuestView::walk_ept(Gpa gpa, Walk& walk) const
{
    const bool shared = (gpa.value() & vmcs_.td_shared_bit) != 0;
    const auto table = vmcs_.td_shared_bit == 0 ? WalkStep::Table::plain_ept
                       : shared                 ? WalkStep::Table::shared_ept
                                                : WalkStep::Table::secure_ept;
    const u64 root = shared ? vmcs_.shared_ept_pointer : vmcs_.ept_pointer;
    Hpa at(root & ept::ADDRESS);
    for (unsigned level = std::min(ept::eptp_levels(vmcs_.ept_pointer), 5u); level-- > 0;) {
        const Hpa where = at + u64{ept::index(gpa.value(), level)} * sizeof(u64);
        WalkStep step{.table = table, .level = level, .address = mem::without_hkid(where).value()};
        step.readable =
            mem::without_hkid(at).value() != 0 && mem::try_load(mem::without_hkid(where), step.entry);
        if (table == WalkStep::Table::secure_ept)
            step.state = static_cast<u8>(tdx::sept::state_of(step.entry));
        walk.steps.push_back(step);
        if (!step.readable || (step.entry & ept::RWX) == 0)
            return false;
        if (level == 0 || (step.entry & ept::LEAF)) {
            const u64 offset = ept::level_size(level) - 1;
            walk.host = mem::without_hkid(Hpa((step.entry & ept::ADDRESS & ~offset) | (gpa.value() & offset)))
                            .value();
            return true;
        }
        at = Hpa(step.entry & ept::ADDRESS);
    }
    return false;
}

bool GuestView::read_entry(Gpa gpa, bool narrow, u64& entry, Walk& walk) const
{
    Walk to;
    if (!walk_ept(gpa, to)) { // show why
        walk.steps.insert(walk.steps.end(), to.steps.begin(), to.steps.end());
        return false;
    }
    if (!narrow)
        return mem::try_load(Hpa(*to.host), entry);
    u32 value = 0;
    const bool read = mem::try_load(Hpa(*to.host), value);
    entry = value;
    return read;
}

bool GuestView::walk_guest(Gva gva, Walk& walk) const
{
    const Format format = format_of(vmcs_);
    if (format.levels == 0) {
        walk.gpa = gva.value() & bits(31, 0);
        return true;
    }
    u64 table = format.pae ? vmcs_.cr3 & bits(31, 5) : format.frame(vmcs_.cr3);
    for (unsigned level = format.levels; level-- > 0;) {
        const u64 index = gva.value() >> format.shift(level) &
                          (format.pae && level == 2 ? 3 : bit(format.index_bits()) - 1);
        WalkStep step{
            .level = level, .address = table + index * (format.narrow ? 4 : 8), .narrow = format.narrow};
        step.readable = read_entry(Gpa(step.address), format.narrow, step.entry, walk);
        walk.steps.push_back(step);
        if (!step.readable || !(step.entry & kPresent))
            return false;
        if (level == 0 || (level <= format.largest_leaf && (step.entry & kLarge))) {
            walk.guest_level = level;
            walk.gpa =
                frame_of_leaf(format, step.entry, level) | (gva.value() & (bit(format.shift(level)) - 1));
            return true;
        }
        table = format.frame(step.entry);
    }
    return false;
}

Walk GuestView::walk(Gva gva) const
{
    Walk result;
    if (walk_guest(gva, result))
        walk_ept(Gpa(*result.gpa), result);
    return result;
}

Walk GuestView::walk(Gpa gpa) const
{
    Walk result;
    result.gpa = gpa.value();
    walk_ept(gpa, result);
    return result;
}

template <typename Address>
u64 GuestView::read(Address from, std::span<u8> to) const
{
    u64 done = 0;
    while (done < to.size()) {
        const Address at = from + done;
        const Walk found = walk(at);
        const u64 piece = std::min<u64>(to.size() - done, kPageSize - at.page_offset());
        if (!found.host || !mem::try_copy_from(to.subspan(done, piece), Hpa(*found.host)))
            break;
        done += piece;
    }
    return done;
}

template <typename Address>
u64 GuestView::write(Address to, std::span<const u8> from) const
{
    u64 done = 0;
    while (done < from.size()) {
        const Address at = to + done;
        const Walk found = walk(at);
        const u64 piece = std::min<u64>(from.size() - done, kPageSize - at.page_offset());
        if (!found.host || !mem::try_copy_to(Hpa(*found.host), from.subspan(done, piece)))
            break;
        done += piece;
    }
    return done;
}

template u64 GuestView::read(Gva, std::span<u8>) const;
template u64 GuestView::read(Gpa, std::span<u8>) const;
template u64 GuestView::write(Gva, std::span<const u8>) const;
template u64 GuestView::write(Gpa, std::span<const u8>) const;

} // namespace seamless::platform
