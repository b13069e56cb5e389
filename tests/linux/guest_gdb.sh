# SPDX-License-Identifier: Apache-2.0
# What gdb_test.py has the guest do: say where the kernel's functions are if that is asked, as it takes as long as half a
# boot; and run programs.
if [ "$do" = symbols ]; then
    sed -n -E "s/^([0-9a-f]*) [tTwW] (start_kernel|exc_virtualization_exception|vfs_read)\$/SYMBOL \2 \1/p" /proc/kallsyms
fi
if [ "$do" = late ]; then # until somebody types a line
    echo RUNNING
    while ! read -r -t 1 line; do echo turn | gzip -1 | gunzip > /dev/null; done
fi
for i in 1 2 3 4; do
    echo "turn $i" | gzip -1 | gunzip
done
echo "BOOTED $(uname -r)"
