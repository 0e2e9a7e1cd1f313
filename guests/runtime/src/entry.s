# Where a guest starts, once for each type. Both paths end in guest_start(start info, type), on our own
# stack, in long mode, with SSE usable, with events and interrupts off (they never come on: see lib.rs).

    .section .text.entry, "ax", @progbits

# PV, 64-bit: paging is on, %rsi is the address of start_info.
    .code64
    .globl pv_start
pv_start:
    cld
    lea stack_top(%rip), %rsp
    xor %ebp, %ebp
    mov %rsi, %rdi
    xor %esi, %esi
    call guest_start
    ud2

# PVH: 32-bit protected mode without paging, %ebx is the physical address of hvm_start_info.
    .code32
    .globl pvh_start
pvh_start:
    cld
    mov $stack_top, %esp

    # The first 2 MiB in pages of 4 KiB, but for page 0, the guard of the stack.
    mov $boot_pt + 8, %edi
    mov $0x1003, %eax
1:  mov %eax, (%edi)
    add $8, %edi
    add $0x1000, %eax
    cmp $0x200003, %eax
    jne 1b
    # The rest of the first GiB in pages of 2 MiB (present, writable, large).
    movl $boot_pt + 0x003, boot_pd
    mov $boot_pd + 8, %edi
    mov $0x200083, %eax
2:  mov %eax, (%edi)
    add $8, %edi
    add $0x200000, %eax
    cmp $0x40000083, %eax
    jne 2b
    # The last 512 MiB below 4 GiB, likewise: special pages, and where `window` maps pages. One page
    # is the table of GiBs and the directory of the fourth GiB, since they use different entries of
    # it: 0 and 3 as a table, 256 to 511 as a directory. Read as the other, those are of no use and
    # no harm: nobody uses addresses above 4 GiB nor the beginning of the fourth GiB.
    mov $boot_pdpt + 256 * 8, %edi
    mov $0xe0000083, %eax
3:  mov %eax, (%edi)
    add $8, %edi
    add $0x200000, %eax
    jnc 3b
    movl $boot_pd + 0x003, boot_pdpt
    movl $boot_pdpt + 0x003, boot_pdpt + 3 * 8
    movl $boot_pdpt + 0x003, boot_pml4
    mov $boot_pml4, %eax
    mov %eax, %cr3

    # The task state segment, for the one thing in it: exceptions take the stack from its top, as
    # what is on it will never be used again. They must not need what is left, which may be nothing.
    movl $stack_top, task_state + 36

    # CR4: PAE, OSFXSR, OSXMMEXCPT. EFER: LME. CR0: not EM, not TS; PE, MP, NE, WP, PG.
    mov %cr4, %eax
    or $0x620, %eax
    mov %eax, %cr4
    mov $0xc0000080, %ecx
    rdmsr
    or $0x100, %eax
    wrmsr
    mov %cr0, %eax
    and $~0xc, %eax
    or $0x80010023, %eax
    mov %eax, %cr0
    lgdt gdt_pointer
    ljmp $8, $pvh_long

    .code64
pvh_long:
    # The other data segments are of no use in this mode.
    mov $16, %eax
    mov %eax, %ss
    mov $24, %eax
    ltr %ax
    lea stack_top(%rip), %rsp
    xor %ebp, %ebp
    mov %ebx, %edi
    mov $1, %esi
    call guest_start
    ud2

    .section .data.entry, "aw", @progbits
    .balign 8
gdt:
gdt_pointer:                    # 0: is never used, so there is place for this
    .word gdt_end - gdt - 1
    .long gdt
    .word 0
    .quad 0x00af9b000000ffff    # 8: code, 64-bit
    .quad 0x00cf93000000ffff    # 16: data
    .word 103                   # 24: task state; the pieces of its address are in guest.ld
    .word task_state_low
    .byte task_state_middle, 0x89, 0, 0
    .quad 0
gdt_end:

    .section .bss.entry, "aw", @nobits
    .balign 4096
    .globl hypercall_page
hypercall_page: .skip 4096
    # PVH's page tables. A PV guest, which has others, maps shared pages here: `window`.
    .globl boot_tables
boot_tables:
boot_pml4:      .skip 4096
boot_pdpt:      .skip 4096
boot_pd:        .skip 4096
boot_pt:        .skip 4096

    .section .bss.task_state, "aw", @nobits
    .balign 8
    .globl task_state
task_state:     .skip 104

# What the domain builder needs to know: xen/include/public/elfnote.h.
    .macro note type
    .balign 4
    .long 4, 3f - 2f, \type
    .asciz "Xen"
2:
    .endm

    .macro note_text type, text
    note \type
    .asciz "\text"
3:
    .endm

    .macro note_quad type, value
    note \type
    .quad \value
3:
    .endm

    .section .note.Xen, "a", @note
    note_quad 1, pv_start               # ENTRY
    note_quad 2, hypercall_page         # HYPERCALL_PAGE
    note_quad 3, 0                      # VIRT_BASE
    note_text 5, "xen-3.0"              # XEN_VERSION
    note_text 8, "generic"              # LOADER
    note 18                             # PHYS32_ENTRY
    .long pvh_start
3:
    .balign 4
    .text
