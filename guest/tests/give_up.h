// SPDX-License-Identifier: Apache-2.0
// How guests with planted bugs end: as real ones do, by telling the host.
#pragma once

#include "guest/firmware/exceptions.h"
#include "guest/firmware/machine.h"
#include "guest/firmware/tdx.h"
#include "guest/firmware/ve.h"

namespace seamless::guest {

// TDG.VP.VMCALL<ReportFatalError> with the first 64 bytes of `text`.
[[noreturn]] inline void give_up(const char* text)
{
    constexpr u64 kReportFatalError = 0x10003;
    u64 words[8] = {};
    for (unsigned i = 0; i < 64 && text[i] != '\0'; ++i)
        words[i / 8] |= u64{static_cast<u8>(text[i])} << (i % 8 * 8);
    for (;;) {
        TdcallRegisters registers{.rcx = 0xffcc,
                                  .rdx = words[7],
                                  .rbx = words[2],
                                  .rsi = words[4],
                                  .rdi = words[3],
                                  .r8 = words[5],
                                  .r9 = words[6],
                                  .r10 = 0,
                                  .r11 = kReportFatalError,
                                  .r12 = 0,
                                  .r13 = 0,
                                  .r14 = words[0],
                                  .r15 = words[1]};
        (void)tdcall(TdgLeaf::VP_VMCALL, registers);
    }
}

inline bool handle_ve_or_give_up(Frame& frame)
{
    if (!handle_ve(frame))
        give_up("the #VE handler failed");
    return true;
}

} // namespace seamless::guest
