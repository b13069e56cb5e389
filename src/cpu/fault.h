// SPDX-License-Identifier: Apache-2.0
// Why an instruction did not complete. The reason travels in a Result; its details wait in the fault record.
#pragma once

#include "base/address.h"
#include "spec/vmx.h"
#include "spec/x86.h"

namespace seamless::cpu {

enum class Fault : u8 { exception, vm_exit };

struct FaultRecord {
    // exception
    spec::Vector vector{};
    u32 error_code = 0;
    u64 cr2 = 0; // #PF
    // vm_exit
    spec::ExitReason reason{};
    u64 qualification = 0;
    Gva gla;
    Gpa gpa;
    u32 instruction_info = 0;
};

} // namespace seamless::cpu
