#!/bin/bash
# qemu.sh INITRD LOG [TIMEOUT] [DOM0-ARGS] [XEN-ARGS]
: "${K:?the kernel, stripped vmlinux}" "${X:?the hypervisor, uncompressed}"
exec timeout ${3:-300} qemu-system-x86_64 -cpu max,-smap,-pku,-la57,-rdtscp,-xsave -accel tcg,thread=multi -m 3072 -smp 2 \
 -nodefaults -display none -no-reboot -serial file:$2 \
 -kernel $X -append "dom0_mem=1024M,max:1024M console=com1 com1=115200,8n1 $5" \
 -initrd "$K console=hvc0 earlyprintk=xen quiet $4,$1" $6
