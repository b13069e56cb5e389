// SPDX-License-Identifier: Apache-2.0
// CHECK is always on, DCHECK in debug builds: both are for our own bugs only. Nothing that a guest, an ioctl
// caller or an image file sends may reach one.
#pragma once

namespace seamless::base {

[[noreturn]] void check_failed(const char* file, int line, const char* condition);

} // namespace seamless::base

#define CHECK(condition)                                                                                     \
    ((condition) ? static_cast<void>(0) : ::seamless::base::check_failed(__FILE__, __LINE__, #condition))

#ifdef NDEBUG
#    define DCHECK(condition) static_cast<void>(sizeof(condition))
#else
#    define DCHECK(condition) CHECK(condition)
#endif
