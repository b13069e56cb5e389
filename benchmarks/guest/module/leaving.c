// SPDX-License-Identifier: Apache-2.0
// A kernel module that measures, while it is loaded, what leaves the guest: accesses to devices' registers,
// ports, CPUID; in a TD also TDCALL, TDVMCALL, MapGPA and the acceptance of pages. Lines `BENCH name
// nanoseconds ns/item` in the log.
#include <asm/processor.h>
#include <asm/tsc.h>
#include <linux/gfp.h>
#include <linux/io.h>
#include <linux/kernel.h>
#include <linux/mm.h>
#include <linux/module.h>

// What the kernel exports to everybody is enough.
MODULE_LICENSE("Apache-2.0");
MODULE_DESCRIPTION("Measures what leaves the guest");

static ulong mmio_read;
module_param(mmio_read, ulong, 0);
MODULE_PARM_DESC(mmio_read, "physical address of a register that does not change, 0 for none");
static ulong mmio_write;
module_param(mmio_write, ulong, 0);
MODULE_PARM_DESC(mmio_write, "physical address of a register where 0 may be written");
static ulong ioapic;
module_param(ioapic, ulong, 0);
MODULE_PARM_DESC(ioapic, "physical address of an IOAPIC");

enum { repetitions = 500, batches = 8, pages_each = 64, line_status = 0x3fd };
enum {
    tdg_vp_vmcall = 0,
    tdg_vp_info = 1,
    tdg_mem_page_accept = 6,
    get_td_vm_call_info = 0x10000,
    map_gpa = 0x10001,
    retry = 1
};

static void print(const char* name, const char* item, u64 cycles, unsigned int count)
{
    // In hundredths of a nanosecond: there is no floating point here.
    const u64 hundredths = cycles * 100000000 / tsc_khz / count;
    printk(KERN_DEBUG "BENCH %s %llu.%02llu ns/%s\n", name, hundredths / 100, hundredths % 100, item);
}

// The best of some batches, each of `repetitions` turns.
#define MEASURE(name, item, statement)                                                                       \
    do {                                                                                                     \
        u64 best = ~0ull;                                                                                    \
        for (int batch = 0; batch < batches; ++batch) {                                                      \
            const u64 start = rdtsc_ordered();                                                               \
            for (int turn = 0; turn < repetitions; ++turn) {                                                 \
                statement;                                                                                   \
            }                                                                                                \
            best = min(best, rdtsc_ordered() - start);                                                       \
        }                                                                                                    \
        print(name, item, best, repetitions);                                                                \
    } while (0)

static int measure_read(const char* name, ulong address)
{
    void __iomem* at = ioremap(address & PAGE_MASK, PAGE_SIZE);
    if (!at)
        return -ENOMEM;
    void __iomem* reg = at + (address & ~PAGE_MASK);
    const u32 first = ioread32(reg);
    bool same = true;
    MEASURE(name, "read", same &= ioread32(reg) == first);
    if (!same)
        printk(KERN_DEBUG "FAILED %s\n", name);
    iounmap(at);
    return 0;
}

static int measure_write(const char* name, ulong address)
{
    void __iomem* at = ioremap(address & PAGE_MASK, PAGE_SIZE);
    if (!at)
        return -ENOMEM;
    void __iomem* reg = at + (address & ~PAGE_MASK);
    MEASURE(name, "write", iowrite32(0, reg));
    iounmap(at);
    return 0;
}

static u32 cpuid_of(u32 leaf)
{
    u32 a, b, c, d;
    cpuid(leaf, &a, &b, &c, &d);
    return a;
}

// The registers of a TDCALL and of the TDVMCALL in it, before and after.
struct registers {
    u64 rax, rcx, rdx, r8, r10, r11, r12, r13;
};

static void tdcall(struct registers* regs)
{
    register u64 r8 asm("r8") = regs->r8;
    register u64 r10 asm("r10") = regs->r10;
    register u64 r11 asm("r11") = regs->r11;
    register u64 r12 asm("r12") = regs->r12;
    register u64 r13 asm("r13") = regs->r13;
    asm volatile(".byte 0x66, 0x0f, 0x01, 0xcc"
                 : "+a"(regs->rax), "+c"(regs->rcx), "+d"(regs->rdx), "+r"(r8), "+r"(r10), "+r"(r11),
                   "+r"(r12), "+r"(r13)
                 :
                 : "r9", "r14", "r15", "memory", "cc");
    regs->r8 = r8;
    regs->r10 = r10;
    regs->r11 = r11;
}

static u64 vmcall(u64 leaf, u64 r12, u64 r13)
{
    // The bits of RCX: which registers the host sees and may change.
    struct registers regs = {.rax = tdg_vp_vmcall, .rcx = 0xfc00, .r11 = leaf, .r12 = r12, .r13 = r13};
    do {
        regs.rax = tdg_vp_vmcall;
        regs.rcx = 0xfc00;
        regs.r10 = 0;
        regs.r11 = leaf;
        tdcall(&regs);
    } while (regs.rax == 0 && regs.r10 == retry);
    return regs.rax ? regs.rax : regs.r10;
}

static u64 info(void)
{
    struct registers regs = {.rax = tdg_vp_info};
    tdcall(&regs);
    return regs.rcx;
}

static u64 accept(u64 gpa)
{
    struct registers regs = {.rax = tdg_mem_page_accept, .rcx = gpa};
    tdcall(&regs);
    return regs.rax;
}

// Gives pages to the host and takes them back. Nothing reads them in between, so that their mapping may stay
// as it is.
static void measure_pages(struct page* const pages[pages_each])
{
    const u64 shared = 1ull << ((info() & 0x3f) - 1);
    u64 best[3] = {~0ull, ~0ull, ~0ull};
    u64 failed = 0;
    for (int batch = 0; batch < batches; ++batch) {
        u64 times[4];
        times[0] = rdtsc_ordered();
        for (int i = 0; i < pages_each; ++i)
            failed |= vmcall(map_gpa, page_to_phys(pages[i]) | shared, PAGE_SIZE);
        times[1] = rdtsc_ordered();
        for (int i = 0; i < pages_each; ++i)
            failed |= vmcall(map_gpa, page_to_phys(pages[i]), PAGE_SIZE);
        times[2] = rdtsc_ordered();
        for (int i = 0; i < pages_each; ++i)
            failed |= accept(page_to_phys(pages[i]));
        times[3] = rdtsc_ordered();
        for (int i = 0; i < 3; ++i)
            best[i] = min(best[i], times[i + 1] - times[i]);
    }
    if (failed)
        printk(KERN_DEBUG "FAILED map_gpa or accept: %#llx\n", failed);
    print("map_shared", "page", best[0], pages_each);
    print("map_private", "page", best[1], pages_each);
    print("accept", "page", best[2], pages_each);
}

static void measure_td(void)
{
    static struct page* pages[pages_each];
    MEASURE("tdcall", "call", info());
    u64 failed = 0;
    MEASURE("tdvmcall", "call", failed |= vmcall(get_td_vm_call_info, 0, 0));
    if (failed)
        printk(KERN_DEBUG "FAILED tdvmcall: %#llx\n", failed);
    int count = 0;
    while (count < pages_each && (pages[count] = alloc_page(GFP_KERNEL)))
        ++count;
    if (count == pages_each)
        measure_pages(pages);
    while (count > 0)
        __free_page(pages[--count]);
}

static bool in_td(void)
{
    u32 a, b, c, d;
    if (cpuid_of(0) < 0x21)
        return false;
    cpuid_count(0x21, 0, &a, &b, &c, &d);
    return b == 0x65746e49 && d == 0x5844546c && c == 0x20202020; // "IntelTDX    "
}

static int __init leaving_init(void)
{
    int status = 0;
    if (mmio_read)
        status = measure_read("mmio_read", mmio_read);
    if (!status && mmio_write)
        status = measure_write("mmio_write", mmio_write);
    if (!status && ioapic)
        status = measure_read("ioapic_read", ioapic);
    if (status)
        return status;
    MEASURE("port_read", "read", inb(line_status));
    MEASURE("kernel_cpuid", "instruction", cpuid_of(0));
    MEASURE("host_cpuid", "instruction", cpuid_of(0x40000000));
    MEASURE("kernel_rdtsc", "instruction", rdtsc());
    if (in_td())
        measure_td();
    return 0;
}

static void __exit leaving_exit(void) {}

module_init(leaving_init);
module_exit(leaving_exit);
