// SPDX-License-Identifier: Apache-2.0
// Operands for SEAMCALL and TDCALL: pages of every kind, guest-physical addresses, field ids, what earlier
// calls returned, and noise.
#pragma once

#include <vector>

#include "fuzz/depth.h"
#include "fuzz/input.h"
#include "unit/tdx/td_host.h"

namespace seamless::fuzz {

class SeamOperands {
  public:
    // What the host has done before is not the input's.
    SeamOperands(tdx::TdHost& host, Input& in) : host_(host), in_(in)
    {
        host.sink.records.clear();
        for (const Hpa page : {host.tdr, host.vcpu, host.ram, host.pamt, host.memory->base()})
            pages_.push_back(page);
        for (const auto* list : {&host.tdcx, &host.vcpu_pages, &host.tables})
            pages_.insert(pages_.end(), list->begin(), list->end());
    }
    ~SeamOperands()
    {
        for (const trace::Record& record : host_.sink.records)
            Depth::reached(record);
    }
    SeamOperands(const SeamOperands&) = delete;
    SeamOperands& operator=(const SeamOperands&) = delete;

    void call(u64 rax, unsigned lp)
    {
        last_ = {};
        last_.rax = rax;
        for (u64* reg : {&last_.rcx, &last_.rdx, &last_.r8, &last_.r9})
            *reg = operand();
        if (in_.byte() >= 224)
            for (u64* reg : {&last_.r10, &last_.r11, &last_.r12, &last_.r13, &last_.r14, &last_.r15})
                *reg = operand();
        (void)host_.module.seamcall(host_.lp(lp), last_);
    }

    u64 operand()
    {
        switch (in_.byte() % 12) {
        case 0:
            return 0;
        case 1:
            return in_.number();
        case 2:
            return new_page();
        case 3:
            return page() + in_.below(64); // flags and levels are low bits
        case 4:
            return page() | in_.below(mem::kHkidMask >> mem::kHkidShift) << mem::kHkidShift;
        case 5:
            return host_.tdr.value();
        case 6:
            return host_.vcpu.value();
        case 7:
        case 8:
            return gpa();
        case 9:
            return field_id();
        case 10:
            return parameters();
        default: {
            const u64 outputs[] = {last_.rcx, last_.rdx, last_.r8, last_.r9, last_.r10, last_.r11};
            return in_.pick(outputs);
        }
        }
    }

    // In or around the TD's memory, with a level in the low bits, maybe shared.
    u64 gpa()
    {
        const u8 kind = in_.byte();
        u64 at = tdx::kGpa + in_.below(4) * kPageSize;
        if (kind & 1)
            at &= ~(spec::ept::level_size(kind >> 1 & 3) - 1);
        if (kind & 8)
            at += in_.below(4) << 21;
        if ((kind & 0x30) == 0x30)
            at |= bit(47 + (kind >> 6));
        return at | (kind & 4 ? in_.below(8) : 0);
    }

    // Field code, class, context, and size of an element.
    u64 field_id()
    {
        return in_.below(64) | in_.below(48) << 56 | in_.below(4) << 52 | in_.below(4) << 32 |
               (in_.flag() ? in_.number() << 16 : 0);
    }

  private:
    u64 page() { return in_.pick(pages_).value(); }
    u64 new_page()
    {
        pages_.push_back(host_.page());
        return pages_.back().value();
    }
    // A page that holds a structure: TD parameters, or whatever the input says.
    u64 parameters()
    {
        const u64 at = new_page();
        const spec::TdParams params = tdx::TdHost::default_params();
        if (in_.flag())
            std::memcpy(mem::host_ptr(Hpa(at)), &params, sizeof params);
        for (u64 i = in_.below(4); i > 0; --i) {
            const u64 offset = in_.below(kPageSize - 16);
            in_.fill(mem::host_ptr<u8>(Hpa(at + offset)), 1 + in_.below(16));
        }
        return at;
    }

    tdx::TdHost& host_;
    Input& in_;
    std::vector<Hpa> pages_;
    cpu::SeamRegs last_;
};

} // namespace seamless::fuzz
