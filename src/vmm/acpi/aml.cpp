// SPDX-License-Identifier: Apache-2.0
// AML encodings.
#include "vmm/acpi/aml.h"

#include <algorithm>

#include "base/check.h"

namespace seamless::vmm::acpi {
namespace {

constexpr u8 ZeroOp = 0x00, OneOp = 0x01, NameOp = 0x08, BytePrefix = 0x0a, WordPrefix = 0x0b,
             DWordPrefix = 0x0c, StringPrefix = 0x0d, QWordPrefix = 0x0e, ScopeOp = 0x10, BufferOp = 0x11,
             PackageOp = 0x12, ExtOpPrefix = 0x5b, DeviceOp = 0x82;

// Resource descriptors: a small one has its length in the tag, a large one in two bytes after it.
constexpr u8 kIoPort = 0x47, kEndTag = 0x79, kMemory32Fixed = 0x86, kExtendedInterrupt = 0x89;
constexpr u8 kDecode16 = 1, kReadWrite = 1;
constexpr u8 kConsumer = 1, kEdge = 2; // active high and exclusive are zeros

void append(Aml& to, std::span<const u8> bytes) { to.insert(to.end(), bytes.begin(), bytes.end()); }

void append_le(Aml& to, u64 value, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; ++i)
        to.push_back(static_cast<u8>(value >> (8 * i)));
}

// A package length counts itself: one byte holds 63, each further byte eight bits more.
Aml with_length(const Aml& content)
{
    const u64 size = content.size();
    Aml out;
    if (size + 1 <= 63) {
        out.push_back(static_cast<u8>(size + 1));
    } else {
        const unsigned more = size + 2 < bit(12) ? 1 : size + 3 < bit(20) ? 2 : 3;
        const u64 length = size + 1 + more;
        out.push_back(static_cast<u8>(more << 6 | field(length, 3, 0)));
        append_le(out, length >> 4, more);
    }
    append(out, content);
    return out;
}

Aml joined(std::span<const Aml> terms)
{
    Aml out;
    for (const Aml& term : terms)
        append(out, term);
    return out;
}

Aml name_string(std::string_view name) { return {name.begin(), name.end()}; }

Aml block(std::span<const u8> opcode, std::string_view name, std::span<const Aml> terms)
{
    Aml content = name_string(name);
    append(content, joined(terms));
    Aml out(opcode.begin(), opcode.end());
    append(out, with_length(content));
    return out;
}

} // namespace

Aml integer(u64 value)
{
    if (value <= 1)
        return {value == 0 ? ZeroOp : OneOp};
    const unsigned bytes = value < bit(8) ? 1 : value < bit(16) ? 2 : value < bit(32) ? 4 : 8;
    Aml out;
    out.reserve(1 + bytes);
    out.push_back(bytes == 1 ? BytePrefix : bytes == 2 ? WordPrefix : bytes == 4 ? DWordPrefix : QWordPrefix);
    append_le(out, value, bytes);
    return out;
}

Aml string(std::string_view text)
{
    Aml out;
    out.reserve(text.size() + 2);
    out.push_back(StringPrefix);
    out.insert(out.end(), text.begin(), text.end());
    out.push_back(0);
    return out;
}

// Three letters of five bits each and the digits, as one big-endian number.
Aml eisa_id(std::string_view id)
{
    CHECK(id.size() == 7);
    u32 number = 0;
    for (const char letter : id.substr(0, 3))
        number = number << 5 | static_cast<u32>(letter - '@');
    for (const char digit : id.substr(3))
        number = number << 4 | static_cast<u32>(digit <= '9' ? digit - '0' : digit - 'A' + 10);
    Aml out{DWordPrefix};
    append_le(out, __builtin_bswap32(number), 4);
    return out;
}

Aml package(std::span<const Aml> elements)
{
    Aml content{static_cast<u8>(elements.size())};
    append(content, joined(elements));
    Aml out{PackageOp};
    append(out, with_length(content));
    return out;
}

Aml name(std::string_view name, const Aml& value)
{
    Aml out{NameOp};
    append(out, name_string(name));
    append(out, value);
    return out;
}

Aml scope(std::string_view name, std::span<const Aml> terms)
{
    return block(std::span<const u8>(&ScopeOp, 1), name, terms);
}

Aml device(std::string_view name, std::span<const Aml> terms)
{
    static constexpr u8 kOpcode[] = {ExtOpPrefix, DeviceOp};
    return block(kOpcode, name, terms);
}

Aml io_ports(u16 first, u8 count)
{
    Aml out{kIoPort, kDecode16};
    append_le(out, first, 2);
    append_le(out, first, 2);
    out.push_back(1); // alignment
    out.push_back(count);
    return out;
}

Aml memory32_fixed(u32 base, u32 size)
{
    Aml out{kMemory32Fixed, 9, 0, kReadWrite};
    append_le(out, base, 4);
    append_le(out, size, 4);
    return out;
}

Aml edge_interrupt(u32 gsi)
{
    Aml out{kExtendedInterrupt, 6, 0, kConsumer | kEdge, 1};
    append_le(out, gsi, 4);
    return out;
}

Aml resource_template(std::span<const Aml> descriptors)
{
    Aml data = joined(descriptors);
    append(data, Aml{kEndTag, 0}); // a checksum of zero counts as right
    Aml content = integer(data.size());
    append(content, data);
    Aml out{BufferOp};
    append(out, with_length(content));
    return out;
}

} // namespace seamless::vmm::acpi
