// SPDX-License-Identifier: Apache-2.0
// MSRs and CPUID of a vCPU: arrays with a count in front.
#include <cstring>

#include "uapi/register_ioctls.h"

namespace seamless::uapi {

using namespace spec::kvm;

constexpr u32 kMaxCpuidEntries = 256, kMaxMsrs = 256;

static kvm::Vcpu& vcpu_of(const Call& c) { return *c.file.vcpu; }

// Stops at the first MSR that fails; the count tells user space which.
template <typename Access>
IoctlResult for_each_msr(const Call& c, bool write_back, Access access)
{
    const auto header = TRY(get_user<kvm_msrs>(c.arg));
    if (header.nmsrs >= kMaxMsrs)
        return fail(Errno{E2BIG});
    std::vector<kvm_msr_entry> entries(header.nmsrs);
    TRY(copy_from_user(entries.data(), c.arg + sizeof header, entries.size() * sizeof(kvm_msr_entry)));
    long done = 0;
    while (done < static_cast<long>(entries.size()) && access(entries[static_cast<std::size_t>(done)]))
        ++done;
    if (write_back)
        TRY(copy_to_user(c.arg + sizeof header, entries.data(), entries.size() * sizeof(kvm_msr_entry)));
    return done;
}

IoctlResult get_msrs(const Call& c)
{
    kvm::Vcpu& vcpu = vcpu_of(c);
    return for_each_msr(c, true, [&](kvm_msr_entry& e) {
        const auto value = vcpu.vm().ops.get_msr(vcpu, e.index, true);
        e.data = value.value_or(e.data);
        return value.ok();
    });
}

IoctlResult set_msrs(const Call& c)
{
    kvm::Vcpu& vcpu = vcpu_of(c);
    return for_each_msr(
        c, false, [&](kvm_msr_entry& e) { return vcpu.vm().ops.set_msr(vcpu, e.index, e.data, true).ok(); });
}

IoctlResult set_cpuid2(const Call& c)
{
    const auto header = TRY(get_user<kvm_cpuid2>(c.arg));
    if (header.nent > kMaxCpuidEntries)
        return fail(Errno{E2BIG});
    std::vector<kvm_cpuid_entry2> entries(header.nent);
    const std::size_t bytes = entries.size() * sizeof(kvm_cpuid_entry2);
    TRY(copy_from_user(entries.data(), c.arg + sizeof header, bytes));
    kvm::Vcpu& vcpu = vcpu_of(c);
    if (vcpu.ran_once) { // only what the guest has seen already
        const bool same = entries.size() == vcpu.cpuid.size() &&
                          (bytes == 0 || std::memcmp(entries.data(), vcpu.cpuid.data(), bytes) == 0);
        return same ? IoctlResult(0) : IoctlResult(fail(Errno{EINVAL}));
    }
    vcpu.cpuid = std::move(entries);
    vcpu.cpuid_changed();
    return 0;
}

IoctlResult put_cpuid(u64 to, std::span<const kvm_cpuid_entry2> entries)
{
    auto header = TRY(get_user<kvm_cpuid2>(to));
    const bool fits = header.nent >= entries.size();
    header.nent = static_cast<u32>(entries.size());
    TRY(put_user(to, header));
    if (!fits)
        return fail(Errno{E2BIG});
    TRY(copy_to_user(to + sizeof header, entries.data(), entries.size_bytes()));
    return 0;
}

IoctlResult get_cpuid2(const Call& c) { return put_cpuid(c.arg, vcpu_of(c).cpuid); }

} // namespace seamless::uapi
