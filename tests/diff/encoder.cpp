// SPDX-License-Identifier: Apache-2.0
// Random encodings of one form. SDM: "Instruction Format".
#include "diff/encoder.h"

#include <algorithm>
#include <utility>
#include <vector>

namespace seamless::diff {
namespace {

class Encoder {
  public:
    Encoder(const Form& form, Rng& rng) : form_(form), rng_(rng) {}

    std::array<u8, ZYDIS_MAX_INSTRUCTION_LENGTH> run()
    {
        switch (form_.encoding) {
        case ZYDIS_INSTRUCTION_ENCODING_VEX:
            address_prefixes();
            shuffle_prefixes();
            vex();
            break;
        case ZYDIS_INSTRUCTION_ENCODING_EVEX:
            address_prefixes();
            shuffle_prefixes();
            evex();
            break;
        default:
            legacy();
            break;
        }
        put(form_.opcode);
        if (form_.modrm)
            modrm();
        const bool small = rng_.percent(40); // immediates
        while (size_ < bytes_.size())
            put(small ? (bytes_.size() - size_) % 4 == 0 ? rng_.below(16) : 0 : rng_.byte());
        return bytes_;
    }

  private:
    void put(u64 byte)
    {
        if (size_ < bytes_.size())
            bytes_[size_++] = static_cast<u8>(byte);
    }
    unsigned random_bits(unsigned mask) { return static_cast<unsigned>(rng_.next() >> 40) & mask; }
    [[nodiscard]] unsigned pp() const
    {
        return form_.prefix == 0x66 ? 1 : form_.prefix == 0xf3 ? 2 : form_.prefix == 0xf2 ? 3 : 0;
    }

    void address_prefixes()
    {
        constexpr u8 kFlat[] = {0x2e, 0x36, 0x3e, 0x26};
        if (rng_.percent(7))
            prefixes_.push_back(rng_.percent(50) ? 0x64 : 0x65);
        else if (rng_.percent(4))
            prefixes_.push_back(kFlat[rng_.below(4)]);
        if (rng_.percent(8))
            prefixes_.push_back(0x67);
    }

    void shuffle_prefixes()
    {
        for (std::size_t i = prefixes_.size(); i > 1; --i)
            std::swap(prefixes_[i - 1], prefixes_[rng_.below(i)]);
        for (const u8 prefix : prefixes_)
            put(prefix);
    }

    void legacy()
    {
        if (form_.prefix)
            prefixes_.push_back(form_.prefix);
        address_prefixes();
        if (form_.memory && form_.map < 2 && rng_.percent(12))
            prefixes_.push_back(0xf0);
        if (rng_.percent(form_.map < 2 ? 12 : 2))
            prefixes_.push_back(0x66);
        if (rng_.percent(3))
            prefixes_.push_back(rng_.percent(50) ? 0xf2 : 0xf3);
        if (rng_.percent(2))
            put(0x40u | random_bits(0xf)); // a REX that counts for nothing if a prefix follows
        shuffle_prefixes();
        if (form_.wide || rng_.percent(55))
            put(0x40u | (form_.wide ? 8u : 0) | random_bits(7));
        if (form_.map)
            put(0x0f);
        if (form_.map >= 2)
            put(form_.map == 2 ? 0x38 : 0x3a);
    }

    // R, X, B and vvvv are inverted. Half the time no register in vvvv, as many instructions demand.
    unsigned vvvv() { return rng_.percent(50) ? 0xfu : random_bits(0xf); }

    void vex()
    {
        const unsigned rxb = random_bits(7);
        const unsigned tail = vvvv() << 3 | (form_.length ? 4u : 0) | pp();
        if (form_.map == 1 && !form_.wide && (rxb & 3) == 3) {
            put(0xc5);
            put((rxb & 4) << 5 | tail);
            return;
        }
        put(0xc4);
        put(rxb << 5 | form_.map);
        put((form_.wide ? 0x80u : 0) | tail);
    }

    void evex()
    {
        put(0x62);
        put(random_bits(0xf) << 4 | form_.map);
        put((form_.wide ? 0x80u : 0) | vvvv() << 3 | 4u | pp());
        put((rng_.percent(20) ? 0x80u : 0) | static_cast<unsigned>(form_.length) << 5 |
            (rng_.percent(15) ? 0x10u : 0) | (rng_.percent(80) ? 8u : 0) |
            (rng_.percent(50) ? 0 : random_bits(7)));
    }

    void modrm()
    {
        if (!form_.memory) {
            put(0xc0u | static_cast<unsigned>(form_.reg) << 3 | (form_.fixed_rm ? form_.rm : random_bits(7)));
            return;
        }
        const unsigned mod = static_cast<unsigned>(rng_.below(3));
        const unsigned rm = random_bits(7);
        put(mod << 6 | static_cast<unsigned>(form_.reg) << 3 | rm);
        unsigned base = rm;
        if (rm == 4) {
            const unsigned sib = random_bits(0xff);
            base = sib & 7;
            put(sib);
        }
        const unsigned displacement = mod == 1 ? 1 : mod == 2 || base == 5 ? 4 : 0;
        for (unsigned i = 0; i < displacement; ++i)
            put(rng_.byte());
    }

    const Form& form_;
    Rng& rng_;
    std::vector<u8> prefixes_;
    std::array<u8, ZYDIS_MAX_INSTRUCTION_LENGTH> bytes_{};
    std::size_t size_ = 0;
};

} // namespace

std::array<u8, ZYDIS_MAX_INSTRUCTION_LENGTH> encode(const Form& form, Rng& rng)
{
    return Encoder(form, rng).run();
}

} // namespace seamless::diff
