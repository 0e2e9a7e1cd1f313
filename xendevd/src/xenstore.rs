//! The connection to xenstored: made anew when it is lost, and the answers that toolstacks wait
//! for.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use h2::DomId;
use h2::error::{OpenError, StoreError};
use h2::store::{Batch, Store};

use crate::device::DeviceId;

/// What a backend directory always has; without it the device is gone, and what is written there
/// would stay for ever.
const WITNESS: &str = "frontend-id";

const FIRST_RETRY: Duration = Duration::from_millis(250);
const LAST_RETRY: Duration = Duration::from_secs(10);

/// Where no daemon of this domain listens, one in another domain is asked for this often and no
/// more: the kernel keeps what it is asked until there is somebody to answer.
const ELSEWHERE_RETRY: Duration = Duration::from_secs(300);

/// xenstored, as long as it is there.
#[derive(Debug)]
pub struct Xenstore {
    store: Option<Store>,
    retry_at: Instant,
    retry: Duration,
    elsewhere_at: Instant,
}

/// An operation that was not done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum XenstoreError {
    /// There is no connection.
    #[error("there is no connection to xenstored")]
    Lost,
    /// xenstored refused, or the connection broke.
    #[error(transparent)]
    Store(#[from] StoreError),
}

type Result<T> = std::result::Result<T, XenstoreError>;

impl Default for Xenstore {
    fn default() -> Self {
        let now = Instant::now();
        Self { store: None, retry_at: now, retry: FIRST_RETRY, elsewhere_at: now }
    }
}

impl Xenstore {
    /// Whether there is a connection.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.store.is_some()
    }

    /// When to try again, if there is none.
    #[must_use]
    pub fn retry_at(&self) -> Option<Instant> {
        self.store.is_none().then_some(self.retry_at)
    }

    /// Whether it is time to see if xenstored is there, which may take some seconds. Whoever asks
    /// this does so, and tells [`failed`](Self::failed) if it is not.
    pub fn is_due(&mut self, now: Instant) -> bool {
        if self.store.is_some() || now < self.retry_at {
            return false;
        }
        if !daemon_listens() {
            if now < self.elsewhere_at {
                self.failed();
                return false;
            }
            self.elsewhere_at = now + ELSEWHERE_RETRY;
        }
        true
    }

    /// xenstored is not there; the next time to look is set.
    pub fn failed(&mut self) {
        self.retry_at = Instant::now() + self.retry;
        self.retry = (self.retry * 2).min(LAST_RETRY);
    }

    /// Connects, which takes as long as xenstored takes to answer: up to 5 s.
    ///
    /// # Errors
    /// Why it did not work; the next time to look is set.
    pub fn connect(&mut self) -> std::result::Result<(), OpenError> {
        match Store::open() {
            Ok(store) => {
                self.store = Some(store);
                self.retry = FIRST_RETRY;
                Ok(())
            }
            Err(error) => {
                self.failed();
                Err(error)
            }
        }
    }

    /// What to poll for events of watches.
    #[must_use]
    pub fn descriptor(&self) -> Option<OwnedFd> {
        self.store.as_ref()?.descriptor().ok()
    }

    /// Takes what has come, which shows whether the connection still holds. To be called before
    /// each wait, too.
    pub fn take_events(&mut self) {
        // There are no watches: the kernel tells of devices.
        while let Ok(Some(_)) = self.run(|store| store.next_event(Duration::ZERO)) {}
    }

    fn run<T>(
        &mut self,
        call: impl FnOnce(&Store) -> std::result::Result<T, StoreError>,
    ) -> Result<T> {
        let store = self.store.as_ref().ok_or(XenstoreError::Lost)?;
        let result = call(store);
        // What xenstored refuses does not end the connection; everything else does.
        if result.is_err() && store.descriptor().is_err() {
            self.store = None;
            self.retry_at = Instant::now();
        }
        Ok(result?)
    }

    /// A node's value.
    ///
    /// # Errors
    /// [`XenstoreError`]; so with the others.
    pub fn read(&mut self, path: &str) -> Result<Option<String>> {
        self.run(|store| store.read(path))
    }

    /// The value of a node in a device's backend directory.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn node(&mut self, device: DeviceId, node: &str) -> Result<Option<String>> {
        self.read(&format!("{}/{node}", device.path()))
    }

    /// Whether libxl made this guest: it notes a device model for each, also for those that need
    /// none.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn is_libxls(&mut self, domain: DomId) -> Result<bool> {
        Ok(self.read(&format!("/libxl/{domain}/dm-version"))?.is_some())
    }

    /// Writes nodes into a device's backend directory, in their order, unless the device is gone; a
    /// node without a value is removed. Whether the device was there.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn answer(&mut self, device: DeviceId, nodes: &[(&str, Option<String>)]) -> Result<bool> {
        if self.node(device, WITNESS)?.is_none() {
            return Ok(false);
        }
        let path = device.path();
        let mut batch = Batch::new();
        for (node, value) in nodes {
            let node = format!("{path}/{node}");
            match value {
                Some(value) => batch.write(node, value),
                None => batch.remove(node),
            };
        }
        self.run(|store| store.apply(&batch))?;
        // The toolstack may have removed the directory in between. Then what is there now is what
        // was just written.
        if self.node(device, WITNESS)?.is_some() {
            return Ok(true);
        }
        self.run(|store| store.remove(&path))?;
        if let Some((parent, _)) = path.rsplit_once('/')
            && self.run(|store| store.directory(parent))?.is_empty()
        {
            self.run(|store| store.remove(parent))?;
        }
        Ok(false)
    }

    /// Tells the guest's end of an interface its MTU, as Xen's script does. The guest owns that
    /// directory: it is written blindly, and only if it is there.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn tell_mtu(&mut self, device: DeviceId, mtu: u32) -> Result<()> {
        let frontend = format!("/local/domain/{}/device/vif/{}", device.domain, device.number);
        if self.read(&format!("{frontend}/backend-id"))?.is_none() {
            return Ok(());
        }
        let node = format!("{frontend}/mtu");
        self.run(|store| store.apply(Batch::new().write(&node, mtu.to_string())))?;
        // As in `answer`; the domain's home is not ours to remove, and goes with the domain.
        if self.read(&format!("{frontend}/backend-id"))?.is_none() {
            self.run(|store| store.remove(&node))?;
        }
        Ok(())
    }
}

/// Whether a daemon of this domain listens, or has: where its socket is, by libxenstore's rules.
#[must_use]
pub fn daemon_listens() -> bool {
    let folder = || {
        std::env::var_os("XENSTORED_RUNDIR")
            .map_or_else(|| PathBuf::from("/run/xenstored"), PathBuf::from)
    };
    std::env::var_os("XENSTORED_PATH")
        .map_or_else(|| folder().join("socket"), PathBuf::from)
        .exists()
}

/// An error with its causes, in one line.
#[must_use]
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut line = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let text = cause.to_string();
        if !line.ends_with(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
        next = cause.source();
    }
    line
}
