// SPDX-License-Identifier: Apache-2.0
// MRTD from a firmware image, RTMRs from what the firmware will boot.
#include "vmm/measure.h"

#include <cstring>
#include <fmt/format.h>
#include <memory>
#include <openssl/evp.h>

#include "vmm/virtio_layout.h"

namespace seamless::vmm {
namespace {

constexpr u64 kChunk = 256; // TDH.MR.EXTEND measures this much
constexpr char kNoSha384[] = "OpenSSL does not offer SHA-384";

class Sha384 {
  public:
    Sha384() : context_(EVP_MD_CTX_new(), EVP_MD_CTX_free)
    {
        ok_ = context_ && EVP_DigestInit_ex(context_.get(), EVP_sha384(), nullptr) == 1;
    }

    void add(std::span<const u8> data)
    {
        ok_ = ok_ && EVP_DigestUpdate(context_.get(), data.data(), data.size()) == 1;
    }
    [[nodiscard]] bool finish(Mrtd& out)
    {
        return ok_ && EVP_DigestFinal_ex(context_.get(), out.data(), nullptr) == 1;
    }

  private:
    std::unique_ptr<EVP_MD_CTX, void (*)(EVP_MD_CTX*)> context_;
    bool ok_;
};

// A record: an operation's name padded to 16 bytes, a guest-physical address, zeros.
void add_record(Sha384& hash, std::string_view operation, u64 gpa)
{
    std::array<u8, 128> record{};
    std::memcpy(record.data(), operation.data(), operation.size());
    std::memcpy(record.data() + 16, &gpa, sizeof(gpa));
    hash.add(record);
}

void add_page(Sha384& hash, u64 gpa, std::span<const u8, base::kPageSize> content, bool extend)
{
    add_record(hash, "MEM.PAGE.ADD", gpa);
    for (u64 offset = 0; extend && offset < base::kPageSize; offset += kChunk) {
        add_record(hash, "MR.EXTEND", gpa + offset);
        hash.add(content.subspan(offset, kChunk));
    }
}

Result<Digest, Message> digest_of(std::span<const u8> first, std::span<const u8> second = {})
{
    Sha384 hash;
    hash.add(first);
    hash.add(second);
    Digest digest{};
    if (!hash.finish(digest))
        return fail(Message{kNoSha384});
    return digest;
}

// TDX ABI: TDG.MR.RTMR.EXTEND of the hash of `event`.
Result<Digest, Message> extended(const Digest& rtmr, std::span<const u8> event)
{
    const Digest digest = TRY(digest_of(event));
    return digest_of(rtmr, digest);
}

} // namespace

Result<std::array<Digest, 3>, Message> measure_linux(const LinuxPayload& payload, unsigned cpus)
{
    std::array<Digest, 3> rtmr{};
    rtmr[0] = TRY(extended(rtmr[0], machine_tables(cpus).tables));
    rtmr[1] = TRY(extended(rtmr[1], payload.kernel.bytes()));
    rtmr[2] = TRY(extended(rtmr[2], payload.command_line_bytes()));
    if (!payload.initrd.bytes().empty())
        rtmr[2] = TRY(extended(rtmr[2], payload.initrd.bytes()));
    return rtmr;
}

Result<Mrtd, Message> measure_tdvf(std::span<const u8> image, const Tdvf& tdvf)
{
    Sha384 hash;
    std::array<u8, base::kPageSize> page{};
    for (const TdvfSection& section : tdvf.sections) {
        if (!section.added())
            continue;
        // The hand-off blocks describe the machine: with them in it, MRTD would not be a fact about the
        // image.
        if (section.type == TdvfType::TD_HOB && section.measured())
            return fail(Message{"firmware: the TD_HOB section is measured, so MRTD depends on the machine, "
                                "not on the image alone"});
        for (u64 i = 0; i < section.pages(); ++i) {
            section_page(image, section, i, page);
            add_page(hash, section.address + i * base::kPageSize, page, section.measured());
        }
    }
    Mrtd mrtd{};
    if (!hash.finish(mrtd))
        return fail(Message{kNoSha384});
    return mrtd;
}

} // namespace seamless::vmm
