// SPDX-License-Identifier: Apache-2.0
// Which writer a trace's file name asks for: .jsonl JSON lines, .json Chrome's trace events, else text.
#pragma once

#include <memory>
#include <string>

#include "base/errno.h"
#include "base/result.h"
#include "trace/trace.h"

namespace seamless::trace {

// Creates or empties the file.
[[nodiscard]] Result<std::unique_ptr<Sink>, Errno> open_writer(const std::string& path);

} // namespace seamless::trace
