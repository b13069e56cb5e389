// SPDX-License-Identifier: Apache-2.0
// Message: what is wrong with the user's input, in one line that says what and where.
#pragma once

#include <string>

namespace seamless::base {

struct Message {
    std::string text;
};

} // namespace seamless::base
