// SPDX-License-Identifier: Apache-2.0
// Fuzzes what reads a firmware image: the TDVF metadata, the machine that is planned from it, its
// measurement.
#include <cctype>

#include "fuzz/depth.h"
#include "fuzz/input.h"
#include "fuzz/target.h"
#include "unit/vmm/firmware_image.h"
#include "vmm/machine_plan.h"
#include "vmm/measure.h"

namespace seamless::fuzz {
namespace {

constexpr u64 kMostPages = 64; // what is looked at of a section

void use(std::span<const u8> image, const vmm::Tdvf& tdvf)
{
    u8 page[base::kPageSize];
    u64 measured = 0;
    for (const vmm::TdvfSection& section : tdvf.sections) {
        for (u64 i = 0; i < section.pages() && i < kMostPages; ++i)
            vmm::section_page(image, section, i, page);
        measured += section.added() ? section.pages() : 0;
    }
    if (measured < 16 * kMostPages)
        (void)vmm::measure_tdvf(image, tdvf).ok();
}

// An image that is good but for what the input says.
std::vector<u8> draw_image(Input& in)
{
    vmm::test::ImageBuilder builder;
    if (in.flag())
        builder.sections.clear();
    for (u64 i = in.below(6); i > 0; --i) {
        const u64 shift = in.flag() ? 12 : 0;
        builder.sections.push_back(
            {.data_offset = static_cast<u32>(in.number()),
             .raw_size = static_cast<u32>(in.number()),
             .address = in.number() << shift,
             .size = in.number() << shift,
             .type = static_cast<vmm::TdvfType>(in.flag() ? in.below(10) : in.take<u32>()),
             .attributes = in.flag() ? static_cast<u32>(in.below(4)) : in.take<u32>()});
    }
    builder.build();
    constexpr u64 places[] = {vmm::test::ImageBuilder::kDescriptor, vmm::test::ImageBuilder::kEntries,
                              vmm::test::ImageBuilder::kSize - 0x32};
    for (u64 i = in.below(4); i > 0; --i) { // spoil the metadata
        const u64 at = in.pick(places) + in.below(64);
        if (at + 4 <= builder.bytes.size())
            builder.put(at, in.take<u32>());
    }
    if (in.flag())
        builder.bytes.resize(in.below(builder.bytes.size() + 1));
    return builder.bytes;
}

std::string without_numbers(std::string text)
{
    std::erase_if(text, [](char c) { return std::isxdigit(static_cast<unsigned char>(c)); });
    return text;
}

void run(Input in)
{
    const u8 kind = in.byte();
    const std::vector<u8> image =
        kind & 1 ? draw_image(in) : std::vector<u8>(in.rest().begin(), in.rest().end());
    const auto tdvf = vmm::parse_tdvf(image);
    Depth::reached("answers", tdvf.ok() ? "a firmware image" : without_numbers(tdvf.error().text));
    if (tdvf.ok())
        use(image, tdvf.value());
    vmm::MachineConfig config;
    config.kind = kind & 2 ? vmm::VmKind::plain : vmm::VmKind::td;
    config.firmware = image;
    config.memory = in.number();
    config.cpus = static_cast<unsigned>(in.below(80));
    for (u64 i = in.below(3); i > 0; --i)
        config.testdevs.push_back({in.number(), in.number()});
    const auto plan = vmm::plan_machine(std::move(config));
    Depth::reached("plans", plan.ok() ? "a machine" : without_numbers(plan.error().text));
    if (plan.ok())
        use(image, plan.value().tdvf);
}

} // namespace
} // namespace seamless::fuzz

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    seamless::fuzz::run({data, size});
    return 0;
}
