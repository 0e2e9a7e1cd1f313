use std::cell::RefCell;

use super::*;

/// A page that a guest of the test's writes.
struct Page(RefCell<[u8; 4096]>);

impl RingPage for &Page {
    fn index(&self, offset: usize) -> u32 {
        let page = self.0.borrow();
        u32::from_le_bytes([page[offset], page[offset + 1], page[offset + 2], page[offset + 3]])
    }

    fn set_index(&self, offset: usize, index: u32) {
        self.0.borrow_mut()[offset..offset + 4].copy_from_slice(&index.to_le_bytes());
    }

    fn byte(&self, offset: usize) -> u8 {
        self.0.borrow()[offset]
    }

    fn set_byte(&self, offset: usize, byte: u8) {
        self.0.borrow_mut()[offset] = byte;
    }
}

impl Page {
    fn new() -> Self {
        Page(RefCell::new([0; 4096]))
    }

    /// The guest's driver: waits for no room.
    fn print(&self, text: &[u8]) {
        let page = self;
        let mut produced = page.index(at::OUT_PRODUCED);
        for &byte in text {
            page.set_byte(at::OUT + (produced % OUT_SIZE) as usize, byte);
            produced = produced.wrapping_add(1);
        }
        page.set_index(at::OUT_PRODUCED, produced);
    }

    fn type_in(&self) -> Vec<u8> {
        let page = self;
        let (from, to) = (page.index(at::IN_CONSUMED), page.index(at::IN_PRODUCED));
        page.set_index(at::IN_CONSUMED, to);
        let count = to.wrapping_sub(from);
        (0..count)
            .map(|index| page.byte(at::IN + (from.wrapping_add(index) % IN_SIZE) as usize))
            .collect()
    }
}

#[test]
fn output_is_taken_once_and_stays_for_those_who_look() {
    let page = Page::new();
    page.print(b"early ");
    let mut ring = Ring::new(&page);
    page.print(b"late");
    assert_eq!(ring.read(), b"early late");
    assert_eq!(ring.read(), b"");
    assert_eq!((&page).index(at::OUT_CONSUMED), 10);
    assert_eq!(held(&&page), b"early late");
}

#[test]
fn whoever_comes_next_goes_on() {
    let page = Page::new();
    page.print(b"one");
    let mut first = Ring::new(&page);
    assert_eq!(first.read(), b"one");
    assert_eq!(first.write(b"in"), 2);
    page.print(b"two");
    let mut second = Ring::new(&page);
    assert_eq!(second.read(), b"two");
    assert_eq!(second.write(b"put"), 3);
    assert_eq!(page.type_in(), b"input");
}

#[test]
fn counters_run_over() {
    let page = Page::new();
    for offset in [at::OUT_PRODUCED, at::OUT_CONSUMED, at::IN_PRODUCED, at::IN_CONSUMED] {
        (&page).set_index(offset, u32::MAX - 3);
    }
    let mut ring = Ring::new(&page);
    let line = [b'x'; 100];
    page.print(&line);
    assert_eq!(ring.read(), line);
    let long = [b'y'; 3000];
    page.print(&long[..2048]);
    assert_eq!(ring.read(), &long[..2048]);
    assert_eq!(ring.write(&long), 1024);
    assert_eq!(ring.write(b"z"), 0);
    assert_eq!(page.type_in(), &long[..1024]);
    assert_eq!(ring.write(b"z"), 1);
}

/// A guest may write anything into the counters, ours among them.
#[test]
fn wrong_counters_cost_the_guest_alone() {
    for wrong in [1, 2047, 2048, 2049, u32::MAX / 2, u32::MAX - 1, u32::MAX] {
        let page = Page::new();
        let mut ring = Ring::new(&page);
        (&page).set_index(at::OUT_PRODUCED, wrong);
        let expected = wrong.min(OUT_SIZE) as usize;
        assert_eq!(ring.read().len(), expected);
        assert_eq!(ring.read().len(), 0, "{wrong}");
        // Our own counters are not believed when they come back changed.
        (&page).set_index(at::OUT_CONSUMED, wrong.wrapping_add(5));
        page.print(b"on");
        assert_eq!(ring.read(), b"on");

        (&page).set_index(at::IN_CONSUMED, wrong);
        assert!(ring.write(&[0; 5000]) <= IN_SIZE as usize);
        assert!((&page).index(at::IN_PRODUCED) <= IN_SIZE);
        (&page).set_index(at::IN_CONSUMED, 0);
        (&page).set_index(at::IN_PRODUCED, wrong);
        assert!(ring.write(&[0; 5000]) <= IN_SIZE as usize);
    }
}
