//! A guest's console: the terminal that xenconsoled offers for it, and what was printed before
//! anyone looked. For a guest without Xenstore xendevd does the same with a socket.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use nix::libc::O_NOCTTY;
use nix::sys::termios::{self, SetArg};

use crate::config::Plane;
use crate::domain::Domain;
use crate::error::Error;
use crate::id::Gfn;
use crate::info::DomainKind;
use crate::plane::Control;
use crate::seam::HvmParam;
use crate::store::nodes;

/// How long xenconsoled may take to offer a terminal for a new guest.
const TTY_LIMIT: Duration = Duration::from_secs(10);

/// Where xenconsoled keeps what guests print, if it runs with --log=guest or --log=all.
const LOG_DIR: &str = "/var/log/xen/console";

/// Where xendevd keeps what guests without Xenstore print.
const NOXS_LOG_DIR: &str = "/var/log/lightvm/console";

/// How soon it is looked again for a socket that is not there yet.
const LOOK: Duration = Duration::from_millis(20);

/// The log of a guest with this name.
pub(crate) fn log_file(plane: Plane, name: &str) -> PathBuf {
    match plane {
        Plane::Xenstore => Path::new(LOG_DIR).join(format!("guest-{name}.log")),
        Plane::Noxs => Path::new(NOXS_LOG_DIR).join(format!("{name}.log")),
    }
}

/// A guest's console.
#[derive(Debug)]
pub struct Console<'a> {
    domain: &'a Domain,
    kind: DomainKind,
    plane: Plane,
}

impl<'a> Console<'a> {
    pub(crate) fn new(domain: &'a Domain) -> Result<Self, Error> {
        domain.refuse_dom0("attaching to")?;
        let info = domain.info()?;
        let plane = domain.inner().plane_of(domain.id(), info.handle)?;
        Ok(Self { domain, kind: info.kind, plane })
    }

    /// The terminal that xenconsoled offers for this guest, if it offers one at this moment; for a
    /// guest without Xenstore the socket of xendevd.
    ///
    /// # Errors
    /// [`Error::Store`] if xenstored fails.
    pub fn current_tty(&self) -> Result<Option<PathBuf>, Error> {
        match self.domain.control()? {
            Control::Xenstore(store) => {
                Ok(store.read(&self.tty_node())?.filter(|path| !path.is_empty()).map(PathBuf::from))
            }
            Control::Noxs(_) => Ok(Some(self.socket()).filter(|path| path.exists())),
        }
    }

    fn socket(&self) -> PathBuf {
        self.domain.inner().state.console_socket(self.domain.id())
    }

    fn tty_node(&self) -> String {
        format!("{}/console/tty", nodes::home(self.domain.id()))
    }

    /// The terminal that xenconsoled offers for this guest. For a guest that has just been made it
    /// may take a moment, so this waits for at most 10 s.
    ///
    /// # Errors
    /// [`Error::NoTerminal`] if there is none by then, [`Error::Store`] if xenstored fails.
    pub fn tty(&self) -> Result<PathBuf, Error> {
        let end = Instant::now() + TTY_LIMIT;
        // The common case costs one request.
        if let Some(path) = self.current_tty()? {
            return Ok(path);
        }
        let watch = match self.domain.control()? {
            Control::Xenstore(store) => store.watch(&[&self.tty_node()])?,
            Control::Noxs(_) => return self.wait_for_socket(end),
        };
        loop {
            if let Some(path) = self.current_tty()? {
                return Ok(path);
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Error::NoTerminal { domain: self.domain.id(), timeout: TTY_LIMIT });
            }
            watch.wait(left)?;
        }
    }

    fn wait_for_socket(&self, end: Instant) -> Result<PathBuf, Error> {
        while Instant::now() < end {
            if let Some(path) = self.current_tty()? {
                return Ok(path);
            }
            thread::sleep(LOOK);
        }
        Err(Error::NoConsole { domain: self.domain.id(), timeout: TTY_LIMIT })
    }

    /// Opens the terminal for reading and writing, raw: bytes pass unchanged and are not echoed.
    ///
    /// # Errors
    /// As [`tty`](Self::tty), and [`Error::Io`] if it cannot be opened.
    pub fn open(&self) -> Result<File, Error> {
        let path = self.tty()?;
        let open = || -> io::Result<File> {
            if self.plane == Plane::Noxs {
                return Ok(File::from(OwnedFd::from(UnixStream::connect(&path)?)));
            }
            let file =
                OpenOptions::new().read(true).write(true).custom_flags(O_NOCTTY).open(&path)?;
            let mut settings = termios::tcgetattr(&file)?;
            termios::cfmakeraw(&mut settings);
            termios::tcsetattr(&file, SetArg::TCSANOW, &settings)?;
            Ok(file)
        };
        open().map_err(|source| Error::Io {
            what: format!("cannot open the console {}", path.display()),
            source,
        })
    }

    /// What the guest has printed so far: all of it if xenconsoled keeps a log (--log=guest), where
    /// lines may be those of an earlier guest with the same name, else the last 2 KiB, as they
    /// are in the guest's ring. Nothing is taken from either.
    ///
    /// # Errors
    /// [`Error::Io`] if the log is there and cannot be read, [`Error::Call`] if the ring cannot be
    /// mapped, [`Error::WrongState`] if nobody says where it is.
    pub fn history(&self) -> Result<Vec<u8>, Error> {
        let Some(path) = self.domain.console_log()? else { return self.ring() };
        let read = |path: &Path| {
            fs::read(path).map_err(|source| Error::Io {
                what: format!("cannot read {}", path.display()),
                source,
            })
        };
        // xendevd begins another file when one is full, and keeps that one.
        let older = path.with_extension("log.1");
        let mut text = match self.plane {
            Plane::Noxs if older.is_file() => read(&older)?,
            _ => Vec::new(),
        };
        text.extend(read(&path)?);
        Ok(text)
    }

    fn ring(&self) -> Result<Vec<u8>, Error> {
        let inner = self.domain.inner();
        let frame = match self.kind {
            DomainKind::Pvh | DomainKind::Hvm => {
                inner.calls.hvm_param(self.domain.id(), HvmParam::ConsoleFrame)?
            }
            DomainKind::Pv if self.plane == Plane::Noxs => {
                let place = self.domain.console_place()?.ok_or_else(|| self.no_ring())?;
                place.frame.get()
            }
            DomainKind::Pv => {
                let node = format!("{}/console/ring-ref", nodes::home(self.domain.id()));
                let text = inner.store()?.read(&node)?;
                text.and_then(|text| text.parse().ok()).ok_or_else(|| self.no_ring())?
            }
        };
        Ok(inner.calls.console_ring(self.domain.id(), Gfn::new(frame))?)
    }

    fn no_ring(&self) -> Error {
        Error::WrongState(format!("domain {} has no console ring", self.domain.id()))
    }
}
