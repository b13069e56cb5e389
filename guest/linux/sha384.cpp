// SPDX-License-Identifier: Apache-2.0
// SHA-512's compression function, started as SHA-384 starts it.
#include "guest/linux/sha384.h"

namespace seamless::guest {
namespace {

// clang-format off
constexpr u64 kRound[80] = { // fractional parts of the cube roots of the first 80 primes
    0x428a2f98d728ae22, 0x7137449123ef65cd, 0xb5c0fbcfec4d3b2f, 0xe9b5dba58189dbbc,
    0x3956c25bf348b538, 0x59f111f1b605d019, 0x923f82a4af194f9b, 0xab1c5ed5da6d8118,
    0xd807aa98a3030242, 0x12835b0145706fbe, 0x243185be4ee4b28c, 0x550c7dc3d5ffb4e2,
    0x72be5d74f27b896f, 0x80deb1fe3b1696b1, 0x9bdc06a725c71235, 0xc19bf174cf692694,
    0xe49b69c19ef14ad2, 0xefbe4786384f25e3, 0x0fc19dc68b8cd5b5, 0x240ca1cc77ac9c65,
    0x2de92c6f592b0275, 0x4a7484aa6ea6e483, 0x5cb0a9dcbd41fbd4, 0x76f988da831153b5,
    0x983e5152ee66dfab, 0xa831c66d2db43210, 0xb00327c898fb213f, 0xbf597fc7beef0ee4,
    0xc6e00bf33da88fc2, 0xd5a79147930aa725, 0x06ca6351e003826f, 0x142929670a0e6e70,
    0x27b70a8546d22ffc, 0x2e1b21385c26c926, 0x4d2c6dfc5ac42aed, 0x53380d139d95b3df,
    0x650a73548baf63de, 0x766a0abb3c77b2a8, 0x81c2c92e47edaee6, 0x92722c851482353b,
    0xa2bfe8a14cf10364, 0xa81a664bbc423001, 0xc24b8b70d0f89791, 0xc76c51a30654be30,
    0xd192e819d6ef5218, 0xd69906245565a910, 0xf40e35855771202a, 0x106aa07032bbd1b8,
    0x19a4c116b8d2d0c8, 0x1e376c085141ab53, 0x2748774cdf8eeb99, 0x34b0bcb5e19b48a8,
    0x391c0cb3c5c95a63, 0x4ed8aa4ae3418acb, 0x5b9cca4f7763e373, 0x682e6ff3d6b2b8a3,
    0x748f82ee5defb2fc, 0x78a5636f43172f60, 0x84c87814a1f0ab72, 0x8cc702081a6439ec,
    0x90befffa23631e28, 0xa4506cebde82bde9, 0xbef9a3f7b2c67915, 0xc67178f2e372532b,
    0xca273eceea26619c, 0xd186b8c721c0c207, 0xeada7dd6cde0eb1e, 0xf57d4f7fee6ed178,
    0x06f067aa72176fba, 0x0a637dc5a2c898a6, 0x113f9804bef90dae, 0x1b710b35131c471b,
    0x28db77f523047d84, 0x32caab7b40c72493, 0x3c9ebe0a15c9bebc, 0x431d67c49c100d4c,
    0x4cc5d4becb3e42b6, 0x597f299cfc657e2a, 0x5fcb6fab3ad6faec, 0x6c44198c4a475817,
};
// clang-format on

constexpr u64 rotate(u64 value, unsigned by) { return value >> by | value << (64 - by); }

u64 load_big_endian(const u8* from) { return __builtin_bswap64(*reinterpret_cast<const u64*>(from)); }

} // namespace

void Sha384::block(const u8* data)
{
    u64 w[80];
    for (unsigned i = 0; i < 16; ++i)
        w[i] = load_big_endian(data + 8 * i);
    for (unsigned i = 16; i < 80; ++i) {
        const u64 a = w[i - 15], b = w[i - 2];
        w[i] = w[i - 16] + (rotate(a, 1) ^ rotate(a, 8) ^ a >> 7) + w[i - 7] +
               (rotate(b, 19) ^ rotate(b, 61) ^ b >> 6);
    }
    u64 s[8];
    for (unsigned i = 0; i < 8; ++i)
        s[i] = state_[i];
    for (unsigned i = 0; i < 80; ++i) {
        const u64 choose = (s[4] & s[5]) ^ (~s[4] & s[6]);
        const u64 majority = (s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]);
        const u64 t1 =
            s[7] + (rotate(s[4], 14) ^ rotate(s[4], 18) ^ rotate(s[4], 41)) + choose + kRound[i] + w[i];
        const u64 t2 = (rotate(s[0], 28) ^ rotate(s[0], 34) ^ rotate(s[0], 39)) + majority;
        for (unsigned k = 7; k > 0; --k)
            s[k] = s[k - 1];
        s[4] += t1;
        s[0] = t1 + t2;
    }
    for (unsigned i = 0; i < 8; ++i)
        state_[i] += s[i];
}

void Sha384::update(const void* data, u64 size)
{
    const u8* bytes = static_cast<const u8*>(data);
    total_ += size;
    if (pending_size_ != 0) {
        while (size != 0 && pending_size_ < sizeof pending_) {
            pending_[pending_size_++] = *bytes++;
            --size;
        }
        if (pending_size_ < sizeof pending_)
            return;
        block(pending_);
        pending_size_ = 0;
    }
    for (; size >= sizeof pending_; bytes += sizeof pending_, size -= sizeof pending_)
        block(bytes);
    while (size-- != 0)
        pending_[pending_size_++] = *bytes++;
}

void Sha384::finish(u8* digest)
{
    const u64 bits = total_ * 8;
    constexpr u8 kOne = 0x80, kZero = 0;
    update(&kOne, 1);
    while (pending_size_ != sizeof pending_ - 16)
        update(&kZero, 1);
    const u64 length[2] = {0, __builtin_bswap64(bits)};
    update(length, sizeof length);
    for (unsigned i = 0; i < kSha384Size; ++i)
        digest[i] = static_cast<u8>(state_[i / 8] >> (56 - 8 * (i % 8)));
}

} // namespace seamless::guest
