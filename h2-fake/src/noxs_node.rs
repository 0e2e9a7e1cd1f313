//! The seam's NoXS node over the fake host.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use h2::DomId;
use h2::id::{GrantRef, Port};
use h2::noxs_backend::Keys;
use h2::seam::{NoxsListed, NoxsName, NoxsNews, NoxsNode, NoxsRead, NoxsWatch, NoxsWhich};

use crate::fake::Shared;
use crate::host::Host;
use crate::noxs::Device;
use crate::noxs_files;

/// How long late news takes.
const LATENESS: Duration = Duration::from_millis(1);

/// An open node.
#[derive(Debug)]
pub(crate) struct FakeNode {
    shared: Rc<Shared>,
    /// Readable while there is news.
    descriptor: UnixStream,
    id: noxs_files::Id,
}

impl Drop for FakeNode {
    fn drop(&mut self) {
        self.shared.files.borrow_mut().close(self.id);
    }
}

impl FakeNode {
    pub(crate) fn new(shared: Rc<Shared>) -> io::Result<Self> {
        let (descriptor, signal) = UnixStream::pair()?;
        let id = shared.files.borrow_mut().open(signal);
        Ok(Self { shared, descriptor, id })
    }

    fn run<T>(
        &self,
        operation: &'static str,
        name: Option<NoxsName>,
        op: impl FnOnce(&mut Host) -> Result<T, i32>,
    ) -> io::Result<T> {
        let subject = name.map_or_else(String::new, |name| name.to_string());
        self.shared.run(operation, subject, op).map_err(io::Error::from_raw_os_error)
    }
}

impl AsFd for FakeNode {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

fn listed(device: &Device) -> Result<NoxsListed, i32> {
    Ok(NoxsListed {
        name: device.name()?,
        backend_state: device.backend.into(),
        frontend_state: device.frontend.into(),
        grant: GrantRef::new(device.grant),
        port: Port::new(device.port),
    })
}

impl NoxsNode for FakeNode {
    fn create(&self, name: NoxsName, keys: &[u8], private: &[u8]) -> io::Result<(GrantRef, Port)> {
        let (grant, port) =
            self.run("noxs_create", Some(name), |host| host.noxs.create(name, keys, private))?;
        Ok((GrantRef::new(grant), Port::new(port)))
    }

    fn destroy(&self, name: NoxsName, timeout: Duration, force: bool) -> io::Result<()> {
        self.run("noxs_destroy", Some(name), |host| host.noxs_destroy(name, timeout, force))
    }

    fn set_keys(&self, name: NoxsName, keys: &[u8], private: bool) -> io::Result<()> {
        self.run("noxs_set_keys", Some(name), |host| {
            host.noxs.change_keys(name, keys, private, false)
        })
    }

    fn remove_keys(&self, name: NoxsName, keys: &[u8], private: bool) -> io::Result<()> {
        self.run("noxs_remove_keys", Some(name), |host| {
            host.noxs.change_keys(name, keys, private, true)
        })
    }

    fn read(&self, name: NoxsName, which: NoxsWhich) -> io::Result<NoxsRead> {
        let device = self.run("noxs_read", Some(name), |host| host.noxs.device(name).cloned())?;
        let keys = match which {
            NoxsWhich::Backend => &device.keys,
            NoxsWhich::Frontend => &device.theirs,
            NoxsWhich::Private => &device.private,
        };
        let keys: Keys = keys.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        Ok(NoxsRead {
            keys: keys.encode()?,
            backend_state: device.backend.into(),
            frontend_state: device.frontend.into(),
            backend_generation: 1,
            frontend_generation: 1,
            grant: GrantRef::new(device.grant),
            port: Port::new(device.port),
        })
    }

    fn list(&self, domain: Option<DomId>) -> io::Result<Vec<NoxsListed>> {
        self.run("noxs_list", None, |host| {
            let of = |device: &&Device| domain.is_none_or(|domain| device.guest == domain);
            host.noxs.devices.iter().filter(of).map(listed).collect()
        })
    }

    fn watch(&self, watch: NoxsWatch) -> io::Result<()> {
        self.run("noxs_watch", None, |host| {
            if let NoxsWatch::Device(name) = watch {
                host.noxs.device(name)?;
            }
            self.shared.files.borrow_mut().watch(self.id, watch);
            Ok(())
        })
    }

    fn news(&self) -> io::Result<NoxsNews> {
        self.run("noxs_news", None, |_| {
            Ok(self.shared.files.borrow_mut().read(self.id, &self.descriptor))
        })
    }

    fn another(&self) -> io::Result<Box<dyn NoxsNode>> {
        self.run("noxs_open", None, |_| Ok(()))?;
        Ok(Box::new(Self::new(Rc::clone(&self.shared))?))
    }

    /// Whoever waits lets drivers and guests run, until they tell something that this file watches.
    /// When they have no more to do nothing can happen, since all is one thread: the wait takes
    /// its time.
    fn wait(&self, timeout: Duration) -> io::Result<bool> {
        let told = self.run("noxs_wait", None, |host| {
            let mut goes_on = true;
            loop {
                self.shared.deliver(host);
                if self.shared.files.borrow().has_news(self.id) || !goes_on {
                    return Ok(self.shared.files.borrow().has_news(self.id));
                }
                goes_on = self.shared.react(host);
            }
        })?;
        if told {
            return Ok(true);
        }
        if timeout < LATENESS || !self.shared.files.borrow_mut().tell_late() {
            self.shared.files.borrow_mut().timeouts += u64::from(timeout >= LATENESS);
            thread::sleep(timeout);
            return Ok(false);
        }
        thread::sleep(LATENESS);
        Ok(self.shared.files.borrow().has_news(self.id))
    }
}
