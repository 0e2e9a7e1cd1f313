#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)]

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;
use crate::test_page::test_page;

const CONSUMER: usize = 4088;
const PRODUCER: usize = 4092;
const RING: Layout = Layout::new(1024, 64, CONSUMER, PRODUCER);

#[test]
fn full_and_empty() {
    let page = test_page();
    let mut producer = Producer::new(page, RING);
    let mut consumer = Consumer::new(page, RING);
    assert_eq!(producer.push(&[7; 100]), Ok(64));
    assert_eq!(producer.push(&[7; 1]), Ok(0));
    assert_eq!(producer.queued(), Ok(64));
    let mut buffer = [0; 100];
    assert_eq!(consumer.pop(&mut buffer), Ok(64));
    assert_eq!(consumer.pop(&mut buffer), Ok(0));
    assert_eq!(&buffer[..65], [[7; 64].as_slice(), &[0]].concat());
}

#[test]
fn impossible_index_is_refused() {
    let page = test_page();
    let mut producer = Producer::new(page, RING);
    let mut consumer = Consumer::new(page, RING);
    page.store_u32(PRODUCER, 65);
    page.store_u32(CONSUMER, 1);
    assert_eq!(consumer.pop(&mut [0; 8]), Err(BadIndex));
    assert_eq!(producer.push(&[1]), Err(BadIndex));
    // Our own counters are private: what the peer did to them in the page is not believed.
    page.store_u32(CONSUMER, 0);
    assert_eq!(producer.queued(), Ok(0));
}

proptest! {
    /// Whatever is pushed comes out, in order, from any starting point, over the wrap of the
    /// counters too.
    #[test]
    fn bytes_come_out_as_they_went_in(
        start: u32,
        steps in prop::collection::vec((any::<bool>(), 0usize..100), 1..200),
    ) {
        let page = test_page();
        page.store_u32(CONSUMER, start);
        page.store_u32(PRODUCER, start);
        let mut producer = Producer::new(page, RING);
        let mut consumer = Consumer::new(page, RING);
        let mut model = VecDeque::new();
        let mut next = 0u8;
        for (push, length) in steps {
            if push {
                let bytes: Vec<u8> = (0..length).map(|i| next.wrapping_add(i as u8)).collect();
                let done = producer.push(&bytes).unwrap();
                prop_assert_eq!(done, length.min(64 - model.len()));
                next = next.wrapping_add(done as u8);
                model.extend(&bytes[..done]);
            } else {
                let mut bytes = vec![0; length];
                let done = consumer.pop(&mut bytes).unwrap();
                prop_assert_eq!(done, length.min(model.len()));
                let expected: Vec<u8> = model.drain(..done).collect();
                prop_assert_eq!(&bytes[..done], expected);
            }
            prop_assert_eq!(producer.queued().unwrap() as usize, model.len());
        }
    }
}
