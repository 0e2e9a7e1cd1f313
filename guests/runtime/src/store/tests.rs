#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)]

use super::fake::{Answer, fire, impatient, pair, put, requests, script};
use super::wire::WATCH_EVENT;
use super::*;

#[test]
fn reads_and_remembers_the_watch_that_came_between() {
    let (mut store, mut asked, mut server) = pair();
    let claim = store.claim().unwrap();
    let token = claim.token();
    fire(&mut server, "/a", token);
    put(&mut server, Operation::Read as u32, 1, b"value");
    assert_eq!(store.read("name", &mut [0; 8]), Ok(b"value".as_slice()));
    assert!(store.ready());
    assert!(store.take_fired_at("/a", token));
    assert!(!store.take_fired_at("/a", token));
    assert!(!store.ready());
    let mut sent = [0; 64];
    let length = asked.pop(&mut sent).unwrap();
    let expected = Header { kind: 2, request: 1, length: 5 }.encode();
    assert_eq!(&sent[..length], [expected.as_slice(), b"name\0"].concat());
}

/// What is queued before the answer to an unwatch is for nobody: `ready` would say so for ever.
#[test]
fn an_ended_watch_has_not_fired() {
    let (mut store, _asked, mut server) = pair();
    script(&store, &mut server, &[Answer::Watches]);
    let watch = store.watch("device/vif").unwrap();
    script(&store, &mut server, &[Answer::Fires(watch.token()), Answer::Unwatches]);
    store.unwatch(watch);
    assert!(!store.ready());
}

#[test]
fn a_dropped_watch_fires_no_more_and_is_ended_when_it_does() {
    let (mut store, mut asked, mut server) = pair();
    script(&store, &mut server, &[Answer::Watches]);
    let watch = store.watch("device/vif").unwrap();
    let token = watch.token();
    requests(&mut asked);
    drop(watch);
    fire(&mut server, "device/vif/1", token);
    assert!(!store.ready());
    assert_eq!(requests(&mut asked), ["device/vif/1|Aa|", "device/vif|Aa|", "device|Aa|"]);
    // Their answers are nobody's.
    put(&mut server, ERROR, 2, b"ENOENT\0");
    put(&mut server, Operation::Unwatch as u32, 3, b"OK\0");
    put(&mut server, ERROR, 4, b"ENOENT\0");
    put(&mut server, Operation::Read as u32, 5, b"value");
    assert_eq!(store.read("a", &mut [0; 8]), Ok(b"value".as_slice()));
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

const NONSENSE: [(u32, u32, u32); 5] =
    [(2, 9, 0), (2, 0, 0), (11, 1, 0), (2, 1, 4097), (WATCH_EVENT, 0, u32::MAX)];

#[test]
fn nonsense_ends_the_connection() {
    for (kind, request, length) in NONSENSE {
        let (mut store, _requests, mut server) = pair();
        server.push(&Header { kind, request, length }.encode()).unwrap();
        // Of what is not wrong by itself only the answer to a request can tell.
        let _ = store.claim();
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
    assert_eq!(store.write("a", &[0; MAX_REQUEST]), Err(StoreError::TooLong));
    assert_eq!(requests.pop(&mut [0; 8]), Ok(0));
}

#[test]
fn an_answer_that_comes_too_late_mends_it() {
    let (mut store, mut asked, mut server) = pair();
    script(&store, &mut server, &[Answer::Watches]);
    let watch = store.watch("device/vif").unwrap();
    impatient(&store);
    assert_eq!(store.read("a", &mut [0; 8]), Err(StoreError::Silent));
    requests(&mut asked);
    // No request is made, and nobody waits, as long as that has no answer.
    assert_eq!(store.write("a", b"b"), Err(StoreError::Silent));
    assert_eq!(requests(&mut asked), Vec::<String>::new());
    assert!(!store.ready());
    // In parts, as a ring that is full makes it.
    server.push(&Header { kind: 2, request: 2, length: 5 }.encode()).unwrap();
    server.push(b"val").unwrap();
    assert!(!store.ready());
    server.push(b"ue").unwrap();
    assert!(store.ready());
    assert!(store.take_fired(&watch));
    put(&mut server, Operation::Read as u32, 3, b"new");
    assert_eq!(store.read("a", &mut [0; 8]), Ok(b"new".as_slice()));
    assert!(!store.ready());
}

#[test]
fn half_an_answer_is_waited_for_no_longer() {
    let (mut store, _asked, mut server) = pair();
    let claim = store.claim().unwrap();
    impatient(&store);
    server.push(&Header { kind: 2, request: 1, length: 5 }.encode()).unwrap();
    server.push(b"va").unwrap();
    assert_eq!(store.read("a", &mut [0; 8]), Err(StoreError::Silent));
    assert!(!store.ready());
    server.push(b"lue").unwrap();
    assert!(store.ready());
    assert!(store.take_fired_at("/", claim.token()));
    put(&mut server, Operation::Write as u32, 2, b"OK\0");
    assert_eq!(store.write("a", b"b"), Ok(()));
}

#[test]
fn a_watch_that_could_not_be_made_is_made_later() {
    let (mut store, mut asked, mut server) = pair();
    let claim = store.claim().unwrap();
    impatient(&store);
    assert_eq!(store.watch_for("a", claim.token()), Err(StoreError::Silent));
    assert_eq!(store.watch_for("a", claim.token()), Err(StoreError::Silent));
    requests(&mut asked);
    put(&mut server, Operation::Watch as u32, 1, b"OK\0");
    assert!(store.ready());
    put(&mut server, Operation::Watch as u32, 2, b"OK\0");
    assert!(store.take_fired_at("a", claim.token()));
    assert_eq!(requests(&mut asked), ["a|Aa|"]);
    assert!(!store.take_fired_at("a", claim.token()));
}

/// As xenstored does it: the ring is empty again, and nothing of before is known.
#[test]
fn a_server_that_can_reconnect_is_asked_to() {
    for (kind, request, length) in NONSENSE {
        let (mut store, _asked, mut server) = pair();
        let page = store.page;
        page.store_u32(SERVER_FEATURES, CAN_RECONNECT);
        script(&store, &mut server, &[Answer::Watches]);
        let watch = store.watch("device/vif").unwrap();
        let request = if kind == 11 { request + 1 } else { request };
        server.push(&Header { kind, request, length }.encode()).unwrap();
        assert_eq!(store.read("a", &mut [0; 8]), Err(StoreError::Broken));
        assert_eq!(page.load_u32(CONNECTION), RECONNECT);
        assert!(!store.ready());
        assert_eq!(store.read("a", &mut [0; 8]), Err(StoreError::Broken));

        for counter in [2048, 2052, 2056, 2060] {
            page.store_u32(counter, 0);
        }
        page.store_u32(CONNECTION, CONNECTED);
        let (mut asked, mut server) = (Consumer::new(page, REQUESTS), Producer::new(page, ANSWERS));
        assert!(store.ready());
        script(&store, &mut server, &[Answer::Watches]);
        assert!(store.take_fired(&watch));
        assert_eq!(requests(&mut asked), ["device/vif|Aa|"]);
        assert!(!store.ready());
    }
}

#[test]
fn a_server_that_talks_nonsense_for_ever_is_left_alone() {
    let (mut store, _asked, _server) = pair();
    let page = store.page;
    page.store_u32(SERVER_FEATURES, CAN_RECONNECT);
    for _ in 0..=RECONNECTS {
        page.store_u32(CONNECTION, CONNECTED);
        store.take_messages();
        assert_eq!(store.status, Status::Works);
        Producer::new(page, ANSWERS).push(&[0xff; HEADER]).unwrap();
        assert!(!store.ready());
    }
    assert_eq!((store.status, page.load_u32(CONNECTION)), (Status::Broken, CONNECTED));
}
