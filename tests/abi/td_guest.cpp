// SPDX-License-Identifier: Apache-2.0
// Builds the TD. Its guest handles #VE as a guest must: VEINFO.GET, then the access by TDG.VP.VMCALL.
#include "abi/td_guest.h"

#include "spec/tdx_abi.h"

// The page is at 0xfffff000; private tables and stack at 0x100000: PML4, PDPT, stack. Virtual addresses from
// 4 GiB on are the shared view of the top GiB, from 5 GiB on that of the first GiB.
asm(R"(
    .section .rodata
    .global td_guest_begin, td_guest_end
    .balign 16
    .code32
td_guest_begin:
    lgdtl 0xfffff000 + (td_gdtr - td_guest_begin)
    movl $0x100000, %eax
    movl %eax, %cr3
    movl %cr4, %eax
    orl $0x20, %eax
    movl %eax, %cr4
    movl %cr0, %eax
    orl $0x80000000, %eax
    movl %eax, %cr0
    ljmpl $8, $0xfffff000 + (td_long_mode - td_guest_begin)
    .code64
td_long_mode:
    movl $0x104000, %esp
    lidt td_idtr(%rip)
    movabsq $0x13eb00010, %rdi
    testl %ecx, %ecx
    jz 1f
    movabsq $0x140200000, %rdi
1:  movl $0x11223344, %ebx
    movl %ebx, (%rdi)
    xorl %ebx, %ebx
    movl (%rdi), %ebx
    xorl %r10d, %r10d       # report it: a port write of 4 bytes
    movl $30, %r11d
    movl $4, %r12d
    movl $1, %r13d
    movl $0xf4, %r14d
    movq %rbx, %r15
    call td_vmcall
2:  jmp 2b

td_vmcall:
    movl $0xfc00, %ecx
    xorl %eax, %eax
    .byte 0x66, 0x0f, 0x01, 0xcc
    ret

td_ve:                      # the access is 2 bytes of code, its value in EBX
    movl $3, %eax
    .byte 0x66, 0x0f, 0x01, 0xcc
    movq %r9, %r14
    shrl %edx
    andl $1, %edx
    movl %edx, %r13d
    xorl %r10d, %r10d
    movl $48, %r11d
    movl $4, %r12d
    movq %rbx, %r15
    call td_vmcall
    testl %r13d, %r13d
    jnz 3f
    movl %r11d, %ebx
3:  addq $2, (%rsp)
    iretq

    .balign 8
td_gdt:
    .quad 0, 0x00af9b000000ffff
td_gdtr:
    .word 15
    .long 0xfffff000 + (td_gdt - td_guest_begin)
    .balign 8
td_idt:
    .fill 40, 8, 0
    .word (td_ve - td_guest_begin) + 0xf000, 8, 0x8e00, 0xffff
    .quad 0
td_idtr:
    .word 21 * 16 - 1
    .quad 0xfffff000 + (td_idt - td_guest_begin)
td_guest_end:
    .text
)");

namespace seamless::abi {

TdGuest::TdGuest(Host& h, Target target) : host(h)
{
    std::copy(td_guest_begin, td_guest_end, boot_.at);
    // The reset vector: a jump to the start of the page.
    boot_.at[0xff0] = 0xe9;
    boot_.put<u32>(0xff1, static_cast<u32>(0x1000 - 0xff5) - 0x1000);
    constexpr u64 kTable = 3, kGib = 0x83;
    tables_.put<u64>(0, 0x101000 | kTable);
    for (u64 i = 0; i < 4; ++i)
        tables_.put<u64>(0x1000 + 8 * i, i << 30 | kGib);
    tables_.put<u64>(0x1000 + 8 * 4, kShared | u64{3} << 30 | kGib);
    tables_.put<u64>(0x1000 + 8 * 5, kShared | kGib);

    vm = static_cast<int>(host.ioctl(host.sys, KVM_CREATE_VM, KVM_X86_TDX_VM));
    enable(KVM_CAP_SPLIT_IRQCHIP, 24);
    enable(KVM_CAP_X2APIC_API, 3);
    struct {
        kvm_tdx_init_vm params;
        kvm_cpuid_entry2 entry;
    } init{};
    init.params.attributes = spec::td_attributes::SEPT_VE_DISABLE;
    init.params.xfam = 3;
    init.params.cpuid.nent = 1;
    init.entry.function = 0x80000008;
    init.entry.eax = 48 << 16;
    EXPECT_EQ(command(vm, KVM_TDX_INIT_VM, &init), 0);
    vcpu = static_cast<int>(host.ioctl(vm, KVM_CREATE_VCPU));
    run = static_cast<kvm_run*>(host.device->mmap(vcpu, kVcpuMmapSize));
    struct {
        kvm_cpuid2 header;
        kvm_cpuid_entry2 entry;
    } cpuid{};
    cpuid.header.nent = 1;
    cpuid.entry.function = 1;
    cpuid.entry.ecx = 1u << 21;
    EXPECT_EQ(host.ioctl(vcpu, KVM_SET_CPUID2, &cpuid), 0);
    EXPECT_EQ(command(vcpu, KVM_TDX_INIT_VCPU, reinterpret_cast<const void*>(u64{target})), 0);
    add_private(0, 0xfffff000, boot_);
    add_private(1, 0x100000, tables_);
    kvm_userspace_memory_region region{.slot = 2,
                                       .flags = 0,
                                       .guest_phys_addr = kMemory,
                                       .memory_size = shared.bytes,
                                       .userspace_addr = reinterpret_cast<u64>(shared.at)};
    EXPECT_EQ(host.ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region), 0);
    EXPECT_EQ(command(vm, KVM_TDX_FINALIZE_VM, nullptr), 0);
    host.trace.records.clear();
}

void TdGuest::enable(u32 cap, u64 arg)
{
    kvm_enable_cap c{};
    c.cap = cap;
    c.args[0] = arg;
    EXPECT_EQ(host.ioctl(vm, KVM_ENABLE_CAP, &c), 0);
}

long TdGuest::command(int fd, u32 id, const void* data, u32 flags)
{
    kvm_tdx_cmd cmd{.id = id, .flags = flags, .data = reinterpret_cast<u64>(data), .hw_error = 0};
    return host.ioctl(fd, KVM_MEMORY_ENCRYPT_OP, &cmd);
}

void TdGuest::add_private(u32 slot, u64 gpa, const Memory& content)
{
    kvm_create_guest_memfd create{.size = content.bytes, .flags = 0, .reserved = {}};
    const long gmem = host.ioctl(vm, KVM_CREATE_GUEST_MEMFD, &create);
    ASSERT_GE(gmem, 0);
    kvm_userspace_memory_region2 region{};
    region.slot = slot;
    region.flags = KVM_MEM_GUEST_MEMFD;
    region.guest_phys_addr = gpa;
    region.memory_size = content.bytes;
    region.userspace_addr = reinterpret_cast<u64>(content.at);
    region.guest_memfd = static_cast<u32>(gmem);
    ASSERT_EQ(host.ioctl(vm, KVM_SET_USER_MEMORY_REGION2, &region), 0);
    kvm_memory_attributes attrs{
        .address = gpa, .size = content.bytes, .attributes = KVM_MEMORY_ATTRIBUTE_PRIVATE, .flags = 0};
    ASSERT_EQ(host.ioctl(vm, KVM_SET_MEMORY_ATTRIBUTES, &attrs), 0);
    kvm_tdx_init_mem_region add{
        .source_addr = reinterpret_cast<u64>(content.at), .gpa = gpa, .nr_pages = content.bytes / kPageSize};
    ASSERT_EQ(command(vcpu, KVM_TDX_INIT_MEM_REGION, &add), 0);
}

long TdGuest::run_once()
{
    const long r = host.ioctl(vcpu, KVM_RUN);
    return r < 0 ? r : static_cast<long>(run->exit_reason);
}

} // namespace seamless::abi
