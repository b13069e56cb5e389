// SPDX-License-Identifier: Apache-2.0
// Memslots, guest_memfd, attributes, the dirty log, and mapping ahead of time.
#include "uapi/memory_ioctls.h"

#include <fcntl.h>
#include <unistd.h>

#include "kvm/backend_tdx/tdx.h"
#include "kvm/mmu/mmu.h"

namespace seamless::uapi {

using namespace spec::kvm;

static IoctlResult set_region(const Call& c, const kvm_userspace_memory_region2& region)
{
    std::shared_ptr<File> file;
    kvm::GuestMemfd* gmem = nullptr;
    Errno why{EBADF};
    if (region.flags & KVM_MEM_GUEST_MEMFD) {
        const int fd = static_cast<int>(region.guest_memfd);
        file = c.files.get(fd);
        if (file && file->kind == File::Kind::guest_memfd)
            gmem = file->gmem.get();
        else if (file || fcntl(fd, F_GETFD) >= 0)
            why = Errno{EINVAL}; // a file, but no guest_memfd
    }
    TRY(c.file.vm->set_memory_region(region, gmem, why));
    return 0;
}

IoctlResult set_user_memory_region(const Call& c)
{
    const auto old = TRY(get_user<kvm_userspace_memory_region>(c.arg));
    if (old.flags & KVM_MEM_GUEST_MEMFD)
        return fail(Errno{EINVAL});
    kvm_userspace_memory_region2 region{};
    region.slot = old.slot;
    region.flags = old.flags;
    region.guest_phys_addr = old.guest_phys_addr;
    region.memory_size = old.memory_size;
    region.userspace_addr = old.userspace_addr;
    return set_region(c, region);
}

IoctlResult set_user_memory_region2(const Call& c)
{
    return set_region(c, TRY(get_user<kvm_userspace_memory_region2>(c.arg)));
}

IoctlResult create_guest_memfd(const Call& c)
{
    const auto args = TRY(get_user<kvm_create_guest_memfd>(c.arg));
    auto gmem = TRY(kvm::GuestMemfd::create(c.file.vm, args.size, args.flags));
    const int fd = fcntl(gmem->fd(), F_DUPFD_CLOEXEC, 0);
    if (fd < 0)
        return fail(Errno{errno});
    auto file = std::make_shared<File>();
    file->kind = File::Kind::guest_memfd;
    file->gmem = std::move(gmem);
    c.files.install(fd, std::move(file));
    return fd;
}

IoctlResult set_memory_attributes(const Call& c)
{
    TRY(c.file.vm->set_memory_attributes(TRY(get_user<kvm_memory_attributes>(c.arg))));
    return 0;
}

IoctlResult get_dirty_log(const Call& c)
{
    const auto args = TRY(get_user<kvm_dirty_log>(c.arg));
    const std::vector<u64> log = TRY(c.file.vm->get_dirty_log(args.slot));
    TRY(copy_to_user(args.dirty_bitmap, log.data(), log.size() * sizeof(u64)));
    return 0;
}

IoctlResult clear_dirty_log(const Call& c)
{
    const auto args = TRY(get_user<kvm_clear_dirty_log>(c.arg));
    TRY(c.file.vm->check_clear_dirty_log(args)); // before as much is copied as the caller says
    std::vector<u64> bitmap((u64{args.num_pages} + 63) / 64);
    TRY(copy_from_user(bitmap.data(), args.dirty_bitmap, bitmap.size() * sizeof(u64)));
    TRY(c.file.vm->clear_dirty_log(args, bitmap));
    return 0;
}

static Result<void, Errno> pre_fault_page(kvm::Vcpu& vcpu, u64 gpa)
{
    kvm::Vm& vm = vcpu.vm();
    bool is_private;
    {
        const std::shared_lock slots(vm.slots_lock);
        is_private = vm.attributes.get(gfn_of(Gpa(gpa))) & KVM_MEMORY_ATTRIBUTE_PRIVATE;
    }
    const u64 shared_bit = gpa_of(vm.gfn_direct_bits).value();
    return kvm::kvm_tdp_map_page(vcpu, is_private ? gpa : gpa | shared_bit,
                                 is_private ? kvm::PFERR_PRIVATE_ACCESS : 0);
}

IoctlResult pre_fault_memory(const Call& c)
{
    auto range = TRY(get_user<kvm_pre_fault_memory>(c.arg));
    kvm::Vcpu& vcpu = *c.file.vcpu;
    if (range.flags || !aligned(range.gpa, kPageSize) || !aligned(range.size, kPageSize) ||
        range.gpa + range.size <= range.gpa)
        return fail(Errno{EINVAL});
    if (vcpu.vm().is_td() && vcpu.vm().tdx->state != kvm::TdState::RUNNABLE)
        return fail(Errno{EOPNOTSUPP});
    if (range.gpa & gpa_of(vcpu.vm().gfn_direct_bits).value())
        return fail(Errno{EINVAL});
    bool any = false;
    const kvm::Handled done = vcpu.with_processor([&](cpu::LogicalProcessor&) -> kvm::Handled {
        while (range.size > 0) {
            TRY(pre_fault_page(vcpu, range.gpa));
            range.gpa += kPageSize;
            range.size -= kPageSize;
            any = true;
        }
        return 0;
    });
    TRY(put_user(c.arg, range));
    if (!done && !any)
        return fail(done.error());
    return 0;
}

} // namespace seamless::uapi
