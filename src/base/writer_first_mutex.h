// SPDX-License-Identifier: Apache-2.0
// A shared mutex that lets no new reader in while a writer waits: std::shared_mutex prefers readers, and a
// few that come back at once keep a writer out for seconds. A thread that holds it shared must not take it
// again.
#pragma once

#include <pthread.h>

#include "base/check.h"

namespace seamless::base {

// SharedLockable: for std::unique_lock and std::shared_lock.
class WriterFirstMutex {
  public:
    WriterFirstMutex()
    {
        pthread_rwlockattr_t attributes;
        CHECK(pthread_rwlockattr_init(&attributes) == 0);
        CHECK(pthread_rwlockattr_setkind_np(&attributes, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP) == 0);
        CHECK(pthread_rwlock_init(&lock_, &attributes) == 0);
        pthread_rwlockattr_destroy(&attributes);
    }
    ~WriterFirstMutex() { pthread_rwlock_destroy(&lock_); }
    WriterFirstMutex(const WriterFirstMutex&) = delete;
    WriterFirstMutex& operator=(const WriterFirstMutex&) = delete;

    void lock() { CHECK(pthread_rwlock_wrlock(&lock_) == 0); }
    bool try_lock() { return pthread_rwlock_trywrlock(&lock_) == 0; }
    void unlock() { pthread_rwlock_unlock(&lock_); }
    void lock_shared() { CHECK(pthread_rwlock_rdlock(&lock_) == 0); }
    bool try_lock_shared() { return pthread_rwlock_tryrdlock(&lock_) == 0; }
    void unlock_shared() { pthread_rwlock_unlock(&lock_); }

  private:
    pthread_rwlock_t lock_;
};

} // namespace seamless::base
