// SPDX-License-Identifier: Apache-2.0
// Linux kernels as input: the setup header, and every way in which files are refused.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "unit/vmm/firmware_image.h"
#include "unit/vmm/kernel_image.h"
#include "vmm/machine_plan.h"

namespace seamless::vmm::test {
namespace {

using testing::HasSubstr;

std::string refusal(const std::vector<u8>& image)
{
    const auto header = parse_kernel(image);
    return header.ok() ? "" : header.error().text;
}

TEST(LinuxKernel, HeaderIsRead)
{
    KernelBuilder b;
    const KernelHeader header = parse_kernel(b.bytes).value();
    EXPECT_EQ(header.setup_size, KernelBuilder::kSetup);
    EXPECT_EQ(header.init_size, 1u << 20);
    EXPECT_EQ(header.command_line_max, 255u);
}

TEST(LinuxKernel, NoSetupSectorsMeansFour)
{
    KernelBuilder b;
    b.bytes[0x1f1] = 0;
    b.put(0x1f4, u32{(KernelBuilder::kSetup + KernelBuilder::kBody - 5 * 512) / 16});
    EXPECT_EQ(parse_kernel(b.bytes).value().setup_size, 5u * 512);
}

TEST(LinuxKernel, WhatIsNoKernelIsRefused)
{
    EXPECT_THAT(refusal({}), HasSubstr("no setup header"));
    EXPECT_THAT(refusal(std::vector<u8>(0x263)), HasSubstr("no setup header"));
    KernelBuilder magic;
    magic.put(0x202, u32{0});
    EXPECT_THAT(refusal(magic.bytes), HasSubstr("no setup header"));
    KernelBuilder flag;
    flag.put(0x1fe, u16{0});
    EXPECT_THAT(refusal(flag.bytes), HasSubstr("no setup header"));
}

TEST(LinuxKernel, OldAnd32BitKernelsAreRefused)
{
    KernelBuilder old;
    old.put(0x206, u16{0x020b});
    EXPECT_THAT(refusal(old.bytes), HasSubstr("2.11"));
    KernelBuilder narrow;
    narrow.put(0x236, u16{0xfffe});
    EXPECT_THAT(refusal(narrow.bytes), HasSubstr("64-bit"));
}

TEST(LinuxKernel, EveryTruncationIsRefused)
{
    const KernelBuilder b;
    for (u64 size = 0; size < b.bytes.size(); size += 61)
        EXPECT_NE(refusal({b.bytes.begin(), b.bytes.begin() + static_cast<long>(size)}), "") << size;
    KernelBuilder huge;
    huge.put(0x1f4, ~u32{0});
    EXPECT_THAT(refusal(huge.bytes), HasSubstr("truncated"));
    KernelBuilder only_setup;
    only_setup.put(0x1f4, u32{0});
    only_setup.bytes.resize(KernelBuilder::kSetup);
    EXPECT_THAT(refusal(only_setup.bytes), HasSubstr("truncated"));
}

TEST(LinuxPayload, PartsAreTheFilesOwnBytes)
{
    const KernelBuilder b;
    const TemporaryFile kernel(b.bytes), initrd({1, 2, 3});
    const LinuxPayload payload = load_linux(kernel.path(), initrd.path(), "quiet").value();
    EXPECT_TRUE(std::equal(payload.setup().begin(), payload.setup().end(), b.bytes.begin()));
    EXPECT_EQ(payload.setup().size(), KernelBuilder::kSetup);
    EXPECT_TRUE(
        std::equal(payload.rest().begin(), payload.rest().end(), b.bytes.begin() + KernelBuilder::kSetup));
    EXPECT_EQ(payload.rest().size(), KernelBuilder::kBody);
    EXPECT_EQ(payload.initrd.bytes().size(), 3u);
    EXPECT_EQ(payload.command_line_bytes().size(), 6u);
    EXPECT_EQ(payload.command_line_bytes()[5], 0);
}

TEST(LinuxPayload, RefusalsNameTheOption)
{
    const KernelBuilder b;
    const TemporaryFile kernel(b.bytes), empty({});
    const auto refused = [&](const std::string& k, const std::string& i, std::string append = "") {
        const auto payload = load_linux(k, i, std::move(append));
        return payload.ok() ? "" : payload.error().text;
    };
    EXPECT_THAT(refused("/nonexistent", ""), HasSubstr("--kernel /nonexistent"));
    EXPECT_THAT(refused("/", ""), HasSubstr("not a regular file"));
    EXPECT_THAT(refused(empty.path(), ""), HasSubstr("empty"));
    EXPECT_THAT(refused(kernel.path(), "/nonexistent"), HasSubstr("--initrd /nonexistent"));
    EXPECT_THAT(refused(kernel.path(), empty.path()), HasSubstr("--initrd"));
    EXPECT_EQ(refused(kernel.path(), "", std::string(255, 'x')), "");
    EXPECT_THAT(refused(kernel.path(), "", std::string(256, 'x')), HasSubstr("--append: 256 bytes"));
}

TEST(LinuxPayload, MustFitBelowFourGib)
{
    KernelBuilder b;
    b.put(0x260, u32{60} << 20);
    const TemporaryFile kernel(b.bytes), initrd(std::vector<u8>(u64{5} << 20));
    const LinuxPayload payload = load_linux(kernel.path(), initrd.path(), "").value();
    ImageBuilder image;
    MachineConfig config{.firmware = image.build(), .memory = u64{64} << 20, .payload = &payload};
    const auto plan = plan_machine(config);
    ASSERT_FALSE(plan.ok());
    EXPECT_THAT(plan.error().text, HasSubstr("do not fit"));
    config.memory = u64{65} << 20;
    EXPECT_TRUE(plan_machine(config).ok());
}

} // namespace
} // namespace seamless::vmm::test
