//! A line as it is typed.

use core::{slice, str};

const LENGTH: usize = 256;
const BACKSPACE: u8 = 8;
const DELETE: u8 = 0x7f;

/// The line so far. What is typed beyond its length is not taken.
pub(crate) struct Line {
    bytes: [u8; LENGTH],
    length: usize,
}

impl Line {
    pub(crate) fn new() -> Self {
        Line { bytes: [0; LENGTH], length: 0 }
    }

    /// What the terminal shall show for `byte`, asked for before it is pushed.
    pub(crate) fn echo<'b>(&self, byte: &'b u8) -> &'b [u8] {
        match *byte {
            b'\r' | b'\n' => b"\r\n",
            BACKSPACE | DELETE if self.length > 0 => b"\x08 \x08",
            b' '..=b'~' | 0x80.. if self.length < LENGTH => slice::from_ref(byte),
            _ => b"",
        }
    }

    /// Takes a byte; true if the line is complete.
    pub(crate) fn push(&mut self, byte: u8) -> bool {
        match byte {
            b'\r' | b'\n' => return true,
            BACKSPACE | DELETE => self.length = self.length.saturating_sub(1),
            _ => {
                if let Some(place) = self.bytes.get_mut(self.length) {
                    *place = byte;
                    self.length += 1;
                }
            }
        }
        false
    }

    /// The line, if it is text.
    pub(crate) fn text(&self) -> &str {
        let bytes = self.bytes.get(..self.length).unwrap_or_default();
        str::from_utf8(bytes).unwrap_or("something that is not text")
    }

    pub(crate) fn clear(&mut self) {
        self.length = 0;
    }
}
