// SPDX-License-Identifier: Apache-2.0
// Plays the table loader's script as firmware does, and refuses what firmware would refuse.
#pragma once

#include <cstring>
#include <gtest/gtest.h>
#include <map>
#include <numeric>
#include <string>
#include <vector>

#include "vmm/acpi/tables.h"

namespace seamless::vmm::acpi::test {

struct TablePlayer {
    static constexpr u64 kRsdpAt = 0xf0000, kTablesAt = 0x7f000000;

    std::map<std::string, std::vector<u8>> files;
    std::map<std::string, u64> addresses;

    explicit TablePlayer(const TableFiles& from) : files{{kRsdpFile, from.rsdp}, {kTablesFile, from.tables}}
    {
        EXPECT_EQ(from.loader.size() % 128, 0u);
        for (std::size_t at = 0; at + 128 <= from.loader.size(); at += 128)
            play(from.loader.data() + at);
    }

    template <typename T>
    [[nodiscard]] static T load(const u8* from)
    {
        T value;
        std::memcpy(&value, from, sizeof(T));
        return value;
    }

    [[nodiscard]] static u8 sum(const u8* from, std::size_t size)
    {
        return std::accumulate(from, from + size, u8{0});
    }

    // The table at a guest-physical address.
    [[nodiscard]] std::vector<u8> table(u64 address) const
    {
        const std::vector<u8>& file = files.at(kTablesFile);
        const u64 offset = address - kTablesAt;
        if (offset + 36 > file.size() || offset + load<u32>(file.data() + offset + 4) > file.size()) {
            ADD_FAILURE() << "no table at " << address;
            return std::vector<u8>(276);
        }
        const u8* from = file.data() + offset;
        EXPECT_EQ(sum(from, load<u32>(from + 4)), 0);
        return {from, from + load<u32>(from + 4)};
    }

    [[nodiscard]] std::vector<u8> table(std::string_view signature) const
    {
        const std::vector<u8> xsdt = table(load<u64>(files.at(kRsdpFile).data() + 24));
        for (std::size_t i = 36; i + 8 <= xsdt.size(); i += 8) {
            std::vector<u8> t = table(load<u64>(xsdt.data() + i));
            if (std::memcmp(t.data(), signature.data(), 4) == 0)
                return t;
        }
        ADD_FAILURE() << "no " << signature;
        return std::vector<u8>(276);
    }

  private:
    void play(const u8* command)
    {
        const std::string file(reinterpret_cast<const char*>(command) + 4);
        ASSERT_TRUE(files.contains(file)) << file;
        switch (load<u32>(command)) {
        case 1:
            addresses[file] = command[64] == 2 ? kRsdpAt : kTablesAt;
            EXPECT_EQ(addresses[file] % load<u32>(command + 60), 0u);
            break;
        case 2: {
            const std::string source(reinterpret_cast<const char*>(command) + 60);
            ASSERT_TRUE(addresses.contains(source) && addresses.contains(file));
            const u32 offset = load<u32>(command + 116);
            ASSERT_EQ(command[120], 8);
            ASSERT_LE(offset + 8, files[file].size());
            const u64 value = load<u64>(files[file].data() + offset) + addresses[source];
            std::memcpy(files[file].data() + offset, &value, 8);
            break;
        }
        case 3: {
            const u32 offset = load<u32>(command + 60), start = load<u32>(command + 64),
                      size = load<u32>(command + 68);
            ASSERT_LE(u64{start} + size, files[file].size());
            EXPECT_EQ(files[file][offset], 0);
            files[file][offset] = static_cast<u8>(-sum(files[file].data() + start, size));
            break;
        }
        default:
            FAIL() << "unknown command";
        }
    }
};

} // namespace seamless::vmm::acpi::test
