#!/bin/sh
# Builds the test into the folder named: control (for dom0), pv and pvh (guests), run.sh. Needs gcc with its 32-bit target.
set -e
out=${1:?usage: build.sh FOLDER}
mkdir -p "$out"
out=$(cd "$out" && pwd)
cd "$(dirname "$0")"
set -- -Wall -Wextra -Werror -I../../noxs/include -I../../noxs/tests/c
gcc -O2 -static "$@" control.c -o "$out/control"
set -- "$@" -O1 -ffreestanding -fno-pic -no-pie -fno-stack-protector -fcf-protection=none -mgeneral-regs-only \
    -nostdlib -static -Wl,--build-id=none -Wl,-Ttext-segment=0x100000 -Wl,-z,noexecstack -Wl,-z,max-page-size=4096
gcc -m64 -mno-red-zone "$@" entry.S guest.c -o "$out/pv"
gcc -m32 -DPVH "$@" entry.S guest.c -o "$out/pvh"
cp run.sh "$out"
