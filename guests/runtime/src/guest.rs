//! What an application is handed: this guest's type, command line, console, control plane, clock
//! and its way to wait.

use core::fmt;
use core::time::Duration;

use crate::boot::{Boot, Frame, Kind};
use crate::clock::{self, Instant};
use crate::console::Console;
use crate::control::{About, Control};
use crate::device::Devices;
use crate::event::{Events, Source, Wake};
use crate::hypercall::{Errno, Reason, poll};
use crate::page::SharedPage;
use crate::plane::Plane;
use crate::random::Random;
use crate::window::Fixed;

/// How a guest ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// The toolstack does what `on_poweroff` says.
    PowerOff,
    /// The toolstack does what `on_reboot` says.
    Reboot,
    /// The toolstack does what `on_crash` says.
    Crash,
}

impl Exit {
    /// What a toolstack's word for it asks for, if this guest does it.
    pub(crate) fn requested(word: &[u8]) -> Option<Exit> {
        match word {
            b"poweroff" | b"halt" => Some(Exit::PowerOff),
            b"reboot" => Some(Exit::Reboot),
            _ => None,
        }
    }

    pub(crate) fn reason(self) -> Reason {
        match self {
            Exit::PowerOff => Reason::PowerOff,
            Exit::Reboot => Reason::Reboot,
            Exit::Crash => Reason::Crash,
        }
    }
}

/// Why the guest could not be set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The start info is not one.
    StartInfo,
    /// No hypervisor that we know answers CPUID.
    NoXen,
    /// A page could not be mapped.
    Map(Errno),
    /// Xen named no frame for the grant table.
    GrantTable,
    /// Xen named no frame for the device page.
    DevicePage,
    /// A frame that cannot be reached.
    Frame(Frame),
    /// There is no port for Xenstore, and the hypervisor speaks no NoXS.
    NoPlane,
    /// The interrupt of the device page could not be bound.
    Interrupt(Errno),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::StartInfo => f.write_str("not a Xen start info"),
            Error::NoXen => f.write_str("no Xen hypervisor found"),
            Error::Map(errno) => write!(f, "mapping a shared page: {errno}"),
            Error::GrantTable => f.write_str("Xen gave no grant table"),
            Error::DevicePage => f.write_str("Xen gave no device page"),
            Error::NoPlane => f.write_str("neither Xenstore nor NoXS"),
            Error::Interrupt(errno) => {
                write!(f, "binding the interrupt of the device page: {errno}")
            }
            Error::Frame(frame) => write!(f, "{frame:?} cannot be mapped"),
        }
    }
}

impl core::error::Error for Error {}

/// The running guest. There is one, handed to the application's main function.
#[derive(Debug)]
pub struct Guest {
    boot: Boot,
    events: Events,
    console_opened: bool,
    plane_opened: bool,
    devices_opened: bool,
}

impl Guest {
    /// Maps the shared info page.
    pub(crate) fn open() -> Result<Guest, Error> {
        let boot = Boot::read()?;
        let info = Fixed::map_shared_info(boot.kind, boot.shared_info)?;
        Ok(Guest {
            boot,
            events: Events::new(info),
            console_opened: false,
            plane_opened: false,
            devices_opened: false,
        })
    }

    /// The shared info page, for those who report a failure.
    pub(crate) fn shared_info(&self) -> SharedPage {
        self.events.shared_info()
    }

    /// PV or PVH.
    pub fn kind(&self) -> Kind {
        self.boot.kind
    }

    /// The kernel command line, at most 1023 bytes of it.
    pub fn cmdline(&self) -> &'static str {
        self.boot.cmdline()
    }

    /// The value of the first word `key=value` on the command line.
    pub fn option(&self, key: &str) -> Option<&'static str> {
        option(self.cmdline(), key)
    }

    /// Opens the console. None if the toolstack gave us none, if it cannot be mapped, or if it was
    /// opened before.
    pub fn console(&mut self) -> Option<Console> {
        if core::mem::replace(&mut self.console_opened, true) {
            return None;
        }
        Console::open(self.events, self.boot.kind, self.boot.console()?).ok()
    }

    /// Opens the control plane. None if there is neither Xenstore nor NoXS for this guest, if it
    /// cannot be mapped, or if it was opened before.
    pub fn plane(&mut self) -> Option<Plane> {
        if core::mem::replace(&mut self.plane_opened, true) {
            return None;
        }
        Plane::open(self.events, &self.boot).ok()
    }

    /// What devices are made with. None if the grant table cannot be mapped, or if this was asked
    /// for before.
    pub fn devices(&mut self) -> Option<Devices> {
        if core::mem::replace(&mut self.devices_opened, true) {
            return None;
        }
        Devices::open(self.events, self.boot.kind).ok()
    }

    /// The time, on Xen's clock.
    pub fn now(&self) -> Instant {
        self.events.now()
    }

    /// The time of day: what has passed since 1970 began, UTC.
    pub fn wall_clock(&self) -> Duration {
        clock::wall(self.events.shared_info())
    }

    /// Random numbers. With `control` also from the seed that the toolstack gives each guest.
    pub fn random(&self, control: Option<(&mut Control, &mut Plane)>) -> Random {
        let seed = control.and_then(|(control, plane)| control.about_me(plane, "random-seed"));
        let clock = [self.now().as_nanos(), clock::time_stamp()];
        Random::new(seed.as_ref().map(About::as_str), clock)
    }

    /// Blocks until one of `sources` is ready or `deadline` is over. Uses no CPU time meanwhile.
    ///
    /// # Panics
    /// With more than `MAX_SOURCES` sources.
    pub fn wait(&self, sources: &mut [&mut dyn Source], deadline: Option<Instant>) -> Wake {
        self.events.wait(sources, deadline)
    }

    /// Blocks until the toolstack destroys the guest.
    pub fn wait_forever(&self) -> ! {
        loop {
            poll(&[], 0);
        }
    }
}

fn option<'a>(cmdline: &'a str, key: &str) -> Option<&'a str> {
    cmdline.split_ascii_whitespace().find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
}

#[cfg(test)]
mod tests {
    use super::option;

    #[test]
    fn options_are_whole_words() {
        let cmdline = "quiet ip1=b ip=a  ip=c gw=";
        assert_eq!(option(cmdline, "ip"), Some("a"));
        assert_eq!(option(cmdline, "ip1"), Some("b"));
        assert_eq!(option(cmdline, "gw"), Some(""));
        assert_eq!(option(cmdline, "quiet"), None);
        assert_eq!(option(cmdline, "i"), None);
    }
}
