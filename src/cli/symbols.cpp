// SPDX-License-Identifier: Apache-2.0
// Reads symbol files. Undefined symbols, which nm prints without an address, are left out.
#include "cli/symbols.h"

#include <cerrno>
#include <charconv>
#include <cstring>
#include <elf.h>
#include <fmt/format.h>
#include <fstream>

#include "vmm/mapped_file.h"

namespace seamless::cli {
namespace {

constexpr u64 kFarthest = 1 << 20;        // no function is longer
constexpr std::size_t kLongestName = 512; // of a symbol: what is longer is cut

// The `index`th T of the table at `offset`; false if that is not in the image.
template <typename T>
bool read_at(std::span<const u8> image, u64 offset, u64 index, T& out)
{
    if (offset > image.size() || index >= (image.size() - offset) / sizeof(T))
        return false;
    std::memcpy(&out, image.data() + offset + index * sizeof(T), sizeof(T));
    return true;
}

std::string string_at(std::span<const u8> image, const Elf64_Shdr& strings, u64 index)
{
    if (strings.sh_offset > image.size() || strings.sh_size > image.size() - strings.sh_offset ||
        index >= strings.sh_size)
        return {};
    const auto* from = reinterpret_cast<const char*>(image.data() + strings.sh_offset + index);
    return {from, strnlen(from, std::min<u64>(strings.sh_size - index, kLongestName))};
}

} // namespace

Result<Symbols, Message> Symbols::read(std::istream& stream, const std::string& name)
{
    Symbols symbols;
    std::string line;
    for (u64 number = 1; std::getline(stream, line); ++number) {
        if (line.empty() || line.starts_with(' '))
            continue;
        u64 address = 0;
        const auto [end, error] = std::from_chars(line.data(), line.data() + line.size(), address, 16);
        const auto digits = static_cast<std::size_t>(end - line.data());
        if (error != std::errc{} || line.size() < digits + 4 || line[digits] != ' ' ||
            line[digits + 2] != ' ')
            return fail(
                Message{fmt::format("{}: line {}: expected an address, a type and a name", name, number)});
        symbols.names_.try_emplace(address, line.substr(digits + 3));
    }
    if (symbols.names_.empty())
        return fail(Message{fmt::format("{}: no symbols", name)});
    return symbols;
}

Result<Symbols, Message> Symbols::read_elf(std::span<const u8> image, const std::string& name)
{
    Symbols symbols;
    Elf64_Ehdr header{};
    Elf64_Shdr table{}, strings{};
    if (!read_at(image, 0, 0, header) || header.e_ident[EI_CLASS] != ELFCLASS64 ||
        header.e_ident[EI_DATA] != ELFDATA2LSB)
        return fail(Message{fmt::format("{}: no ELF file of 64 bits", name)});
    for (u64 i = 0; i < header.e_shnum; ++i) {
        if (!read_at(image, header.e_shoff, i, table) || table.sh_type != SHT_SYMTAB ||
            !read_at(image, header.e_shoff, table.sh_link, strings))
            continue;
        Elf64_Sym symbol{};
        for (u64 k = 0; k < table.sh_size / sizeof(symbol) && read_at(image, table.sh_offset, k, symbol);
             ++k) {
            const unsigned type = ELF64_ST_TYPE(symbol.st_info);
            if (symbol.st_shndx == SHN_UNDEF ||
                (type != STT_FUNC && type != STT_NOTYPE && type != STT_OBJECT))
                continue;
            if (std::string text = string_at(image, strings, symbol.st_name); !text.empty())
                symbols.names_.try_emplace(symbol.st_value, std::move(text));
        }
        break; // ELF: there is at most one
    }
    if (symbols.names_.empty())
        return fail(Message{fmt::format("{}: an ELF file without symbols", name)});
    return symbols;
}

Result<Symbols, Message> Symbols::load(const std::string& path)
{
    std::ifstream file(path, std::ios::binary);
    char magic[SELFMAG] = {};
    if (!file || (file.read(magic, SELFMAG), file.bad()))
        return fail(Message{fmt::format("{}: {}", path, std::strerror(errno))});
    if (std::memcmp(magic, ELFMAG, SELFMAG) != 0) {
        file.clear();
        file.seekg(0);
        return read(file, path);
    }
    const auto mapped = TRY(vmm::MappedFile::open(path));
    return read_elf(mapped.bytes(), path);
}

std::string Symbols::at(u64 address) const
{
    auto next = names_.upper_bound(address - slide_);
    if (next == names_.begin())
        return {};
    --next;
    const u64 offset = address - slide_ - next->first;
    if (offset > kFarthest)
        return {};
    return offset == 0 ? next->second : fmt::format("{}+{:#x}", next->second, offset);
}

std::optional<u64> Symbols::address_of(std::string_view name) const
{
    for (const auto& [address, text] : names_)
        if (text == name)
            return address;
    return {};
}

} // namespace seamless::cli
