# SPDX-License-Identifier: Apache-2.0
# What the benchmarks' guest does: says that it is up, then what the kernel's command line says. bench=NAME,NAME...: runs
# these, each as a process of its own; port=N: with a network, on which the host listens at this port; leaving: loads
# the module of this name.
echo "BENCH-UP"

# The C library chooses how to copy 8 MiB by the sizes of the caches, which a TD with this kernel cannot read: CPUID leaf 2
# raises #VE there, and is answered with zeros. What is measured is the same copy everywhere.
export GLIBC_TUNABLES=glibc.cpu.x86_non_temporal_threshold=0x10000000

# Where this machine has a virtio device's registers: Seamless's last transport, or the first PCI device's fourth region.
leaving() {
    local arguments="mmio_read=0xfeb00e00 mmio_write=0xfeb00e14" device
    for device in /sys/bus/pci/devices/*; do
        if [ "$(cat "$device/vendor" 2> /dev/null)" = 0x1af4 ]; then
            echo 1 > "$device/enable"
            arguments=$(sed -n '5s/^\(0x[0-9a-f]*\) .*/mmio_read=\1 mmio_write=\1/p' "$device/resource")
            break
        fi
    done
    # shellcheck disable=SC2086
    insmod /leaving.ko ioapic=0xfec00000 $arguments || echo "FAILED leaving"
    dmesg | sed -n 's/^.*\(BENCH \|FAILED \)/\1/p'
}

for word in $(cat /proc/cmdline); do
    case $word in
    port=*)
        export BENCH_PORT="${word#port=}"
        ifconfig eth0 10.0.2.15 netmask 255.255.255.0 up
        ;;
    esac
done
for word in $(cat /proc/cmdline); do
    case $word in
    leaving) leaving ;;
    bench=*)
        for name in $(echo "${word#bench=}" | tr ',' ' '); do
            work "$name" || echo "FAILED $name"
        done
        ;;
    esac
done
echo "BENCH-END"
