// SPDX-License-Identifier: Apache-2.0
// A failed CHECK is our own bug: say where, then abort (exit status 70 is the command line's translation of
// it).
#include "base/check.h"

#include <cstdio>
#include <cstdlib>

namespace seamless::base {

void check_failed(const char* file, int line, const char* condition)
{
    std::fprintf(stderr, "seamless: internal error at %s:%d: CHECK(%s)\n", file, line, condition);
    std::fflush(stderr);
    std::abort();
}

} // namespace seamless::base
