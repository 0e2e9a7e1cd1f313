//! Both pages as their ends use them, and their bytes.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use noxs::control_page::{ControlPage, End};
use noxs::device::{Class, Device, DeviceId, DomId, GrantRef, Port};
use noxs::device_page::{DevicePage, DeviceTable, SLOTS};
use noxs::error::{HeaderError, StateError, TableError};
use noxs::hypercall::RawSlot;
use noxs::keys::Keys;
use noxs::page::PageBuffer;
use noxs::state::{Side, State};

fn vif(id: u32) -> Device {
    Device {
        class: Class::VIF,
        id: DeviceId(id),
        backend: DomId(3),
        grant: GrantRef(0x0102),
        port: Port(9),
    }
}

#[test]
fn a_device_page_byte_for_byte() {
    let buffer = PageBuffer::new();
    DeviceTable::create(buffer.shared()).add(&vif(0x0a0b)).unwrap();
    let bytes = buffer.into_bytes();
    let header = *b"NoXS-dev\x01\0\0\0\x40\0\x20\0\x7e\0\0\0\x01\0\0\0";
    assert_eq!(bytes[..24], header);
    assert!(bytes[24..64].iter().all(|&byte| byte == 0));
    assert_eq!(
        bytes[64..96],
        *b"vif\0\0\0\0\0\x0b\x0a\0\0\x02\x01\0\0\x09\0\0\0\x03\0\0\0\0\0\0\0\x01\0\0\0"
    );
    assert!(bytes[96..].iter().all(|&byte| byte == 0));
}

#[test]
fn a_control_page_byte_for_byte() {
    let buffer = PageBuffer::new();
    let mut backend = End::create(buffer.shared());
    let mut keys = Keys::for_side(Side::Backend);
    keys.set(b"mac", b"00:16").unwrap();
    backend.publish(&keys).unwrap();
    backend.set_state(State::InitWait).unwrap();
    let mut frontend = End::join(buffer.shared()).unwrap();
    let mut keys = Keys::for_side(Side::Frontend);
    keys.set(b"ring-ref", b"8").unwrap();
    frontend.publish(&keys).unwrap();
    let bytes = buffer.into_bytes();
    assert_eq!(bytes[..32], *b"NoXS-ctl\x01\0\0\0\0\0\0\0\x02\0\0\0\x02\0\0\0\0\0\0\0\x01\0\0\0");
    assert!(bytes[32..64].iter().all(|&byte| byte == 0));
    assert_eq!(bytes[64..84], *b"\x02\0\0\0\x0c\0\0\0\x03\0\x05\0mac00:16");
    assert_eq!(bytes[1536..1557], *b"\x02\0\0\0\x0d\0\0\0\x08\0\x01\0ring-ref8");
}

#[test]
fn other_pages_are_refused() {
    let buffer = PageBuffer::new();
    assert_eq!(DevicePage::open(buffer.shared()).err(), Some(HeaderError::Magic));
    assert_eq!(ControlPage::open(buffer.shared()).err(), Some(HeaderError::Magic));
    let mut bytes = [0; 4096];
    bytes[..12].copy_from_slice(b"NoXS-dev\x02\0\0\0");
    let buffer = PageBuffer::from_bytes(bytes);
    assert_eq!(DevicePage::open(buffer.shared()).err(), Some(HeaderError::Version(2)));
    bytes[8] = 1;
    let buffer = PageBuffer::from_bytes(bytes);
    assert_eq!(DevicePage::open(buffer.shared()).err(), Some(HeaderError::Layout));
    bytes[..12].copy_from_slice(b"NoXS-ctl\x09\0\0\0");
    let buffer = PageBuffer::from_bytes(bytes);
    assert_eq!(ControlPage::open(buffer.shared()).err(), Some(HeaderError::Version(9)));
    assert_eq!(End::join(buffer.shared()).err(), Some(HeaderError::Version(9)));
}

/// The original removed every device of the class and every one with the id, and counted one.
#[test]
fn exactly_one_device_is_removed() {
    let buffer = PageBuffer::new();
    let mut table = DeviceTable::create(buffer.shared());
    let vbd = Device { class: Class::VBD, ..vif(1) };
    for device in [vif(0), vif(1), vbd] {
        table.add(&device).unwrap();
    }
    assert_eq!(
        table.remove(Class::VIF, DeviceId(1), DomId(0)),
        Err(TableError::Missing(DeviceId(1)))
    );
    assert_eq!(table.remove(Class::VIF, DeviceId(1), DomId(3)), Ok(1));
    assert_eq!(
        table.remove(Class::VIF, DeviceId(1), DomId(3)),
        Err(TableError::Missing(DeviceId(1)))
    );
    let page = DevicePage::open(buffer.shared().read_only()).unwrap();
    let seen: Vec<_> = page.entries().map(|entry| (entry.slot, entry.device)).collect();
    assert_eq!(seen, [(0, vif(0)), (2, vbd)], "a hole hides nothing");
    assert_eq!(page.generation(), 4);
    assert_eq!(table.add(&vif(1)), Ok(1));
    assert_eq!(
        page.entry(1).unwrap().map(|entry| entry.sequence),
        Some(3),
        "another entry than the first one there"
    );
    assert_eq!(table.devices().count(), 3);
    table.clear();
    assert_eq!((page.entries().count(), page.generation()), (0, 8));
}

/// The original's 33rd device stopped the host.
#[test]
fn a_full_page_refuses() {
    let buffer = PageBuffer::new();
    let mut table = DeviceTable::create(buffer.shared());
    for id in 0..126 {
        table.add(&vif(id)).unwrap();
    }
    assert_eq!(table.add(&vif(126)), Err(TableError::Full));
    assert_eq!(table.add(&vif(7)), Err(TableError::Exists(DeviceId(7))));
    assert_eq!(DevicePage::open(buffer.shared()).unwrap().entries().count(), SLOTS);
}

#[test]
fn a_writer_keeps_to_the_states() {
    let buffer = PageBuffer::new();
    let mut backend = End::create(buffer.shared());
    assert_eq!(
        backend.set_state(State::Reconfigured),
        Err(StateError::Transition(State::Unknown, State::Reconfigured))
    );
    backend.set_state(State::InitWait).unwrap();
    let generation = backend.page().generation(Side::Backend);
    backend.set_state(State::InitWait).unwrap();
    assert_eq!(backend.page().generation(Side::Backend), generation, "nothing changed");
    let large = {
        let mut keys = Keys::for_side(Side::Frontend);
        for key in [b"a", b"b", b"c"] {
            keys.set(key, &[b'x'; 512]).unwrap();
        }
        keys
    };
    assert!(
        backend.publish(&large).is_err(),
        "the frontend's keys do not fit the backend's region"
    );
}

/// A frontend that takes over a page goes on with counters that no reader has seen.
#[test]
fn a_restarted_frontend_continues_the_counters() {
    let buffer = PageBuffer::new();
    let backend = End::create(buffer.shared());
    let keys = Keys::for_side(Side::Frontend);
    let mut first = End::join(buffer.shared()).unwrap();
    first.publish(&keys).unwrap();
    first.set_state(State::Initialising).unwrap();
    let before = backend.page().generation(Side::Frontend);
    let mut second = End::join(buffer.shared()).unwrap();
    second.publish(&keys).unwrap();
    assert_eq!(backend.page().generation(Side::Frontend), before + 1);
    assert_eq!(backend.page().snapshot(Side::Frontend), Ok(keys));
}

#[test]
fn a_slot_as_an_argument_and_back() {
    let raw = RawSlot::from(&vif(5));
    assert_eq!(Device::try_from(&raw), Ok(vif(5)));
    assert!(Device::try_from(&RawSlot { class: [b'A'; 8], ..raw }).is_err());
}
