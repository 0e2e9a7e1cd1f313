//! Requests of the toolstack to this guest: to power off, to reboot.

use core::fmt;

use crate::Exit;
use crate::event::{Port, Ports, Source};
use crate::plane::{NO_KEYS, Plane};
use crate::store::{StoreError, Token};
use crate::text::Text;
use sysctl::Sysctl;
use xenstore::Requests;

mod sysctl;
mod xenstore;

/// The longest text about itself that a guest is told, in bytes.
const TEXT: usize = 128;

/// The toolstack's requests.
#[derive(Debug)]
pub struct Control(Kind);

#[derive(Debug)]
enum Kind {
    Xenstore(Requests),
    Noxs(Sysctl),
}

impl Control {
    /// Advertises what this guest answers, power off and reboot, and watches for it.
    pub fn open(plane: &mut Plane) -> Result<Control, StoreError> {
        match plane {
            Plane::Xenstore(store) => {
                Requests::open(store).map(|requests| Control(Kind::Xenstore(requests)))
            }
            Plane::Noxs(noxs) => Sysctl::open(noxs).map(|sysctl| Control(Kind::Noxs(sysctl))),
        }
    }

    /// What was asked for, if anything: acknowledged, and to be done by returning it from the
    /// application.
    pub fn request(&mut self, plane: &mut Plane) -> Option<Exit> {
        match (&mut self.0, plane) {
            (Kind::Xenstore(requests), Plane::Xenstore(store)) => requests.take(store),
            (Kind::Noxs(sysctl), Plane::Noxs(noxs)) => sysctl.request(noxs),
            // A guest has one plane.
            _ => None,
        }
    }

    /// What the toolstack tells this guest about itself: its `name`, its `domid`. None if it does
    /// not.
    pub fn about_me(&mut self, plane: &mut Plane, key: &'static str) -> Option<About> {
        match (&mut self.0, plane) {
            (Kind::Xenstore(_), Plane::Xenstore(store)) => {
                About::new(store.read(key, &mut [0; TEXT]).ok()?)
            }
            (Kind::Noxs(sysctl), _) => {
                let mut copy = NO_KEYS;
                About::new(sysctl.keys(&mut copy)?.get(key.as_bytes())?)
            }
            _ => None,
        }
    }
}

impl Control {
    /// The plane as a source that is ready when there may be a request, and for nothing else that
    /// happens: for those who wait for something particular.
    pub fn only<'a>(&'a self, plane: &'a mut Plane) -> Requested<'a> {
        Requested { control: self, plane }
    }

    fn token(&self) -> Token {
        match &self.0 {
            Kind::Xenstore(requests) => requests.token(),
            Kind::Noxs(sysctl) => sysctl.token(),
        }
    }
}

/// What [`Control::only`] gives.
#[derive(Debug)]
pub struct Requested<'a> {
    control: &'a Control,
    plane: &'a mut Plane,
}

impl Source for Requested<'_> {
    fn port(&self) -> Option<Port> {
        self.plane.port()
    }

    fn more_ports(&self, ports: &mut Ports) {
        self.plane.more_ports(ports);
    }

    fn ready(&mut self) -> bool {
        self.plane.ready() && self.plane.has_fired(self.control.token())
    }
}

/// A text that the toolstack tells.
#[derive(Clone, Copy, Debug)]
pub struct About(Text<TEXT>);

impl About {
    fn new(bytes: &[u8]) -> Option<About> {
        Text::new(format_args!("{}", core::str::from_utf8(bytes).ok()?)).map(About)
    }

    pub(crate) fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl fmt::Display for About {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.0.as_str())
    }
}
