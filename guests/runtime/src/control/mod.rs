//! Requests of the toolstack to this guest: to power off, to reboot.

use core::fmt;

use crate::Exit;
use crate::plane::{NO_KEYS, Plane};
use crate::store::{StoreError, Token};
use crate::text::Text;
use sysctl::Sysctl;

mod sysctl;
mod xenstore;

/// The token of all that concerns requests.
const TOKEN: Token = Token::new(Token::COUNT - 1);

/// The longest text about itself that a guest is told, in bytes.
const TEXT: usize = 128;

/// The toolstack's requests. Uses the last token of the plane's watches.
#[derive(Debug)]
pub struct Control(Kind);

#[derive(Debug)]
enum Kind {
    Xenstore,
    Noxs(Sysctl),
}

impl Control {
    /// Advertises what this guest answers, power off and reboot, and watches for it.
    pub fn open(plane: &mut Plane) -> Result<Control, StoreError> {
        match plane {
            Plane::Xenstore(store) => xenstore::open(store).map(|()| Control(Kind::Xenstore)),
            Plane::Noxs(noxs) => Ok(Control(Kind::Noxs(Sysctl::open(noxs)))),
        }
    }

    /// What was asked for, if anything: acknowledged, and to be done by returning it from the
    /// application.
    pub fn request(&mut self, plane: &mut Plane) -> Option<Exit> {
        match (&mut self.0, plane) {
            (Kind::Xenstore, Plane::Xenstore(store)) => xenstore::request(store),
            (Kind::Noxs(sysctl), Plane::Noxs(noxs)) => sysctl.request(noxs),
            // A guest has one plane.
            _ => None,
        }
    }

    /// What the toolstack tells this guest about itself: its `name`, its `domid`. None if it does
    /// not.
    pub fn about_me(&mut self, plane: &mut Plane, key: &'static str) -> Option<About> {
        match (&mut self.0, plane) {
            (Kind::Xenstore, Plane::Xenstore(store)) => {
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
