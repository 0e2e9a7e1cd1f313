#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)]

use super::fake::{pair, put};
use super::*;

#[test]
fn reads_and_remembers_the_watch_that_came_between() {
    let (mut store, mut requests, mut server) = pair();
    let token = Token::new(17);
    let [high, low] = token.encode();
    put(&mut server, WATCH_EVENT, 0, &[b'/', b'a', 0, high, low, 0]);
    put(&mut server, Operation::Read as u32, 1, b"value");
    assert_eq!(store.read("name", &mut [0; 8]), Ok(b"value".as_slice()));
    assert!(store.ready());
    assert!(store.take_fired(token));
    assert!(!store.take_fired(token));
    assert!(!store.ready());
    let mut sent = [0; 64];
    let length = requests.pop(&mut sent).unwrap();
    let expected = Header { kind: 2, request: 1, length: 5 }.encode();
    assert_eq!(&sent[..length], [expected.as_slice(), b"name\0"].concat());
}

#[test]
fn errors_have_names() {
    let (mut store, _requests, mut server) = pair();
    put(&mut server, ERROR, 1, b"ENOENT\0");
    put(&mut server, ERROR, 2, b"EACCES\0");
    put(&mut server, ERROR, 3, b"EQUOTA\0");
    assert_eq!(store.read("a", &mut []), Err(StoreError::NotFound));
    assert_eq!(store.write("a", b"b"), Err(StoreError::Denied));
    assert_eq!(store.remove("a"), Err(StoreError::Refused));
}

#[test]
fn a_long_answer_is_skipped() {
    let (mut store, _requests, mut server) = pair();
    put(&mut server, Operation::Read as u32, 1, &[b'x'; 100]);
    put(&mut server, Operation::Write as u32, 2, b"OK\0");
    assert_eq!(store.read("a", &mut [0; 99]), Err(StoreError::BufferTooSmall(100)));
    assert_eq!(store.write("a", b""), Ok(()));
}

#[test]
fn nonsense_ends_the_connection() {
    for (kind, request, length) in [(2, 9, 0), (11, 1, 0), (2, 1, 4097), (WATCH_EVENT, 0, u32::MAX)]
    {
        let (mut store, _requests, mut server) = pair();
        server.push(&Header { kind, request, length }.encode()).unwrap();
        assert_eq!(store.read("a", &mut [0; 8]), Err(StoreError::Broken));
        assert_eq!(store.read("a", &mut [0; 8]), Err(StoreError::Broken));
        assert!(!store.ready());
    }
}

#[test]
fn an_answer_without_a_question_ends_the_connection() {
    let (mut store, _requests, mut server) = pair();
    put(&mut server, Operation::Read as u32, 0, b"value");
    assert!(!store.ready());
    assert_eq!(store.read("a", &mut [0; 8]), Err(StoreError::Broken));
}

#[test]
fn too_long_a_request_is_not_sent() {
    let (mut store, mut requests, _server) = pair();
    assert_eq!(store.write("a", &[0; 4096]), Err(StoreError::TooLong));
    assert_eq!(requests.pop(&mut [0; 8]), Ok(0));
}
