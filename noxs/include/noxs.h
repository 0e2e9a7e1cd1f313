/* SPDX-License-Identifier: MIT */
/******************************************************************************
 * noxs.h
 *
 * NoXS, ABI 1: how a guest finds and brings up its devices without Xenstore.
 *
 * A guest's device page lists its devices.  Each device has a control page,
 * granted by its backend, which holds what the two ends tell each other.
 * All fields are little-endian, in either kind of guest at the same offsets.
 */

#ifndef __XEN_PUBLIC_IO_NOXS_H__
#define __XEN_PUBLIC_IO_NOXS_H__

#define XEN_NOXS_ABI              1

/*
 * The device page.
 *
 * Xen writes it, the guest can only read it.  A slot holds a device while its
 * sequence is odd.  Readers scan all slots; there may be empty ones between
 * others.  To read one:
 *
 *   1. Read the sequence.  If it is even, the slot is empty.
 *   2. Read barrier.  Copy the slot.  Read barrier.
 *   3. Read the sequence again.  If it is another, the slot is changing; the
 *      generation changes and the virtual interrupt is raised after that.
 *
 * (slot, sequence) names an entry: the same class and id with another
 * sequence is a device that was removed and added again.
 */
#define XEN_NOXS_DEVICE_MAGIC     "NoXS-dev"
#define XEN_NOXS_DEVICE_SLOTS     126
#define XEN_NOXS_CLASS_LEN        8

struct xen_noxs_slot {
    /* a-z 0-9 - _, then zeros: "vif", "vbd", "sysctl", ... */
    uint8_t  class_name[XEN_NOXS_CLASS_LEN];
    uint32_t id;                /* unique among its class in this guest */
    uint32_t grant;             /* the control page, in backend's table */
    uint32_t port;              /* backend's unbound event channel */
    uint16_t backend;           /* domain id */
    uint16_t reserved;          /* 0 */
    uint32_t slot;              /* 0; in lists the number of the slot */
    uint32_t sequence;          /* odd: the slot holds a device */
};
typedef struct xen_noxs_slot xen_noxs_slot_t;

struct xen_noxs_device_page {
    uint8_t  magic[8];
    uint32_t abi;
    uint16_t header_size;       /* 64 */
    uint16_t slot_size;         /* 32 */
    uint32_t slots;             /* XEN_NOXS_DEVICE_SLOTS */
    uint32_t generation;        /* counts changes, written after each */
    uint8_t  reserved[40];      /* 0 */
    struct xen_noxs_slot slot[XEN_NOXS_DEVICE_SLOTS];
};
typedef struct xen_noxs_device_page xen_noxs_device_page_t;

/*
 * XENMEM_noxs_op: a guest's own device page.
 *
 * Without NoXS in the hypervisor: -ENOSYS.  Another domain's page cannot be
 * had.  op other than these: -EOPNOTSUPP.  A field without a use as input that
 * is not zero: -EINVAL.
 */
/* Fills in the fields marked OUT, for any abi. */
#define XEN_NOXS_query            0
/*
 * Makes the page visible, and fills in the fields marked OUT.
 *
 * A translated guest gives the frame at which the page shall appear.  What
 * is there is released, as by XENMEM_add_to_physmap; a page that was mapped
 * elsewhere moves.  XENMEM_remove_from_physmap takes it away again.
 *
 * Other guests get the machine frame, and map it with read-only page table
 * entries, which they remove before they suspend.
 *
 * -EINVAL: Xen does not speak this abi, or the frame is none.
 * -ENOENT: the domain has no devices, and never had any.
 * -EPERM: the frame belongs to a device or to another domain.
 */
#define XEN_NOXS_map              1

struct xen_noxs_op {
    uint32_t op;                /* IN: XEN_NOXS_* */
    uint32_t abi;               /* IN: XEN_NOXS_ABI, OUT: Xen's newest */
    uint64_t frame;             /* IN or OUT, see XEN_NOXS_map; else 0 */
    uint32_t virq;              /* OUT: raised on vcpu 0 after a change */
    uint32_t slots;             /* OUT: of the page */
    uint32_t flags;             /* OUT: XEN_NOXSF_* */
/* The domain has a device page. */
#define XEN_NOXSF_has_page        1
    uint32_t reserved;          /* 0 */
};
typedef struct xen_noxs_op xen_noxs_op_t;

/*
 * The control page.
 *
 * Both ends can write all of it, but each field has one end that does.  Keep
 * your own state, counters and keys in private memory; take of the other end
 * a bounded copy, check the copy, and use only that.
 *
 * To publish keys:
 *
 *   1. sequence + 1 (odd).  Write barrier.  Write length and keys.
 *   2. Write barrier.  sequence + 1 (even).
 *   3. Write barrier.  generation + 1.  Send the event.
 *
 * To read keys, at most XEN_NOXS_ATTEMPTS times:
 *
 *   1. Read sequence.  If it is odd, try again.
 *   2. Read barrier.  Read length; copy as many bytes, if the region has
 *      them.  Read barrier.
 *   3. Read sequence again.  If it is another, try again.
 *   4. Check the copy.
 *
 * Keys are published before the state that stands for them, and read after
 * it.  States are those of io/xenbus.h.
 *
 * An entry of a region is struct xen_noxs_entry, the key, the value, without
 * padding.  Keys: 1 to XEN_NOXS_KEY_MAX of A-Z a-z 0-9 - _ @ and single inner
 * slashes, in ascending order of their bytes, each once.  Values: up to
 * XEN_NOXS_VALUE_MAX bytes other than 0.
 */
#define XEN_NOXS_CONTROL_MAGIC    "NoXS-ctl"
#define XEN_NOXS_BACKEND_KEYS     1464
#define XEN_NOXS_FRONTEND_KEYS    2552
#define XEN_NOXS_ATTEMPTS         16
#define XEN_NOXS_KEY_MAX          63
#define XEN_NOXS_VALUE_MAX        512

struct xen_noxs_entry {
    uint8_t  key_len;
    uint8_t  reserved;          /* 0 */
    uint8_t  value_len[2];      /* little-endian */
};

struct xen_noxs_control_page {
    uint8_t  magic[8];          /* backend */
    uint32_t abi;               /* backend */
    uint32_t reserved0;         /* 0 */
    uint32_t be_state;          /* backend */
    uint32_t be_generation;     /* backend: counts its changes */
    uint32_t fe_state;          /* frontend */
    uint32_t fe_generation;     /* frontend: counts its changes */
    uint8_t  reserved[32];      /* 0 */
    uint32_t be_sequence;       /* backend: odd while it writes its keys */
    uint32_t be_length;         /* backend: bytes used */
    uint8_t  be_keys[XEN_NOXS_BACKEND_KEYS];
    uint32_t fe_sequence;       /* frontend */
    uint32_t fe_length;         /* frontend */
    uint8_t  fe_keys[XEN_NOXS_FRONTEND_KEYS];
};
typedef struct xen_noxs_control_page xen_noxs_control_page_t;

#endif /* __XEN_PUBLIC_IO_NOXS_H__ */

/*
 * Local variables:
 * mode: C
 * c-file-style: "BSD"
 * c-basic-offset: 4
 * tab-width: 4
 * indent-tabs-mode: nil
 * End:
 */
