// SPDX-License-Identifier: Apache-2.0
// XSAVE and its kind: XCR0, headers, alignment, and what is refused.
    .include "isa.inc"
    .set AREA, PAGE_A
    .globl test_main
test_main:
    has_cpuid 1, %ecx, 26
    jnz 2f
    skip "XSAVE"
    ret
2:  attempt 1f
    xor %ecx, %ecx
    xgetbv
1:  check_trap "XGETBV without CR4.OSXSAVE", 6
    attempt 1f
    xsave AREA
1:  check_trap "XSAVE without CR4.OSXSAVE", 6
    mov $1, %eax
    cpuid
    shr $27, %ecx
    and $1, %ecx
    check "CPUID.OSXSAVE is clear", %rcx, 0
    mov %cr4, %rax
    or $0x40000, %rax
    mov %rax, %cr4
    mov $1, %eax
    cpuid
    shr $27, %ecx
    and $1, %ecx
    check "CPUID.OSXSAVE is set", %rcx, 1
    xor %ecx, %ecx
    xgetbv
    check "XCR0 after reset", %rax, 1
    .macro refuse_xcr0 value, label
    attempt .Lx\@
    xor %ecx, %ecx
    xor %edx, %edx
    mov $\value, %eax
    xsetbv
.Lx\@: check_trap "\label", 13
    .endm
    refuse_xcr0 0, "XCR0 without x87"
    refuse_xcr0 2, "XCR0 with SSE alone"
    refuse_xcr0 5, "XCR0 with AVX without SSE"
    attempt 1f
    mov $1, %ecx
    mov $1, %eax
    xor %edx, %edx
    xsetbv
1:  check_trap "XSETBV of XCR1", 13
    attempt 1f
    xor %ecx, %ecx
    mov $1, %eax
    mov $0x80000000, %edx
    xsetbv
1:  check_trap "XCR0 bit 63", 13
    xor %ecx, %ecx
    xor %edx, %edx
    mov $3, %eax
    xsetbv
    xgetbv
    check "XCR0", %rax, 3
    in_user 10f, 11f
    check_trap "XSETBV at CPL 3", 13
    in_user 11f, 12f
    check_trap "XGETBV at CPL 3", 0x80

    mov $AREA, %edi
    xor %eax, %eax
    mov $1024, %ecx
    rep stosb
    mov $0x12345678, %eax
    movd %eax, %xmm3
    fninit
    fld1
    mov $3, %eax
    xor %edx, %edx
    xsave AREA
    check_mem "XSTATE_BV", AREA + 512, 3
    mov AREA + 160 + 48, %eax
    check "XMM3 in the area", %rax, 0x12345678
    pxor %xmm3, %xmm3
    fninit
    mov $3, %eax
    xrstor AREA
    movd %xmm3, %ebx
    check "XRSTOR brings XMM3 back", %rbx, 0x12345678
    fnstsw %ax
    and $0x3800, %eax
    check "and the x87 stack", %rax, 0x3800
    movl $1, AREA + 512               // SSE is in its initial state
    mov $3, %eax
    xor %edx, %edx
    xrstor AREA
    movd %xmm3, %ebx
    check "XRSTOR of an initial state", %rbx, 0
    attempt 1f
    movl $0x10, AREA + 512
    mov $3, %eax
    xrstor AREA
1:  check_trap "XSTATE_BV with what XCR0 has not", 13
    attempt 1f
    movl $3, AREA + 512
    movl $1, AREA + 528
    mov $3, %eax
    xrstor AREA
1:  check_trap "a header whose reserved bytes are set", 13
    movl $0, AREA + 528
    attempt 1f
    mov $3, %eax
    xsave AREA + 8
1:  check_trap "XSAVE unaligned", 13
    attempt 1f
    movl $0xffff0000, AREA + 24
    mov $3, %eax
    xor %edx, %edx
    xrstor AREA
1:  check_trap "XRSTOR with reserved bits of MXCSR", 13
    mov %cr0, %rax
    or $8, %rax
    mov %rax, %cr0
    attempt 1f
    xsave AREA
1:  check_trap "#NM of XSAVE with CR0.TS", 7
    clts
    attempt 1f
    .byte 0x66, 0x0f, 0xae, 0x25      // 66 XSAVE: no instruction
    .long 0
1:  check_trap "XSAVE with 66H", 6
    has_cpuid 1, %ecx, 28
    jz 3f
    attempt 1f
    vpxor %xmm0, %xmm0, %xmm0
1:  check_trap "AVX that XCR0 has not", 6
    xor %ecx, %ecx
    xor %edx, %edx
    mov $7, %eax
    xsetbv
    attempt 1f
    vpcmpeqd %ymm1, %ymm1, %ymm1
    vmovdqa %xmm1, %xmm1
    vextracti128 $1, %ymm1, %xmm2
    vmovq %xmm2, %rbx
1:  check_trap "AVX that XCR0 has", NO_TRAP
    check "VEX.128 clears the upper half", %rbx, 0
    ret
3:  skip "AVX"
    ret
10: xsetbv
11: xor %ecx, %ecx
    xgetbv
    int $0x80
12:
