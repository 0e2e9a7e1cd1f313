/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Drives /dev/xen/noxs_backend, and builds guests that have no Xenstore.
 *
 *   nx create pv|pvh MIB KERNEL RAMDISK CMDLINE    prints the domain's id; the guest is paused
 *   STORE=1 nx create ...; nx introduce DOM STORE-MFN STORE-PORT     with Xenstore
 *   nx run DOM MFN PORT                            unpauses, then shows the console until the guest ends
 *   nx add DOM CLASS ID [KEY=VALUE...] [-- KEY=VALUE...]     private ones behind --
 *   nx del DOM CLASS ID [force] [TIMEOUT]
 *   nx set DOM CLASS ID [private] KEY=VALUE...
 *   nx save DOM FILE | nx restore pv|pvh MIB FILE   restore prints what create does
 *   nx resume DOM                                  of a suspended guest, in place
 *   nx read DOM CLASS ID | nx list | nx watch SECONDS | nx kill DOM
 *   nx noise FRAME SECONDS SEED [steady]           is a backend that writes what it likes, but for its state if steady: FRAME is a
 *                                                  control page of this domain's
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define XC_WANT_COMPAT_MAP_FOREIGN_API
#include <xenctrl.h>
#include <xenguest.h>
#include <xenforeignmemory.h>
#include <xenevtchn.h>
#include <xenstore.h>
#include <xen/hvm/params.h>
#include <xen/io/console.h>

#include "noxs.h"
#include "domctl.h"
#include "noxs_backend.h"

static int node;

static void die(const char *what)
{
    fprintf(stderr, "nx: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* Keys, sorted and encoded. */
static int by_key(const void *a, const void *b)
{
    const char *x = *(char *const *)a, *y = *(char *const *)b;
    size_t n = strcspn(x, "="), m = strcspn(y, "=");
    int rc = memcmp(x, y, n < m ? n : m);

    return rc ? rc : (int)n - (int)m;
}

static unsigned int encode(char **keys, int count, unsigned char *out)
{
    unsigned int at = 0;

    qsort(keys, count, sizeof(*keys), by_key);
    for (int i = 0; i < count; i++) {
        size_t k = strcspn(keys[i], "=");
        const char *value = keys[i][k] ? keys[i] + k + 1 : "";
        size_t v = strlen(value);

        out[at] = k;
        out[at + 1] = 0;
        out[at + 2] = v;
        out[at + 3] = v >> 8;
        memcpy(out + at + 4, keys[i], k);
        memcpy(out + at + 4 + k, value, v);
        at += 4 + k + v;
    }
    return at;
}

static void show(const char *title, const unsigned char *data, unsigned int len)
{
    for (unsigned int at = 0; at < len; at += 4 + data[at] + (data[at + 2] | data[at + 3] << 8))
        printf("  %s %.*s = %.*s\n", title, data[at], data + at + 4, data[at + 2] | data[at + 3] << 8,
               data + at + 4 + data[at]);
}

static struct noxs_device device(char **argv)
{
    struct noxs_device dev = { .id = strtoul(argv[2], NULL, 0), .domain = atoi(argv[0]) };

    memcpy(dev.class_name, argv[1], strnlen(argv[1], sizeof(dev.class_name)));
    return dev;
}

struct privcmd_hypercall {
    uint64_t op, arg[5];
};
struct domctl {
    uint32_t cmd, interface_version;
    uint16_t domain, pad[3];
    union {
        struct xen_domctl_noxs_op noxs;
        uint8_t pad[128];
    } u;
};

static int page_change(int dom, int op, struct noxs_device *dev, uint32_t grant, uint32_t port)
{
    struct domctl *d = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED | MAP_POPULATE, -1, 0);
    struct privcmd_hypercall call = { 36, { (uintptr_t)d } };
    int fd = open("/dev/xen/privcmd", O_RDWR | O_CLOEXEC), rc;

    d->cmd = 0x4e58;
    d->interface_version = 0x15;
    d->domain = dom;
    d->u.noxs.op = op;
    d->u.noxs.abi = XEN_NOXS_ABI;
    memcpy(d->u.noxs.device.class_name, dev->class_name, 8);
    d->u.noxs.device.id = dev->id;
    d->u.noxs.device.grant = grant;
    d->u.noxs.device.port = port;
    rc = ioctl(fd, _IOC(_IOC_NONE, 'P', 0, sizeof(call)), &call);
    close(fd);
    return rc;
}

static int add(int argc, char **argv)
{
    unsigned char keys[4096], private[4096];
    struct noxs_create create = { .device = device(argv) };
    int i, n;

    for (n = 3; n < argc && strcmp(argv[n], "--"); n++)
        ;
    create.keys = (uintptr_t)keys;
    create.keys_length = encode(argv + 3, n - 3, keys);
    create.private_keys = (uintptr_t)private;
    i = n < argc ? n + 1 : argc;
    create.private_length = encode(argv + i, argc - i, private);
    if (ioctl(node, NOXS_IOC_CREATE, &create))
        die("CREATE");
    printf("add %s %s %s: grant %u, port %u\n", argv[0], argv[1], argv[2], create.grant, create.port);
    if (page_change(atoi(argv[0]), 0, &create.device, create.grant, create.port))
        die("device page");
    return 0;
}

static int del(int argc, char **argv)
{
    struct noxs_destroy destroy = { .device = device(argv), .timeout = 5000 };
    int i, rc;

    for (i = 3; i < argc; i++) {
        if (!strcmp(argv[i], "force"))
            destroy.flags = NOXS_DESTROY_FORCE;
        else
            destroy.timeout = atoi(argv[i]);
    }
    rc = ioctl(node, NOXS_IOC_DESTROY, &destroy) ? -errno : 0;
    printf("del %s %s %s: %d\n", argv[0], argv[1], argv[2], rc);
    if (!rc && page_change(destroy.device.domain, 1, &destroy.device, 0, 0) && errno != ESRCH)
        die("device page");
    return rc ? 1 : 0;
}

static int set(int argc, char **argv)
{
    unsigned char keys[4096];
    struct noxs_set_keys args = { .device = device(argv), .keys = (uintptr_t)keys };
    int i = 3;

    if (i < argc && !strcmp(argv[i], "private")) {
        args.flags = NOXS_KEYS_PRIVATE;
        i++;
    }
    args.keys_length = encode(argv + i, argc - i, keys);
    if (ioctl(node, NOXS_IOC_SET_KEYS, &args))
        die("SET_KEYS");
    return 0;
}

static int read_all(char **argv)
{
    static const char *const titles[] = { "backend ", "frontend", "private " };
    unsigned char keys[4096];

    for (int i = 0; i < 3; i++) {
        struct noxs_read args = { .device = device(argv), .keys = (uintptr_t)keys, .keys_length = sizeof(keys), .what = i };

        if (ioctl(node, NOXS_IOC_READ, &args))
            die("READ");
        if (!i)
            printf("%s %s %s: backend state %u (%u), frontend state %u (%u), grant %u, port %u\n", argv[0], argv[1], argv[2],
                   args.backend_state, args.backend_generation, args.frontend_state, args.frontend_generation, args.grant, args.port);
        show(titles[i], keys, args.keys_length);
    }
    return 0;
}

static int list(void)
{
    static struct noxs_info info[4096];
    struct noxs_list args = { .buffer = (uintptr_t)info, .count = 4096, .domain = NOXS_ANY_DOMAIN };

    if (ioctl(node, NOXS_IOC_LIST, &args))
        die("LIST");
    printf("list: %u\n", args.count);
    for (unsigned int i = 0; i < args.count; i++)
        printf("  %u %.8s %u: %u %u, grant %u, port %u\n", info[i].device.domain, info[i].device.class_name, info[i].device.id,
               info[i].backend_state, info[i].frontend_state, info[i].grant, info[i].port);
    return 0;
}

static int watch(int seconds)
{
    struct noxs_watch args = { .flags = NOXS_WATCH_ALL };
    struct pollfd fd = { .fd = node, .events = POLLIN };
    struct noxs_event event;

    if (ioctl(node, NOXS_IOC_WATCH, &args))
        die("WATCH");
    setvbuf(stdout, NULL, _IONBF, 0);
    while (poll(&fd, 1, seconds * 1000) > 0) {
        if (read(node, &event, sizeof(event)) != sizeof(event))
            die("read");
        printf("event: %u %.8s %u: backend %u, frontend %u, what %u\n", event.device.domain, event.device.class_name,
               event.device.id, event.backend_state, event.frontend_state, event.what);
    }
    return 0;
}

/* Writes over all of a control page that is the backend's, and over what the page is. */
static int noise(int argc, char **argv)
{
    bool steady = argc > 3 && !strcmp(argv[3], "steady");
    xenforeignmemory_handle *fmem = xenforeignmemory_open(NULL, 0);
    xen_pfn_t frame = strtoul(argv[0], NULL, 0);
    volatile struct xen_noxs_control_page *page =
        xenforeignmemory_map(fmem, DOMID_SELF, PROT_READ | PROT_WRITE, 1, &frame, NULL);
    struct xen_noxs_control_page saved;
    time_t end = time(NULL) + atoi(argv[1]);
    unsigned long rounds;

    if (!page)
        die("map");
    saved = *page;
    /* Another page of dom0's would not survive this. */
    if (memcmp(saved.magic, XEN_NOXS_CONTROL_MAGIC, sizeof(saved.magic))) {
        fprintf(stderr, "nx: frame %#lx is no control page\n", frame);
        return 1;
    }
    srand(atoi(argv[2]));
    for (rounds = 0; time(NULL) < end; rounds++) {
        uint32_t word = (uint32_t)rand() << 16 ^ rand();

        switch (rand() % 9) {
        case 0:
            page->magic[rand() % sizeof(page->magic)] = word;
            break;
        case 1:
            page->abi = word;
            break;
        case 2:
            if (!steady)
                page->be_state = rand() % 2 ? word % 12 : word;
            break;
        case 3:
            page->be_length = rand() % 2 ? word % sizeof(page->be_keys) : word;
            break;
        case 4:
            page->be_sequence = word;
            break;
        case 5:
            for (unsigned int at = 0; at < sizeof(page->be_keys); at++)
                page->be_keys[at] = rand();
            break;
        case 6:     /* what was said, long enough for it to be read */
            memcpy((void *)page, &saved, offsetof(struct xen_noxs_control_page, reserved0));
            memcpy((void *)page->be_keys, saved.be_keys, sizeof(saved.be_keys));
            page->be_length = saved.be_length;
            page->be_sequence = saved.be_sequence;
            usleep(rand() % 2000);
            break;
        default:
            page->be_keys[rand() % sizeof(page->be_keys)] = word;
        }
        page->be_generation++;
    }
    printf("wrote %lu times\n", rounds);
    return 0;
}

/* The least that a PVH guest has to be told of its processor: RSDP, XSDT, FADT with a DSDT that says nothing, MADT. */
#define ACPI 0xfc000000UL
static unsigned char acpi[4096];

static void acpi_sum(unsigned int at, unsigned int len, unsigned int sum)
{
    unsigned char total = 0;

    for (unsigned int i = 0; i < len; i++)
        total += acpi[at + i];
    acpi[at + sum] = -total;
}

static void acpi_table(unsigned int at, const char *name, unsigned int len, int revision)
{
    memcpy(acpi + at, name, 4);
    memcpy(acpi + at + 4, &len, 4);
    acpi[at + 8] = revision;
    memcpy(acpi + at + 10, "Xen   NX      ", 14);
    acpi_sum(at, len, 9);
}

static void acpi_make(void)
{
    uint64_t xsdt = ACPI + 0x40, tables[2] = { ACPI + 0x100, ACPI + 0x300 }, dsdt = ACPI + 0x280;
    uint32_t length = 36, flags = 1 << 20, lapic = 0xfee00000;

    memcpy(acpi, "RSD PTR ", 8);
    memcpy(acpi + 9, "Xen   ", 6);
    acpi[15] = 2;
    memcpy(acpi + 20, &length, 4);
    memcpy(acpi + 24, &xsdt, 8);
    acpi_sum(0, 20, 8);
    acpi_sum(0, 36, 32);
    memcpy(acpi + 0x40 + 36, tables, 16);
    acpi_table(0x40, "XSDT", 52, 1);
    memcpy(acpi + 0x100 + 112, &flags, 4);
    memcpy(acpi + 0x100 + 140, &dsdt, 8);
    acpi_table(0x100, "FACP", 276, 5);
    acpi_table(0x280, "DSDT", 36, 2);
    memcpy(acpi + 0x300 + 36, &lapic, 4);
    acpi[0x300 + 44] = 0;       /* local APIC */
    acpi[0x300 + 45] = 8;
    acpi[0x300 + 48] = 1;       /* enabled */
    acpi_table(0x300, "APIC", 52, 4);
}

static uint32_t make(xc_interface *xch, bool pvh, unsigned int mib, unsigned int *port)
{
    struct xen_domctl_createdomain config = {
        .max_vcpus = 1, .max_evtchn_port = 1023, .max_grant_frames = -1, .max_maptrack_frames = -1, .grant_opts = 1,
        .handle = { 1, 2, 3 },
    };
    uint32_t id = 0;

    if (pvh) {
        config.flags = XEN_DOMCTL_CDF_hvm | XEN_DOMCTL_CDF_hap;
        config.arch.emulation_flags = XEN_X86_EMU_LAPIC;
    }
    if (xc_domain_create(xch, &id, &config))
        die("xc_domain_create");
    if (xc_domain_max_vcpus(xch, id, 1) || xc_domain_setmaxmem(xch, id, (mib + 4) * 1024))
        die("limits");
    *port = xc_evtchn_alloc_unbound(xch, id, 0);
    if (pvh && xc_set_paging_mempool_size(xch, id, (256 + mib + 256) * 4096ULL))
        die("paging pool");
    if (!pvh)
        xc_domain_set_memmap_limit(xch, id, mib * 1024);
    if (pvh) {
        if (getenv("TSC")) xc_domain_set_tsc_info(xch, id, atoi(getenv("TSC")), 0, 0, 0);
        xc_hvm_param_set(xch, id, HVM_PARAM_TIMER_MODE, 1);
    }
    if (xc_cpuid_apply_policy(xch, id, false, NULL, 0, true, false, false, NULL, NULL))
        die("cpuid");
    return id;
}

static int create(int argc, char **argv)
{
    bool pvh = !strcmp(argv[0], "pvh");
    unsigned int mib = atoi(argv[1]), port;
    xc_interface *xch = xc_interface_open(NULL, NULL, 0);
    struct e820entry map[2] = { { 0, (uint64_t)mib << 20, 1 }, { ACPI, 4096, 3 } };
    struct xc_dom_image *dom;
    uint32_t id = 0;
    unsigned long frame;

    (void)argc;
    if (!xch)
        die("xc_interface_open");
    id = make(xch, pvh, mib, &port);
    dom = xc_dom_allocate(xch, argv[4], NULL);
    dom->max_vcpus = 1;
    dom->console_evtchn = port;
    if (getenv("STORE"))
        dom->xenstore_evtchn = xc_evtchn_alloc_unbound(xch, id, 0);
    if (pvh) {
        dom->container_type = XC_DOM_HVM_CONTAINER;
        dom->guest_type = "hvm-3.0-x86_32";
        dom->lowmem_end = (uint64_t)mib << 20;
        dom->mmio_start = 0xf0000000;
        dom->mmio_size = 0x10000000;
        dom->target_pages = mib * 256;
        dom->e820 = map;
        dom->e820_entries = 2;
        acpi_make();
        dom->acpi_modules[0].data = acpi;
        dom->acpi_modules[0].length = sizeof(acpi);
        dom->acpi_modules[0].guest_addr_out = ACPI;
        if (xc_domain_set_memory_map(xch, id, map, 2))
            die("memory map");
    } else {
        dom->guest_type = "xen-3.0-x86_64";
    }
#define STEP(call) do { if (call) die(#call); } while (0)
    STEP(xc_dom_boot_xen_init(dom, xch, id));
    STEP(xc_dom_kernel_file(dom, argv[2]));
    STEP(xc_dom_module_file(dom, argv[3], NULL));
    STEP(xc_dom_parse_image(dom));
    STEP(xc_dom_mem_init(dom, mib));
    STEP(xc_dom_boot_mem_init(dom));
    STEP(xc_dom_build_image(dom));
    STEP(xc_dom_boot_image(dom));
    STEP(xc_dom_gnttab_init(dom));
    frame = pvh ? dom->console_pfn : xc_dom_p2m(dom, dom->console_pfn);
    printf("%u %lu %u", id, frame, port);
    if (getenv("STORE"))
        printf(" %lu %u", pvh ? dom->xenstore_pfn : xc_dom_p2m(dom, dom->xenstore_pfn), dom->xenstore_evtchn);
    printf("\n");
    xc_dom_release(dom);
    xc_interface_close(xch);
    return 0;
}

static int run(char **argv)
{
    xc_interface *xch = xc_interface_open(NULL, NULL, 0);
    xenforeignmemory_handle *fmem = xenforeignmemory_open(NULL, 0);
    xenevtchn_handle *evtchn = xenevtchn_open(NULL, 0);
    uint32_t id = atoi(argv[0]);
    xen_pfn_t frame = strtoul(argv[1], NULL, 0);
    int port = xenevtchn_bind_interdomain(evtchn, id, atoi(argv[2]));
    struct xencons_interface *ring = xenforeignmemory_map(fmem, id, PROT_READ | PROT_WRITE, 1, &frame, NULL);
    xc_dominfo_t info;
    uint32_t prod, cons;

    if (!ring || port < 0)
        die("console");
    setvbuf(stdout, NULL, _IONBF, 0);
    xc_domain_unpause(xch, id);
    for (;;) {
        prod = *(volatile uint32_t *)&ring->out_prod;
        __sync_synchronize();
        for (cons = ring->out_cons; cons != prod; cons++)
            putchar(ring->out[MASK_XENCONS_IDX(cons, ring->out)]);
        if (cons != ring->out_cons) {
            __sync_synchronize();
            ring->out_cons = cons;
            xenevtchn_notify(evtchn, port);
            continue;
        }
        if (xc_domain_getinfo(xch, id, 1, &info) != 1 || info.domid != id || info.dying)
            break;
        if (info.shutdown) {
            printf("guest %u has shut down, reason %u\n", id, info.shutdown_reason);
            break;
        }
        usleep(20000);
    }
    return 0;
}

/* The guest is asked through its sysctl device. */
static xc_interface *saver;

static int suspend(void *data)
{
    uint32_t id = *(uint32_t *)data;
    char *keys[] = { strdup("0"), strdup("sysctl"), strdup("0"), strdup("shutdown=suspend"), strdup("shutdown-request=9") };
    xc_dominfo_t info;

    sprintf(keys[0] = malloc(12), "%u", id);
    set(5, keys);
    for (int i = 0; i < 600; i++) {
        if (xc_domain_getinfo(saver, id, 1, &info) == 1 && info.domid == id && info.shutdown)
            return info.shutdown_reason == 2;
        usleep(50000);
    }
    fprintf(stderr, "nx: guest %u does not suspend\n", id);
    return 0;
}

static int log_dirty(uint32_t id, unsigned int enable, void *data)
{
    (void)id;
    (void)enable;
    (void)data;
    return 0;
}

static int save(char **argv)
{
    uint32_t id = atoi(argv[0]);
    struct save_callbacks callbacks = { 
        .suspend = suspend, .switch_qemu_logdirty = log_dirty, .data = &id };
    int fd = open(argv[1], O_RDWR | O_CREAT | O_TRUNC, 0600);

    saver = xc_interface_open(NULL, NULL, 0);
    if (xc_domain_save(saver, fd, id, 0, &callbacks, XC_STREAM_PLAIN, -1))
        die("save");
    printf("saved %u: %ld bytes\n", id, (long)lseek(fd, 0, SEEK_END));
    return 0;
}

static int static_data(unsigned int missing, void *data)
{
    (void)data;
    return missing ? 1 : 0;
}

/* Prints what create does. */
static int restore(char **argv)
{
    bool pvh = !strcmp(argv[0], "pvh");
    xc_interface *xch = xc_interface_open(NULL, NULL, 0);
    unsigned int port;
    uint32_t id = make(xch, pvh, atoi(argv[1]), &port);
    int fd = open(argv[2], O_RDONLY);
    unsigned long store = 0, console = 0;
    struct restore_callbacks callbacks = { .static_data_done = static_data };

    if (xc_domain_restore(xch, fd, id, 0, &store, 0, port, &console, 0, XC_STREAM_PLAIN, &callbacks, -1))
        die("restore");
    printf("%u %lu %u\n", id, console, port);
    return 0;
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";

    argc -= 2;
    argv += 2;
    if (!strcmp(what, "create") && argc == 5)
        return create(argc, argv);
    if (!strcmp(what, "run") && argc == 3)
        return run(argv);
    if (!strcmp(what, "kill") && argc == 1) {
        xc_interface *xch = xc_interface_open(NULL, NULL, 0);
        return xc_domain_destroy(xch, atoi(argv[0])) ? 1 : 0;
    }
    if ((!strcmp(what, "resume") || !strcmp(what, "unpause")) && argc == 1) {
        xc_interface *xch = xc_interface_open(NULL, NULL, 0);
        return (*what == 'r' ? xc_domain_resume(xch, atoi(argv[0]), 1) : xc_domain_unpause(xch, atoi(argv[0]))) ? 1 : 0;
    }
    if (!strcmp(what, "introduce") && argc == 3) {
        struct xs_handle *xs = xs_open(0);
        return xs && xs_introduce_domain(xs, atoi(argv[0]), strtoul(argv[1], NULL, 0), atoi(argv[2])) ? 0 : 1;
    }
    if (!strcmp(what, "noise") && argc >= 3)
        return noise(argc, argv);
    node = open("/dev/xen/noxs_backend", O_RDWR | O_CLOEXEC);
    if (node < 0)
        die("/dev/xen/noxs_backend");
    if (!strcmp(what, "save") && argc == 2)
        return save(argv);
    if (!strcmp(what, "restore") && argc == 3)
        return restore(argv);
    if (!strcmp(what, "add") && argc >= 3)
        return add(argc, argv);
    if (!strcmp(what, "del") && argc >= 3)
        return del(argc, argv);
    if (!strcmp(what, "set") && argc >= 4)
        return set(argc, argv);
    if (!strcmp(what, "read") && argc == 3)
        return read_all(argv);
    if (!strcmp(what, "list"))
        return list();
    if (!strcmp(what, "watch") && argc == 1)
        return watch(atoi(argv[0]));
    fputs("usage: see the source\n", stderr);
    return 2;
}
