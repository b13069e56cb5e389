// SPDX-License-Identifier: Apache-2.0
// Locks that never wait: the module answers OPERAND_BUSY when somebody else holds what it needs.
#pragma once

#include <atomic>
#include <utility>

#include "base/bits.h"

namespace seamless::tdx {

enum class LockMode : u8 { none, shared, exclusive };

class TryLock {
  public:
    TryLock() = default;
    TryLock(const TryLock&) = delete;
    TryLock& operator=(const TryLock&) = delete;

    [[nodiscard]] bool try_lock(LockMode mode)
    {
        if (mode == LockMode::exclusive) {
            int free = 0;
            return holders_.compare_exchange_strong(free, kExclusive);
        }
        int now = holders_.load();
        while (now != kExclusive)
            if (holders_.compare_exchange_weak(now, now + 1))
                return true;
        return false;
    }
    void unlock(LockMode mode)
    {
        if (mode == LockMode::exclusive)
            holders_.store(0);
        else
            holders_.fetch_sub(1);
    }

  private:
    static constexpr int kExclusive = -1;
    std::atomic<int> holders_ = 0;
};

// A lock held for the length of a scope; false if it was busy. Mode none holds nothing and is never busy.
class Held {
  public:
    Held() = default;
    Held(TryLock& lock, LockMode mode) : mode_(mode)
    {
        if (mode == LockMode::none)
            ok_ = true;
        else if (lock.try_lock(mode))
            lock_ = &lock, ok_ = true;
    }
    Held(Held&& other) noexcept { swap(other); }
    Held& operator=(Held&& other) noexcept
    {
        Held taken(std::move(other));
        swap(taken);
        return *this;
    }
    ~Held() { release(); }

    explicit operator bool() const { return ok_; }
    void release()
    {
        if (lock_)
            lock_->unlock(mode_);
        lock_ = nullptr;
        ok_ = false;
    }

  private:
    void swap(Held& other) noexcept
    {
        std::swap(lock_, other.lock_);
        std::swap(mode_, other.mode_);
        std::swap(ok_, other.ok_);
    }

    TryLock* lock_ = nullptr;
    LockMode mode_ = LockMode::none;
    bool ok_ = false;
};

} // namespace seamless::tdx
