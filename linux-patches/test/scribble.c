/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* In a guest: maps control pages a second time, writes nonsense over them, and makes the kernel send events meanwhile. */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
#include <xen/xen.h>
#include <xen/grant_table.h>
#define __user
#include "gntdev.h"

struct message { uint32_t type, req_id, tx_id, len; };

static void tell(int fd, const char *path, unsigned int n)
{
    char buf[256];
    struct message *m = (void *)buf;
    char *body = buf + sizeof(*m);
    int at = sprintf(body, "%s", path) + 1;

    at += sprintf(body + at, "%u", n);
    *m = (struct message){ 11, 1, 0, at };     /* XS_WRITE */
    if (write(fd, buf, sizeof(*m) + at) > 0)
        read(fd, buf, sizeof(buf));
}

int main(int argc, char **argv)
{
    int gntdev = open("/dev/xen/gntdev", O_RDWR), bus = open("/dev/xen/xenbus", O_RDWR), pages = 0;
    volatile unsigned char *page[16];
    time_t end = time(NULL) + atoi(argv[1]);
    unsigned int n = 0;

    for (uint32_t ref = 8; ref < 24 && pages < 16; ref++) {
        struct ioctl_gntdev_map_grant_ref map = { .count = 1, .refs[0] = { .domid = 0, .ref = ref } };
        void *at;

        if (ioctl(gntdev, IOCTL_GNTDEV_MAP_GRANT_REF, &map))
            continue;
        at = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, gntdev, map.index);
        if (at == MAP_FAILED)
            continue;
        printf("SCRIBBLE ref %u: %.8s\n", ref, (char *)at);
        page[pages++] = at;
    }
    (void)argc;
    while (time(NULL) < end) {
        for (int i = 0; i < pages; i++) {
            /* Now and then a length or a state, else anything. */
            unsigned int at = rand() % 4 ? (unsigned int)rand() % 4096 : rand() % 2 ? 1540 : 24;

            page[i][at] = rand();
            if (rand() % 3 == 0)
                *(volatile uint32_t *)(page[i] + 1536) &= ~1U;
        }
        if (++n % 16 == 0)
            tell(bus, n % 32 ? "device/vif/0/x" : "device/vbd/51712/x", n);
    }
    printf("SCRIBBLE done, %u\n", n);
    return 0;
}
