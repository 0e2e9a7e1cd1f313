//! The seam's store operations over the fake host.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use h2::DomId;
use h2::id::{Gfn, Port};
use h2::seam::{NodePermission, StoreCalls};

use crate::fake::Shared;
use crate::host::Host;
use crate::session::Id;
use crate::tree;

/// A wait without an event ends after this at the latest. Nothing can happen meanwhile, since all
/// is one thread, and whoever waits must cope with waking early.
const LONGEST_WAIT: Duration = Duration::from_millis(1);

/// A connection, closed on drop.
#[derive(Debug)]
pub(crate) struct FakeStore {
    shared: Rc<Shared>,
    id: Cell<Id>,
}

impl Drop for FakeStore {
    fn drop(&mut self) {
        self.shared.session.borrow_mut().close(self.id.get());
    }
}

impl FakeStore {
    pub(crate) fn new(shared: Rc<Shared>) -> Self {
        let id = shared.session.borrow_mut().connect();
        Self { shared, id: Cell::new(id) }
    }

    fn run<T>(
        &self,
        operation: &'static str,
        path: &str,
        op: impl FnOnce(&mut Host) -> Result<T, i32>,
    ) -> io::Result<T> {
        let connected = |host: &mut Host| {
            self.shared.session.borrow_mut().check(self.id.get())?;
            op(host)
        };
        self.shared.run(operation, path.to_owned(), connected).map_err(io::Error::from_raw_os_error)
    }
}

impl StoreCalls for FakeStore {
    fn read(&self, path: &str) -> io::Result<Option<Vec<u8>>> {
        self.run("read", path, |host| host.tree.read(path))
    }

    fn write(&self, path: &str, value: &str) -> io::Result<()> {
        self.run("write", path, |host| {
            host.tree.write(path, value.as_bytes())?;
            self.shared.fire(path);
            Ok(())
        })
    }

    fn mkdir(&self, path: &str) -> io::Result<()> {
        self.run("mkdir", path, |host| {
            if host.tree.mkdir(path)? {
                self.shared.fire(path);
            }
            Ok(())
        })
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        self.run("remove", path, |host| {
            for gone in host.tree.remove(path)? {
                self.shared.fire(&gone);
            }
            Ok(())
        })
    }

    fn directory(&self, path: &str) -> io::Result<Option<Vec<String>>> {
        self.run("directory", path, |host| host.tree.directory(path))
    }

    fn set_permissions(&self, path: &str, permissions: &[NodePermission]) -> io::Result<()> {
        let list =
            permissions.iter().map(|entry| (entry.domain.get(), entry.read, entry.write)).collect();
        self.run("set_permissions", path, |host| {
            if let Some(owner) = permissions.first().map(|entry| entry.domain)
                && !host.domains.contains_key(&owner)
            {
                return Err(libc::ENOENT);
            }
            host.tree.set_permissions(path, list)?;
            self.shared.fire(path);
            Ok(())
        })
    }

    fn introduce(&self, domain: DomId, _: Gfn, port: Port) -> io::Result<()> {
        self.run("introduce", &domain.to_string(), |host| {
            host.introduce(domain, port.get())?;
            self.shared.fire("@introduceDomain");
            Ok(())
        })
    }

    fn is_introduced(&self, domain: DomId) -> io::Result<bool> {
        self.run("is_introduced", &domain.to_string(), |host| {
            Ok(host.introduced.contains_key(&domain))
        })
    }

    fn watch(&self, path: &str, token: &str) -> io::Result<()> {
        self.run("watch", path, |_| {
            if !path.starts_with('@') {
                tree::check(path)?;
            }
            self.shared.session.borrow_mut().watch(self.id.get(), path, token)
        })
    }

    fn unwatch(&self, path: &str, token: &str) -> io::Result<()> {
        // xenstored's ENOENT is no failure at the seam.
        self.run("unwatch", path, |_| {
            self.shared.session.borrow_mut().unwatch(self.id.get(), path, token).map(|_| ())
        })
    }

    fn next_event(&self, timeout: Duration) -> io::Result<Option<(String, String)>> {
        let event = self.run("next_event", "", |host| {
            let event = self.shared.session.borrow_mut().event(self.id.get())?;
            if event.is_none() {
                // Whoever waits lets the guests run.
                let _ = self.shared.react(host);
                return self.shared.session.borrow_mut().event(self.id.get());
            }
            Ok(event)
        })?;
        if event.is_none() {
            thread::sleep(timeout.min(LONGEST_WAIT));
        }
        Ok(event)
    }

    fn reconnect(&self) -> io::Result<()> {
        let done = self.shared.run("reconnect", String::new(), |_| {
            let mut session = self.shared.session.borrow_mut();
            session.close(self.id.get());
            self.id.set(session.connect());
            Ok(())
        });
        done.map_err(io::Error::from_raw_os_error)
    }
}
