# What the gates of exceptions lead to. On PVH every gate takes the stack from its top (entry.s).

# With a report: one stub a vector, 16 bytes each. A PV guest enters at the start of a stub, where
# it drops the %rcx and %r11 that Xen pushes; a PVH guest enters TRAP_NATIVE bytes later. All end in
# trap_report(frame).

    .section .text.trap_stubs, "ax", @progbits
    .balign 16
    .globl trap_stubs
trap_stubs:
    .altmacro
    .macro stub vector
    .balign 16
    pop %rcx
    pop %r11
    .if (\vector == 8) || ((\vector >= 10) && (\vector <= 14)) || (\vector == 17) || (\vector == 21)
    .else
    push $0
    .endif
    push $\vector
    jmp trap_common
    .endm

    .set vector, 0
    .rept 32
    stub %vector
    .set vector, vector + 1
    .endr
    .noaltmacro

trap_common:
    cld
    mov %rsp, %rdi
    and $-16, %rsp
    call trap_report
    ud2

# Without: one for all vectors.

    .section .text.trap_silent, "ax", @progbits
    .globl trap_silent
trap_silent:
    cld
    and $-16, %rsp
    call trap_crash
    ud2

    .text
