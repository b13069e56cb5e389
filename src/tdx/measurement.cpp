// SPDX-License-Identifier: Apache-2.0
// SHA-384 and HMAC-SHA256 through OpenSSL.
#include "tdx/measurement.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "base/check.h"

namespace seamless::tdx {

struct Sha384::State {
    EVP_MD_CTX* context = EVP_MD_CTX_new();
    ~State() { EVP_MD_CTX_free(context); }
};

Sha384::Sha384() : state_(std::make_unique<State>())
{
    CHECK(state_->context && EVP_DigestInit_ex(state_->context, EVP_sha384(), nullptr) == 1);
}

Sha384::~Sha384() = default;

void Sha384::update(std::span<const u8> data)
{
    CHECK(EVP_DigestUpdate(state_->context, data.data(), data.size()) == 1);
}

Sha384Digest Sha384::finish()
{
    Sha384Digest digest;
    unsigned length = 0;
    CHECK(EVP_DigestFinal_ex(state_->context, digest.data(), &length) == 1 && length == digest.size());
    return digest;
}

Sha384Digest sha384(std::span<const u8> data)
{
    Sha384 hash;
    hash.update(data);
    return hash.finish();
}

std::array<u8, 32> hmac_sha256(std::span<const u8> key, std::span<const u8> data)
{
    std::array<u8, 32> mac;
    unsigned length = 0;
    CHECK(HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()), data.data(), data.size(), mac.data(),
               &length));
    return mac;
}

} // namespace seamless::tdx
