# SPDX-License-Identifier: Apache-2.0
# What linux_test.py has the guest do: one line "name: value" for each thing it finds. "do=WORD" on the kernel's command
# line reaches this as a variable.
say() { echo "SAYS $1: $2"; }

say cpus "$(grep -c ^processor /proc/cpuinfo)"
say tdx_guest "$(grep -c '^flags.* tdx_guest' /proc/cpuinfo)"
say clocksource "$(cat /sys/devices/system/clocksource/clocksource0/current_clocksource)"
say memory "$(sed -n 's/^MemTotal: *\([0-9]*\) kB/\1/p' /proc/meminfo)"
[ -c /dev/tdx_guest ] && tdreport

if [ "$do" = devices ]; then
    say entropy "$(cat /sys/class/misc/hw_random/rng_current)"
    say disk "$(sha256sum < /dev/vda)"
    dd if=/dev/vda of=/dev/vdb bs=64k conv=fsync 2> /dev/null || echo "the disks cannot be copied"
    ifconfig eth0 10.0.2.15 && route add default gw 10.0.2.2
    say network "$(wget -q -O - "http://10.0.2.2:$port/word" 2>&1)"
    echo "said on hvc0" > /dev/hvc0
fi
if [ "$do" = work ]; then
    # Processes, pipes and pages on all processors.
    for i in 1 2 3 4; do
        (dd if=/dev/zero bs=64k count=64 2> /dev/null | gzip -1 | gunzip | sha256sum) &
    done > /tmp/sums
    wait
    say work "$(sort -u /tmp/sums | wc -l) of $(wc -l < /tmp/sums): $(head -n 1 /tmp/sums)"
fi
grep -qw quiet /proc/cmdline && dmesg
echo "BOOTED $(uname -r)"
[ "$do" = reboot ] && reboot -f
if [ "$do" = reboots ]; then
    boots=$(dd if=/dev/vda bs=1 count=1 2> /dev/null)
    say boot "$boots"
    [ "$boots" = 2 ] && exit
    echo $((boots + 1)) | dd of=/dev/vda bs=1 count=1 conv=fsync,notrunc 2> /dev/null
    reboot -f
fi
