// SPDX-License-Identifier: Apache-2.0
// Commands of the table loader: 128 bytes each, numbers little-endian, file names padded to 56 bytes.
#include "vmm/acpi/loader.h"

#include "base/check.h"

namespace seamless::vmm::acpi {
namespace {

constexpr std::size_t kCommandSize = 128, kNameSize = 56;
constexpr u32 kAllocate = 1, kAddPointer = 2, kAddChecksum = 3;

// Appends fields to the command that begins at the end of `script` as it was, then pads it.
class Command {
  public:
    Command(std::vector<u8>& script, u32 number) : script_(script), end_(script.size() + kCommandSize)
    {
        put(number, 4);
    }
    ~Command() { script_.resize(end_); }
    Command(const Command&) = delete;
    Command& operator=(const Command&) = delete;

    Command& put(u64 value, unsigned bytes)
    {
        for (unsigned i = 0; i < bytes; ++i)
            script_.push_back(static_cast<u8>(value >> (8 * i)));
        return *this;
    }
    Command& file(std::string_view name)
    {
        CHECK(name.size() < kNameSize);
        const std::size_t start = script_.size();
        script_.insert(script_.end(), name.begin(), name.end());
        script_.resize(start + kNameSize);
        return *this;
    }

  private:
    std::vector<u8>& script_;
    std::size_t end_;
};

} // namespace

void Loader::allocate(std::string_view file, u32 alignment, Zone zone)
{
    Command(bytes_, kAllocate).file(file).put(alignment, 4).put(static_cast<u8>(zone), 1);
}

void Loader::add_pointer(std::string_view file, std::string_view source, u32 offset, u8 size)
{
    Command(bytes_, kAddPointer).file(file).file(source).put(offset, 4).put(size, 1);
}

void Loader::add_checksum(std::string_view file, u32 offset, u32 start, u32 length)
{
    Command(bytes_, kAddChecksum).file(file).put(offset, 4).put(start, 4).put(length, 4);
}

} // namespace seamless::vmm::acpi
