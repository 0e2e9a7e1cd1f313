//! Keys and pages from any bytes and any operations.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;

use noxs::control_page::{ControlPage, End};
use noxs::device_page::{self, DevicePage};
use noxs::error::{KeyError, ParseError, SnapshotError};
use noxs::keys::{ENTRY_HEADER, KEY_MAX, KEYS_MAX, KeyList, Keys, VALUE_MAX};
use noxs::page::{PAGE_SIZE, PageBuffer};
use noxs::state::{Change, Side, State};
use proptest::collection::vec;
use proptest::prelude::*;

const SIDES: [Side; 2] = [Side::Backend, Side::Frontend];

fn key() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9@_-]{1,12}(/[a-zA-Z0-9@_-]{1,12}){0,2}"
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    vec(1u8.., 0..40)
}

/// Bytes that are often nearly right: whole entries, then a byte changed and the end cut off.
fn nearly_right() -> impl Strategy<Value = Vec<u8>> {
    let entries = vec((key(), value()), 0..12);
    (entries, any::<(u16, u8)>(), any::<u16>()).prop_map(|(entries, (at, byte), end)| {
        let mut keys = Keys::for_side(Side::Frontend);
        for (key, value) in entries {
            keys.set(key.as_bytes(), &value).unwrap();
        }
        let mut bytes = keys.as_bytes().to_vec();
        let length = bytes.len();
        if let Some(place) = bytes.get_mut(usize::from(at) % (2 * length + 1)) {
            *place = byte;
        }
        bytes.truncate(usize::from(end) % (2 * length + 1));
        bytes
    })
}

proptest! {
    #[test]
    fn keys_behave_like_a_sorted_map(
        steps in vec((key(), proptest::option::weighted(0.8, value())), 0..120),
        side in proptest::sample::select(SIDES.to_vec()),
    ) {
        let mut keys = Keys::for_side(side);
        let mut model = BTreeMap::new();
        for (key, value) in steps {
            match value {
                Some(value) => match keys.set(key.as_bytes(), &value) {
                    Ok(()) => drop(model.insert(key.into_bytes(), value)),
                    Err(error) => prop_assert!(matches!(error, KeyError::Full(_)), "{error}"),
                },
                None => {
                    let removed = model.remove(key.as_bytes()).is_some();
                    prop_assert_eq!(keys.remove(key.as_bytes()), removed);
                }
            }
            prop_assert!(keys.as_bytes().len() <= side.capacity());
        }
        let modelled = model.iter().map(|(key, value)| (key.as_slice(), value.as_slice()));
        prop_assert!(keys.iter().eq(modelled));
        prop_assert_eq!(Keys::parse(side, keys.as_bytes()), Ok(keys));
    }

    #[test]
    fn what_parses_is_its_own_encoding(
        bytes in prop_oneof![vec(any::<u8>(), 0..80), nearly_right()],
    ) {
        if let Ok(list) = KeyList::parse(&bytes) {
            let mut keys = Keys::for_side(Side::Frontend);
            for (key, value) in list.iter() {
                keys.set(key, value).unwrap();
            }
            prop_assert_eq!(keys.as_bytes(), &bytes);
        }
    }

    #[test]
    fn any_page_can_be_read(seed in vec(any::<u8>(), PAGE_SIZE), header in any::<bool>()) {
        let mut bytes: [u8; PAGE_SIZE] = seed.try_into().unwrap();
        if header {
            bytes[..12].copy_from_slice(b"NoXS-ctl\x01\0\0\0");
        }
        let buffer = PageBuffer::from_bytes(bytes);
        if let Ok(page) = ControlPage::open(buffer.shared()) {
            for side in SIDES {
                let _ = page.snapshot(side);
                let _ = page.state(side);
                for last in State::ALL {
                    prop_assert_ne!(page.change(side, last), Change::To(State::Unknown));
                }
            }
        }
        bytes[..20].copy_from_slice(b"NoXS-dev\x01\0\0\0\x40\0\x20\0\x7e\0\0\0");
        let buffer = PageBuffer::from_bytes(bytes);
        let page = DevicePage::open(buffer.shared().read_only()).unwrap();
        prop_assert!(page.entries().count() <= device_page::SLOTS);
    }
}

fn entry(key: &[u8], reserved: u8, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(value.len()).unwrap().to_le_bytes();
    [&[u8::try_from(key.len()).unwrap(), reserved, length[0], length[1]], key, value].concat()
}

#[test]
fn every_fault_is_named_with_its_place() {
    let good = entry(b"b", 0, b"1");
    let after = |bad: Vec<u8>| [good.clone(), bad].concat();
    for (bytes, error) in [
        (after(vec![1]), ParseError::Truncated(6)),
        (after(vec![2, 0, 0, 0, b'c']), ParseError::Truncated(6)),
        (after(vec![1, 0, 0xff, 0xff, b'c']), ParseError::Truncated(6)),
        (after(entry(b"c", 1, b"")), ParseError::Reserved(6)),
        (after(entry(b"", 0, b"")), ParseError::Key(6)),
        (after(entry(b"c d", 0, b"")), ParseError::Key(6)),
        (after(entry(b"/c", 0, b"")), ParseError::Key(6)),
        (after(entry(b"c/", 0, b"")), ParseError::Key(6)),
        (after(entry(b"c//d", 0, b"")), ParseError::Key(6)),
        (after(entry(&[b'c'; KEY_MAX + 1], 0, b"")), ParseError::Key(6)),
        (after(entry(b"c", 0, b"x\0y")), ParseError::Value(6)),
        (after(entry(b"c", 0, &[b'x'; VALUE_MAX + 1])), ParseError::Value(6)),
        (after(entry(b"b", 0, b"2")), ParseError::Order(6)),
        (after(entry(b"a", 0, b"")), ParseError::Order(6)),
        (vec![0; KEYS_MAX + 1], ParseError::TooLong(KEYS_MAX + 1)),
    ] {
        assert_eq!(KeyList::parse(&bytes), Err(error));
    }
    assert!(KeyList::parse(&after(entry(&[b'c'; KEY_MAX], 0, &[b'x'; VALUE_MAX]))).is_ok());
}

#[test]
fn a_full_region_refuses_and_stays() {
    let mut keys = Keys::for_side(Side::Backend);
    for key in [b"a", b"b"] {
        keys.set(key, &[b'x'; VALUE_MAX]).unwrap();
    }
    let left = Side::Backend.capacity() - keys.as_bytes().len() - ENTRY_HEADER - 1;
    let before = keys.clone();
    assert_eq!(keys.set(b"c", &vec![b'x'; left + 1]), Err(KeyError::Full(1)));
    assert_eq!(keys, before);
    keys.set(b"c", &vec![b'x'; left]).unwrap();
    assert_eq!(keys.set(b"a", b""), Ok(()), "a value can shrink in a full region");
    assert_eq!(keys.set(b"no key", b""), Err(KeyError::Key));
    assert_eq!(keys.set(b"d", b"\0"), Err(KeyError::Value));
}

/// What a hostile end can write into its region's header costs the reader a bounded number of
/// copies, and nothing else.
#[test]
fn lies_in_a_region_are_errors() {
    let read = |sequence: u32, length: u32| {
        let buffer = PageBuffer::new();
        End::create(buffer.shared());
        let mut bytes = buffer.into_bytes();
        bytes[1536..1540].copy_from_slice(&sequence.to_le_bytes());
        bytes[1540..1544].copy_from_slice(&length.to_le_bytes());
        let buffer = PageBuffer::from_bytes(bytes);
        ControlPage::open(buffer.shared())
            .unwrap()
            .snapshot(Side::Frontend)
            .map(|keys| keys.iter().count())
    };
    assert_eq!(read(0, 0), Ok(0));
    assert_eq!(read(7, 0), Err(SnapshotError::Busy));
    assert_eq!(read(8, 2553), Err(SnapshotError::Keys(ParseError::TooLong(2553))));
    assert_eq!(read(8, u32::MAX), Err(SnapshotError::Keys(ParseError::TooLong(0xffff_ffff))));
    assert_eq!(read(8, 2552), Err(SnapshotError::Keys(ParseError::Key(0))));
}
