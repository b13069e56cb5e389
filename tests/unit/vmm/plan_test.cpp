// SPDX-License-Identifier: Apache-2.0
// The machine's layout and the hand-off blocks that describe it.
#include <gtest/gtest.h>

#include "unit/vmm/firmware_image.h"
#include "vmm/machine_plan.h"

namespace seamless::vmm::test {
namespace {

constexpr u64 MiB = u64{1} << 20;

struct Resource {
    u32 type, attributes;
    u64 start, length;
    friend bool operator==(const Resource&, const Resource&) = default;
};

struct HobList {
    std::vector<Resource> resources;
    u64 end_of_list = 0;
    u64 end_offset = 0;
    bool ended = false;
};

template <typename T>
T get(const std::vector<u8>& bytes, u64 offset)
{
    T value{};
    std::memcpy(&value, &bytes.at(offset), sizeof(T));
    return value;
}

HobList read_hobs(const std::vector<u8>& bytes)
{
    HobList list;
    EXPECT_EQ(get<u16>(bytes, 0), 1);
    EXPECT_EQ(get<u16>(bytes, 2), 56);
    EXPECT_EQ(get<u32>(bytes, 8), 9u);
    list.end_of_list = get<u64>(bytes, 48);
    u64 at = 56;
    for (; get<u16>(bytes, at) == 3; at += 48) {
        EXPECT_EQ(get<u16>(bytes, at + 2), 48);
        EXPECT_EQ(get<u32>(bytes, at + 4), 0u);
        list.resources.push_back({get<u32>(bytes, at + 24), get<u32>(bytes, at + 28),
                                  get<u64>(bytes, at + 32), get<u64>(bytes, at + 40)});
    }
    list.ended = get<u16>(bytes, at) == 0xffff && get<u16>(bytes, at + 2) == 8;
    list.end_offset = at;
    return list;
}

MachineConfig config(u64 memory = 64 * MiB)
{
    ImageBuilder b;
    return {.firmware = b.build(), .memory = memory, .testdevs = {{0xfe000000, 0x2000}}};
}

TEST(Hob, TdGetsAddedMemoryUsableAndTheRestUnaccepted)
{
    const auto plan = plan_machine(config());
    ASSERT_TRUE(plan.ok()) << plan.error().text;
    const HobList list = read_hobs(plan.value().hob);
    const std::vector<Resource> expected = {
        {7, 7, 0, 0x809000},
        {0, 7, 0x809000, 0x2000},
        {7, 7, 0x80b000, 0x5000},
        {0, 7, 0x810000, 0x3000},
        {7, 7, 0x813000, 64 * MiB - 0x813000},
        {1, 0x403, 0xfe000000, 0x2000},
    };
    EXPECT_EQ(list.resources, expected);
    EXPECT_TRUE(list.ended);
    EXPECT_EQ(list.end_of_list, 0x809000 + list.end_offset);
    EXPECT_EQ(plan.value().hob.size(), 0x2000u);
    EXPECT_EQ(plan.value().hob_address, 0x809000u);
}

TEST(Hob, PlainVmHasNothingToAccept)
{
    MachineConfig c = config(5 * 1024 * MiB);
    c.kind = VmKind::plain;
    const auto plan = plan_machine(c);
    ASSERT_TRUE(plan.ok());
    const std::vector<Resource> expected = {
        {0, 7, 0, 3072 * MiB}, {0, 7, 4096 * MiB, 2048 * MiB}, {1, 0x403, 0xfe000000, 0x2000}};
    EXPECT_EQ(read_hobs(plan.value().hob).resources, expected);
}

TEST(Hob, EveryTestdevIsDescribed)
{
    MachineConfig c = config();
    c.testdevs = {{0xfe000000, 0x2000}, {0x500000000, 8}};
    const HobList list = read_hobs(plan_machine(c).value().hob);
    EXPECT_EQ(list.resources.at(list.resources.size() - 2), (Resource{1, 0x403, 0xfe000000, 0x2000}));
    EXPECT_EQ(list.resources.back(), (Resource{1, 0x403, 0x500000000, 8}));
}

TEST(Hob, ListThatDoesNotFitItsSectionIsRefused)
{
    MachineConfig c = config();
    c.testdevs.clear();
    for (u64 i = 0; i < 200; ++i)
        c.testdevs.push_back({0xf0000000 + i * 0x1000, 0x1000});
    const auto plan = plan_machine(c);
    ASSERT_FALSE(plan.ok());
    EXPECT_NE(plan.error().text.find("hand-off"), std::string::npos);
}

TEST(MemoryMap, HoleBelowFourGigabytesHoldsNoRam)
{
    const MemoryMap small = make_memory_map(512 * MiB, 0x10000).value();
    EXPECT_EQ(small.ram, (std::vector<MemoryRange>{{0, 512 * MiB}}));
    EXPECT_EQ(small.firmware, (MemoryRange{0xffff0000, 0x10000}));
    const MemoryMap large = make_memory_map(4096 * MiB, 0x10000).value();
    EXPECT_EQ(large.ram, (std::vector<MemoryRange>{{0, 3072 * MiB}, {4096 * MiB, 1024 * MiB}}));
    EXPECT_FALSE(make_memory_map(MiB + 1, 0x10000).ok());
    EXPECT_FALSE(make_memory_map(0, 0x10000).ok());
    EXPECT_FALSE(make_memory_map(~u64{0xfff}, 0x10000).ok());
}

TEST(Plan, WrongConfigurationsAreRefused)
{
    const auto refused = [](auto&& edit, std::string_view says) {
        MachineConfig c = config();
        edit(c);
        const auto plan = plan_machine(c);
        return !plan.ok() && plan.error().text.find(says) != std::string::npos;
    };
    EXPECT_TRUE(refused([](auto& c) { c.cpus = 0; }, "--cpus"));
    EXPECT_TRUE(refused([](auto& c) { c.cpus = 65; }, "--cpus"));
    EXPECT_TRUE(refused([](auto& c) { c.memory = 8 * MiB; }, "outside RAM"));
    EXPECT_TRUE(refused([](auto& c) { c.testdevs = {{0x1000, 0x1000}}; }, "overlaps RAM"));
    EXPECT_TRUE(refused([](auto& c) { c.testdevs = {{0xfffff000, 0x1000}}; }, "overlaps the firmware"));
    EXPECT_TRUE(refused([](auto& c) { c.testdevs = {{0xfee00000, 0x1000}}; }, "interrupt controllers"));
    EXPECT_TRUE(refused([](auto& c) { c.testdevs = {{0xfe000000, 0}}; }, "does not fit"));
    EXPECT_TRUE(refused([](auto& c) { c.testdevs = {{~u64{0} - 7, 16}}; }, "does not fit"));
    EXPECT_TRUE(refused([](auto& c) { c.testdevs = {{u64{1} << 47, 8}}; }, "does not fit"));
    EXPECT_TRUE(refused([](auto& c) { c.testdevs = {{0x500000000, u64{1} << 30}}; }, "16 MiB"));
    EXPECT_TRUE(refused([](auto& c) { c.testdevs.push_back({0xfe001000, 8}); }, "overlap"));
    EXPECT_TRUE(refused([](auto& c) { c.firmware.clear(); }, "firmware"));
}

} // namespace
} // namespace seamless::vmm::test
