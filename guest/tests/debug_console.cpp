// SPDX-License-Identifier: Apache-2.0
// The debug console: prints by both of its ports if it is there, as OVMF asks.
#include "guest/firmware/console.h"
#include "guest/firmware/machine.h"
#include "guest/firmware/x86.h"

namespace seamless::guest {
namespace {

constexpr u16 kOvmf = 0x402, kBochs = 0xe9;
constexpr u8 kPresent = 0xe9;

void say(u16 port, const char* text)
{
    for (; *text != '\0'; ++text)
        out8(port, static_cast<u8>(*text));
}

} // namespace

bool guest_main(const Machine&)
{
    const u8 found = in8(kOvmf);
    print("port 0x402 reads ", Hex{found}, "\n");
    say(kOvmf, "by 0x402\n");
    say(kBochs, "by 0xe9\n");
    return found == kPresent && in8(kBochs) == kPresent;
}

} // namespace seamless::guest
