// SPDX-License-Identifier: Apache-2.0
// The fixed parts of the page, from html/, as they are in the program.
#pragma once

#include <string_view>

namespace seamless::trace {

// The scripts are in the order in which they must run.
enum class PagePart : unsigned {
    head,
    style,
    body,
    script,
    data,
    table,
    steps,
    diagram,
    timeline,
    views,
    main
};
inline constexpr unsigned kPageParts = static_cast<unsigned>(PagePart::main) + 1;

[[nodiscard]] std::string_view page_part(PagePart part);

} // namespace seamless::trace
