// SPDX-License-Identifier: Apache-2.0
// Built-in firmware and firmware from files.
#include "cli/firmware.h"

#include "cli/options.h"
#include "guest/builtin.h"

namespace seamless::cli {

Result<std::vector<u8>, Message> firmware_image(const std::string& path, bool boots_linux)
{
    if (!path.empty())
        return read_file(path);
    const auto builtin = boots_linux ? guest::builtin_linux() : guest::builtin_firmware();
    return std::vector<u8>(builtin.begin(), builtin.end());
}

} // namespace seamless::cli
