#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)]

use proptest::prelude::*;

use super::*;
use crate::test_page::test_page;

type Ring = FrontRing<12>;

#[test]
fn sizes_are_those_of_the_headers() {
    // netif_tx, netif_rx, blkif
    assert_eq!(
        (FrontRing::<12>::SIZE, FrontRing::<8>::SIZE, FrontRing::<112>::SIZE),
        (256, 256, 32)
    );
}

#[test]
fn a_request_and_its_response() {
    let page = test_page();
    let mut ring = Ring::new(page);
    ring.push(b"hello world!").unwrap();
    assert_eq!(page.load_u32(REQUESTS), 0);
    assert!(ring.publish());
    assert_eq!(page.load_u32(REQUESTS), 1);
    assert_eq!(ring.pop::<4>(), Ok(None));
    let mut seen = [0; 12];
    page.read(64, &mut seen);
    assert_eq!(&seen, b"hello world!");
    page.write(64, b"done");
    page.store_u32(RESPONSES, 1);
    assert_eq!(ring.pop::<4>(), Ok(Some(*b"done")));
    assert_eq!(ring.pop::<4>(), Ok(None));
}

#[test]
fn the_backend_is_told_only_where_it_wants_to_be() {
    let page = test_page();
    let mut ring = Ring::new(page);
    ring.push(&[0; 12]).unwrap();
    assert!(ring.publish());
    // Busy: it will look by itself.
    ring.push(&[0; 12]).unwrap();
    assert!(!ring.publish());
    page.store_u32(REQUEST_EVENT, 4);
    ring.push(&[0; 12]).unwrap();
    assert!(!ring.publish());
    ring.push(&[0; 12]).unwrap();
    assert!(ring.publish());
}

#[test]
fn we_are_told_about_the_next() {
    let page = test_page();
    let mut ring = Ring::new(page);
    for _ in 0..3 {
        ring.push(&[0; 12]).unwrap();
    }
    assert!(ring.publish());
    page.store_u32(RESPONSES, 2);
    assert_eq!(ring.arm(), Ok(true));
    assert_eq!(page.load_u32(RESPONSE_EVENT), 1);
    while ring.pop::<1>().unwrap().is_some() {}
    assert_eq!(ring.arm(), Ok(false));
    assert_eq!(page.load_u32(RESPONSE_EVENT), 3);
}

#[test]
fn a_full_ring_takes_no_more() {
    let mut ring = Ring::new(test_page());
    for _ in 0..Ring::SIZE {
        ring.push(&[0; 12]).unwrap();
    }
    assert_eq!(ring.push(&[0; 12]), Err(BadBackend));
}

proptest! {
    /// Whatever the backend writes over the counters: we take no more responses than we are owed.
    #[test]
    fn a_backend_cannot_answer_what_was_not_asked(
        steps in prop::collection::vec((0u32..5, any::<u32>(), prop::bool::ANY), 1..100),
    ) {
        let page = test_page();
        let mut ring = Ring::new(page);
        let (mut asked, mut answered) = (0u32, 0u32);
        for (requests, counter, near) in steps {
            for _ in 0..requests {
                if ring.push(&[0; 12]).is_ok() {
                    asked += 1;
                }
            }
            let _ = ring.publish();
            let counter = if near { answered.wrapping_add(counter % 8) } else { counter };
            page.store_u32(RESPONSES, counter);
            page.store_u32(REQUEST_EVENT, counter);
            page.store_u32(REQUESTS, counter);
            let owed = asked - answered;
            let waiting = counter.wrapping_sub(answered);
            if waiting > owed {
                prop_assert_eq!(ring.pop::<4>(), Err(BadBackend));
                prop_assert_eq!(ring.arm(), Err(BadBackend));
            } else {
                while ring.pop::<4>().unwrap().is_some() {
                    answered += 1;
                }
                prop_assert_eq!(answered, counter);
            }
            prop_assert!(asked - answered <= Ring::SIZE);
        }
    }
}
