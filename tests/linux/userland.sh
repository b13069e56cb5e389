# SPDX-License-Identifier: Apache-2.0
# What userland.py has a Debian do, in a chroot. /dev/vdb is the input, /dev/vdc an empty disk. Each piece of work says
# "RESULT name status seconds", where status is the shell's; what it found for the host to compare is "FOUND name: value".
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8
mkdir -p /userland
cd /userland || exit 1

work() {
    local name=$1 start status
    shift
    start=$(date +%s.%N)
    "$@" > /userland/log 2>&1
    status=$?
    echo "RESULT $name $status $(echo "$start $(date +%s.%N)" | awk '{printf "%.1f", $2 - $1}')"
    # 132 is SIGILL: the host decides whether it is the known one.
    [ $status = 0 ] || tail -n 25 /userland/log
}

hashes() {
    dd if=/dev/vdb of=input bs=1M iflag=fullblock status=none || return
    for program in md5sum sha1sum sha256sum sha512sum b2sum cksum; do
        set -- $("$program" input)
        echo "FOUND $program: $1" > /dev/console
    done
}

round_trip() {
    "$@" -c input > packed && "$1" -dc packed | cmp - input
}

compile() {
    cat > prime.c << 'END'
#include <stdio.h>
#include <stdlib.h>
int main(int argc, char **argv)
{
    unsigned limit = argc > 1 ? strtoul(argv[1], 0, 10) : 0, count = 0;
    char *composite = calloc(limit + 1, 1);
    unsigned long long sum = 0;
    for (unsigned i = 2; i <= limit; i++) {
        if (composite[i])
            continue;
        count++;
        sum += i;
        for (unsigned long j = (unsigned long)i * i; j <= limit; j += i)
            composite[j] = 1;
    }
    printf("%u %llu\n", count, sum);
    return 0;
}
END
    for level in 0 2 3; do
        gcc -Wall -Wextra -Werror -O$level -o prime prime.c || return
        echo "FOUND primes at -O$level: $(./prime 5000000)" > /dev/console
    done
}

filesystem() {
    mke2fs -q -t ext4 /dev/vdc && mkdir -p disk && mount -t ext4 /dev/vdc disk || return
    dd if=input of=disk/copy bs=64k conv=fsync status=none && cp -r /usr/lib/gcc disk/tree && sync || return
    diff -r --no-dereference /usr/lib/gcc disk/tree && umount disk && e2fsck -fn /dev/vdc && mount -t ext4 /dev/vdc disk && cmp input disk/copy || return
    rm -r disk/tree && umount disk && e2fsck -fn /dev/vdc
}

# As nobody: the exec stressor will not run as root.
stress() {
    (cd /tmp && setpriv --reuid=nobody --regid=nogroup --clear-groups stress-ng --temp-path /tmp --verify --metrics-brief "$@")
}

work hashes hashes
work gzip round_trip gzip -6
work xz round_trip xz -1 -T2
work zstd round_trip zstd -q -9 -T2
rm -f packed
work compile compile
for module in int float math re hashlib json threading decimal; do
    work "python3_$module" python3 -m test "test_$module"
done
for stressor in fork exec mmap signal futex pipe vm switch; do
    case $stressor in
        signal) work "stress_$stressor" stress --sigq 2 --sigfd 1 --timeout 5 ;;
        mmap) work "stress_$stressor" stress --mmap 2 --mmap-bytes 64M --timeout 5 ;;
        vm) work "stress_$stressor" stress --vm 2 --vm-bytes 64M --timeout 5 ;;
        *) work "stress_$stressor" stress "--$stressor" 2 --timeout 5 ;;
    esac
done
for method in $(stress-ng --cpu 1 --cpu-method which 2>&1 | sed -n 's/.*must be one of: //p' | sed 's/\<all\>//'); do
    work "cpu_$method" stress --cpu 2 --cpu-method "$method" --cpu-ops 20 --timeout 10
done
work filesystem filesystem
mountpoint -q disk && umount disk
rm -f input
