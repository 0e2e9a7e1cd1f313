/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The control domain's side of the test: raw hypercalls through privcmd.
 *
 *   control query                              what the hypervisor speaks
 *   control add DOM CLASS ID BACKEND           grant and port are ID + 100 and ID + 200
 *   control remove DOM CLASS ID BACKEND
 *   control list DOM
 *   control storm DOM COUNT                    adds and removes a device COUNT times
 *   control reset DOM                          a soft reset of a guest that has shut down
 *   control check DOM                          every answer that an operation can give; DOM has no device yet
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "noxs.h"
#include "domctl.h"

#define MEMORY_OP 12
#define DOMCTL 36
#define XENMEM_noxs_op 62
#define XEN_DOMCTL_noxs_op 0x4e58
#define XEN_DOMCTL_soft_reset 79
#define INTERFACE_VERSION 0x15

enum { ADD, REMOVE, LIST };

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

static int privcmd;
/* Hypercall-safe memory: a locked page for each kind of argument. */
static struct xen_noxs_op *guest;
static struct domctl *domctl;
static struct xen_noxs_slot *slots;
static int failures;

static long hypercall(uint64_t op, uint64_t a0, uint64_t a1)
{
    struct privcmd_hypercall call = { op, { a0, a1 } };
    long rc = ioctl(privcmd, _IOC(_IOC_NONE, 'P', 0, sizeof(call)), &call);

    return rc < 0 ? -errno : rc;
}

static void *locked(void)
{
    void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED | MAP_POPULATE, -1, 0);

    if (page == MAP_FAILED) {
        perror("mmap");
        exit(2);
    }
    return page;
}

static long ask(uint32_t op, uint32_t abi)
{
    memset(guest, 0, sizeof(*guest));
    guest->op = op;
    guest->abi = abi;
    return hypercall(MEMORY_OP, XENMEM_noxs_op, (uintptr_t)guest);
}

static void prepare(int dom, uint32_t op)
{
    memset(domctl, 0, sizeof(*domctl));
    domctl->cmd = XEN_DOMCTL_noxs_op;
    domctl->interface_version = INTERFACE_VERSION;
    domctl->domain = dom;
    domctl->u.noxs.op = op;
    domctl->u.noxs.abi = XEN_NOXS_ABI;
}

static long run(void)
{
    return hypercall(DOMCTL, (uintptr_t)domctl, 0);
}

static long change(uint32_t op, int dom, const char *class, uint32_t id, int backend)
{
    struct xen_noxs_slot *dev = &domctl->u.noxs.device;

    prepare(dom, op);
    memcpy(dev->class_name, class, strnlen(class, sizeof(dev->class_name)));
    dev->id = id;
    dev->backend = backend;
    dev->grant = op == ADD ? id + 100 : 0;
    dev->port = op == ADD ? id + 200 : 0;
    return run();
}

static long list(int dom, uint32_t room, void *buffer)
{
    prepare(dom, LIST);
    domctl->u.noxs.count = room;
    domctl->u.noxs.buffer = (uintptr_t)buffer;
    return run();
}

static void expect_at(int line, const char *what, long got, long wanted)
{
    printf("%s %s: %ld%s\n", got == wanted ? "ok  " : "FAIL", what, got, got == wanted ? "" : " is wrong");
    if (got != wanted) {
        printf("     line %d wanted %ld\n", line, wanted);
        failures++;
    }
}
#define expect(call, wanted) expect_at(__LINE__, #call, call, wanted)

static void check(int dom)
{
    void *bad = (void *)0x10;
    unsigned int i;

    expect(ask(XEN_NOXS_query, 1), 0);
    expect(guest->abi == 1 && guest->virq == 15 && guest->slots == 126 && !guest->flags && !guest->frame, 1);
    expect(ask(XEN_NOXS_map, 1), -ENOENT);
    expect(ask(XEN_NOXS_query, 2), 0);
    expect(guest->abi, 1);
    expect(ask(XEN_NOXS_map, 2), -EINVAL);
    expect(ask(7, 1), -EOPNOTSUPP);
    expect(hypercall(MEMORY_OP, XENMEM_noxs_op, (uintptr_t)bad), -EFAULT);

    expect(list(dom, 0, NULL), 0);
    expect(domctl->u.noxs.count, 0);
    expect(change(REMOVE, dom, "vif", 0, 0), -ENOENT);
    expect(change(ADD, dom, "Vif", 0, 0), -EINVAL);
    expect(change(ADD, dom, "", 0, 0), -EINVAL);
    expect(change(ADD, dom, "vif", 0, 999), -ENODEV);
    expect(change(ADD, dom, "vif", 0, 0x7ff0), -ENODEV);
    expect(change(ADD, 9999, "vif", 0, 0), -ESRCH);
    prepare(dom, 9);
    expect(run(), -EOPNOTSUPP);
    prepare(dom, LIST);
    domctl->u.noxs.abi = 2;
    expect(run(), -EINVAL);
    expect(list(dom, 0, NULL), 0);
    expect(domctl->u.noxs.generation, 0);

    expect(change(ADD, dom, "vif", 0, 0), 0);
    expect(change(ADD, dom, "vif", 0, 0), -EEXIST);
    expect(change(ADD, dom, "vif", 0, dom), -EEXIST);
    expect(change(ADD, dom, "vbd", 0, 0), 0);
    expect(change(ADD, dom, "vif", 1, dom), 0);
    expect(change(REMOVE, dom, "vif", 1, 0), -ENOENT);
    expect(change(REMOVE, dom, "vif", 7, 0), -ENOENT);
    expect(change(REMOVE, dom, "vif", 0, 0), 0);
    expect(list(dom, 1, slots), 0);
    expect(domctl->u.noxs.count, 2);
    expect(slots[0].slot == 1 && !memcmp(slots[0].class_name, "vbd\0\0\0\0", 8), 1);
    expect(slots[1].slot, 0);
    expect(domctl->u.noxs.generation, 4);

    expect(change(ADD, dom, "eight-ok", 5, 0), 0);
    expect(list(dom, 126, slots), 0);
    expect(slots[0].slot == 0 && slots[0].sequence == 3 && slots[0].grant == 105 && slots[0].port == 205, 1);
    for (i = 10; change(ADD, dom, "vif", i, 0) == 0; i++)
        ;
    expect(i, 10 + 126 - 3);
    expect(change(ADD, dom, "vif", i, 0), -ENOSPC);
    expect(list(dom, 126, slots), 0);
    expect(domctl->u.noxs.count, 126);
    expect(list(dom, 126, bad), -EFAULT);

    for (i = 10; change(REMOVE, dom, "vif", i, 0) == 0; i++)
        ;
    expect(i, 10 + 126 - 3);
    expect(change(REMOVE, dom, "vif", 1, dom), 0);
    expect(change(REMOVE, dom, "vbd", 0, 0), 0);
    expect(change(REMOVE, dom, "eight-ok", 5, 0), 0);
    expect(change(REMOVE, dom, "eight-ok", 5, 0), -ENOENT);
    expect(list(dom, 126, slots), 0);
    expect(domctl->u.noxs.count, 0);
}

static long storm(int dom, uint32_t count)
{
    long rc = 0;

    while (count-- && !rc) {
        rc = change(ADD, dom, "wave", count, 0);
        if (!rc)
            rc = change(REMOVE, dom, "wave", count, 0);
    }
    return rc;
}

static int usage(void)
{
    fputs("usage: control query | (add | remove) DOM CLASS ID BACKEND | (list | check | reset) DOM | storm DOM COUNT\n", stderr);
    return 2;
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";
    int dom = argc > 2 ? atoi(argv[2]) : 0;
    uint32_t i;
    long rc;

    privcmd = open("/dev/xen/privcmd", O_RDWR | O_CLOEXEC);
    if (privcmd < 0) {
        perror("/dev/xen/privcmd");
        return 2;
    }
    guest = locked();
    domctl = locked();
    slots = locked();

    if (!strcmp(what, "query")) {
        rc = ask(XEN_NOXS_query, XEN_NOXS_ABI);
        printf("query: %ld, ABI %u, VIRQ %u, %u slots, flags %u\n", rc, guest->abi, guest->virq, guest->slots, guest->flags);
    } else if (argc == 6 && (!strcmp(what, "add") || !strcmp(what, "remove"))) {
        rc = change(strcmp(what, "add") ? REMOVE : ADD, dom, argv[3], atoi(argv[4]), atoi(argv[5]));
        printf("%s %s %s: %ld\n", what, argv[3], argv[4], rc);
    } else if (argc == 3 && !strcmp(what, "list")) {
        rc = list(dom, XEN_NOXS_DEVICE_SLOTS, slots);
        printf("list: %ld, generation %u, %u devices\n", rc, domctl->u.noxs.generation, domctl->u.noxs.count);
        for (i = 0; !rc && i < domctl->u.noxs.count; i++)
            printf("  slot %u: %.8s %u, backend %u, grant %u, port %u, sequence %u\n", slots[i].slot, slots[i].class_name,
                   slots[i].id, slots[i].backend, slots[i].grant, slots[i].port, slots[i].sequence);
    } else if (argc == 4 && !strcmp(what, "storm")) {
        rc = storm(dom, atoi(argv[3]));
        printf("storm: %ld\n", rc);
    } else if (argc == 3 && !strcmp(what, "reset")) {
        prepare(dom, 0);
        memset(&domctl->u, 0, sizeof(domctl->u));
        domctl->cmd = XEN_DOMCTL_soft_reset;
        rc = run();
        printf("reset: %ld\n", rc);
    } else if (argc == 3 && !strcmp(what, "check")) {
        check(dom);
        printf("%d failures\n", failures);
        rc = failures;
    } else {
        return usage();
    }
    return rc ? 1 : 0;
}
