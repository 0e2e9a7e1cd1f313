//! The ioctls of `/dev/xen/noxs_backend`, with which the control domain's toolstack makes and
//! watches devices.
//!
//! | number | argument | does |
//! |---|---|---|
//! | [`VERSION`] | [`Version`] | tells what the kernel speaks |
//! | [`CREATE`] | [`Create`] | makes a device and gives grant and port of its control page |
//! | [`DESTROY`] | [`Destroy`] | closes and removes a device, within a bounded time |
//! | [`SET_KEYS`] | [`SetKeys`] | sets or removes keys of the backend |
//! | [`READ`] | [`Read`] | reads keys and states of a device |
//! | [`LIST`] | [`List`] | lists devices with their states |
//! | [`WATCH`] | [`Watch`] | says whose changes this open file tells |
//!
//! `poll` reports `POLLIN` when a watched device has changed, `read` then gives [`Event`]s.
//! Addresses are 64 bits wide also for 32-bit callers; keys are encoded as in [`crate::keys`]. All
//! fields have the host's byte order, which is little-endian.

use core::mem::{offset_of, size_of};

/// Version of the ioctls.
pub const IOCTL_VERSION: u32 = 1;
/// The type byte of the ioctls.
pub const IOCTL_TYPE: u32 = 0xba;

const READS: u32 = 2;
const WRITES: u32 = 1;

/// Linux's `_IOC`, as x86 and Arm have it.
const fn ioc<T>(direction: u32, number: u32) -> u32 {
    let size = size_of::<T>();
    assert!(size < 1 << 14);
    #[allow(clippy::cast_possible_truncation)] // checked in the line above
    let size = size as u32;
    direction << 30 | size << 16 | IOCTL_TYPE << 8 | number
}

/// What does the kernel speak?
pub const VERSION: u32 = ioc::<Version>(READS, 0);
/// Makes a device.
pub const CREATE: u32 = ioc::<Create>(READS | WRITES, 1);
/// Removes a device.
pub const DESTROY: u32 = ioc::<Destroy>(WRITES, 2);
/// Sets or removes keys.
pub const SET_KEYS: u32 = ioc::<SetKeys>(WRITES, 3);
/// Reads keys and states.
pub const READ: u32 = ioc::<Read>(READS | WRITES, 4);
/// Lists devices.
pub const LIST: u32 = ioc::<List>(READS | WRITES, 5);
/// Chooses the devices of `read` and `poll`.
pub const WATCH: u32 = ioc::<Watch>(WRITES, 6);

/// [`Destroy::flags`]: do not wait for the frontend to close.
pub const DESTROY_FORCE: u32 = 1;
/// The longest time that [`DESTROY`] waits, in milliseconds.
pub const DESTROY_TIMEOUT_MAX: u32 = 60_000;
/// [`SetKeys::flags`]: keys of the host alone, never in the control page.
pub const KEYS_PRIVATE: u32 = 1;
/// [`SetKeys::flags`]: remove the keys; their values are empty.
pub const KEYS_REMOVE: u32 = 2;
/// [`Read::what`]: the backend's keys in the control page.
pub const READ_BACKEND: u32 = 0;
/// [`Read::what`]: the frontend's keys, as last taken from the control page.
pub const READ_FRONTEND: u32 = 1;
/// [`Read::what`]: the backend's keys of the host alone.
pub const READ_PRIVATE: u32 = 2;
/// [`List::domain`]: all guests.
pub const ANY_DOMAIN: u32 = u32::MAX;
/// [`Watch::flags`]: all devices of the domain, whatever class and id say.
pub const WATCH_DOMAIN: u32 = 1;
/// [`Watch::flags`]: all devices.
pub const WATCH_ALL: u32 = 2;
/// [`Watch::flags`], alone: the ends of domains, whether they have devices or not. `EOPNOTSUPP` if
/// the hypervisor does not tell them.
pub const WATCH_DOMAINS: u32 = 4;
/// [`Event::what`]: the device is gone.
pub const EVENT_GONE: u32 = 1;
/// [`Event::what`]: the frontend's state or keys changed.
pub const EVENT_FRONTEND: u32 = 2;
/// [`Event::what`]: the backend's state or keys changed.
pub const EVENT_BACKEND: u32 = 4;
/// [`Event::what`]: a domain has shut down or is gone; the event names no device.
pub const EVENT_DOMAINS: u32 = 8;

/// Which device (`noxs_device`).
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct DeviceName {
    /// The class, padded with zeros.
    pub class: [u8; 8],
    /// The id.
    pub id: u32,
    /// The guest.
    pub domain: u16,
    /// Zero.
    pub reserved: u16,
}

/// What the kernel speaks (`noxs_version`).
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Version {
    /// [`IOCTL_VERSION`].
    pub ioctls: u32,
    /// The ABI of the control pages.
    pub abi: u32,
    /// Zero.
    pub reserved: [u32; 2],
}

/// A new device (`noxs_create`).
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Create {
    /// In: its name.
    pub device: DeviceName,
    /// In: address of the keys for the control page.
    pub keys: u64,
    /// In: address of the keys of the host alone (`bridge`, `script`, `params`, ...).
    pub private_keys: u64,
    /// In: bytes of `keys`.
    pub keys_length: u32,
    /// In: bytes of `private_keys`.
    pub private_length: u32,
    /// Out: the grant reference of the control page.
    pub grant: u32,
    /// Out: the port for the guest to bind to.
    pub port: u32,
}

/// An end (`noxs_destroy`).
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Destroy {
    /// Which device.
    pub device: DeviceName,
    /// [`DESTROY_FORCE`] or 0.
    pub flags: u32,
    /// How long to wait for the frontend to close, in milliseconds, at most
    /// [`DESTROY_TIMEOUT_MAX`].
    pub timeout: u32,
}

/// A change of keys (`noxs_set_keys`): those named, no others.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SetKeys {
    /// Which device.
    pub device: DeviceName,
    /// Address of the keys.
    pub keys: u64,
    /// Bytes of `keys`.
    pub keys_length: u32,
    /// [`KEYS_PRIVATE`], [`KEYS_REMOVE`].
    pub flags: u32,
}

/// A question (`noxs_read`).
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Read {
    /// In: which device.
    pub device: DeviceName,
    /// In: address for the keys.
    pub keys: u64,
    /// In: room there, in bytes. Out: bytes of the keys, also if the room was too small for them
    /// (`ENOSPC`).
    pub keys_length: u32,
    /// In: [`READ_BACKEND`], [`READ_FRONTEND`] or [`READ_PRIVATE`].
    pub what: u32,
    /// Out: the backend's state.
    pub backend_state: u32,
    /// Out: the frontend's state, as the backend last acted on it.
    pub frontend_state: u32,
    /// Out: the backend's generation.
    pub backend_generation: u32,
    /// Out: the frontend's generation, as last read.
    pub frontend_generation: u32,
    /// Out: the grant reference of the control page.
    pub grant: u32,
    /// Out: the port for the guest to bind to.
    pub port: u32,
}

/// A list (`noxs_list`).
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct List {
    /// In: address for [`Info`]s.
    pub buffer: u64,
    /// In: how many it has room for. Out: how many devices there are, also if that is more.
    pub count: u32,
    /// In: the guest, or [`ANY_DOMAIN`].
    pub domain: u32,
}

/// A device in a list (`noxs_info`).
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Info {
    /// Its name.
    pub device: DeviceName,
    /// The backend's state.
    pub backend_state: u32,
    /// The frontend's state, as the backend last acted on it.
    pub frontend_state: u32,
    /// The grant reference of the control page.
    pub grant: u32,
    /// The port for the guest to bind to.
    pub port: u32,
}

/// A choice of devices, added to those chosen before (`noxs_watch`).
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Watch {
    /// The device, or with [`WATCH_DOMAIN`] its guest.
    pub device: DeviceName,
    /// [`WATCH_DOMAIN`], [`WATCH_ALL`], [`WATCH_DOMAINS`] or 0.
    pub flags: u32,
    /// Zero.
    pub reserved: u32,
}

/// A change (`noxs_event`). Changes of a device that nobody has read yet are one event, with the
/// newest states.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Event {
    /// Which device.
    pub device: DeviceName,
    /// The backend's state.
    pub backend_state: u32,
    /// The frontend's state, as the backend last acted on it.
    pub frontend_state: u32,
    /// [`EVENT_GONE`], [`EVENT_FRONTEND`], [`EVENT_BACKEND`]; or [`EVENT_DOMAINS`].
    pub what: u32,
    /// Zero.
    pub reserved: u32,
}

const _: () = {
    assert!(
        size_of::<DeviceName>() == 16
            && offset_of!(DeviceName, id) == 8
            && offset_of!(DeviceName, domain) == 12
    );
    assert!(size_of::<Version>() == 16 && offset_of!(Version, abi) == 4);
    assert!(
        size_of::<Create>() == 48
            && offset_of!(Create, keys) == 16
            && offset_of!(Create, private_keys) == 24
    );
    assert!(offset_of!(Create, keys_length) == 32 && offset_of!(Create, private_length) == 36);
    assert!(offset_of!(Create, grant) == 40 && offset_of!(Create, port) == 44);
    assert!(
        size_of::<Destroy>() == 24
            && offset_of!(Destroy, flags) == 16
            && offset_of!(Destroy, timeout) == 20
    );
    assert!(size_of::<SetKeys>() == 32 && offset_of!(SetKeys, keys) == 16);
    assert!(offset_of!(SetKeys, keys_length) == 24 && offset_of!(SetKeys, flags) == 28);
    assert!(
        size_of::<Read>() == 56
            && offset_of!(Read, keys) == 16
            && offset_of!(Read, keys_length) == 24
    );
    assert!(offset_of!(Read, what) == 28 && offset_of!(Read, backend_state) == 32);
    assert!(offset_of!(Read, frontend_state) == 36 && offset_of!(Read, backend_generation) == 40);
    assert!(offset_of!(Read, frontend_generation) == 44 && offset_of!(Read, grant) == 48);
    assert!(offset_of!(Read, port) == 52);
    assert!(
        size_of::<List>() == 16 && offset_of!(List, count) == 8 && offset_of!(List, domain) == 12
    );
    assert!(size_of::<Info>() == 32 && offset_of!(Info, backend_state) == 16);
    assert!(
        offset_of!(Info, frontend_state) == 20
            && offset_of!(Info, grant) == 24
            && offset_of!(Info, port) == 28
    );
    assert!(size_of::<Watch>() == 24 && offset_of!(Watch, flags) == 16);
    assert!(size_of::<Event>() == 32 && offset_of!(Event, backend_state) == 16);
    assert!(offset_of!(Event, frontend_state) == 20 && offset_of!(Event, what) == 24);
};
