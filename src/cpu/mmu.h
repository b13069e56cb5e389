// SPDX-License-Identifier: Apache-2.0
// Linear-address accesses of one logical processor: TLB, guest walk, EPT, and the faults each of them raises.
#pragma once

#include <concepts>
#include <memory>
#include <optional>
#include <span>
#include <utility>

#include "base/result.h"
#include "cpu/code_pages.h"
#include "cpu/debug_port.h"
#include "cpu/fault.h"
#include "cpu/state.h"
#include "mem/guest_access.h"
#include "paging/guest_walk.h"
#include "paging/large_pages.h"
#include "paging/tlb.h"
#include "paging/translation_cache.h"

namespace seamless::cpu {

using paging::Access;

// Whose access it is. `stack` differs in the exception for a non-canonical address; `implicit` is an access
// to a system structure (descriptor tables, TSS), made with supervisor privilege whatever the CPL.
enum class Purpose : u8 { data, stack, implicit };

// The three sets of the data TLB. SMAP makes supervisor rights depend on RFLAGS.AC.
enum class TlbSet : u8 { user, supervisor, supervisor_ac };
inline constexpr unsigned kTlbSets = 3;

// What the MMU asks of the processor it belongs to.
class MmuPort {
  public:
    // Turns a failed EPT walk into #VE or a VM exit (vmx/ept_fault.cpp).
    virtual Fault ept_fault(const paging::EptWalk& walk, Gpa gpa, Gva gla, Access access,
                            bool translated) = 0;
    // A host page is about to be writable through a TLB, or has just become executable through one.
    virtual void page_written(u64 host_page) = 0;
    // `found`: by a walk; otherwise it was executable before.
    virtual void page_fetched(u64 host_page, bool found) = 0;
    // INVLPG and its kin: code on this linear page must be found again.
    virtual void fetches_dropped(Gva page) = 0;
    // An access found that the host has taken this memory away.
    virtual Fault host_memory_gone(Hpa host) = 0;

  protected:
    ~MmuPort() = default;
};

class Mmu {
  public:
    Mmu(CpuState& state, FaultRecord& record, MmuPort& port, std::span<paging::Tlb, kTlbSets> tlbs,
        const CodePages& code_pages)
        : state_(state), record_(record), port_(port), code_pages_(code_pages), tlbs_(tlbs)
    {}

    // After a VM entry, or a change of CR0, CR3, CR4, EFER: recompute what walks depend on. Flushes nothing.
    void reload();
    void set_ept(const paging::EptRoot& ept) { ept_ = ept; }
    [[nodiscard]] const paging::EptRoot& ept() const { return ept_; }

    // What each event drops (mmu_flush.cpp). SDM: "Operations that Invalidate TLBs and Paging-Structure
    // Caches".
    void flush();                         // everything
    void flush_fetches();                 // what instruction fetches use
    void flush_page(Gva gva);             // INVLPG
    void cr3_loaded(u16 pcid, bool keep); // `keep`: what is cached for that PCID is still good
    void flush_pcid(u16 pcid);
    void flush_pcid_page(u16 pcid, Gva gva);
    void flush_local(); // of all PCIDs, but nothing global
    // Withdraws the right to write to a host page without anybody noticing.
    void revoke_write(u64 host_page);
    // Changes whenever translations for fetches may have gone, other than those that fetches_dropped() names:
    // what depends on linear addresses must be found again. By the privilege of the fetches.
    [[nodiscard]] u64 generation(bool user) const { return generation_[user]; }
    // For tests that compare: without the translation cache every miss of the TLB walks.
    void use_translation_cache(bool use) { cached_ = use; }

    // Where one byte at `gva` is. The access has been checked and accessed/dirty flags are set.
    [[nodiscard]] Result<Hpa, Fault> translate(Gva gva, Access access, Purpose purpose = Purpose::data);
    // Where the instruction byte at `gva` is; through its own TLB.
    [[nodiscard]] Result<Hpa, Fault> translate_fetch(Gva gva);

    // For translated code, whose vector registers it leaves alone: where `size` bytes at `gva` are, or
    // nullptr where C++ must look closer. The inline TLB holds the page then (mmu_refill.cpp).
    [[nodiscard]] u8* refill(Gva gva, unsigned size, bool write, TlbSet set);

    // Whole accesses: every page is probed before anything is changed.
    [[nodiscard]] Result<void, Fault> read(Gva gva, std::span<u8> out, Purpose purpose = Purpose::data);
    [[nodiscard]] Result<void, Fault> write(Gva gva, std::span<const u8> in, Purpose purpose = Purpose::data);

    template <std::unsigned_integral T>
    [[nodiscard]] Result<T, Fault> load(Gva gva, Purpose purpose = Purpose::data)
    {
        if ((gva.value() & (sizeof(T) - 1)) == 0) {
            watch(gva, sizeof(T), Access::read);
            const Hpa hpa = TRY(translate(gva, Access::read, purpose));
            T value = 0;
            if (!mem::try_load(hpa, value)) [[unlikely]]
                return fail(port_.host_memory_gone(hpa));
            return value;
        }
        T value = 0;
        TRY(read(gva, {reinterpret_cast<u8*>(&value), sizeof value}, purpose));
        return value;
    }
    template <std::unsigned_integral T>
    [[nodiscard]] Result<void, Fault> store(Gva gva, T value, Purpose purpose = Purpose::data)
    {
        if ((gva.value() & (sizeof(T) - 1)) == 0) {
            watch(gva, sizeof(T), Access::write);
            const Hpa hpa = TRY(translate(gva, Access::write, purpose));
            if (!mem::try_store(hpa, value)) [[unlikely]]
                return fail(port_.host_memory_gone(hpa));
            return {};
        }
        return write(gva, {reinterpret_cast<const u8*>(&value), sizeof value}, purpose);
    }

    // Reads 1, 2, 4 or 8 bytes, zero-extended.
    [[nodiscard]] Result<u64, Fault> load_n(Gva gva, unsigned bytes, Purpose purpose = Purpose::data);
    [[nodiscard]] Result<void, Fault> store_n(Gva gva, unsigned bytes, u64 value,
                                              Purpose purpose = Purpose::data);

    // An access that data breakpoints may be set on: DR6.B0 to B3 of those it hits are collected.
    void watch(Gva gva, unsigned size, Access access);
    // What has been collected since the last call.
    [[nodiscard]] u64 take_watched();
    // The same for a debugger (debug.cpp): its watches, or nullptr; and the address of the last that was hit.
    void set_debug_points(const DebugPoints* points) { debug_points_ = points; }
    [[nodiscard]] std::optional<u64> take_debug_hit() { return std::exchange(debug_hit_, {}); }

    [[nodiscard]] bool canonical(Gva gva) const;
    // The set that the current CPL and AC select.
    [[nodiscard]] TlbSet current_set() const;

  private:
    [[nodiscard]] Result<Hpa, Fault> find(Gva gva, Access access, bool user, bool allow_user, TlbSet set);
    [[nodiscard]] Result<Hpa, Fault> walk(Gva gva, Access access, bool user, bool allow_user, TlbSet set);
    [[nodiscard]] Fault raise(spec::Vector vector, u32 error_code);
    void watch_for_debugger(Gva gva, unsigned size, Access access);
    [[nodiscard]] TlbSet set_for(Purpose purpose) const;

    // What the translation cache knows of it, if the access is permitted.
    [[nodiscard]] paging::Translation cached(Gva gva, Access access, bool user, bool allow_user) const
    {
        if (!cache_)
            return {};
        paging::Translation t = cache_->find(space_, gva);
        if (!t.valid())
            t = cache_->find(global_space_, gva);
        return t.valid() && permits(t, access, user, allow_user) ? t : paging::Translation{};
    }
    // SDM: "Determination of Access Rights", for what a walk has found before.
    [[nodiscard]] bool permits(paging::Translation t, Access access, bool user, bool allow_user) const
    {
        using T = paging::Translation;
        switch (access) {
        case Access::fetch:
            return t.has(T::executable | T::ept_execute) &&
                   (user ? t.has(T::user) : !(paging_.smep && t.has(T::user)));
        case Access::write:
            if (!t.has(T::dirty | T::ept_write) || !(t.has(T::writable) || (!user && !paging_.wp)))
                return false;
            break;
        case Access::read:
            if (!t.has(T::ept_read))
                return false;
            break;
        }
        return user ? t.has(T::user) : allow_user || !t.has(T::user);
    }
    [[nodiscard]] paging::Translation translation(const paging::GuestWalk& guest, u64 ept_permissions,
                                                  u64 host_page) const;
    // Makes the inline TLBs hold a permitted translation.
    void use(Gva gva, Access access, bool user, TlbSet set, paging::Translation t, bool walked);

    [[nodiscard]] u32 new_space();
    void drop_region(Gva gva);
    void flush_inline_local();

    struct FetchEntry {
        u64 tag = ~u64{0};
        u64 host = 0;
        bool global = false;
    };
    static constexpr unsigned kFetchEntries = 128;

    // The address spaces that the translation cache holds: PCIDs of the current VM, oldest use first out.
    struct Space {
        u16 pcid = 0;
        u32 number = 0; // 0: none
        u64 used = 0;
    };
    static constexpr unsigned kSpacesKept = 16;

    u64 generation_[2] = {}; // supervisor, user
    bool cached_ = true;
    std::unique_ptr<paging::TranslationCache> cache_; // made by the first walk
    paging::LargePages large_;
    Space spaces_[kSpacesKept];
    u32 space_ = 1;        // the current one's number
    u32 global_space_ = 2; // the number of what is global
    u32 last_space_ = 2;
    bool local_fetches_[2] =
        {}; // supervisor, user: not all fetches since the last flush were of global pages
    u64 switches_ = 0;
    u64 watched_ = 0;
    const DebugPoints* debug_points_ = nullptr;
    std::optional<u64> debug_hit_;
    CpuState& state_;
    FaultRecord& record_;
    MmuPort& port_;
    const CodePages& code_pages_;
    std::span<paging::Tlb, kTlbSets> tlbs_;
    paging::EptRoot ept_;
    paging::GpaCache table_cache_;
    paging::GuestPaging paging_;
    bool pge_ = false;                   // CR4.PGE: pages can be global
    FetchEntry fetch_[2][kFetchEntries]; // supervisor, user
};

} // namespace seamless::cpu
