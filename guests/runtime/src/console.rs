//! The guest's console: text out, bytes in (io/console.h).
//!
//! Output waits for the host to make space, but not for ever: if the host takes nothing for a
//! second, output is dropped until it takes something again, so that a guest lives on without a
//! console daemon.

use core::fmt;
use core::time::Duration;

use crate::Error;
use crate::boot::{Kind, Ring};
use crate::event::{Events, Port, Source, Wake};
use crate::ring::{Consumer, Layout, Producer};
use crate::window::Fixed;

const IN: Layout = Layout::new(0, 1024, 3072, 3076);
const OUT: Layout = Layout::new(1024, 2048, 3080, 3084);

/// How long the host may take nothing before output is dropped.
const PATIENCE: Duration = Duration::from_secs(1);

/// The console. Dropping it waits, within bounds, until the host has taken all output.
#[derive(Debug)]
pub struct Console {
    events: Events,
    port: Port,
    input: Consumer,
    output: Producer,
    stalled: bool,
}

impl Console {
    pub(crate) fn open(events: Events, kind: Kind, ring: Ring) -> Result<Console, Error> {
        let page = Fixed::Console.map_ring(kind, ring.frame)?;
        let (input, output) = (Consumer::new(page, IN), Producer::new(page, OUT));
        Ok(Console { events, port: ring.port, input, output, stalled: false })
    }

    /// Writes bytes as they are; blocks while the host makes progress.
    pub fn write_bytes(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            // A counter that is no counter: nobody reads us who could.
            let Ok(done) = self.output.push(bytes) else { return };
            bytes = bytes.get(done..).unwrap_or_default();
            if done > 0 {
                self.stalled = false;
                self.events.notify(self.port);
            } else if self.stalled || !self.wait_below(OUT.size()) {
                self.stalled = true;
                return;
            }
        }
    }

    /// Waits until the host has taken all output; false if it stops doing so.
    pub fn flush(&mut self) -> bool {
        let mut left = u32::MAX;
        loop {
            match self.output.queued() {
                Ok(0) => return true,
                Ok(queued) if queued < left && !self.stalled => left = queued,
                _ => return false,
            }
            if !self.wait_below(left) {
                return false;
            }
        }
    }

    /// Takes what was typed, without waiting; 0: nothing.
    pub fn read(&mut self, bytes: &mut [u8]) -> usize {
        let done = self.input.pop(bytes).unwrap_or(0);
        if done > 0 {
            self.events.notify(self.port);
        }
        done
    }

    /// Waits until fewer than `limit` bytes of output are in the ring; false after `PATIENCE`.
    fn wait_below(&mut self, limit: u32) -> bool {
        let output = &self.output;
        let done = || output.queued().is_ok_and(|queued| queued < limit);
        self.events.wait_until(self.port, PATIENCE, done) == Wake::Ready
    }
}

impl fmt::Write for Console {
    /// Text; a line feed becomes a carriage return and a line feed, as terminals want it.
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for line in text.split_inclusive('\n') {
            match line.strip_suffix('\n') {
                Some(line) => {
                    self.write_bytes(line.as_bytes());
                    self.write_bytes(b"\r\n");
                }
                None => self.write_bytes(line.as_bytes()),
            }
        }
        Ok(())
    }
}

impl Source for Console {
    fn port(&self) -> Option<Port> {
        Some(self.port)
    }

    fn ready(&mut self) -> bool {
        self.input.queued().is_ok_and(|queued| queued > 0)
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        self.flush();
    }
}
