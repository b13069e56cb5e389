# SPDX-License-Identifier: Apache-2.0
# What gdb_test.py has the guest do: say where the kernel's functions are, and run programs.
for name in start_kernel exc_virtualization_exception exc_page_fault vfs_read; do
    echo "SYMBOL $name $(sed -n "s/^\([0-9a-f]*\) [tTwW] $name\$/\1/p" /proc/kallsyms)"
done
for i in 1 2 3 4; do
    echo "turn $i" | gzip -1 | gunzip
done
echo "BOOTED $(uname -r)"
