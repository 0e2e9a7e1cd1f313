//! Identifiers and quantities as types of their own, so that a port is never taken for a grant
//! reference, nor pages for KiB.
//!
//! Identifiers: [`DomId`], [`Port`], [`GrantRef`]. Frame numbers: [`Mfn`], [`Gfn`], [`Pfn`]. Sizes:
//! [`Pages`], [`KiB`],
//! [`MiB`]. All are plain integers of fixed width, `Copy`, and usable in constants. Conversions
//! between sizes are checked: what does not fit or does not divide is `None`, and the `_up` forms
//! say that they round.

use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Bytes in a page of the x86 architecture.
pub const PAGE_SIZE: u64 = 4096;

const KIB: u64 = 1024;
const KIB_PER_MIB: u64 = 1024;
const KIB_PER_PAGE: u64 = PAGE_SIZE / KIB;
const PAGES_PER_MIB: u64 = KIB_PER_MIB / KIB_PER_PAGE;

/// Why a text or a number is not a domain id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DomIdError {
    /// The text is not a decimal number.
    #[error(
    "\"{text}\" is not a domain id; give a decimal number from 0 to {highest}",
    highest = DomId::MAX
)]
    NotANumber {
        /// The text that was given.
        text: String,
        /// What the number parser found.
        #[source]
        source: ParseIntError,
    },
    /// The number is at or above `DOMID_FIRST_RESERVED`, which Xen keeps for its own purposes.
    #[error("{0} is not a domain id; the highest is {highest}", highest = DomId::MAX)]
    Reserved(u64),
}

/// A domain's id on this host: 0 to 0x7fef.
///
/// Ids from 0x7ff0 (`DOMID_FIRST_RESERVED` in xen/include/public/xen.h) name no domain and cannot
/// be made into a `DomId`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u16")]
pub struct DomId(u16);

impl DomId {
    /// The first id that names no domain.
    pub const FIRST_RESERVED: u16 = 0x7ff0;
    /// The highest id that a domain can have.
    pub const MAX: DomId = DomId(Self::FIRST_RESERVED - 1);
    /// The control domain.
    pub const DOM0: DomId = DomId(0);

    /// The id with this number, or `None` if the number is reserved.
    #[must_use]
    pub const fn new(id: u16) -> Option<Self> {
        if id < Self::FIRST_RESERVED { Some(Self(id)) } else { None }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }

    /// Whether this is the control domain.
    #[must_use]
    pub const fn is_dom0(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for DomId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for DomId {
    type Err = DomIdError;

    /// Reads a decimal number without sign.
    ///
    /// # Errors
    /// [`DomIdError::NotANumber`] for anything else, [`DomIdError::Reserved`] for a number that is
    /// too high.
    fn from_str(text: &str) -> Result<Self, DomIdError> {
        // u64::from_str takes a plus sign, which no id is written with.
        let digits = text.strip_prefix('+').map_or(text, |_| "+");
        digits
            .parse::<u64>()
            .map_err(|source| DomIdError::NotANumber { text: text.to_owned(), source })
            .and_then(Self::try_from)
    }
}

impl TryFrom<u64> for DomId {
    type Error = DomIdError;

    fn try_from(id: u64) -> Result<Self, DomIdError> {
        u16::try_from(id).ok().and_then(Self::new).ok_or(DomIdError::Reserved(id))
    }
}

impl TryFrom<u32> for DomId {
    type Error = DomIdError;

    fn try_from(id: u32) -> Result<Self, DomIdError> {
        Self::try_from(u64::from(id))
    }
}

impl TryFrom<u16> for DomId {
    type Error = DomIdError;

    fn try_from(id: u16) -> Result<Self, DomIdError> {
        Self::try_from(u64::from(id))
    }
}

impl From<DomId> for u16 {
    fn from(id: DomId) -> u16 {
        id.0
    }
}

impl From<DomId> for u32 {
    fn from(id: DomId) -> u32 {
        u32::from(id.0)
    }
}

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($int:ty), $format:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name($int);

        impl $name {
            /// Wraps the plain number.
            #[must_use]
            pub const fn new(value: $int) -> Self {
                Self(value)
            }

            /// The plain number.
            #[must_use]
            pub const fn get(self) -> $int {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, $format, self.0)
            }
        }

        impl From<$name> for $int {
            fn from(value: $name) -> $int {
                value.0
            }
        }
    };
}

number! {
    /// An event channel port: an end of an event channel, numbered per domain. Port 0 is never in
    /// use.
    Port(u32), "{}"
}
number! {
    /// A grant reference: an index into the granting domain's grant table.
    GrantRef(u32), "{}"
}
number! {
    /// A machine frame number: a page of the host's memory.
    Mfn(u64), "{:#x}"
}
number! {
    /// A guest frame number: what a guest names a page by in hypercalls. The machine frame for a PV
    /// guest, the guest-physical frame for a translated one.
    Gfn(u64), "{:#x}"
}
number! {
    /// A (pseudo-)physical frame number: an index into the guest's own contiguous view of its
    /// memory.
    Pfn(u64), "{:#x}"
}
number! {
    /// An amount of memory in pages of 4096 bytes.
    Pages(u64), "{} pages"
}
number! {
    /// An amount of memory in KiB (1024 bytes).
    KiB(u64), "{} KiB"
}
number! {
    /// An amount of memory in MiB (1024 KiB).
    MiB(u64), "{} MiB"
}

impl Pages {
    /// The fewest pages that hold this many bytes.
    #[must_use]
    pub const fn from_bytes_up(bytes: u64) -> Self {
        Self(bytes.div_ceil(PAGE_SIZE))
    }

    /// The same in KiB, or `None` if that exceeds 64 bits.
    #[must_use]
    pub const fn to_kib(self) -> Option<KiB> {
        match self.0.checked_mul(KIB_PER_PAGE) {
            Some(kib) => Some(KiB(kib)),
            None => None,
        }
    }

    /// The same in bytes, or `None` if that exceeds 64 bits.
    #[must_use]
    pub const fn to_bytes(self) -> Option<u64> {
        self.0.checked_mul(PAGE_SIZE)
    }

    /// The sum, or `None` if it exceeds 64 bits.
    #[must_use]
    pub const fn checked_add(self, other: Self) -> Option<Self> {
        match self.0.checked_add(other.0) {
            Some(pages) => Some(Self(pages)),
            None => None,
        }
    }
}

impl KiB {
    /// The same in pages, or `None` if it is not a whole number of pages.
    #[must_use]
    pub const fn to_pages(self) -> Option<Pages> {
        if self.0.is_multiple_of(KIB_PER_PAGE) { Some(self.to_pages_up()) } else { None }
    }

    /// The fewest pages that hold it.
    #[must_use]
    pub const fn to_pages_up(self) -> Pages {
        Pages(self.0.div_ceil(KIB_PER_PAGE))
    }

    /// The same in MiB, or `None` if it is not a whole number of MiB.
    #[must_use]
    pub const fn to_mib(self) -> Option<MiB> {
        if self.0.is_multiple_of(KIB_PER_MIB) { Some(self.to_mib_up()) } else { None }
    }

    /// The fewest MiB that hold it.
    #[must_use]
    pub const fn to_mib_up(self) -> MiB {
        MiB(self.0.div_ceil(KIB_PER_MIB))
    }

    /// The same in bytes, or `None` if that exceeds 64 bits.
    #[must_use]
    pub const fn to_bytes(self) -> Option<u64> {
        self.0.checked_mul(KIB)
    }

    /// The sum, or `None` if it exceeds 64 bits.
    #[must_use]
    pub const fn checked_add(self, other: Self) -> Option<Self> {
        match self.0.checked_add(other.0) {
            Some(kib) => Some(Self(kib)),
            None => None,
        }
    }
}

impl MiB {
    /// The fewest MiB that hold this many bytes.
    #[must_use]
    pub const fn from_bytes_up(bytes: u64) -> Self {
        Self(bytes.div_ceil(KIB * KIB_PER_MIB))
    }

    /// The same in KiB, or `None` if that exceeds 64 bits.
    #[must_use]
    pub const fn to_kib(self) -> Option<KiB> {
        match self.0.checked_mul(KIB_PER_MIB) {
            Some(kib) => Some(KiB(kib)),
            None => None,
        }
    }

    /// The same in pages, or `None` if that exceeds 64 bits.
    #[must_use]
    pub const fn to_pages(self) -> Option<Pages> {
        match self.0.checked_mul(PAGES_PER_MIB) {
            Some(pages) => Some(Pages(pages)),
            None => None,
        }
    }

    /// The same in bytes, or `None` if that exceeds 64 bits.
    #[must_use]
    pub const fn to_bytes(self) -> Option<u64> {
        self.0.checked_mul(KIB * KIB_PER_MIB)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn domid_bounds() {
        assert_eq!(DomId::new(0), Some(DomId::DOM0));
        assert_eq!(DomId::new(0x7fef), Some(DomId::MAX));
        assert_eq!(DomId::new(0x7ff0), None);
        assert_eq!(DomId::try_from(0x7ff0_u32), Err(DomIdError::Reserved(0x7ff0)));
        assert_eq!(DomId::try_from(0x1_0001_u32), Err(DomIdError::Reserved(0x1_0001)));
    }

    #[test]
    fn domid_from_text() {
        assert_eq!("7".parse::<DomId>().unwrap().get(), 7);
        for bad in ["", "-1", "+1", "0x1", " 1", "1 ", "web0", "99999999999999999999999"] {
            let error = bad.parse::<DomId>().unwrap_err();
            assert!(matches!(error, DomIdError::NotANumber { .. }), "{bad}");
            assert_eq!(
                error.to_string(),
                format!("\"{bad}\" is not a domain id; give a decimal number from 0 to 32751")
            );
        }
        assert_eq!(
            "32752".parse::<DomId>().unwrap_err().to_string(),
            "32752 is not a domain id; the highest is 32751"
        );
    }

    #[test]
    fn domid_as_json() {
        assert_eq!(serde_json::to_string(&DomId::MAX).unwrap(), "32751");
        assert_eq!(serde_json::from_str::<DomId>("3").unwrap().get(), 3);
        assert!(serde_json::from_str::<DomId>("32752").is_err());
    }

    #[test]
    fn sizes() {
        assert_eq!(MiB::new(16).to_string(), "16 MiB");
        assert_eq!(MiB::new(16).to_kib(), Some(KiB::new(16_384)));
        assert_eq!(MiB::new(16).to_pages(), Some(Pages::new(4096)));
        assert_eq!(MiB::new(u64::MAX).to_kib(), None);
        assert_eq!(MiB::new(u64::MAX).to_pages(), None);
        assert_eq!(MiB::from_bytes_up(1), MiB::new(1));
        assert_eq!(KiB::new(6).to_pages(), None);
        assert_eq!(KiB::new(6).to_pages_up(), Pages::new(2));
        assert_eq!(KiB::new(1025).to_mib(), None);
        assert_eq!(KiB::new(1025).to_mib_up(), MiB::new(2));
        assert_eq!(Pages::from_bytes_up(4097), Pages::new(2));
        assert_eq!(Pages::new(u64::MAX).to_kib(), None);
        assert_eq!(Mfn::new(0xfeff8).to_string(), "0xfeff8");
    }
}
