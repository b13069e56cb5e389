# SPDX-License-Identifier: Apache-2.0
# The part of ./demo that boots Debian's kernel as a TD. To be sourced by it: uses its $seamless, $out and complain.
source tools/linux_packages.sh

# linux_initrd: $out/initrd, whose shell is for people only.
linux_initrd() {
    local shell=()
    [[ -t 0 && -t 1 ]] && shell=(--shell)
    g++ -O1 -static -s -o "$out/tdreport" tests/linux/tdreport.cpp &&
        python3 tools/initramfs.py --output "$out/initrd" --busybox "$linux_cache/busybox" --modules "$linux_cache/modules" \
            --module tdx_guest --module virtio_mmio --module virtio_blk --module virtio_net --module virtio_rng \
            --file "$out/tdreport:/bin/tdreport" --script tools/demo_guest.sh "${shell[@]}"
}

# linux_guest: boots it, with the console on the terminal.
linux_guest() {
    local status
    printf '\n=== Linux as a TD, with two processors, a disk, a network and a source of entropy\n\n'
    truncate -s 0 "$out/report.img" && truncate -s 64K "$out/report.img"
    "$seamless" run --kernel "$linux_cache/vmlinuz" --initrd "$out/initrd" --append "$append" --cpus 2 --memory 1G \
        --disk "$out/report.img" --trace "$out/linux.jsonl:ve_inject,kvm_tdx_vmcall,kvm_mmio,kvm_userspace_exit,kvm_tdx_vmcall_done,kvm_emulate_insn"
    status=$?
    ((status == 0)) || complain "Linux ended with status $status"
}

# linux_measurements: what the guest's TDREPORT, which it has written to its disk, says beside what was predicted.
linux_measurements() {
    local report hex
    printf '\n=== What the TD was measured as, and what was predicted from its inputs\n\n'
    report=$(head -c 4096 "$out/report.img" | tr -d '\0' | sed -n 's/^TDREPORT //p')
    ((${#report} == 2048)) || {
        complain "the guest left no TDREPORT on its disk"
        return
    }
    # TDX ABI: MRTD is at 528, the RTMRs follow from 720 on; two digits each byte.
    hex="MRTD ${report:1056:96}
RTMR0 ${report:1440:96}
RTMR1 ${report:1536:96}
RTMR2 ${report:1632:96}"
    sed 's/^/    reported:  /' <<< "$hex"
    "$seamless" measure --kernel "$linux_cache/vmlinuz" --initrd "$out/initrd" --append "$append" --cpus 2 > "$out/predicted"
    sed 's/^/    predicted: /' "$out/predicted"
    [[ $(grep -v '^RTMR3' "$out/predicted") == "$hex" ]] || complain "the measurements differ"
}

# linux_flow: how many accesses to devices' registers took which way.
linux_flow() {
    local raised asked emulated
    raised=$(grep -c '"ev":"ve_inject","exit_reason":"EPT_VIOLATION"' "$out/linux.jsonl")
    asked=$(grep -c '"ev":"kvm_tdx_vmcall","leaf":"MMIO"' "$out/linux.jsonl")
    emulated=$(grep -c '"ev":"kvm_emulate_insn"' "$out/linux.jsonl")
    printf '\n=== Which way the accesses to memory-mapped registers took\n\n'
    printf '    %8d  became a #VE\n    %8d  were then asked of the host by TDG.VP.VMCALL<#VE.RequestMMIO>\n' "$raised" "$asked"
    printf '    %8d  were emulated by the host, which cannot read a TD\n\n' "$emulated"
    "$seamless" trace "$out/linux.jsonl" --summary | sed '/^#VE/,$d; s/^/    /'
    echo "    All of it: seamless trace $out/linux.jsonl --summary"
    ((raised > 0 && raised == asked && emulated == 0)) || complain "an access took another way"
}

demo_linux() {
    append="console=ttyS0 quiet"
    fetch_linux || exit 1
    linux_initrd || exit 1
    rm -f "$out/linux.jsonl"
    linux_guest
    linux_measurements
    linux_flow
    printf '\n%s\n' "$( ((failed)) && echo 'The demo FAILED.' || echo "All exact.")"
}
