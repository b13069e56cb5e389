// SPDX-License-Identifier: Apache-2.0
// Walks the guest's page tables. Every table entry is itself reached through EPT.
#include "paging/guest_walk.h"

#include <span>

#include "mem/guest_access.h"
#include "spec/x86.h"

namespace seamless::paging {
namespace {

namespace pferr = spec::pferr;

constexpr u64 P = bit(0), RW = bit(1), US = bit(2), A = bit(5), D = bit(6), PS = bit(7), G = bit(8),
              XD = bit(63);

struct Format {
    u8 levels;
    u8 entry_size; // bytes
    u8 index_bits;
    u8 largest_leaf; // level
};

// By PagingMode.
constexpr Format kFormats[] = {{0, 0, 0, 0}, {2, 4, 10, 1}, {3, 8, 9, 1}, {4, 8, 9, 2}, {5, 8, 9, 2}};

class Walker {
  public:
    Walker(const GuestPaging& paging, const EptRoot& ept, Gva gva, Access access, bool user_mode,
           const WalkNotes& notes)
        : notes_(notes),
          paging_(paging),
          ept_(ept),
          gva_(gva),
          access_(access),
          user_mode_(user_mode),
          format_(kFormats[static_cast<u8>(paging.mode)])
    {}

    GuestWalk run(bool allow_user);

  private:
    [[nodiscard]] u32 base_error() const
    {
        u32 code = user_mode_ ? pferr::U : 0;
        if (access_ == Access::write)
            code |= pferr::W;
        if (access_ == Access::fetch && (paging_.nxe || paging_.smep))
            code |= pferr::I;
        return code;
    }

    bool page_fault(u32 bits)
    {
        walk_.outcome = GuestWalk::Outcome::page_fault;
        walk_.error_code = base_error() | bits;
        return true;
    }

    // Reaches a paging-structure entry through EPT; false leaves the failed walk in walk_.
    bool reach(Gpa gpa, Access access, Hpa& out)
    {
        if (notes_.tables && notes_.tables->find(gpa, access, out))
            return true;
        walk_.ept = walk_ept(ept_, gpa, access);
        if (walk_.ept.outcome == EptWalk::Outcome::ok) {
            out = walk_.ept.hpa;
            if (notes_.tables)
                notes_.tables->fill(gpa, access, out);
            return true;
        }
        if (notes_.tables)
            notes_.tables->drop(gpa);
        walk_.outcome = GuestWalk::Outcome::ept_fault;
        walk_.gpa = gpa;
        walk_.ept_access = access;
        return false;
    }

    void host_fault(Gpa gpa, Hpa hpa, Access access)
    {
        walk_.outcome = GuestWalk::Outcome::host_fault;
        walk_.gpa = gpa;
        walk_.host = mem::without_hkid(hpa);
        walk_.ept_access = access;
    }

    [[nodiscard]] bool read_entry(Hpa hpa, u64& entry) const
    {
        if (format_.entry_size == 8)
            return mem::try_load(hpa, entry);
        u32 narrow = 0;
        const bool read = mem::try_load(hpa, narrow);
        entry = narrow;
        return read;
    }

    [[nodiscard]] mem::Exchange exchange_entry(Hpa hpa, u64& expected, u64 desired) const
    {
        if (format_.entry_size == 8)
            return mem::try_compare_exchange(hpa, expected, desired);
        u32 narrow = static_cast<u32>(expected);
        const mem::Exchange done = mem::try_compare_exchange(hpa, narrow, static_cast<u32>(desired));
        expected = narrow;
        return done;
    }

    [[nodiscard]] bool reserved_bits_set(u64 entry, unsigned level, bool leaf) const;
    [[nodiscard]] bool permitted(bool allow_user) const;
    enum class Flagged : u8 { yes, fault, changed };
    Flagged set_flags(Gpa entry_gpa, Hpa entry_hpa, u64& entry, u64 flags);
    // False: an entry changed under the walk, which must start again.
    bool attempt(bool allow_user);
    void translate(u64 leaf, unsigned level, unsigned shift);

    WalkNotes notes_;
    const GuestPaging& paging_;
    const EptRoot& ept_;
    Gva gva_;
    Access access_;
    bool user_mode_;
    Format format_;
    GuestWalk walk_;
};

bool Walker::reserved_bits_set(u64 entry, unsigned level, bool leaf) const
{
    if (format_.entry_size == 4)
        return leaf && level == 1 && field(entry, 21, 21) != 0;
    u64 reserved = paging_.gpa_width < 52 ? bits(51, paging_.gpa_width) : 0;
    if (!paging_.nxe)
        reserved |= XD;
    if (paging_.mode == PagingMode::pae) {
        reserved |= bits(62, 52);
        if (level == 2)
            return (entry & (bits(51, paging_.gpa_width) | bits(8, 5) | bits(2, 1) | XD)) != 0;
    }
    if (leaf && level > 0)
        reserved |= bits(kPageShift + 9 * level - 1, 13);
    if (level > format_.largest_leaf)
        reserved |= PS;
    return (entry & reserved) != 0;
}

// SDM: "Determination of Access Rights".
bool Walker::permitted(bool allow_user) const
{
    if (user_mode_) {
        if (!walk_.user)
            return false;
        if (access_ == Access::write)
            return walk_.writable;
        return access_ != Access::fetch || walk_.executable;
    }
    if (access_ == Access::fetch)
        return walk_.executable && !(paging_.smep && walk_.user);
    if (walk_.user && !allow_user)
        return false;
    return access_ != Access::write || walk_.writable || !paging_.wp;
}

// The walk that sets a flag writes to the entry, which EPT must allow.
Walker::Flagged Walker::set_flags(Gpa entry_gpa, Hpa entry_hpa, u64& entry, u64 flags)
{
    if ((entry & flags) == flags)
        return Flagged::yes;
    Hpa writable;
    if (!reach(entry_gpa, Access::write, writable))
        return Flagged::fault;
    if (writable != entry_hpa) { // was moved, to become writable
        if (notes_.tables)
            notes_.tables->drop(entry_gpa);
        return Flagged::changed;
    }
    switch (exchange_entry(entry_hpa, entry, entry | flags)) {
    case mem::Exchange::changed:
        return Flagged::changed;
    case mem::Exchange::gone:
        host_fault(entry_gpa, entry_hpa, Access::write);
        return Flagged::fault;
    case mem::Exchange::done:
        break;
    }
    entry |= flags;
    return Flagged::yes;
}

bool Walker::attempt(bool allow_user)
{
    walk_ = {};
    walk_.user = walk_.writable = walk_.executable = true;
    if (notes_.path)
        *notes_.path = {.steps = {}, .count = 0, .entry_size = format_.entry_size};
    u64 table = paging_.cr3 & (paging_.mode == PagingMode::pae ? bits(31, 5)
                               : format_.entry_size == 4       ? bits(31, 12)
                                                               : bits(51, 12));
    for (unsigned level = format_.levels - 1u;; --level) {
        const unsigned shift = kPageShift + format_.index_bits * level;
        const u64 index_mask =
            paging_.mode == PagingMode::pae && level == 2 ? 3 : bit(format_.index_bits) - 1;
        const Gpa entry_gpa(table + (gva_.value() >> shift & index_mask) * format_.entry_size);
        Hpa entry_hpa;
        if (!reach(entry_gpa, Access::read, entry_hpa))
            return true;
        u64 entry = 0;
        if (!read_entry(entry_hpa, entry)) {
            host_fault(entry_gpa, entry_hpa, Access::read);
            return true;
        }
        if (!(entry & P))
            return page_fault(0);
        const bool pae_pointer = paging_.mode == PagingMode::pae && level == 2;
        const bool large = level > 0 && level <= format_.largest_leaf && (entry & PS) &&
                           (format_.entry_size == 8 || paging_.pse);
        const bool leaf = level == 0 || large;
        if (reserved_bits_set(entry, level, leaf))
            return page_fault(pferr::P | pferr::RSVD);
        if (!pae_pointer) {
            walk_.user &= (entry & US) != 0;
            walk_.writable &= (entry & RW) != 0;
            walk_.executable &= !(paging_.nxe && (entry & XD));
        }
        if (leaf && !permitted(allow_user))
            return page_fault(pferr::P);
        const u64 flags = pae_pointer ? 0 : leaf && access_ == Access::write ? A | D : A;
        const Flagged flagged = set_flags(entry_gpa, entry_hpa, entry, flags);
        if (flagged != Flagged::yes)
            return flagged == Flagged::fault;
        if (notes_.path)
            notes_.path->steps[notes_.path->count++] = {entry_hpa, entry};
        if (leaf) {
            translate(entry, level, shift);
            return true;
        }
        table = entry & (format_.entry_size == 8 ? bits(51, 12) : bits(31, 12));
    }
}

void Walker::translate(u64 leaf, unsigned level, unsigned shift)
{
    const u64 size = bit(shift);
    u64 frame = leaf & (format_.entry_size == 8 ? bits(51, 12) : bits(31, 12)) & ~(size - 1);
    if (level > 0 && format_.entry_size == 4)
        frame |= field(leaf, 20, 13) << 32; // PSE-36
    walk_.level = level;
    walk_.dirty = (leaf & D) != 0;
    walk_.global = (leaf & G) != 0;
    walk_.gpa = Gpa(frame | (gva_.value() & (size - 1)));
    walk_.outcome = GuestWalk::Outcome::ok;
}

GuestWalk Walker::run(bool allow_user)
{
    while (!attempt(allow_user)) {
    }
    return walk_;
}

} // namespace

GuestWalk walk_guest(const GuestPaging& paging, const EptRoot& ept, Gva gva, Access access, bool user_mode,
                     bool allow_user, const WalkNotes& notes)
{
    if (paging.mode == PagingMode::none) {
        if (notes.path)
            *notes.path = {};
        GuestWalk walk;
        walk.outcome = GuestWalk::Outcome::ok;
        walk.gpa = Gpa(gva.value() & bits(31, 0));
        walk.user = walk.writable = walk.executable = walk.dirty = true;
        return walk;
    }
    return Walker(paging, ept, gva, access, user_mode, notes).run(allow_user);
}

bool unchanged(const GuestPath& path)
{
    for (const GuestPath::Step& step : std::span(path.steps).first(path.count)) {
        u64 now = 0;
        u32 narrow = 0;
        const bool there =
            path.entry_size == 8 ? mem::try_load(step.at, now) : mem::try_load(step.at, narrow);
        if (!there || (path.entry_size == 8 ? now : narrow) != step.entry)
            return false;
    }
    return true;
}

} // namespace seamless::paging
