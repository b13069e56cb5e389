// SPDX-License-Identifier: Apache-2.0
// Descriptors: real ones, looked up in a table that holds what they stand for.
#include "uapi/device.h"

#include <atomic>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "platform/platform.h"
#include "uapi/files.h"

namespace seamless::uapi {

namespace {

// Written by this thread, read by its own signal handler: what a kernel knows as the current task's vCPU.
thread_local std::atomic<kvm::Vcpu*> current_vcpu{nullptr};

} // namespace

void set_current_vcpu(kvm::Vcpu* vcpu) { current_vcpu.store(vcpu, std::memory_order_relaxed); }

struct Device::Files {
    FileTable table;
};

Device::Device(platform::Platform& platform) : platform_(platform), files_(std::make_unique<Files>()) {}

Device::~Device()
{
    for (const int fd : files_->table.descriptors())
        (void)close(fd);
}

int Device::open()
{
    const int fd = eventfd(0, EFD_CLOEXEC);
    if (fd < 0)
        return -errno;
    files_->table.install(fd, std::make_shared<File>());
    return fd;
}

bool Device::owns(int fd) const { return files_->table.get(fd) != nullptr; }

long Device::ioctl(int fd, unsigned long request, void* arg)
{
    const auto file = files_->table.get(fd);
    if (!file)
        return -EBADF;
    const Call call{files_->table, platform_.kvm(), *file, request, reinterpret_cast<u64>(arg)};
    IoctlResult result = fail(Errno{ENOTTY});
    switch (file->kind) {
    case File::Kind::system:
        result = system_ioctl(call);
        break;
    case File::Kind::vm:
        result = vm_ioctl(call);
        break;
    case File::Kind::vcpu:
        result = vcpu_ioctl(call);
        break;
    case File::Kind::guest_memfd:
        break;
    }
    return result.ok() ? result.value() : -result.error().value;
}

void* Device::mmap(int fd, u64 size, u64 offset)
{
    const auto error = [](int e) { return reinterpret_cast<void*>(-static_cast<i64>(e)); };
    const auto file = files_->table.get(fd);
    if (!file)
        return error(EBADF);
    if (file->kind != File::Kind::vcpu)
        return error(ENODEV);
    if (size == 0 || offset + size < offset || offset + size > spec::kvm::kVcpuMmapSize)
        return error(EINVAL);
    void* at = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, file->vcpu->run_fd(),
                      static_cast<off_t>(offset));
    if (at == MAP_FAILED)
        return error(errno);
    // All vCPUs of a VM show the same ring of coalesced writes.
    const u64 ring_page = u64{spec::kvm::KVM_COALESCED_MMIO_PAGE_OFFSET} * kPageSize;
    if (offset <= ring_page && offset + size > ring_page) {
        const auto ring = file->vm->coalesced_mmio.ring_fd();
        void* there = static_cast<u8*>(at) + (ring_page - offset);
        if (!ring || ::mmap(there, kPageSize, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, ring.value(),
                            0) == MAP_FAILED) {
            ::munmap(at, size);
            return error(ENOMEM);
        }
    }
    return at;
}

int Device::munmap(void* address, u64 size) { return ::munmap(address, size) == 0 ? 0 : -errno; }

int Device::fallocate(int fd, int mode, u64 offset, u64 bytes)
{
    const auto file = files_->table.get(fd);
    if (!file)
        return -EBADF;
    if (file->kind != File::Kind::guest_memfd)
        return -ENODEV;
    const auto result = file->gmem->fallocate(mode, offset, bytes);
    return result.ok() ? 0 : -result.error().value;
}

int Device::close(int fd)
{
    auto file = files_->table.remove(fd);
    if (!file)
        return -EBADF;
    file.reset(); // a VM may end here, and takes its time
    return ::close(fd) == 0 ? 0 : -errno;
}

void Device::signal_arrived()
{
    if (kvm::Vcpu* vcpu = current_vcpu.load(std::memory_order_relaxed))
        vcpu->signal_arrived();
}

} // namespace seamless::uapi
