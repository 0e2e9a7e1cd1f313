//! For a guest that is to have a fault: real exceptions, on purpose. Tests of hosts and of this
//! crate are made of this; no honest application needs it, and what is not used is not in an image.

use core::arch::asm;
use core::hint::black_box;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// An instruction that there is not.
    Undefined,
    /// A write to address 0.
    Null,
    /// A write to where nothing is, far from everything.
    Wild,
    /// A recursion without an end.
    Overflow,
}

impl Fault {
    /// The fault of this name on a command line: `undefined`, `null`, `wild`, `overflow`.
    pub fn named(word: &str) -> Option<Fault> {
        match word {
            "undefined" => Some(Fault::Undefined),
            "null" => Some(Fault::Null),
            "wild" => Some(Fault::Wild),
            "overflow" => Some(Fault::Overflow),
            _ => None,
        }
    }

    /// Has the fault, and does not return.
    pub fn raise(self) -> ! {
        match self {
            Fault::Undefined => {}
            Fault::Null => write(0),
            // Not mapped in either kind of guest, and not Xen's.
            Fault::Wild => write(0x7000_0000_0000),
            Fault::Overflow => _ = recurse(0),
        }
        // SAFETY: an undefined instruction: an exception, from which nothing returns.
        unsafe { asm!("ud2", options(noreturn)) }
    }
}

fn write(address: u64) {
    // SAFETY: nothing of this program is at either address (`raise`), so what it does is an
    // exception, from which nothing returns.
    unsafe { asm!("movb $0, ({})", in(reg) address, options(att_syntax, nostack, preserves_flags)) }
}

/// With something to do behind the call, or the compiler would make a loop of it.
#[inline(never)]
#[expect(unconditional_recursion, reason = "that is what it is for")]
fn recurse(depth: u64) -> u64 {
    let frame = black_box([depth; 8]);
    recurse(black_box(depth + 1)) + black_box(frame)[0]
}

#[cfg(test)]
mod tests {
    use super::Fault;

    #[test]
    fn only_their_names_are_faults() {
        assert_eq!(Fault::named("overflow"), Some(Fault::Overflow));
        assert_eq!(Fault::named("overflows"), None);
        assert_eq!(Fault::named(""), None);
    }
}
