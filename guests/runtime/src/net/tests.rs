#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)]

use proptest::prelude::*;
use smoltcp::phy::TxToken as _;

use super::*;
use crate::event::Events;
use crate::grant::{DomId, Grants};
use crate::store::fake::{Answer, pair, script};
use crate::test_page::test_page;
use Answer::{Value, Watches};

const RESPONSES: usize = 8;

fn wire() -> Wire {
    let memory = NetworkMemory::<1>::leaked();
    let peer = DomId::new(0).unwrap();
    let pages = Granted::new(memory, Grants::new(test_page()), peer, |_| Access::Write).unwrap();
    let channel = Channel::fake(Events::new(test_page()));
    let mut wire = Wire::new(pages, channel);
    wire.receive.post_all(&wire.pages).unwrap();
    wire.up = true;
    wire
}

/// What the backend puts in the place of request `index`.
fn answer(wire: &Wire, index: u32, id: u16, flags: u16, frame: &[u8]) {
    let request = 64 + index as usize % 256 * 8;
    wire.pages.page(RECEIVE + 1 + usize::from(id) % SLOTS).write(0, frame);
    let response = [id, 0, flags, frame.len() as u16].map(u16::to_le_bytes).concat();
    wire.pages.page(RECEIVE).write(request, &response);
    wire.pages.page(RECEIVE).store_u32(RESPONSES, index + 1);
}

#[test]
fn frames_come_in_and_their_buffers_go_back() {
    let mut wire = wire();
    for index in 0..1000u32 {
        let frame = [index as u8; 100];
        answer(&wire, index, (index % SLOTS as u32) as u16, 0, &frame);
        assert!(wire.ready());
        assert_eq!(wire.next_frame(), Some(100));
        assert_eq!(wire.frame[..100], frame);
        assert_eq!(wire.next_frame(), None);
        assert_eq!(wire.pages.page(RECEIVE).load_u32(0), SLOTS as u32 + 1 + index);
    }
    assert!(!wire.broken);
}

#[test]
fn frames_in_parts_are_dropped_whole() {
    let mut wire = wire();
    answer(&wire, 0, 0, 1 << 2, &[1; 1000]);
    answer(&wire, 1, 1, 1 << 2, &[2; 1000]);
    answer(&wire, 2, 2, 0, &[3; 1000]);
    answer(&wire, 3, 3, 0, &[4; 60]);
    assert_eq!(wire.next_frame(), Some(60));
    assert_eq!(wire.frame[..60], [4; 60]);
}

#[test]
fn a_frame_goes_out() {
    let mut wire = wire();
    assert!(wire.can_send());
    let Wire { pages, channel, transmit, broken, .. } = &mut wire;
    TxToken { pages, channel, transmit, broken }.consume(64, |frame| frame.fill(9));
    let mut request = [0; 12];
    wire.pages.page(TRANSMIT).read(64, &mut request);
    assert_eq!(request, [9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 64, 0]);
    assert_eq!(wire.pages.page(TRANSMIT).load_u32(0), 1);
    assert_eq!(wire.pages.page(TRANSMIT + 1).load_u32(60), 0x0909_0909);
}

#[test]
fn without_buffers_it_waits_for_the_backend() {
    let mut wire = wire();
    for _ in 0..SLOTS {
        assert!(wire.can_send());
        wire.transmit.send(&wire.pages, &wire.channel, &[0; 60]).unwrap();
    }
    assert!(!wire.can_send());
    assert!(!wire.ready());
    // Nothing can be done about a frame that comes now.
    answer(&wire, 0, 0, 0, &[1; 100]);
    assert_eq!(wire.next_frame(), None);
    assert!(!wire.ready());
    wire.pages.page(TRANSMIT).write(64, &[5, 0, 0, 0]);
    wire.pages.page(TRANSMIT).store_u32(RESPONSES, 1);
    assert!(wire.ready());
    assert!(wire.can_send());
    assert!(wire.ready());
    assert_eq!(wire.next_frame(), Some(100));
}

#[test]
fn two_frames_share_a_page() {
    let mut wire = wire();
    for number in 0..SLOTS as u8 {
        wire.transmit.send(&wire.pages, &wire.channel, &[number; FRAME]).unwrap();
    }
    for slot in 0..SLOTS {
        let mut request = [0; 12];
        wire.pages.page(TRANSMIT).read(64 + slot * 12, &mut request);
        let [reference, _, _, _, low, high, _, _, id, 0, size @ ..] = request else {
            panic!("{request:?}")
        };
        let (page, offset) =
            (TRANSMIT + 1 + slot / 2, usize::from(u16::from_le_bytes([low, high])));
        assert_eq!(
            (u32::from(reference), usize::from(id)),
            (wire.pages.reference(page).number(), slot)
        );
        assert_eq!((offset, size), (slot % 2 * 2048, [0xea, 5]));
        let mut frame = [0xff; FRAME];
        wire.pages.page(page).read(offset, &mut frame);
        assert_eq!(frame, [slot as u8; FRAME]);
    }
}

#[test]
fn a_buffer_that_comes_back_twice_ends_it() {
    let mut wire = wire();
    answer(&wire, 0, 3, 0, &[0; 60]);
    assert_eq!(wire.next_frame(), Some(60));
    // Slot 3 is the backend's again, 40 never was.
    answer(&wire, 1, 40, 0, &[]);
    assert_eq!(wire.next_frame(), None);
    assert!(wire.broken);
    assert!(!wire.ready());
}

/// A connection that cannot go on takes no frames, whatever the reason.
#[test]
fn an_interface_that_fails_is_down() {
    let (store, _asked, mut server) = pair();
    script(&store, &mut server, &[Value("1"), Value("0"), Value("/b"), Watches]);
    let mut plane = Plane::Xenstore(store);
    let offer = Offer::find(&mut plane, Class::Network, DeviceId::new(0)).unwrap();
    let wire = wire();
    let mut frontend =
        Frontend::open(&plane, offer, wire.pages.window(), DeviceId::new(0)).unwrap();
    frontend.watch(&mut plane).unwrap();
    let mut network = Network { frontend, mac: Mac([0; 6]), wire };
    answer(&network.wire, 0, 0, 0, &[1; 100]);
    assert!(network.ready());
    let Plane::Xenstore(store) = &mut plane else { panic!("the test has Xenstore") };
    crate::store::fake::fire(&mut server, "/b/state", crate::store::Token::new(0));
    assert!(store.ready());
    script(store, &mut server, &[Answer::Refuses]);
    let failed = network.advance(&mut plane);
    assert_eq!(failed, Err(DeviceError::Store(crate::StoreError::Refused)));
    assert!(!network.ready());
}

proptest! {
    /// Whatever the backend writes into the rings.
    #[test]
    fn no_backend_can_make_it_panic(
        steps in prop::collection::vec((0u8..4, 0usize..4, any::<u32>(), any::<[u8; 12]>()), 1..60),
    ) {
        let mut wire = wire();
        let mut index = 0u32;
        for (what, near, number, bytes) in steps {
            let ring = wire.pages.page(if what < 2 { RECEIVE } else { TRANSMIT });
            index = index.wrapping_add(near as u32);
            ring.write(64 + number as usize % 300 * 12, &bytes);
            ring.store_u32(RESPONSES, if near == 3 { number } else { index });
            if let Some(length) = wire.next_frame() {
                prop_assert!(length <= FRAME);
            }
            if wire.can_send() {
                let _ = wire.transmit.send(&wire.pages, &wire.channel, &[0; 60]);
            }
            let _ = wire.ready();
        }
    }
}
