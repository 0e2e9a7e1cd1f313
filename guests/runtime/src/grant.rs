//! The grant table: which of our pages another domain may map or have Xen copy (grant_table.h,
//! version 1).
//!
//! One page of it, 512 references. The table itself says which are free, as nobody but Xen and we
//! can write it: an entry without flags. So there is nothing to keep beside it, and a reference
//! that its peer does not let go stays taken.

use crate::Error;
use crate::boot::{Frame, Kind};
use crate::page::{PAGE, SharedPage};
use crate::window::Fixed;

/// Another domain's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DomId(u16);

impl DomId {
    /// `DOMID_FIRST_RESERVED` in xen.h.
    const RESERVED: u16 = 0x7ff0;

    /// None for what cannot be a domain's.
    pub(crate) fn new(number: u64) -> Option<DomId> {
        u16::try_from(number).ok().filter(|&number| number < DomId::RESERVED).map(DomId)
    }

    pub(crate) fn number(self) -> u16 {
        self.0
    }
}

/// Names an entry of our grant table to the domain that it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GrantRef(u16);

impl GrantRef {
    /// Entries that Xen keeps for the console and Xenstore; the first of them stands for no
    /// reference.
    const RESERVED: u16 = 8;
    const COUNT: u16 = 512;
    pub(crate) const NONE: GrantRef = GrantRef(0);

    pub(crate) fn number(self) -> u32 {
        self.0.into()
    }

    /// To be kept as an integer.
    pub(crate) const fn raw(self) -> u16 {
        self.0
    }

    /// What `raw` gave.
    pub(crate) fn from_raw(raw: u16) -> GrantRef {
        GrantRef(raw)
    }

    fn flags(self) -> usize {
        usize::from(self.0) * ENTRY
    }
}

/// What the other domain may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
}

/// No reference is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

/// The other domain has the page mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct InUse;

// struct grant_entry_v1: flags, domain, frame.
const ENTRY: usize = 8;
const _: () = assert!(GrantRef::COUNT as usize * ENTRY == PAGE);
const DOMID: usize = 2;
const FRAME: usize = 4;

const PERMIT_ACCESS: u16 = 1;
const READ_ONLY: u16 = 1 << 2;
const READING: u16 = 1 << 3;
const WRITING: u16 = 1 << 4;

/// This guest's grant table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grants {
    table: SharedPage,
}

impl Grants {
    /// Maps the table. To be done once: there is one place for it.
    pub(crate) fn open(kind: Kind) -> Result<Grants, Error> {
        Ok(Grants::new(Fixed::map_grant_table(kind)?))
    }

    pub(crate) fn new(table: SharedPage) -> Grants {
        Grants { table }
    }

    /// Lets `peer` access `frame`, a page that holds nothing but what is meant for it.
    pub(crate) fn grant(self, peer: DomId, frame: Frame, access: Access) -> Result<GrantRef, Full> {
        let frame = frame.number_u32().ok_or(Full)?;
        let mut references = (GrantRef::RESERVED..GrantRef::COUNT).map(GrantRef);
        let free =
            references.find(|reference| self.table.load_u16(reference.flags()) == 0).ok_or(Full)?;
        self.table.store_u16(free.flags() + DOMID, peer.number());
        self.table.store_u32(free.flags() + FRAME, frame);
        let flags = match access {
            Access::Read => PERMIT_ACCESS | READ_ONLY,
            Access::Write => PERMIT_ACCESS,
        };
        // This is what makes the entry valid: stored last, with release.
        self.table.store_u16(free.flags(), flags);
        Ok(free)
    }

    /// Ends the other domain's access. If it has the page mapped nothing changes, and the page must
    /// not be used for anything else.
    pub(crate) fn end(self, reference: GrantRef) -> Result<(), InUse> {
        loop {
            let flags = self.table.load_u16(reference.flags());
            if flags & (READING | WRITING) != 0 {
                return Err(InUse);
            }
            // Xen may have set a flag since. It does so a few times at most: each is a mapping that
            // starts.
            if self.table.replace_u16(reference.flags(), flags, 0) {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::test_page::test_page;

    fn peer() -> DomId {
        DomId::new(7).unwrap()
    }

    #[test]
    fn domains_have_bounds() {
        assert_eq!(DomId::new(0), Some(DomId(0)));
        assert_eq!(DomId::new(0x7ff0), None);
        assert_eq!(DomId::new(1 << 16), None);
    }

    #[test]
    fn grants_and_ends() {
        let page = test_page();
        let grants = Grants::new(page);
        let frame = Frame::new(0x1234).unwrap();
        let write = grants.grant(peer(), frame, Access::Write).unwrap();
        let read = grants.grant(peer(), frame, Access::Read).unwrap();
        assert_eq!((write.number(), read.number()), (8, 9));
        assert_eq!((page.load_u32(64), page.load_u32(68)), (7 << 16 | 1, 0x1234));
        assert_eq!((page.load_u32(72), page.load_u32(76)), (7 << 16 | 5, 0x1234));
        assert_eq!(grants.end(write), Ok(()));
        assert_eq!(page.load_u16(64), 0);
        assert_eq!(grants.grant(peer(), frame, Access::Write), Ok(write));
    }

    #[test]
    fn what_is_mapped_stays_granted() {
        let page = test_page();
        let grants = Grants::new(page);
        let reference = grants.grant(peer(), Frame::new(1).unwrap(), Access::Write).unwrap();
        for flag in [READING, WRITING, READING | WRITING] {
            page.store_u16(64, PERMIT_ACCESS | flag);
            assert_eq!(grants.end(reference), Err(InUse));
            assert_eq!(page.load_u16(64), PERMIT_ACCESS | flag);
        }
        page.store_u16(64, PERMIT_ACCESS);
        assert_eq!(grants.end(reference), Ok(()));
    }

    #[test]
    fn the_table_has_an_end() {
        let grants = Grants::new(test_page());
        let frame = Frame::new(1).unwrap();
        for _ in GrantRef::RESERVED..GrantRef::COUNT {
            grants.grant(peer(), frame, Access::Write).unwrap();
        }
        assert_eq!(grants.grant(peer(), frame, Access::Write), Err(Full));
        assert_eq!(grants.grant(peer(), Frame::new(1 << 32).unwrap(), Access::Write), Err(Full));
    }
}
