//! A guest's console: the terminal that xenconsoled offers for it, and what was printed before anyone looked.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::libc::O_NOCTTY;
use nix::sys::termios::{self, SetArg};

use crate::domain::Domain;
use crate::error::Error;
use crate::id::Gfn;
use crate::info::DomainKind;
use crate::seam::HvmParam;
use crate::store::nodes;

/// How long xenconsoled may take to offer a terminal for a new guest.
const TTY_LIMIT: Duration = Duration::from_secs(10);

/// Where xenconsoled keeps what guests print, if it runs with --log=guest or --log=all.
const LOG_DIR: &str = "/var/log/xen/console";

/// The log of a guest with this name.
pub(crate) fn log_file(name: &str) -> PathBuf {
    Path::new(LOG_DIR).join(format!("guest-{name}.log"))
}

/// A guest's console.
#[derive(Debug)]
pub struct Console<'a> {
    domain: &'a Domain,
    kind: DomainKind,
}

impl<'a> Console<'a> {
    pub(crate) fn new(domain: &'a Domain) -> Result<Self, Error> {
        domain.refuse_dom0("attaching to")?;
        let kind = domain.info()?.kind;
        Ok(Self { domain, kind })
    }

    /// The terminal that xenconsoled offers for this guest. For a guest that has just been made it may take a moment, so
    /// this waits for at most 10 s.
    ///
    /// # Errors
    /// [`Error::NoTerminal`] if there is none by then, [`Error::Store`] if xenstored fails.
    pub fn tty(&self) -> Result<PathBuf, Error> {
        let store = self.domain.inner().store()?;
        let node = format!("{}/console/tty", nodes::home(self.domain.id()));
        let end = Instant::now() + TTY_LIMIT;
        let read = || Ok::<_, Error>(store.read(&node)?.filter(|path| !path.is_empty()).map(PathBuf::from));
        // The common case costs one request.
        if let Some(path) = read()? {
            return Ok(path);
        }
        let watch = store.watch(&[&node])?;
        loop {
            if let Some(path) = read()? {
                return Ok(path);
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Error::NoTerminal { domain: self.domain.id(), timeout: TTY_LIMIT });
            }
            watch.wait(left)?;
        }
    }

    /// Opens the terminal for reading and writing, raw: bytes pass unchanged and are not echoed.
    ///
    /// # Errors
    /// As [`tty`](Self::tty), and [`Error::Io`] if it cannot be opened.
    pub fn open(&self) -> Result<File, Error> {
        let path = self.tty()?;
        let open = || -> io::Result<File> {
            let file = OpenOptions::new().read(true).write(true).custom_flags(O_NOCTTY).open(&path)?;
            let mut settings = termios::tcgetattr(&file)?;
            termios::cfmakeraw(&mut settings);
            termios::tcsetattr(&file, SetArg::TCSANOW, &settings)?;
            Ok(file)
        };
        open().map_err(|source| Error::Io { what: format!("cannot open the console {}", path.display()), source })
    }

    /// What the guest has printed so far, if xenconsoled keeps a log of it. Lines may be those of an earlier guest with the same name.
    ///
    /// # Errors
    /// [`Error::Io`] if the log is there and cannot be read.
    pub fn log(&self) -> Result<Option<Vec<u8>>, Error> {
        let Some(path) = self.domain.console_log()? else { return Ok(None) };
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(Error::Io { what: format!("cannot read {}", path.display()), source }),
        }
    }

    /// What is in the console ring at this moment: printed by the guest, and not yet taken by xenconsoled. It stays there.
    ///
    /// # Errors
    /// [`Error::Call`] if the ring cannot be mapped, [`Error::WrongState`] if nobody says where it is.
    pub fn unread(&self) -> Result<Vec<u8>, Error> {
        let inner = self.domain.inner();
        let frame = match self.kind {
            DomainKind::Pvh | DomainKind::Hvm => inner.calls.hvm_param(self.domain.id(), HvmParam::ConsoleFrame)?,
            DomainKind::Pv => {
                let node = format!("{}/console/ring-ref", nodes::home(self.domain.id()));
                let text = inner.store()?.read(&node)?;
                text.and_then(|text| text.parse().ok())
                    .ok_or_else(|| Error::WrongState(format!("domain {} has no console ring", self.domain.id())))?
            }
        };
        Ok(inner.calls.console_ring(self.domain.id(), Gfn::new(frame))?)
    }
}
