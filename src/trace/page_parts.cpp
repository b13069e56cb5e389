// SPDX-License-Identifier: Apache-2.0
// Each part ends where the next one begins.
#include "trace/page_parts.h"

#include <cstddef>

extern "C" {
extern const char seamless_page_head[], seamless_page_style[], seamless_page_body[], seamless_page_script[],
    seamless_page_data[], seamless_page_table[], seamless_page_steps[], seamless_page_diagram[],
    seamless_page_timeline[], seamless_page_views[], seamless_page_main[], seamless_page_end[];
}

namespace seamless::trace {

std::string_view page_part(PagePart part)
{
    static constexpr const char* kBegins[] = {
        seamless_page_head,     seamless_page_style, seamless_page_body,  seamless_page_script,
        seamless_page_data,     seamless_page_table, seamless_page_steps, seamless_page_diagram,
        seamless_page_timeline, seamless_page_views, seamless_page_main,  seamless_page_end};
    static_assert(sizeof(kBegins) / sizeof(kBegins[0]) == kPageParts + 1);
    const auto i = static_cast<std::size_t>(part);
    return {kBegins[i], static_cast<std::size_t>(kBegins[i + 1] - kBegins[i])};
}

} // namespace seamless::trace
