// SPDX-License-Identifier: Apache-2.0
// EFI's tables and runtime services in one page, which is copied to its place and which the operating system maps where
// it likes: nothing in it is absolute but the pointers of the tables, which SetVirtualAddressMap converts. efi.cpp fills
// the tables. UEFI: "Runtime Services", calling conventions "x64 Platforms".
    .set SHUTDOWN, 2                     // EFI_RESET_TYPE
    .set INVALID_PARAMETER, 0x8000000000000002
    .set UNSUPPORTED, 0x8000000000000003
    .set SYSTEM_TABLE_SIZE, 120
    .set SERVICES_SIZE, 136
    .set HEADER_SIZE, 24
    .set CRC, 16                         // in a table's header
    .set DESCRIPTOR_SIZE, 40             // at least; fields of EFI_MEMORY_DESCRIPTOR
    .set PHYSICAL, 8
    .set VIRTUAL, 16
    .set PAGES, 24

    .section .rodata, "a"
    .balign 16
    .code64
    .globl efi_page, efi_page_end, efi_reset_system, efi_set_virtual_address_map, efi_unsupported, efi_seal
efi_page:                                // struct EfiPage of efi.cpp
system_table:
    .skip 24
    .skip 8                              // firmware's vendor
    .skip 56
runtime_pointer:
    .skip 8
    .skip 16
tables_pointer:
    .skip 8
    .balign 8
services:
    .skip SERVICES_SIZE
    .skip 56                             // configuration tables, properties
reset_port:
    .short 0
sleep_port:
    .short 0
reset_value:
    .byte 0
sleep_value:
    .byte 0
    .balign 8
    .skip 24                             // the vendor's name

// ResetSystem(type, ...). Returns only where the machine has no such port.
    .balign 16
efi_reset_system:
    endbr64
    movzwl reset_port(%rip), %edx
    movzbl reset_value(%rip), %eax
    cmp $SHUTDOWN, %ecx
    jne 1f
    movzwl sleep_port(%rip), %edx
    movzbl sleep_value(%rip), %eax
1:  test %edx, %edx
    jz 2f
    out %al, %dx
2:  ret

    .balign 16
efi_unsupported:
    endbr64
    movabs $UNSUPPORTED, %rax
    ret

// SetVirtualAddressMap(size of the map, of a descriptor, version, map): once, and while addresses are physical.
    .balign 16
efi_set_virtual_address_map:
    endbr64
    lea efi_page(%rip), %r10
    btsl $0, converted(%rip)
    jc efi_unsupported
    cmp $1, %r8d
    jne 3f
    cmp $DESCRIPTOR_SIZE, %rdx
    jb 3f
1:  cmp %rdx, %rcx
    jb 3f
    mov %r10, %rax
    sub PHYSICAL(%r9), %rax
    shr $12, %rax
    cmp PAGES(%r9), %rax
    jb 2f                                // this page is in that region
    add %rdx, %r9
    sub %rdx, %rcx
    jmp 1b
2:  mov VIRTUAL(%r9), %rax
    sub PHYSICAL(%r9), %rax
    add %rax, HEADER_SIZE(%r10)
    add %rax, runtime_pointer(%rip)
    add %rax, tables_pointer(%rip)
    lea services+HEADER_SIZE(%rip), %r8
    lea services+SERVICES_SIZE(%rip), %r9
4:  add %rax, (%r8)
    add $8, %r8
    cmp %r9, %r8
    jne 4b
    call efi_seal
    xor %eax, %eax
    ret
3:  movl $0, converted(%rip)
    movabs $INVALID_PARAMETER, %rax
    ret

// Writes the checksums of both tables. Both C++ and the above call it: only registers that any convention gives away.
    .balign 16
efi_seal:
    lea system_table(%rip), %r8
    mov $SYSTEM_TABLE_SIZE, %ecx
    call seal
    lea services(%rip), %r8
    mov $SERVICES_SIZE, %ecx
// The table of RCX bytes at R8: CRC-32, computed with a checksum of zero.
seal:
    mov %r8, %r9
    movl $0, CRC(%r8)
    mov $-1, %eax
1:  movzbl (%r8), %edx
    xor %edx, %eax
    mov $8, %edx
2:  shr $1, %eax
    jnc 3f
    xor $0xedb88320, %eax
3:  dec %edx
    jnz 2b
    inc %r8
    dec %ecx
    jnz 1b
    not %eax
    mov %eax, CRC(%r9)
    ret

    .balign 4
converted:
    .long 0
efi_page_end:

    .section .note.GNU-stack, "", @progbits
