// SPDX-License-Identifier: Apache-2.0
// Memory attributes as a step function, and the buses' ranges.
#include <gtest/gtest.h>

#include "kvm/io_bus.h"
#include "kvm/memory_attributes.h"

namespace seamless::kvm {
namespace {

TEST(MemoryAttributes, RangesSplitAndMerge)
{
    MemoryAttributes a;
    EXPECT_TRUE(a.range_has(Gfn(0), Gfn(1000), 0));
    a.set(Gfn(10), Gfn(20), 8);
    EXPECT_EQ(a.get(Gfn(9)), 0u);
    EXPECT_EQ(a.get(Gfn(10)), 8u);
    EXPECT_EQ(a.get(Gfn(19)), 8u);
    EXPECT_EQ(a.get(Gfn(20)), 0u);
    a.set(Gfn(15), Gfn(16), 0);
    EXPECT_EQ(a.get(Gfn(14)), 8u);
    EXPECT_EQ(a.get(Gfn(15)), 0u);
    EXPECT_EQ(a.get(Gfn(16)), 8u);
    EXPECT_FALSE(a.range_has(Gfn(10), Gfn(20), 8));
    a.set(Gfn(15), Gfn(16), 8);
    EXPECT_TRUE(a.range_has(Gfn(10), Gfn(20), 8));
    a.set(Gfn(0), Gfn(100), 0);
    EXPECT_TRUE(a.range_has(Gfn(0), Gfn(1000), 0));
}

struct Register : IoDevice {
    bool read(u64, unsigned, void*) override { return claims; }
    bool write(u64, unsigned, const void*) override
    {
        ++writes;
        return claims;
    }
    bool claims = true;
    int writes = 0;
};

TEST(IoBus, OffersAnAccessUntilOneDeviceClaimsIt)
{
    IoBus bus;
    Register first, second;
    first.claims = false;
    ASSERT_TRUE(bus.add(0x1000, 8, first));
    ASSERT_TRUE(bus.add(0x1000, 16, second));
    const u64 value = 0;
    EXPECT_TRUE(bus.write(0x1004, 4, &value));
    EXPECT_EQ(first.writes, 1);
    EXPECT_EQ(second.writes, 1);
    EXPECT_FALSE(bus.write(0x100d, 4, &value)); // leaves the range
    EXPECT_FALSE(bus.write(0xfff, 4, &value));
    bus.remove(second);
    EXPECT_FALSE(bus.write(0x1004, 4, &value));
}

} // namespace
} // namespace seamless::kvm
