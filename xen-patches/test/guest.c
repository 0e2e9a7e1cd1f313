/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A guest that shows its device page on its console after each change, and ends when a device of class "stop" is in it.
 *
 * One source, two guests: 64-bit PV, and 32-bit PVH without paging, whose hypercalls take the hypervisor's 32-bit entry.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "noxs.h"

#define ENOENT 2
#define XENMEM_noxs_op 62

/* Numbers of Xen's public headers. */
enum { UPDATE_VA_MAPPING = 14, MEMORY_OP = 12, SCHED_OP = 29, EVENT_CHANNEL_OP = 32, HVM_OP = 34 };
enum { ADD_TO_PHYSMAP = 7, REMOVE_FROM_PHYSMAP = 15, SPACE_GMFN = 2 };
enum { SCHED_POLL = 3, SCHED_SHUTDOWN = 2, BIND_VIRQ = 1, SEND = 4, GET_PARAM = 1 };

struct console {
    char in[1024], out[2048];
    uint32_t in_cons, in_prod, out_cons, out_prod;
};

struct frame {
    _Alignas(4096) volatile uint8_t bytes[4096];
};

static struct console *console;
static uint32_t console_port;
static struct frame shared_info, device_page;

#ifdef PVH
static struct frame hypercall_place;

static long hypercall(unsigned int nr, long a, long b, long c)
{
    long rc;
    uintptr_t entry = (uintptr_t)hypercall_place.bytes + nr * 32;

    asm volatile("call *%[entry]"
                 : "=a"(rc), "+b"(a), "+c"(b), "+d"(c)
                 : [entry] "r"(entry)
                 : "memory");
    return rc;
}
#else
extern char hypercall_page[];

static long hypercall(unsigned int nr, long a, long b, long c)
{
    long rc;

    asm volatile("call *%[entry]"
                 : "=a"(rc), "+D"(a), "+S"(b), "+d"(c)
                 : [entry] "r"(hypercall_page + nr * 32)
                 : "memory", "rcx", "r8", "r9", "r10", "r11");
    return rc;
}
#endif

static void put(char c)
{
    while (console->out_prod - *(volatile uint32_t *)&console->out_cons >= sizeof(console->out))
        hypercall(SCHED_OP, 0, 0, 0);
    console->out[console->out_prod % sizeof(console->out)] = c;
    asm volatile("" ::: "memory");
    console->out_prod++;
}

/* %s and %d alone. */
static void print(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    for (; *format; format++) {
        if (*format != '%') {
            put(*format);
        } else if (*++format == 's') {
            const char *text = va_arg(args, const char *);
            while (*text)
                put(*text++);
        } else {
            long value = va_arg(args, long);
            char digits[20];
            int n = 0;

            if (value < 0) {
                put('-');
                value = -value;
            }
            do {
                digits[n++] = '0' + value % 10;
                value /= 10;
            } while (value);
            while (n)
                put(digits[--n]);
        }
    }
    va_end(args);
    hypercall(EVENT_CHANNEL_OP, SEND, (long)&console_port, 0);
}

static long ask(struct xen_noxs_op *op, uint32_t number, uint64_t frame)
{
    *op = (struct xen_noxs_op){ .op = number, .abi = XEN_NOXS_ABI, .frame = frame };
    return hypercall(MEMORY_OP, XENMEM_noxs_op, (long)op, 0);
}

/* Waits for the port, at most for ever, and takes its event away. */
static void wait(uint32_t port)
{
    struct {
        uint32_t *ports;
        unsigned int nr;
        uint64_t timeout;
    } poll = { &port, 1, 0 };
    volatile uint8_t *pending = shared_info.bytes + 2048 + port / 8;

    while (!(*pending & (1 << (port % 8))))
        hypercall(SCHED_OP, SCHED_POLL, (long)&poll, 0);
    asm volatile("lock andb %1, %0" : "+m"(*pending) : "r"((uint8_t)~(1 << (port % 8))));
}

/* Prints the devices; whether there is one of class "stop". */
static int scan(void)
{
    const volatile struct xen_noxs_device_page *page = (void *)device_page.bytes;
    int stop = 0;
    unsigned int i, n = 0;

    print("generation %d\n", (long)page->generation);
    for (i = 0; i < XEN_NOXS_DEVICE_SLOTS; i++) {
        const volatile struct xen_noxs_slot *slot = &page->slot[i];
        uint32_t sequence = slot->sequence;
        char name[XEN_NOXS_CLASS_LEN + 1] = "";
        unsigned int j;

        if (!(sequence & 1))
            continue;
        for (j = 0; j < XEN_NOXS_CLASS_LEN; j++)
            name[j] = slot->class_name[j];
        print("  slot %d: %s %d, backend %d, grant %d, port %d, sequence %d\n", (long)i, name, (long)slot->id,
              (long)slot->backend, (long)slot->grant, (long)slot->port, (long)sequence);
        stop |= name[0] == 's' && name[1] == 't';
        n++;
    }
    print("%d devices\n", (long)n);
    return stop;
}

static void shut_down(unsigned int reason)
{
    for (;;)
        hypercall(SCHED_OP, SCHED_SHUTDOWN, (long)&reason, 0);
}

#ifdef PVH
static long map(struct xen_noxs_op *op)
{
    return ask(op, XEN_NOXS_map, (uintptr_t)device_page.bytes >> 12);
}

static void try_to_write(struct xen_noxs_op *op)
{
    static struct frame other;
    struct {
        uint16_t domid;
        uint32_t gpfn;
    } remove = { 0x7ff0, (uintptr_t)other.bytes >> 12 };
    struct {
        uint16_t domid, size;
        uint32_t space, idx, gpfn;
    } move = { 0x7ff0, 0, SPACE_GMFN, (uintptr_t)device_page.bytes >> 12, (uintptr_t)other.bytes >> 12 };
    volatile struct xen_noxs_device_page *page = (void *)other.bytes;

    device_page.bytes[0] = 'X';
    print("after a write the magic begins with %d\n", (long)device_page.bytes[0]);
    print("map at a frame beyond all: %d\n", ask(op, XEN_NOXS_map, 1ULL << 51));
    print("map elsewhere: %d\n", ask(op, XEN_NOXS_map, (uintptr_t)other.bytes >> 12));
    print("the magic begins there with %d\n", (long)other.bytes[0]);
    print("remove: %d\n", hypercall(MEMORY_OP, REMOVE_FROM_PHYSMAP, (long)&remove, 0));
    print("map again: %d\n", map(op));

    /* Moved like that the page is writable. Xen writes it anew, but must not go on from what it finds there. */
    print("move as memory: %d\n", hypercall(MEMORY_OP, ADD_TO_PHYSMAP, (long)&move, 0));
    page->generation = 77;
    print("map once more: %d\n", map(op));
}

static void set_up(void *unused)
{
    uint32_t base, msr, pages;
    struct {
        uint16_t domid;
        uint32_t index;
        uint64_t value;
    } param = { 0x7ff0, 17, 0 };
    struct {
        uint16_t domid, size;
        uint32_t space, idx, gpfn;
    } physmap = { 0x7ff0, 0, 0, 0, (uintptr_t)shared_info.bytes >> 12 };

    (void)unused;
    for (base = 0x40000000;; base += 0x100) {
        uint32_t eax = base, ebx, ecx, edx;

        asm volatile("cpuid" : "+a"(eax), "=b"(ebx), "=c"(ecx), "=d"(edx));
        if (ebx == 0x566e6558)
            break;
    }
    asm volatile("cpuid" : "=a"(pages), "=b"(msr) : "a"(base + 2) : "ecx", "edx");
    asm volatile("wrmsr" ::"c"(msr), "a"((uintptr_t)hypercall_place.bytes), "d"(0));
    hypercall(MEMORY_OP, ADD_TO_PHYSMAP, (long)&physmap, 0);
    hypercall(HVM_OP, GET_PARAM, (long)&param, 0);
    console = (void *)((uintptr_t)param.value << 12);
    param.index = 18;
    hypercall(HVM_OP, GET_PARAM, (long)&param, 0);
    console_port = param.value;
}
#else
struct start_info {
    char magic[32];
    unsigned long nr_pages, shared_info;
    uint32_t flags;
    unsigned long store_mfn;
    uint32_t store_evtchn;
    unsigned long console_mfn;
    uint32_t console_evtchn;
};

static long map_frame(struct frame *at, uint64_t frame, uint64_t flags)
{
    return hypercall(UPDATE_VA_MAPPING, (long)at->bytes, frame << 12 | flags, 2);
}

static long map(struct xen_noxs_op *op)
{
    long rc = ask(op, XEN_NOXS_map, 0);

    return rc ? rc : map_frame(&device_page, op->frame, 5);
}

static void try_to_write(struct xen_noxs_op *op)
{
    static struct frame other;

    print("map writable: %d\n", map_frame(&other, op->frame, 7));
    print("map with a frame: %d\n", ask(op, XEN_NOXS_map, 5));
}

static void set_up(void *info)
{
    const struct start_info *start = info;
    const unsigned long *machine_to_phys = (void *)0xffff800000000000;

    console = (void *)(machine_to_phys[start->console_mfn] << 12);
    console_port = start->console_evtchn;
    map_frame(&shared_info, start->shared_info >> 12, 7);
}
#endif

void guest_main(void *info)
{
    struct xen_noxs_op op;
    struct {
        uint32_t virq, vcpu, port;
    } bind = { 0 };
    long rc;

    set_up(info);
    rc = ask(&op, XEN_NOXS_query, 0);
    print("query: %d, ABI %d, VIRQ %d, %d slots, flags %d\n", rc, (long)op.abi, (long)op.virq, (long)op.slots, (long)op.flags);
    bind.virq = op.virq;
    print("bind: %d\n", hypercall(EVENT_CHANNEL_OP, BIND_VIRQ, (long)&bind, 0));
    rc = map(&op);
    print("map: %d\n", rc);
    if (rc == -ENOENT) {
        wait(bind.port);
        print("map after the interrupt: %d\n", map(&op));
    }
    try_to_write(&op);
    while (!scan())
        wait(bind.port);
    print("NOXS-GUEST-DONE\n");
    for (rc = 0; rc < 1000; rc++)
        hypercall(SCHED_OP, 0, 0, 0);
    shut_down(0);
}
