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

    # The first GiB and, for the special pages near 4 GiB, the fourth, in pages of 2 MiB (present, writable, large).
    mov $boot_pd, %edi
    mov $0x83, %eax
1:  mov %eax, (%edi)
    add $8, %edi
    add $0x200000, %eax
    cmp $0x40000083, %eax
    jne 1b
    mov $0xc0000083, %eax
2:  mov %eax, (%edi)
    add $8, %edi
    add $0x200000, %eax
    jnc 2b
    movl $boot_pd + 0x003, boot_pdpt
    movl $boot_pd + 0x1003, boot_pdpt + 3 * 8
    movl $boot_pdpt + 0x003, boot_pml4
    mov $boot_pml4, %eax
    mov %eax, %cr3

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
    mov $16, %eax
    mov %eax, %ss
    mov %eax, %ds
    mov %eax, %es
    xor %eax, %eax
    mov %eax, %fs
    mov %eax, %gs
    lea stack_top(%rip), %rsp
    xor %ebp, %ebp
    mov %ebx, %edi
    mov $1, %esi
    call guest_start
    ud2

    .balign 8
gdt:
    .quad 0
    .quad 0x00af9b000000ffff    # 8: code, 64-bit
    .quad 0x00cf93000000ffff    # 16: data
gdt_pointer:
    .word gdt_pointer - gdt - 1
    .long gdt

    .section .bss.entry, "aw", @nobits
    .balign 4096
    .globl hypercall_page
hypercall_page: .skip 4096
boot_pml4:      .skip 4096
boot_pdpt:      .skip 4096
boot_pd:        .skip 2 * 4096

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
    note_quad 4, 0                      # PADDR_OFFSET
    note_text 5, "xen-3.0"              # XEN_VERSION
    note_text 6, "LightVM"              # GUEST_OS
    note_text 7, "1"                    # GUEST_VERSION
    note_text 8, "generic"              # LOADER
    note_text 9, "yes"                  # PAE_MODE
    note_text 10, "pae_pgdir_above_4gb" # FEATURES
    note 17                             # SUPPORTED_FEATURES: bit 4, pae_pgdir_above_4gb
    .long 1 << 4
3:
    note 18                             # PHYS32_ENTRY
    .long pvh_start
3:
    .balign 4
    .text
