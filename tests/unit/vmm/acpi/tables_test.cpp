// SPDX-License-Identifier: Apache-2.0
// The ACPI tables as firmware leaves them, read field by field, and by ACPICA's own disassembler where it is
// there.
#include <cstdlib>
#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "unit/vmm/acpi/table_player.h"

namespace seamless::vmm::acpi::test {
namespace {

using testing::HasSubstr;

template <typename T>
T at(const std::vector<u8>& table, std::size_t offset)
{
    return TablePlayer::load<T>(table.data() + offset);
}

TEST(AcpiTables, RsdpLeadsToTheXsdtAndBothChecksumsHold)
{
    const TablePlayer player(build_tables({}));
    const std::vector<u8>& rsdp = player.files.at(kRsdpFile);
    ASSERT_EQ(rsdp.size(), 36u);
    EXPECT_EQ(std::memcmp(rsdp.data(), "RSD PTR ", 8), 0);
    EXPECT_EQ(rsdp[15], 2);
    EXPECT_EQ(TablePlayer::sum(rsdp.data(), 20), 0);
    EXPECT_EQ(TablePlayer::sum(rsdp.data(), 36), 0);
    const std::vector<u8> xsdt = player.table(at<u64>(rsdp, 24));
    EXPECT_EQ(std::memcmp(xsdt.data(), "XSDT", 4), 0);
    EXPECT_EQ(xsdt.size(), 36u + 2 * 8);
}

TEST(AcpiTables, FadtIsHardwareReducedAndNamesItsRegisters)
{
    const TablePlayer player(build_tables({}));
    const std::vector<u8> fadt = player.table("FACP");
    ASSERT_EQ(fadt.size(), 276u);
    const u32 flags = at<u32>(fadt, 112);
    EXPECT_TRUE(base::test(flags, 20)); // HW_REDUCED_ACPI
    EXPECT_TRUE(base::test(flags, 10)); // RESET_REG_SUP
    const auto io_byte = [&](std::size_t offset) {
        EXPECT_EQ(at<u32>(fadt, offset), 0x01000801u);
        return at<u64>(fadt, offset + 4);
    };
    EXPECT_EQ(io_byte(116), 0xcf9u);
    EXPECT_EQ(fadt[128], 6);
    EXPECT_EQ(io_byte(244), 0x620u);
    EXPECT_EQ(io_byte(256), 0x621u);
    EXPECT_EQ(fadt[108], 0x32);
    const std::vector<u8> dsdt = player.table(at<u64>(fadt, 140));
    EXPECT_EQ(std::memcmp(dsdt.data(), "DSDT", 4), 0);
}

TEST(AcpiTables, MadtListsProcessorsByTheEntryTheirIdFitsAndTheIoapic)
{
    const TablePlayer player(build_tables({.cpus = 257}));
    const std::vector<u8> madt = player.table("APIC");
    EXPECT_EQ(at<u32>(madt, 36), 0xfee00000u);
    EXPECT_EQ(at<u32>(madt, 40), 0u); // no 8259
    std::size_t offset = 44;
    for (u32 id = 0; id < 257; ++id) {
        const bool old = id < 255;
        EXPECT_EQ(madt.at(offset), old ? 0 : 9);
        EXPECT_EQ(old ? madt.at(offset + 3) : at<u32>(madt, offset + 4), id);
        EXPECT_EQ(old ? madt.at(offset + 2) : at<u32>(madt, offset + 12), id);
        EXPECT_EQ(at<u32>(madt, offset + (old ? 4 : 8)), 1u);
        offset += madt.at(offset + 1);
    }
    EXPECT_EQ(madt.at(offset), 1);
    EXPECT_EQ(at<u32>(madt, offset + 4), 0xfec00000u);
    EXPECT_EQ(at<u32>(madt, offset + 8), 0u);
    EXPECT_EQ(offset + 12, madt.size());
}

TEST(AcpiTables, SameMachineSameBytes)
{
    EXPECT_EQ(build_tables({.cpus = 4}).tables, build_tables({.cpus = 4}).tables);
    EXPECT_NE(build_tables({.cpus = 4}).tables, build_tables({.cpus = 5}).tables);
}

// ACPICA reads back what we meant, and compiles it again without a complaint.
TEST(AcpiTables, DisassemblerAgrees)
{
    if (std::system("iasl -v >/dev/null 2>&1") != 0)
        GTEST_SKIP() << "iasl (package acpica-tools) is not installed";
    std::vector<VirtioMmio> virtio;
    for (u32 i = 0; i < 20; ++i) // enough for a package length of two bytes
        virtio.push_back({{0xfeb00000 + 0x200 * u64{i}, 0x200}, 5 + i});
    for (const std::size_t devices : {std::size_t{0}, virtio.size()}) {
        const TablePlayer player(build_tables({.virtio = std::span(virtio).first(devices)}));
        std::string folder = testing::TempDir() + "seamless-acpi-XXXXXX";
        ASSERT_NE(mkdtemp(folder.data()), nullptr);
        const auto run = [&](const std::string& command) {
            return std::system(("cd " + folder + " && " + command + " >log 2>&1").c_str());
        };
        const auto read = [&](const std::string& name) {
            std::ifstream file(folder + "/" + name);
            return std::string(std::istreambuf_iterator<char>(file), {});
        };
        const auto write = [&](const std::string& name, const std::vector<u8>& bytes) {
            std::ofstream(folder + "/" + name, std::ios::binary)
                .write(reinterpret_cast<const char*>(bytes.data()),
                       static_cast<std::streamsize>(bytes.size()));
        };
        write("dsdt.dat", player.table(at<u64>(player.table("FACP"), 140)));
        write("facp.dat", player.table("FACP"));
        write("apic.dat", player.table("APIC"));
        for (const char* table : {"dsdt", "facp", "apic"}) {
            EXPECT_EQ(run(std::string("iasl -d ") + table + ".dat"), 0) << read("log");
            EXPECT_EQ(run(std::string("iasl -we -p again_") + table + " " + table + ".dsl"), 0)
                << read("log");
        }
        const std::string dsdt = read("dsdt.dsl");
        for (const char* words :
             {"Name (_S5", "0x05", "EisaId (\"PNP0501\")", "0x03F8", "EisaId (\"PNP0B00\")", "0x0070",
              "Interrupt (ResourceConsumer, Edge, ActiveHigh, Exclusive"})
            EXPECT_THAT(dsdt, HasSubstr(words));
        if (devices != 0) {
            EXPECT_THAT(dsdt, HasSubstr("Device (VR13)"));
            EXPECT_THAT(dsdt, HasSubstr("0xFEB02600"));
            EXPECT_THAT(dsdt, HasSubstr("\"LNRO0005\""));
        }
        EXPECT_EQ(read("again_dsdt.aml").substr(36),
                  read("dsdt.dat").substr(36)); // the header names the compiler
        EXPECT_EQ(run("rm -r ../${PWD##*/}"), 0);
    }
}

} // namespace
} // namespace seamless::vmm::acpi::test
