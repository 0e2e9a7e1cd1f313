//! The ioctls of <linux/loop.h>, and the structures that they take. All unsafe code of this crate.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use libc::c_ulong;

pub(crate) const NAME_SIZE: usize = 64;

pub(crate) const FLAG_READ_ONLY: u32 = 1;
pub(crate) const FLAG_AUTOCLEAR: u32 = 4;
pub(crate) const FLAG_DIRECT_IO: u32 = 16;

const LOOP_CLR_FD: c_ulong = 0x4c01;
const LOOP_SET_STATUS64: c_ulong = 0x4c04;
const LOOP_GET_STATUS64: c_ulong = 0x4c05;
const LOOP_CONFIGURE: c_ulong = 0x4c0a;
const LOOP_CTL_GET_FREE: c_ulong = 0x4c82;

/// `struct loop_info64`.
#[repr(C)]
#[derive(Debug, Clone)]
pub(crate) struct Info {
    pub(crate) device: u64,
    pub(crate) inode: u64,
    rdevice: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    pub(crate) flags: u32,
    pub(crate) name: [u8; NAME_SIZE],
    crypt_name: [u8; NAME_SIZE],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

/// `struct loop_config`.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct Config {
    fd: u32,
    block_size: u32,
    pub(crate) info: Info,
    reserved: [u64; 8],
}

const _: () = assert!(size_of::<Info>() == 232);
const _: () = assert!(size_of::<Config>() == 304);

impl Default for Info {
    fn default() -> Self {
        Self {
            device: 0,
            inode: 0,
            rdevice: 0,
            offset: 0,
            size_limit: 0,
            number: 0,
            encrypt_type: 0,
            encrypt_key_size: 0,
            flags: 0,
            name: [0; NAME_SIZE],
            crypt_name: [0; NAME_SIZE],
            encrypt_key: [0; 32],
            init: [0; 2],
        }
    }
}

impl Config {
    pub(crate) fn new(file: BorrowedFd<'_>) -> io::Result<Self> {
        let fd = u32::try_from(file.as_raw_fd())
            .map_err(|_| io::Error::from_raw_os_error(libc::EBADF))?;
        Ok(Self { fd, block_size: 0, info: Info::default(), reserved: [0; 8] })
    }
}

/// What an ioctl returned, or errno.
fn checked(result: libc::c_int) -> io::Result<u32> {
    u32::try_from(result).map_err(|_| io::Error::last_os_error())
}

pub(crate) fn get_free(control: BorrowedFd<'_>) -> io::Result<u32> {
    // SAFETY: the descriptor is open for as long as it is borrowed; the request takes no argument.
    checked(unsafe { libc::ioctl(control.as_raw_fd(), LOOP_CTL_GET_FREE) })
}

/// `config` names a descriptor of this process; one that is closed by then is `EBADF`.
pub(crate) fn configure(device: BorrowedFd<'_>, config: &Config) -> io::Result<()> {
    // SAFETY: the descriptor is open; the kernel reads one struct loop_config, which `Config` is
    // (its size is asserted above), and the reference keeps it alive and unchanged during the
    // call.
    checked(unsafe { libc::ioctl(device.as_raw_fd(), LOOP_CONFIGURE, std::ptr::from_ref(config)) })
        .map(drop)
}

pub(crate) fn get_status(device: BorrowedFd<'_>) -> io::Result<Info> {
    let mut info = Info::default();
    // SAFETY: the descriptor is open; the kernel writes one struct loop_info64, which `Info` is
    // (its size is asserted above), all of whose fields are integers, so that any bytes are a
    // value; nobody else has a reference to it.
    checked(unsafe {
        libc::ioctl(device.as_raw_fd(), LOOP_GET_STATUS64, std::ptr::from_mut(&mut info))
    })?;
    Ok(info)
}

pub(crate) fn set_status(device: BorrowedFd<'_>, info: &Info) -> io::Result<()> {
    // SAFETY: the descriptor is open; the kernel reads one struct loop_info64, which `Info` is (its
    // size is asserted above), and the reference keeps it alive and unchanged during the call.
    checked(unsafe { libc::ioctl(device.as_raw_fd(), LOOP_SET_STATUS64, std::ptr::from_ref(info)) })
        .map(drop)
}

pub(crate) fn clear(device: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: the descriptor is open; the request takes no argument.
    checked(unsafe { libc::ioctl(device.as_raw_fd(), LOOP_CLR_FD) }).map(drop)
}
