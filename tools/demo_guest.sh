# SPDX-License-Identifier: Apache-2.0
# What ./demo linux has the guest do before its shell, if there is one.
echo "=== $(uname -srm), $(grep -c ^processor /proc/cpuinfo) processors, up $(cut -d' ' -f1 /proc/uptime) s"
echo "--- what Linux says about TDX"
dmesg | grep -i -E 'tdx|memory encryption'
echo "flags of /proc/cpuinfo: $(grep -o -m 1 tdx_guest /proc/cpuinfo)"
echo "--- devices"
dmesg | grep -E 'virtio_blk|hw_random|virtio_net'
echo "source of entropy: $(cat /sys/class/misc/hw_random/rng_current)"
ifconfig eth0 10.0.2.15 && route add default gw 10.0.2.2 && echo "network: eth0 10.0.2.15, the host is 10.0.2.2"
tdreport | dd of=/dev/vda conv=sync,fsync 2> /dev/null && echo "its TDREPORT is on /dev/vda"
