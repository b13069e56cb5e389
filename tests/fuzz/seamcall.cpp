// SPDX-License-Identifier: Apache-2.0
// Fuzzes SEAMCALL: sequences of leaves with operands that are often valid, on a module in each stage of its
// and a TD's life. The guest behind TDH.VP.ENTER exits at once.
#include "fuzz/seam_operands.h"
#include "fuzz/target.h"
#include "tdx/seam_call.h"

namespace seamless::fuzz {
namespace {

constexpr unsigned kMostCalls = 64;

// How far the module and the TD have come before the input takes over.
enum class Stage : u8 { loaded, ready, created, built, running };

void prepare(tdx::TdHost& host, Stage stage)
{
    if (stage == Stage::running)
        return host.build();
    if (stage != Stage::loaded)
        host.bring_up();
    if (stage < Stage::created)
        return;
    host.create_td();
    if (stage < Stage::built)
        return;
    (void)host.init_td(tdx::TdHost::default_params());
    host.vcpu = host.create_vcpu();
    host.sept_tables(tdx::kGpa);
}

u64 draw_rax(Input& in)
{
    const auto rows = tdx::tdh_rows();
    const u8 kind = in.byte();
    if (kind >= 250)
        return in.number();
    const tdx::TdhRow& row = in.pick(rows);
    const u64 version = kind & 1 ? in.below(3) : row.max_version;
    return row.number | version << 16;
}

void run(Input in)
{
    tdx::TdHost host;
    prepare(host, static_cast<Stage>(in.below(5)));
    SeamOperands operands(host, in);
    for (unsigned i = 0; i < kMostCalls && !in.empty(); ++i)
        operands.call(draw_rax(in), in.byte() % 2);
}

} // namespace
} // namespace seamless::fuzz

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    seamless::fuzz::run({data, size});
    return 0;
}
