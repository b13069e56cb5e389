// SPDX-License-Identifier: Apache-2.0
// MRTD grows by a 128-byte record for each page added, and by one more with 256 bytes of content for each
// extension.
#include "tdx/mrtd.h"

#include <cstring>
#include <string_view>

namespace seamless::tdx {
namespace {

void add_record(Sha384& mrtd, std::string_view operation, u64 gpa)
{
    u8 record[128] = {};
    std::memcpy(record, operation.data(), operation.size());
    std::memcpy(record + 16, &gpa, sizeof(gpa));
    mrtd.update(record);
}

} // namespace

void measure_page_add(Sha384& mrtd, u64 gpa) { add_record(mrtd, "MEM.PAGE.ADD", gpa); }

void measure_extend(Sha384& mrtd, u64 gpa, std::span<const u8, kMrExtendBytes> chunk)
{
    add_record(mrtd, "MR.EXTEND", gpa);
    mrtd.update(chunk);
}

} // namespace seamless::tdx
