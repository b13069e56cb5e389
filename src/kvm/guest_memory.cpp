// SPDX-License-Identifier: Apache-2.0
// Copies to and from the VMM's memory that cannot crash, page by page.
#include "kvm/guest_memory.h"

#include <algorithm>
#include <shared_mutex>
#include <sys/uio.h>
#include <unistd.h>

#include "kvm/vm.h"
#include "mem/guest_access.h"

namespace seamless::kvm {

namespace {

using CopyHost = bool(u64 hva, void* data, std::size_t bytes, bool write);

// The VMM may have unmapped the page meanwhile; the kernel's copy then fails where ours would crash.
bool copy_by_kernel(u64 hva, void* data, std::size_t bytes, bool write)
{
    const iovec local{data, bytes}, remote{reinterpret_cast<void*>(hva), bytes};
    const ssize_t done = write ? process_vm_writev(getpid(), &local, 1, &remote, 1, 0)
                               : process_vm_readv(getpid(), &local, 1, &remote, 1, 0);
    return done == static_cast<ssize_t>(bytes);
}

bool copy_here(u64 hva, void* data, std::size_t bytes, bool write)
{
    void* const host = reinterpret_cast<void*>(hva);
    return (write ? mem::try_copy(host, data, bytes) : mem::try_copy(data, host, bytes)) == bytes;
}

bool access_page(Vm& vm, u64 gpa, void* data, std::size_t bytes, bool write, CopyHost& copy)
{
    const std::shared_lock slots(vm.slots_lock);
    const Gfn gfn = gfn_of(Gpa(gpa));
    const Memslot* slot = vm.slots.find(gfn);
    if (!slot || (write && slot->readonly()))
        return false;
    const bool done = copy(slot->hva(gfn) + gpa % kPageSize, data, bytes, write);
    if (done && write && slot->dirty)
        slot->dirty->mark(gfn - slot->base);
    return done;
}

bool access_memory(Vm& vm, u64 gpa, u8* data, std::size_t bytes, bool write, CopyHost& copy)
{
    while (bytes != 0) {
        const std::size_t piece = std::min(bytes, static_cast<std::size_t>(kPageSize - gpa % kPageSize));
        if (!access_page(vm, gpa, data, piece, write, copy))
            return false;
        gpa += piece;
        data += piece;
        bytes -= piece;
    }
    return true;
}

} // namespace

bool kvm_read_guest(Vm& vm, u64 gpa, void* data, std::size_t bytes)
{
    return access_memory(vm, gpa, static_cast<u8*>(data), bytes, false, copy_by_kernel);
}

bool kvm_write_guest(Vm& vm, u64 gpa, const void* data, std::size_t bytes)
{
    return access_memory(vm, gpa, static_cast<u8*>(const_cast<void*>(data)), bytes, true, copy_by_kernel);
}

bool kvm_vcpu_read_guest(Vm& vm, u64 gpa, void* data, std::size_t bytes)
{
    return access_memory(vm, gpa, static_cast<u8*>(data), bytes, false, copy_here);
}

bool kvm_vcpu_write_guest(Vm& vm, u64 gpa, const void* data, std::size_t bytes)
{
    return access_memory(vm, gpa, static_cast<u8*>(const_cast<void*>(data)), bytes, true, copy_here);
}

} // namespace seamless::kvm
