#!/bin/bash
# mk.sh TEST-SCRIPT OUT KERNEL: makes the two ramdisks
set -e
cd "$(dirname "$0")"
gcc -O1 -Wall -I../../noxs/include -I../../noxs/tests/c nx.c -o nx -lxenguest -lxenctrl -lxenforeignmemory -lxenevtchn -lxenstore
rm -rf g d; mkdir -p g/{bin,dev} d/{bin,dev,root,lib/x86_64-linux-gnu,lib64,root}
cp /bin/busybox g/bin; cp guest-init g/init; chmod +x g/init; mkdir -p g/proc g/sys
[ -z "$GEXTRA" ] || cp -a $GEXTRA/. g/
(cd g; find . | cpio -o -H newc --quiet) > guest.cpio
cp /bin/busybox d/bin; cp dom0-init d/init; chmod +x d/init
cp nx d/bin; for l in $(ldd nx | grep -o '/lib[^ ]*'); do cp -L $l d/lib/x86_64-linux-gnu/; done; cp -L /lib64/ld-linux-x86-64.so.2 d/lib64; cp -L /lib/x86_64-linux-gnu/libgcc_s.so.1 d/lib/x86_64-linux-gnu/
cp guest.cpio d/root; cp "${3:?KERNEL}" d/root/vmlinux; cp lib.sh d/root; cp "$1" d/test.sh
[ -z "$EXTRA" ] || cp -a $EXTRA/. d/
(cd d; find . | cpio -o -H newc --quiet) > $2
