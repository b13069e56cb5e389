# SPDX-License-Identifier: Apache-2.0
# What the benchmarks' guest does: says that it is up, then runs the programs that bench=NAME,NAME... on the kernel's
# command line names, each as a process of its own.
echo "BENCH-UP"
for word in $(cat /proc/cmdline); do
    case $word in
    bench=*)
        for name in $(echo "${word#bench=}" | tr ',' ' '); do
            work "$name" || echo "FAILED $name"
        done
        ;;
    esac
done
echo "BENCH-END"
