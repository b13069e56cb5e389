// SPDX-License-Identifier: Apache-2.0
// The TDX module: SEAMCALL comes in here as registers, and TDs run below TDH.VP.ENTER. All state of one
// simulated host's module is in this object; any number of host threads may call it at once, each on its own
// processor.
#pragma once

#include <array>
#include <memory>
#include <mutex>
#include <optional>
#include <unordered_map>
#include <vector>

#include "cpu/package.h"
#include "cpu/seam_port.h"
#include "tdx/pamt.h"
#include "tdx/td.h"

namespace seamless::tdx {

enum class SysState : u8 { loaded, initialized, configured, ready, shutdown };
enum class HkidState : u8 { FREE, ASSIGNED, FLUSHED, WBCACHED, RESERVED };

inline constexpr unsigned kHkids = 1u << mem::kHkidBits;
inline constexpr unsigned kFirstPrivateHkid = kHkids / 2;

// The key of this platform's report MACs. Real hardware has one of its own in each processor. A platform that
// gives none gets a random one at TDH.SYS.INIT, so that no other platform verifies its reports.
using PlatformKey = std::array<u8, 32>;

// A configured TDMR and how far TDH.SYS.TDMR.INIT came.
struct Tdmr {
    explicit Tdmr(const spec::TdmrInfo& from) : info(from), next(from.base) {}
    spec::TdmrInfo info;
    TryLock lock;
    std::atomic<u64> next; // address of the first page that is not initialised
};

class TdxModule : public cpu::SeamPort {
  public:
    TdxModule(cpu::Package& package, mem::HostMemory& memory, base::Clock& clock, base::Random& random,
              const std::optional<PlatformKey>& key = {});
    ~TdxModule() override;

    [[nodiscard]] bool seamcall(cpu::LogicalProcessor& lp, cpu::SeamRegs& regs) override;

    [[nodiscard]] cpu::Package& package() { return package_; }
    [[nodiscard]] mem::HostMemory& memory() { return memory_; }
    [[nodiscard]] base::Clock& clock() { return clock_; }
    [[nodiscard]] base::Random& random() { return random_; }
    [[nodiscard]] Pamt& pamt() { return pamt_; }
    [[nodiscard]] const PlatformKey& key() const { return *key_; } // from SYS.INIT on
    // Draws a key if the platform gave none; false if there is no entropy now.
    [[nodiscard]] bool make_key();

    // An explicit page operand: alignment, width and key id, TDMR, PAMT lock, and type where one is wanted.
    // On success `page` holds the lock.
    [[nodiscard]] spec::TdxStatus lock_page(u64 operand, spec::TdxOperand name, LockMode mode,
                                            spec::TdxPageType type, LockedPage& page, unsigned level = 0);
    // The same without a wanted type.
    [[nodiscard]] spec::TdxStatus lock_any_page(u64 operand, spec::TdxOperand name, LockMode mode,
                                                LockedPage& page, unsigned level = 0);
    // Memory that the host shares with the module: aligned, no private key, readable.
    [[nodiscard]] bool shared_operand_ok(u64 hpa, u64 alignment, u64 bytes) const;
    // Takes a free page (locked exclusively) for a TD, and gives one back.
    void take_page(LockedPage& page, spec::TdxPageType type, Td& td);
    void free_page(LockedPage& page, Td& td);

    Td& add_td(Hpa tdr);
    void remove_td(Td& td);

    // State of the whole module, guarded by `sys_lock`.
    TryLock sys_lock;
    std::atomic<SysState> sys_state = SysState::loaded;
    std::vector<bool> lp_initialized;
    std::mutex lp_mutex;
    std::vector<std::unique_ptr<Tdmr>> tdmrs;
    u16 global_hkid = 0;
    TryLock kot_lock;
    TryLock wbcache_lock;
    std::array<HkidState, kHkids> hkids{};

  private:
    // The TDMR around `hpa`, if its 1 GiB block is initialised; else nullptr.
    [[nodiscard]] const Tdmr* initialized_tdmr(Hpa hpa) const;

    cpu::Package& package_;
    mem::HostMemory& memory_;
    base::Clock& clock_;
    base::Random& random_;
    std::optional<PlatformKey> key_;
    Pamt pamt_;
    std::mutex tds_mutex_;
    std::unordered_map<u64, std::unique_ptr<Td>> tds_;
};

} // namespace seamless::tdx
