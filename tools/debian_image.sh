#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# debian_image.sh FILE [PACKAGE...]: makes a raw ext4 disk image with a minimal Debian 12, the packages, and an init that
# runs /work.sh and powers off. For looking at a guest's userland by hand; needs root and mmdebstrap.
set -eu
image=${1:?usage: debian_image.sh FILE [PACKAGE...]}
shift
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
include=$(IFS=,; echo "$*")
mmdebstrap --quiet --variant=minbase ${include:+--include="$include"} bookworm "$root/fs"
cat > "$root/fs/init.sh" << 'END'
#!/bin/bash
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8
mount -t proc proc /proc
mount -t sysfs sys /sys
mountpoint -q /dev || mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts pts /dev/pts
mount -t tmpfs shm /dev/shm
mount -t tmpfs tmp /tmp
hostname debian
[ -r /work.sh ] && bash /work.sh
sync
mount -o remount,ro /
echo o > /proc/sysrq-trigger
sleep 60
END
chmod 755 "$root/fs/init.sh"
size=$(($(du -sm "$root/fs" | cut -f1) * 5 / 4 + 700))
rm -f "$image"
truncate -s "${size}M" "$image"
mke2fs -q -t ext4 -d "$root/fs" "$image"
echo "$image: ${size} MiB"
