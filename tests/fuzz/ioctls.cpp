// SPDX-License-Identifier: Apache-2.0
// Fuzzes sequences of ioctls: every request on every kind of descriptor, with structures that are often
// valid, and KVM_RUN in whatever state that leaves. Memslots point at memory of the fuzzer or at nothing.
#include <algorithm>
#include <sys/eventfd.h>

#include "fuzz/input.h"
#include "fuzz/kvm_host.h"
#include "fuzz/target.h"

namespace seamless::fuzz {
namespace {

constexpr unsigned kMostCalls = 64, kMostEntries = 4, kMostFiles = 24;
constexpr u64 kRam = 0x10000;
// clang-format off
constexpr u32 kRequests[] = {
    KVM_CREATE_VM, KVM_CHECK_EXTENSION, KVM_GET_VCPU_MMAP_SIZE, KVM_GET_MSR_INDEX_LIST, KVM_GET_SUPPORTED_CPUID,
    KVM_CREATE_VCPU, KVM_SET_TSS_ADDR, KVM_CREATE_IRQCHIP, KVM_SET_BOOT_CPU_ID, KVM_SET_TSC_KHZ, KVM_GET_TSC_KHZ,
    KVM_SET_IDENTITY_MAP_ADDR, KVM_IRQ_LINE, KVM_SET_GSI_ROUTING, KVM_REGISTER_COALESCED_MMIO,
    KVM_UNREGISTER_COALESCED_MMIO, KVM_IRQFD, KVM_SIGNAL_MSI, KVM_SET_MEMORY_ATTRIBUTES, KVM_IOEVENTFD,
    KVM_ENABLE_CAP, KVM_X86_SET_MSR_FILTER, KVM_IRQ_LINE_STATUS, KVM_MEMORY_ENCRYPT_OP, KVM_CREATE_GUEST_MEMFD,
    KVM_NMI, KVM_SMI, KVM_INTERRUPT, KVM_SET_MP_STATE, KVM_GET_MP_STATE, KVM_GET_MSRS, KVM_SET_MSRS,
    KVM_SET_CPUID2, KVM_GET_CPUID2, KVM_SET_VCPU_EVENTS, KVM_GET_VCPU_EVENTS, KVM_SET_DEBUGREGS,
    KVM_GET_DEBUGREGS, KVM_SET_SREGS2, KVM_GET_SREGS2, KVM_SET_XCRS, KVM_GET_XCRS, KVM_SET_FPU, KVM_GET_FPU,
    KVM_SET_LAPIC, KVM_GET_LAPIC, KVM_SET_XSAVE, KVM_GET_XSAVE, KVM_PRE_FAULT_MEMORY, KVM_SET_REGS, KVM_GET_REGS,
    KVM_GET_DIRTY_LOG, KVM_SET_CLOCK, KVM_GET_CLOCK, KVM_TRANSLATE, KVM_SET_GUEST_DEBUG, KVM_CREATE_PIT2};
// clang-format on

class Session {
  public:
    Session(Input& in, KvmHost& host) : in_(in), host_(host)
    {
        files_.push_back(
            static_cast<int>(host_.ioctl(host_.sys(), KVM_CREATE_VM, in_.flag() ? KVM_X86_TDX_VM : 0)));
        if (in_.flag())
            files_.push_back(static_cast<int>(host_.ioctl(files_[0], KVM_CREATE_VCPU)));
    }
    ~Session()
    {
        for (const int fd : files_)
            (void)host_.device().close(fd);
        for (const int fd : events_)
            ::close(fd);
    }
    Session(const Session&) = delete;
    Session& operator=(const Session&) = delete;

    void step()
    {
        switch (in_.below(8)) {
        case 0:
            return set_slot();
        case 1:
            return run();
        case 2:
            return set_state();
        case 3:
            return set_devices();
        default:
            return any_request();
        }
    }

  private:
    int file() { return in_.below(8) == 7 ? host_.sys() : in_.pick(files_); }
    int event()
    {
        if (events_.size() < 8)
            events_.push_back(eventfd(0, EFD_NONBLOCK));
        return in_.pick(events_);
    }
    void keep(long fd)
    {
        if (fd < 0)
            return;
        if (files_.size() < kMostFiles)
            files_.push_back(static_cast<int>(fd));
        else
            (void)host_.device().close(static_cast<int>(fd));
    }

    void set_slot()
    {
        kvm_userspace_memory_region2 region{};
        region.slot = static_cast<u32>(in_.below(5));
        region.flags = static_cast<u32>(in_.flag() ? 0 : in_.below(8));
        region.guest_phys_addr = in_.flag() ? in_.below(8) * kRam : in_.number();
        region.memory_size = in_.flag() ? kRam : in_.below(20) * kPageSize;
        // Memory that goes on behind the slot, or addresses that no process has.
        region.userspace_addr = in_.below(8) == 7 ? in_.number() | bit(46) | bit(47) : memory_.address();
        region.guest_memfd_offset = in_.below(4) * kPageSize;
        region.guest_memfd = static_cast<u32>(file());
        (void)host_.ioctl(file(), in_.flag() ? KVM_SET_USER_MEMORY_REGION2 : KVM_SET_USER_MEMORY_REGION,
                          &region);
    }
    void run()
    {
        const int vcpu = file();
        void* pages = host_.device().mmap(vcpu, kVcpuMmapSize);
        if (uapi::Device::failed(pages))
            return;
        auto* shared = static_cast<kvm_run*>(pages);
        in_.fill(memory_.at + 0xfff0 - in_.below(64), in_.below(64));
        {
            const Budget budget([](void* d) { static_cast<uapi::Device*>(d)->signal_arrived(); },
                                &host_.device());
            for (unsigned i = 0; i < kMostEntries; ++i) {
                if (in_.below(4) == 3)
                    in_.fill(shared, 8); // the VMM's requests
                if (host_.ioctl(vcpu, KVM_RUN) < 0)
                    break;
                if (in_.flag())
                    in_.fill(shared->padding, 64);
            }
        }
        (void)host_.device().munmap(pages, kVcpuMmapSize);
    }
    void set_state()
    {
        const int vcpu = file();
        kvm_sregs s{};
        if (host_.ioctl(vcpu, KVM_GET_SREGS, &s) != 0)
            return;
        auto* bytes = reinterpret_cast<u8*>(&s);
        for (u64 i = in_.below(6); i > 0; --i)
            in_.fill(bytes + in_.below(sizeof s - 8), 1 + in_.below(8));
        (void)host_.ioctl(vcpu, KVM_SET_SREGS, &s);
        kvm_regs r{};
        r.rip = in_.flag() ? in_.number() : in_.below(kRam);
        r.rflags = in_.number();
        r.rsp = in_.number();
        (void)host_.ioctl(vcpu, KVM_SET_REGS, &r);
    }
    void set_devices()
    {
        const int vm = file();
        if (in_.flag()) {
            kvm_ioeventfd io{};
            in_.fill(&io, 16);
            io.len = static_cast<u32>(in_.below(10));
            io.fd = event();
            io.flags = static_cast<u32>(in_.below(16));
            (void)host_.ioctl(vm, KVM_IOEVENTFD, &io);
            return;
        }
        kvm_irqfd irq{};
        irq.fd = static_cast<u32>(event());
        irq.gsi = static_cast<u32>(in_.below(32));
        irq.flags = static_cast<u32>(in_.below(4));
        irq.resamplefd = static_cast<u32>(event());
        (void)host_.ioctl(vm, KVM_IRQFD, &irq);
        const u64 one = 1;
        (void)!::write(static_cast<int>(irq.fd), &one, sizeof one);
    }
    // A request with a buffer that starts with the input's words: counts and flags are small ones.
    void any_request()
    {
        const u32 request = in_.below(32) == 31 ? in_.take<u32>() : in_.pick(kRequests);
        buffer_.assign(8192, 0);
        for (u64 i = in_.below(12); i > 0; --i)
            put_word(in_.below(64) * 4);
        const int fd = file();
        const u8 how = in_.byte();
        if (how < 16) // a number, or an address where nothing is
            return keep_if_file(request, host_.ioctl(fd, request, in_.number() | (how < 8 ? 0 : bit(63))));
        keep_if_file(request, host_.ioctl(fd, request, buffer_.data()));
    }
    void put_word(u64 offset)
    {
        u64 word = in_.number();
        switch (in_.below(4)) {
        case 0:
            word = reinterpret_cast<u64>(buffer_.data() + 1024);
            break;
        case 1:
            word = static_cast<u64>(file());
            break;
        default:
            break;
        }
        std::memcpy(buffer_.data() + offset, &word, sizeof word);
    }
    void keep_if_file(u32 request, long result)
    {
        // Others would count as many as there are numbers.
        if (std::ranges::find(kRequests, request) != std::end(kRequests)) {
            const std::string name = std::to_string(request);
            if (result >= 0)
                Depth::reached("requests", name);
            Depth::reached("answers", name + " " + std::to_string(std::min(result, 0l)));
        }
        if (request == KVM_CREATE_VM || request == KVM_CREATE_VCPU || request == KVM_CREATE_GUEST_MEMFD)
            keep(result);
    }

    Input& in_;
    KvmHost& host_;
    Memory memory_{2 * kRam};
    std::vector<int> files_, events_;
    std::vector<u8> buffer_;
};

} // namespace
} // namespace seamless::fuzz

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    using namespace seamless;
    fuzz::Input in(data, size);
    fuzz::Session session(in, fuzz::KvmHost::with(in.flag() ? cpu::EngineMode::step : cpu::EngineMode::full));
    for (unsigned i = 0; i < fuzz::kMostCalls && !in.empty(); ++i)
        session.step();
    return 0;
}
