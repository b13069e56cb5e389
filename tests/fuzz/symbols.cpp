// SPDX-License-Identifier: Apache-2.0
// Fuzzes what reads symbols: lists as nm and System.map have them, ELF files that are good but for what the
// input says, and anything else.
#include <cctype>
#include <cstring>
#include <elf.h>
#include <sstream>
#include <vector>

#include "cli/symbols.h"
#include "fuzz/depth.h"
#include "fuzz/file_of_bytes.h"
#include "fuzz/input.h"
#include "fuzz/target.h"

namespace seamless::fuzz {
namespace {

using Bytes = std::vector<u8>;

Bytes draw_list(Input& in)
{
    constexpr const char* kParts[] = {"ffffffff81000000",
                                      "ffffffff81000010",
                                      "0000000000000000",
                                      "ffffffffffffffff",
                                      "11111111111111111",
                                      " T ",
                                      " t ",
                                      " U ",
                                      "start",
                                      "end\t[module]",
                                      "+0x1",
                                      " ",
                                      "0x",
                                      "-1",
                                      "\x01\x80"};
    std::string text;
    while (!in.empty() && text.size() < 4096) {
        const u8 what = in.byte();
        if (what < 64)
            text += '\n';
        else if (what < 128) // a whole line
            text += std::string(in.pick(kParts)) + " T " + in.pick(kParts) + "\n";
        else
            text += in.pick(kParts);
    }
    return {text.begin(), text.end()};
}

// ELF header, three sections: none, symbols, their names.
struct Elf {
    static constexpr u64 kSections = sizeof(Elf64_Ehdr), kSymbols = kSections + 3 * sizeof(Elf64_Shdr);
    Bytes bytes;

    explicit Elf(u64 symbols) : bytes(kSymbols + symbols * sizeof(Elf64_Sym) + 64)
    {
        constexpr char kNames[] = "\0start_kernel\0main\0entry_SYSCALL_64";
        constexpr Elf64_Word kName[] = {1, 14, 19, 0, 6};
        const u64 names = kSymbols + symbols * sizeof(Elf64_Sym);
        Elf64_Ehdr header{.e_type = ET_EXEC, .e_machine = EM_X86_64, .e_shoff = kSections, .e_shnum = 3};
        std::memcpy(header.e_ident, ELFMAG, SELFMAG);
        header.e_ident[EI_CLASS] = ELFCLASS64;
        header.e_ident[EI_DATA] = ELFDATA2LSB;
        put(0, header);
        put(kSections + sizeof(Elf64_Shdr), Elf64_Shdr{.sh_type = SHT_SYMTAB,
                                                       .sh_offset = kSymbols,
                                                       .sh_size = symbols * sizeof(Elf64_Sym),
                                                       .sh_link = 2,
                                                       .sh_entsize = sizeof(Elf64_Sym)});
        put(kSections + 2 * sizeof(Elf64_Shdr),
            Elf64_Shdr{.sh_type = SHT_STRTAB, .sh_offset = names, .sh_size = sizeof(kNames)});
        for (u64 i = 0; i < symbols; ++i)
            put(kSymbols + i * sizeof(Elf64_Sym),
                Elf64_Sym{.st_name = kName[i % std::size(kName)],
                          .st_info = static_cast<unsigned char>(STB_GLOBAL << 4 | i % 4),
                          .st_shndx = 1,
                          .st_value = 0xffffffff81000000 + i * 0x40});
        put(names, kNames);
    }
    template <typename T>
    void put(u64 at, const T& value)
    {
        std::memcpy(bytes.data() + at, &value, sizeof(value));
    }
};

Bytes draw_elf(Input& in)
{
    Elf elf(in.below(6));
    for (u64 i = in.below(6); i > 0; --i) {
        const u64 at = in.below(elf.bytes.size() - 8);
        if (in.flag())
            elf.put(at & ~u64{7}, in.number()); // most fields are eight bytes wide
        else
            elf.bytes[at] = in.byte();
    }
    if (in.byte() < 32)
        elf.bytes.resize(in.below(elf.bytes.size()));
    return elf.bytes;
}

void look_up(cli::Symbols& symbols, Input& in)
{
    constexpr u64 addresses[] = {0, 0xffffffff81000000, 0xffffffff81000041, 0xffffffffffffffff, 0x1000};
    for (const u64 slide : {u64{0}, in.number()}) {
        symbols.slide_by(slide);
        for (u64 address : addresses) {
            address += slide;
            const std::string name = symbols.at(address);
            Depth::reached("names", name.substr(0, 12));
            // A name alone is that of a symbol, unless the symbol is itself called so.
            const std::size_t offset = name.rfind("+0x");
            if (!name.empty() && offset == std::string::npos && !symbols.address_of(name))
                std::abort();
            if (offset != std::string::npos && !symbols.address_of(name.substr(0, offset)) &&
                !symbols.address_of(name))
                std::abort();
        }
    }
    for (const char* name : {"entry_SYSCALL_64", "start", ""})
        if (symbols.address_of(name))
            Depth::reached("found", name);
}

std::string without_numbers(std::string text)
{
    const std::size_t path = text.rfind("/fd/");
    text = text.substr(path == std::string::npos ? 0 : path + 4);
    std::erase_if(text, [](char c) { return std::isdigit(static_cast<unsigned char>(c)); });
    return text;
}

void run(Input in)
{
    Bytes bytes;
    switch (in.below(4)) {
    case 0:
        bytes.assign(in.rest().begin(), in.rest().end());
        break;
    case 1:
        bytes = draw_list(in);
        break;
    default:
        bytes = draw_elf(in);
    }
    const FileOfBytes file(bytes);
    auto symbols = cli::Symbols::load(file.path());
    Depth::reached("answers", symbols.ok() ? "symbols" : without_numbers(symbols.error().text));
    if (symbols.ok())
        look_up(symbols.value(), in);
}

} // namespace
} // namespace seamless::fuzz

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    seamless::fuzz::run({data, size});
    return 0;
}
