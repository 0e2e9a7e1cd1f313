/* SPDX-License-Identifier: MIT */
/*
 * The ioctls of /dev/xen/noxs_backend, version 1.
 *
 * Addresses are 64 bits wide also for 32-bit callers.  Keys are encoded as in
 * xen/interface/io/noxs.h.
 */
#ifndef __LINUX_PUBLIC_NOXS_BACKEND_H__
#define __LINUX_PUBLIC_NOXS_BACKEND_H__

#include <linux/ioctl.h>
#include <linux/types.h>

#define NOXS_IOCTL_VERSION	1

struct noxs_device {
	__u8 class_name[8];
	__u32 id;
	__u16 domain;			/* the guest */
	__u16 reserved;			/* 0 */
};

struct noxs_version {
	__u32 ioctls;			/* NOXS_IOCTL_VERSION */
	__u32 abi;			/* of the control pages */
	__u32 reserved[2];
};

struct noxs_create {
	struct noxs_device device;	/* in */
	__u64 keys;			/* in: for the control page */
	__u64 private_keys;		/* in: for the host alone */
	__u32 keys_length;		/* in */
	__u32 private_length;		/* in */
	__u32 grant;			/* out: of the control page */
	__u32 port;			/* out: for the guest to bind to */
};

#define NOXS_DESTROY_FORCE	1	/* do not wait for the frontend */
#define NOXS_DESTROY_TIMEOUT_MAX	60000

struct noxs_destroy {
	struct noxs_device device;
	__u32 flags;
	__u32 timeout;			/* ms */
};

#define NOXS_KEYS_PRIVATE	1	/* of the host alone */
#define NOXS_KEYS_REMOVE	2	/* remove these; values are empty */

struct noxs_set_keys {
	struct noxs_device device;
	__u64 keys;
	__u32 keys_length;
	__u32 flags;
};

#define NOXS_READ_BACKEND	0
#define NOXS_READ_FRONTEND	1
#define NOXS_READ_PRIVATE	2

struct noxs_read {
	struct noxs_device device;	/* in */
	__u64 keys;			/* in */
	__u32 keys_length;		/* in: room, out: bytes there are */
	__u32 what;			/* in */
	__u32 backend_state;		/* out */
	__u32 frontend_state;		/* out: as last acted on */
	__u32 backend_generation;	/* out */
	__u32 frontend_generation;	/* out: as last read */
	__u32 grant;			/* out */
	__u32 port;			/* out */
};

#define NOXS_ANY_DOMAIN		(~0U)

struct noxs_list {
	__u64 buffer;			/* in: of struct noxs_info */
	__u32 count;			/* in: room, out: devices there are */
	__u32 domain;			/* in: a guest or NOXS_ANY_DOMAIN */
};

struct noxs_info {
	struct noxs_device device;
	__u32 backend_state;
	__u32 frontend_state;
	__u32 grant;
	__u32 port;
};

#define NOXS_WATCH_DOMAIN	1	/* all devices of the guest */
#define NOXS_WATCH_ALL		2
#define NOXS_WATCH_DOMAINS	4	/* alone: the ends of domains */

struct noxs_watch {
	struct noxs_device device;
	__u32 flags;
	__u32 reserved;			/* 0 */
};

#define NOXS_EVENT_GONE		1
#define NOXS_EVENT_FRONTEND	2
#define NOXS_EVENT_BACKEND	4
#define NOXS_EVENT_DOMAINS	8	/* no device: a domain has ended */

/* What read() gives: one for each watched device that has changed. */
struct noxs_event {
	struct noxs_device device;
	__u32 backend_state;
	__u32 frontend_state;
	__u32 what;
	__u32 reserved;			/* 0 */
};

#define NOXS_IOCTL_TYPE		0xba
#define NOXS_IOC_VERSION	_IOR(NOXS_IOCTL_TYPE, 0, struct noxs_version)
#define NOXS_IOC_CREATE		_IOWR(NOXS_IOCTL_TYPE, 1, struct noxs_create)
#define NOXS_IOC_DESTROY	_IOW(NOXS_IOCTL_TYPE, 2, struct noxs_destroy)
#define NOXS_IOC_SET_KEYS	_IOW(NOXS_IOCTL_TYPE, 3, struct noxs_set_keys)
#define NOXS_IOC_READ		_IOWR(NOXS_IOCTL_TYPE, 4, struct noxs_read)
#define NOXS_IOC_LIST		_IOWR(NOXS_IOCTL_TYPE, 5, struct noxs_list)
#define NOXS_IOC_WATCH		_IOW(NOXS_IOCTL_TYPE, 6, struct noxs_watch)

#endif /* __LINUX_PUBLIC_NOXS_BACKEND_H__ */
