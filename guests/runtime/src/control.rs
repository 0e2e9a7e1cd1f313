//! Requests of the toolstack to this guest, `control/shutdown` in Xenstore.

use crate::Exit;
use crate::store::{Store, StoreError, Token};

const NODE: &str = "control/shutdown";
const TOKEN: Token = Token::new(Token::COUNT - 1);

/// The toolstack's requests. Uses the last token of the store's watches.
#[derive(Debug)]
pub struct Control(());

impl Control {
    /// Advertises what this guest answers, power off and reboot, and watches for it.
    pub fn open(store: &mut Store) -> Result<Control, StoreError> {
        // The toolstack makes these nodes, or does not ask: a refusal is no failure.
        let _ = store.write("control/feature-poweroff", b"1");
        let _ = store.write("control/feature-reboot", b"1");
        store.watch(NODE, TOKEN)?;
        Ok(Control(()))
    }

    /// What was asked for, if anything: acknowledged, and to be done by returning it from the application.
    pub fn request(&mut self, store: &mut Store) -> Option<Exit> {
        if !store.take_fired(TOKEN) {
            return None;
        }
        let mut buffer = [0; 16];
        let exit = match store.read(NODE, &mut buffer) {
            Ok(b"poweroff" | b"halt") => Exit::PowerOff,
            Ok(b"reboot") => Exit::Reboot,
            _ => return None,
        };
        // Emptied: seen. If that fails the toolstack sees the domain stop all the same.
        let _ = store.write(NODE, b"");
        Some(exit)
    }
}
