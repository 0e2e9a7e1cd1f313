/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The guests' first instructions, and what tells Xen's builder about them. */
#define NOTE(type, value...)            \
        .pushsection .note.Xen, "a", @note; \
        .long 4, 2f - 1f, type;         \
        .asciz "Xen";                   \
1:      value;                          \
2:      .balign 4;                      \
        .popsection

        .section .bss
        .balign 4096
stack:  .skip 16384
stack_end:

        .text
        .globl _start
_start:
        cld
#ifdef PVH
        NOTE(18, .long _start)
        mov $stack_end, %esp
        push %ebx
        call guest_main
#else
        NOTE(6, .asciz "noxs-test")     /* GUEST_OS */
        NOTE(5, .asciz "xen-3.0")       /* XEN_VERSION */
        NOTE(8, .asciz "generic")       /* LOADER */
        NOTE(9, .asciz "yes")           /* PAE_MODE */
        NOTE(3, .quad 0)                /* VIRT_BASE */
        NOTE(4, .quad 0)                /* PADDR_OFFSET */
        NOTE(1, .quad _start)           /* ENTRY */
        NOTE(2, .quad hypercall_page)   /* HYPERCALL_PAGE */
        mov $stack_end, %rsp
        mov %rsi, %rdi
        call guest_main
#endif
1:      jmp 1b

#ifndef PVH
        .balign 4096
        .globl hypercall_page
hypercall_page:
        .skip 4096
#endif
        .section .note.GNU-stack, "", @progbits
