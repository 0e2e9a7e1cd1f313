//! /dev/xen/noxs_backend: the ioctls behind [`NoxsNode`], and the changes that reading it gives.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use noxs::device::Class;
use noxs::ioctl::{self, DeviceName};
use noxs::keys::PRIVATE_MAX;

use crate::device::DeviceState;
use crate::id::{DomId, GrantRef, Port};
use crate::seam::{
    NoxsChange, NoxsListed, NoxsName, NoxsNews, NoxsNode, NoxsRead, NoxsWatch, NoxsWhich,
};

/// Devices that a list has room for at first.
const ROOM: usize = 64;
/// How often a list is asked for again that has grown meanwhile.
const TRIES: usize = 8;
/// Changes that are read at once.
const CHANGES: usize = 64;

/// An open node.
#[derive(Debug)]
pub(crate) struct Node {
    file: File,
    path: PathBuf,
}

/// The argument of an ioctl of the node.
///
/// # Safety
/// The type is the structure that [`REQUEST`](Self::REQUEST) takes, whose size the number holds;
/// its values are valid for any bytes. Addresses in it are those of memory that the kernel may use
/// as that ioctl does.
unsafe trait Argument {
    const REQUEST: u32;
}

macro_rules! arguments {
    ($($type:ident: $request:ident),*) => {$(
        const _: () = assert!(
            (ioctl::$request >> 16 & 0x3fff) as usize == size_of::<ioctl::$type>()
        );
        // SAFETY: structure and number belong together by docs/noxs-abi.md, part 7; the structures
        // have integers alone. Addresses are filled in by this module, from slices that live until
        // the call returns.
        unsafe impl Argument for ioctl::$type {
            const REQUEST: u32 = ioctl::$request;
        }
    )*};
}

arguments!(
    Version: VERSION, Create: CREATE, Destroy: DESTROY, SetKeys: SET_KEYS, Read: READ,
    List: LIST, Watch: WATCH
);

impl Node {
    /// Opens the node; `None` if this kernel has none.
    pub(crate) fn open(path: &Path) -> io::Result<Option<Self>> {
        match OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(path) {
            Ok(file) => Ok(Some(Self { file, path: path.to_owned() })),
            Err(error)
                if matches!(
                    error.raw_os_error(),
                    Some(libc::ENOENT | libc::ENODEV | libc::ENXIO)
                ) =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// The versions that the kernel speaks: of the ioctls, and of the control pages.
    pub(crate) fn versions(&self) -> io::Result<(u32, u32)> {
        let mut version = ioctl::Version::default();
        self.call(&mut version)?;
        Ok((version.ioctls, version.abi))
    }

    fn call<T: Argument>(&self, argument: &mut T) -> io::Result<()> {
        // SAFETY: the argument is what the request takes (`Argument`), and lives until the call
        // returns.
        let result = unsafe {
            libc::ioctl(
                self.file.as_raw_fd(),
                libc::c_ulong::from(T::REQUEST),
                std::ptr::from_mut(argument),
            )
        };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    fn change_keys(
        &self,
        name: NoxsName,
        keys: &[u8],
        private: bool,
        flags: u32,
    ) -> io::Result<()> {
        let flags = flags | if private { ioctl::KEYS_PRIVATE } else { 0 };
        self.call(&mut ioctl::SetKeys {
            device: raw(name),
            keys: address(keys),
            keys_length: length(keys.len())?,
            flags,
        })
    }
}

fn address<T>(data: &[T]) -> u64 {
    data.as_ptr().expose_provenance() as u64
}

fn length(length: usize) -> io::Result<u32> {
    u32::try_from(length).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))
}

fn raw(name: NoxsName) -> DeviceName {
    DeviceName { class: name.class.to_bytes(), id: name.id, domain: name.domain.get(), reserved: 0 }
}

/// What the kernel calls a device. It has none with another name than one that can be.
fn name(raw: &DeviceName) -> Option<NoxsName> {
    Some(NoxsName {
        domain: DomId::new(raw.domain)?,
        class: Class::from_bytes(raw.class).ok()?,
        id: raw.id,
    })
}

fn milliseconds(timeout: Duration) -> u32 {
    u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX).min(ioctl::DESTROY_TIMEOUT_MAX)
}

fn listed(info: &ioctl::Info) -> Option<NoxsListed> {
    Some(NoxsListed {
        name: name(&info.device)?,
        backend_state: DeviceState::from(info.backend_state),
        frontend_state: DeviceState::from(info.frontend_state),
        grant: GrantRef::new(info.grant),
        port: Port::new(info.port),
    })
}

/// Adds the news in bytes that reading the node gave.
fn add_news(news: &mut NoxsNews, bytes: &[u8]) {
    let (events, _) = bytes.as_chunks::<{ size_of::<ioctl::Event>() }>();
    for event in events {
        news.domain_ended |= what(event) & ioctl::EVENT_DOMAINS != 0;
        news.devices.extend(change(event));
    }
}

/// The event's flags.
fn what(event: &[u8; size_of::<ioctl::Event>()]) -> u32 {
    let (words, _) = event.as_chunks::<4>();
    words.get(6).copied().map_or(0, u32::from_ne_bytes)
}

/// Reads `struct noxs_event`, whose offsets the crate `noxs` checks.
fn change(event: &[u8; size_of::<ioctl::Event>()]) -> Option<NoxsChange> {
    let (words, _) = event.as_chunks::<4>();
    let word = |index: usize| words.get(index).copied().map_or(0, u32::from_ne_bytes);
    let (class, _) = event.split_first_chunk::<8>()?;
    let [low, high, _, _] = word(3).to_ne_bytes();
    let device = DeviceName {
        class: *class,
        id: word(2),
        domain: u16::from_ne_bytes([low, high]),
        reserved: 0,
    };
    let has = |flag: u32| what(event) & flag != 0;
    Some(NoxsChange {
        name: name(&device)?,
        backend_state: DeviceState::from(word(4)),
        frontend_state: DeviceState::from(word(5)),
        gone: has(ioctl::EVENT_GONE),
        frontend: has(ioctl::EVENT_FRONTEND),
        backend: has(ioctl::EVENT_BACKEND),
    })
}

impl AsFd for Node {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl NoxsNode for Node {
    fn create(&self, name: NoxsName, keys: &[u8], private: &[u8]) -> io::Result<(GrantRef, Port)> {
        let mut create = ioctl::Create {
            device: raw(name),
            keys: address(keys),
            private_keys: address(private),
            keys_length: length(keys.len())?,
            private_length: length(private.len())?,
            ..ioctl::Create::default()
        };
        self.call(&mut create)?;
        Ok((GrantRef::new(create.grant), Port::new(create.port)))
    }

    fn destroy(&self, name: NoxsName, timeout: Duration, force: bool) -> io::Result<()> {
        let flags = if force { ioctl::DESTROY_FORCE } else { 0 };
        self.call(&mut ioctl::Destroy { device: raw(name), flags, timeout: milliseconds(timeout) })
    }

    fn set_keys(&self, name: NoxsName, keys: &[u8], private: bool) -> io::Result<()> {
        self.change_keys(name, keys, private, 0)
    }

    fn remove_keys(&self, name: NoxsName, keys: &[u8], private: bool) -> io::Result<()> {
        self.change_keys(name, keys, private, ioctl::KEYS_REMOVE)
    }

    fn read(&self, name: NoxsName, which: NoxsWhich) -> io::Result<NoxsRead> {
        let what = match which {
            NoxsWhich::Backend => ioctl::READ_BACKEND,
            NoxsWhich::Frontend => ioctl::READ_FRONTEND,
            NoxsWhich::Private => ioctl::READ_PRIVATE,
        };
        // The kernel keeps no more than this of either.
        let mut keys = vec![0; PRIVATE_MAX];
        let to = keys.as_mut_ptr().expose_provenance() as u64;
        let mut read = ioctl::Read {
            device: raw(name),
            keys: to,
            keys_length: length(keys.len())?,
            what,
            ..ioctl::Read::default()
        };
        self.call(&mut read)?;
        keys.truncate(usize::try_from(read.keys_length).unwrap_or(0));
        Ok(NoxsRead {
            keys,
            backend_state: DeviceState::from(read.backend_state),
            frontend_state: DeviceState::from(read.frontend_state),
            backend_generation: read.backend_generation,
            frontend_generation: read.frontend_generation,
            grant: GrantRef::new(read.grant),
            port: Port::new(read.port),
        })
    }

    fn list(&self, domain: Option<DomId>) -> io::Result<Vec<NoxsListed>> {
        let mut room = ROOM;
        for _ in 0..TRIES {
            let mut list = vec![ioctl::Info::default(); room];
            let buffer = list.as_mut_ptr().expose_provenance() as u64;
            let domain = domain.map_or(ioctl::ANY_DOMAIN, |domain| u32::from(domain.get()));
            let mut question = ioctl::List { buffer, count: length(room)?, domain };
            self.call(&mut question)?;
            let there = usize::try_from(question.count).unwrap_or(usize::MAX);
            if there <= room {
                list.truncate(there);
                return Ok(list.iter().filter_map(listed).collect());
            }
            room = there.saturating_add(ROOM);
        }
        Err(io::Error::from_raw_os_error(libc::EAGAIN))
    }

    fn watch(&self, watch: NoxsWatch) -> io::Result<()> {
        let (device, flags) = match watch {
            NoxsWatch::Device(name) => (raw(name), 0),
            NoxsWatch::Domain(domain) => {
                (DeviceName { domain: domain.get(), ..DeviceName::default() }, ioctl::WATCH_DOMAIN)
            }
            NoxsWatch::All => (DeviceName::default(), ioctl::WATCH_ALL),
            NoxsWatch::Ends => (DeviceName::default(), ioctl::WATCH_DOMAINS),
        };
        self.call(&mut ioctl::Watch { device, flags, reserved: 0 })
    }

    fn another(&self) -> io::Result<Box<dyn NoxsNode>> {
        match Self::open(&self.path)? {
            Some(node) => Ok(Box::new(node)),
            None => Err(io::Error::from_raw_os_error(libc::ENODEV)),
        }
    }

    fn news(&self) -> io::Result<NoxsNews> {
        let mut news = NoxsNews::default();
        loop {
            let mut bytes = [0; CHANGES * size_of::<ioctl::Event>()];
            match (&self.file).read(&mut bytes) {
                Ok(read) => {
                    add_news(&mut news, bytes.get(..read).unwrap_or_default());
                    if read < bytes.len() {
                        return Ok(news);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(news),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// `struct noxs_event` of vif/7/2: backend Connected, frontend Closing, frontend changed and
    /// gone.
    const EVENT: &[u8] = b"vif\0\0\0\0\0\x02\0\0\0\x07\0\0\0\x04\0\0\0\x05\0\0\0\x03\0\0\0\0\0\0\0";

    #[test]
    fn events_are_read() {
        let name = NoxsName::new(DomId::new(7).unwrap(), Class::VIF, 2);
        let expected = NoxsChange {
            name,
            backend_state: DeviceState::Connected,
            frontend_state: DeviceState::Closing,
            gone: true,
            frontend: true,
            backend: false,
        };
        let news = |bytes: &[u8]| {
            let mut news = NoxsNews::default();
            add_news(&mut news, bytes);
            (news.devices, news.domain_ended)
        };
        assert_eq!(news(EVENT), (vec![expected], false));
        // What is no whole event, or names no device, is left out.
        assert_eq!(news(&EVENT[..31]), (vec![], false));
        assert_eq!(news(&[EVENT, &[0; 32], EVENT].concat()), (vec![expected, expected], false));
        let mut ended = [0; 32];
        ended[24] = 8;
        assert_eq!(news(&[&ended, EVENT].concat()), (vec![expected], true));
        assert_eq!(super::name(&raw(name)), Some(name));
    }

    #[test]
    fn a_kernel_without_the_node() {
        assert!(Node::open(Path::new("/dev/xen/no-such-node")).unwrap().is_none());
        // Another file is opened, and does not speak the ioctls.
        let node = Node::open(Path::new("/dev/null")).unwrap().unwrap();
        assert_eq!(node.versions().unwrap_err().raw_os_error(), Some(libc::ENOTTY));
        let name = NoxsName::new(DomId::new(1).unwrap(), Class::SYSCTL, 0);
        for result in [
            node.create(name, b"", b"").map(|_| ()),
            node.destroy(name, Duration::MAX, false),
            node.set_keys(name, b"", true),
            node.remove_keys(name, b"", true),
            node.read(name, NoxsWhich::Private).map(|_| ()),
            node.list(None).map(|_| ()),
            node.watch(NoxsWatch::All),
        ] {
            assert_eq!(result.unwrap_err().raw_os_error(), Some(libc::ENOTTY));
        }
        assert_eq!(node.news().unwrap(), NoxsNews::default());
    }

    #[test]
    fn timeouts_are_bounded() {
        assert_eq!(milliseconds(Duration::from_millis(1500)), 1500);
        assert_eq!(milliseconds(Duration::MAX), 60_000);
    }
}
