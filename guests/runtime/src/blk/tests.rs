#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)]

use proptest::prelude::*;

use super::*;
use crate::event::Events;
use crate::grant::{DomId, Grants};
use crate::test_page::test_page;

const RESPONSES: usize = 8;

fn queue(geometry: Geometry) -> Queue {
    let memory = DiskMemory::<1>::leaked();
    let peer = DomId::new(0).unwrap();
    let pages = Granted::new(memory, Grants::new(test_page()), peer, |_| Access::Write).unwrap();
    let mut queue =
        Queue::new(pages, Channel::fake(Events::new(test_page())), DeviceId::new(51712));
    queue.geometry = Some(geometry);
    queue
}

fn disk() -> Geometry {
    Geometry { sectors: 1000, sector_size: 512, read_only: false, flush: true }
}

/// Makes a request, answers it as a backend would, and takes the answer.
fn exchange(queue: &mut Queue, id: u64, status: i16) -> Result<(), DiskError> {
    let request = Request {
        operation: Operation::Read,
        disk: queue.id,
        id: queue.last + 1,
        sector: 3,
        length: 5 * 512,
    };
    queue.last += 1;
    queue.ring.push(&request.encode(|segment| queue.pages.reference(BUFFERS + segment))).unwrap();
    let _ = queue.ring.publish();
    let mut response = [0; RESPONSE];
    response[..8].copy_from_slice(&id.to_le_bytes());
    response[10..12].copy_from_slice(&status.to_le_bytes());
    let index = (queue.last - 1) as u32;
    queue.pages.page(RING).write(64 + (index % 32) as usize * REQUEST, &response);
    queue.pages.page(RING).store_u32(RESPONSES, index + 1);
    Response::decode(queue.ring.pop::<RESPONSE>().unwrap().unwrap()).check(&request)
}

#[test]
fn a_request_as_the_header_has_it() {
    let request = Request {
        operation: Operation::Write,
        disk: DeviceId::new(51712),
        id: 7,
        sector: 9,
        length: 9 * 512,
    };
    let grants = Grants::new(test_page());
    let frame = crate::boot::Frame::new(1).unwrap();
    let references =
        [8, 9].map(|_| grants.grant(DomId::new(0).unwrap(), frame, Access::Write).unwrap());
    let bytes = request.encode(|segment| references[segment]);
    assert_eq!(bytes[..4], [1, 2, 0, 202]);
    assert_eq!(bytes[8..24], [7, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(bytes[24..40], [8, 0, 0, 0, 0, 7, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(bytes[40..], [0; 72]);
    let flush =
        Request { operation: Operation::Flush, length: 0, ..request }.encode(|_| references[0]);
    assert_eq!(flush[..2], [3, 0]);
    let most = Request { length: Request::MOST_BYTES, ..request }.encode(|_| references[0]);
    assert_eq!((most[1], most[24 + 7 * 8 + 5], most[24 + 8 * 8 + 5]), (8, 7, 0));
}

#[test]
fn responses_belong_to_their_request() {
    let mut queue = queue(disk());
    assert_eq!(exchange(&mut queue, 1, 0), Ok(()));
    assert_eq!(exchange(&mut queue, 2, -1), Err(DiskError::Failed));
    assert_eq!(exchange(&mut queue, 3, -2), Err(DiskError::Unsupported));
    assert_eq!(exchange(&mut queue, 3, 0), Err(DiskError::Backend));
}

/// What a backend does with the request that it has.
fn respond(queue_page: crate::page::SharedPage, number: u32) {
    let mut response = [0; RESPONSE];
    response[..8].copy_from_slice(&u64::from(number).to_le_bytes());
    queue_page.write(64 + ((number - 1) % 32) as usize * REQUEST, &response);
    queue_page.store_u32(RESPONSES, number);
}

#[test]
fn an_operation_waits_as_it_is_told() {
    let mut queue = queue(disk());
    let (page, mut waits) = (queue.pages.page(RING), 0);
    let wait = |source: &mut dyn Source, _| {
        waits += 1;
        assert!(!source.ready());
        // Woken twice for something else.
        if waits == 3 {
            respond(page, 1);
        }
        true
    };
    assert_eq!(Waiting { queue: &mut queue, wait }.flush(), Ok(()));
    assert_eq!(waits, 3);
    let done = Waiting { queue: &mut queue, wait: |_: &mut dyn Source, _| false }.flush();
    assert_eq!(done, Err(DiskError::Interrupted));
    // Its response would be taken for that of the next.
    respond(page, 2);
    let done = Waiting { queue: &mut queue, wait: |_: &mut dyn Source, _| true }.flush();
    assert_eq!(done, Err(DiskError::Backend));
}

#[test]
fn a_backend_may_keep_the_pages_mapped() {
    let mut queue = queue(disk());
    let mut keys = noxs::keys::Keys::for_side(noxs::state::Side::Frontend);
    queue.publish(&mut Own::Noxs(&mut keys)).unwrap();
    assert_eq!(keys.get(b"feature-persistent"), Some(&b"1"[..]));
}

#[test]
fn ranges_are_checked() {
    let mut queue = queue(disk());
    assert!(queue.check(0, 1000 * 512).is_ok());
    assert!(queue.check(999, 512).is_ok());
    assert_eq!(queue.check(1000, 512), Err(DiskError::Range));
    assert_eq!(queue.check(u64::MAX, 512), Err(DiskError::Range));
    assert_eq!(queue.check(0, 100), Err(DiskError::Range));
    queue.geometry = Some(Geometry { sector_size: 4096, ..disk() });
    assert!(queue.check(8, 4096).is_ok());
    assert_eq!(queue.check(4, 4096), Err(DiskError::Range));
    assert_eq!(queue.check(8, 512), Err(DiskError::Range));
    queue.broken = true;
    assert_eq!(queue.check(8, 4096), Err(DiskError::Backend));
}

#[test]
fn bytes_go_through_the_pages() {
    let queue = queue(disk());
    let bytes: Vec<u8> = (0..Request::MOST_BYTES).map(|index| (index / 7) as u8).collect();
    queue.copy_in(&bytes);
    let mut copy = vec![0; bytes.len()];
    queue.copy_out(&mut copy);
    assert_eq!(copy, bytes);
}

proptest! {
    #[test]
    fn no_backend_makes_an_impossible_disk(sectors: u64, power in 0u32..64, info: u64, flush: u64) {
        if let Ok(geometry) = geometry(sectors, 1 << power, info, flush) {
            prop_assert!((512..=4096).contains(&geometry.sector_size));
            prop_assert!(geometry.sectors.checked_mul(512).is_some());
        }
        if !sectors.is_power_of_two() {
            prop_assert!(super::geometry(1, sectors, info, flush).is_err());
        }
    }

    #[test]
    fn any_response_is_an_answer_or_an_end(bytes: [u8; RESPONSE], id: u64) {
        let disk = DeviceId::new(0);
        let request = Request { operation: Operation::Read, disk, id, sector: 0, length: 512 };
        let result = Response::decode(bytes).check(&request);
        let answered = u64::from_le_bytes(bytes[..8].try_into().unwrap());
        prop_assert!(id == answered || result == Err(DiskError::Backend));
    }
}
