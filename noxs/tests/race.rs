//! The races of both pages, in every interleaving and with every value that the memory model lets a
//! reader see.
//!
//! The pages are models whose words are loom's atomics; the code that reads and writes them is the
//! crate's own.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;

use loom::sync::Arc;
use loom::sync::atomic::{AtomicU32, Ordering, fence};
use noxs::control_page::{ControlPage, End};
use noxs::device::{Class, Device, DeviceId, DomId, GrantRef, Port};
use noxs::device_page::{DevicePage, DeviceTable};
use noxs::error::SnapshotError;
use noxs::keys::Keys;
use noxs::state::{Side, State};
use noxs::words::{Load, Store};

/// The words of a page that a test touches; with or without the barriers that the protocol asks
/// for.
#[derive(Clone)]
struct Model {
    words: Arc<BTreeMap<usize, AtomicU32>>,
    barriers: bool,
}

impl Model {
    fn new(words: impl Iterator<Item = usize>, barriers: bool) -> Self {
        Model { words: Arc::new(words.map(|word| (word, AtomicU32::new(0))).collect()), barriers }
    }
}

impl Load for Model {
    fn load(&self, word: usize) -> u32 {
        self.words[&word].load(Ordering::Relaxed)
    }

    fn fence_acquire(&self) {
        if self.barriers {
            fence(Ordering::Acquire);
        }
    }
}

impl Store for Model {
    fn store(&self, word: usize, value: u32) {
        self.words[&word].store(value, Ordering::Relaxed);
    }

    fn fence_release(&self) {
        if self.barriers {
            fence(Ordering::Release);
        }
    }
}

fn check(preemptions: usize, race: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(race);
}

fn device(number: u32) -> Device {
    Device {
        class: if number == 1 { Class::VIF } else { Class::VBD },
        id: DeviceId(number),
        backend: DomId(u16::try_from(number).unwrap()),
        grant: GrantRef(number),
        port: Port(number),
    }
}

/// A slot is filled, emptied and filled with another device under a reader.
fn slot_race(barriers: bool) {
    let page = Model::new(0..24, barriers);
    let mut table = DeviceTable::create(page.clone());
    let writer = loom::thread::spawn(move || {
        table.add(&device(1)).unwrap();
        table.remove(Class::VIF, DeviceId(1), DomId(1)).unwrap();
        table.add(&device(2)).unwrap();
    });
    let page = DevicePage::open(page).unwrap();
    let generation = page.generation();
    let entry = page.entry(0).unwrap();
    match entry {
        Some(entry) if entry.sequence == 1 => assert_eq!(entry.device, device(1)),
        Some(entry) => assert_eq!((entry.sequence, entry.device), (3, device(2))),
        None => assert_ne!(generation, 3, "the last generation was seen without its device"),
    }
    writer.join().unwrap();
    assert_eq!(page.entry(0).unwrap().map(|entry| entry.device), Some(device(2)));
}

#[test]
fn a_slot_is_seen_whole_or_not_at_all() {
    check(3, || slot_race(true));
}

#[test]
#[should_panic]
fn the_model_finds_a_device_page_without_barriers() {
    check(3, || slot_race(false));
}

fn keys(side: Side, value: &[u8]) -> Keys {
    let mut keys = Keys::for_side(side);
    keys.set(b"k", value).unwrap();
    keys
}

/// Words of the header and of the first `count` words of a region.
fn words(region: usize, count: usize) -> impl Iterator<Item = usize> {
    (0..8).chain(region..region + count)
}

/// Keys change, then the state, under a reader that looks at the state first.
fn region_race(barriers: bool) {
    let page = Model::new(words(16, 5), barriers);
    let mut end = End::create(page.clone());
    end.publish(&keys(Side::Backend, b"aaaa")).unwrap();
    let reader = ControlPage::open(page).unwrap();
    let writer = loom::thread::spawn(move || {
        end.publish(&keys(Side::Backend, b"bbbb")).unwrap();
        end.set_state(State::InitWait).unwrap();
    });
    let generation = reader.generation(Side::Backend);
    let state = reader.state(Side::Backend).unwrap();
    match reader.snapshot(Side::Backend) {
        Ok(seen) => {
            let value = seen.get(b"k").unwrap_or_default();
            assert!([&b"aaaa"[..], b"bbbb"].contains(&value), "torn: {seen:?}");
            assert!(state == State::Unknown || value == b"bbbb", "the state came before its keys");
            assert!(generation < 2 || value == b"bbbb", "the generation came before its keys");
            assert!(
                generation < 3 || state == State::InitWait,
                "the generation came before its state"
            );
        }
        Err(error) => assert_eq!(error, SnapshotError::Busy),
    }
    writer.join().unwrap();
}

#[test]
fn keys_are_seen_whole_and_before_their_state() {
    check(2, || region_race(true));
}

#[test]
#[should_panic]
fn the_model_finds_a_control_page_without_barriers() {
    check(2, || region_race(false));
}

/// Both ends publish at once: neither disturbs the other.
#[test]
fn the_ends_do_not_disturb_each_other() {
    check(2, || {
        let page = Model::new(words(16, 5).chain(384..389), true);
        let mut backend = End::create(page.clone());
        let mut frontend = End::join(page).unwrap();
        let guest = loom::thread::spawn(move || {
            frontend.publish(&keys(Side::Frontend, b"ring")).unwrap();
            frontend.set_state(State::Initialising).unwrap();
            frontend
        });
        backend.publish(&keys(Side::Backend, b"disk")).unwrap();
        backend.set_state(State::InitWait).unwrap();
        let frontend = guest.join().unwrap();
        assert_eq!(frontend.page().snapshot(Side::Backend).unwrap().get(b"k"), Some(&b"disk"[..]));
        assert_eq!(backend.page().snapshot(Side::Frontend).unwrap().get(b"k"), Some(&b"ring"[..]));
        assert_eq!(frontend.page().state(Side::Backend), Ok(State::InitWait));
        assert_eq!(backend.page().state(Side::Frontend), Ok(State::Initialising));
    });
}
