// SPDX-License-Identifier: Apache-2.0
// A line of a trace as the record it was written from, for the writers.
#pragma once

#include "trace/reader.h"
#include "trace/trace.h"

namespace seamless::trace {

// Only for a line whose event is known. The record's text is the line's: it must not outlive it. A number
// that is none, or a text where bytes belong, is taken as absent.
[[nodiscard]] Record record_of(const Line& line);

} // namespace seamless::trace
