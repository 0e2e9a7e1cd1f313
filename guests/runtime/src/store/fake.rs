//! For unit tests: a client of a Xenstore that says what the test put down before.

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)]

use super::wire::WATCH_EVENT;
use super::*;
use crate::page::SharedPage;
use crate::test_page::test_page;

/// A client, and the other end of its ring.
pub(crate) fn pair() -> (Store, Consumer, Producer) {
    let (ring, info): (SharedPage, SharedPage) = (test_page(), test_page());
    let tokens = Box::leak(Box::new(Tokens::new()));
    let store = Store::new(Events::new(info), Port::new(1).unwrap(), ring, tokens);
    (store, Consumer::new(ring, REQUESTS), Producer::new(ring, ANSWERS))
}

/// Puts down a message of the server's.
pub(crate) fn put(server: &mut Producer, kind: u32, request: u32, body: &[u8]) {
    let header = Header { kind, request, length: body.len() as u32 };
    server.push(&header.encode()).unwrap();
    server.push(body).unwrap();
}

/// Puts down the answers to the following requests, in their order, and the events that come with
/// them.
pub(crate) fn script(store: &Store, server: &mut Producer, answers: &[Answer<'_>]) {
    let mut request = store.request;
    for answer in answers {
        if let Answer::Fires(token) = answer {
            fire(server, "/", *token);
            continue;
        }
        request += 1;
        match answer {
            Answer::Value(value) => put(server, Operation::Read as u32, request, value.as_bytes()),
            Answer::Refuses => put(server, ERROR, request, b"EQUOTA\0"),
            Answer::Missing => put(server, ERROR, request, b"ENOENT\0"),
            Answer::Wrote => put(server, Operation::Write as u32, request, b"OK\0"),
            Answer::Watches => put(server, Operation::Watch as u32, request, b"OK\0"),
            Answer::Unwatches => put(server, Operation::Unwatch as u32, request, b"OK\0"),
            Answer::Fires(_) => {}
        }
    }
}

/// Puts down a watch event.
pub(crate) fn fire(server: &mut Producer, path: &str, token: Token) {
    let [high, low] = token.encode();
    put(server, WATCH_EVENT, 0, &[path.as_bytes(), &[0, high, low, 0]].concat());
}

impl Store {
    /// The number of the last request.
    pub(crate) fn requests_made(&self) -> u32 {
        self.request
    }
}

/// What the server says.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Answer<'a> {
    Value(&'a str),
    Missing,
    Refuses,
    Wrote,
    Watches,
    Unwatches,
    Fires(Token),
}

/// Takes the requests that were made: the body of each, with `|` for its zero bytes.
pub(crate) fn requests(ring: &mut Consumer) -> Vec<String> {
    let mut bytes = vec![0; 4096];
    let length = ring.pop(&mut bytes).unwrap();
    let mut rest = &bytes[..length];
    let mut requests = Vec::new();
    while let Some((header, body)) = rest.split_first_chunk() {
        let header = Header::decode(*header).unwrap();
        let (body, others) = body.split_at(header.length as usize);
        requests.push(String::from_utf8_lossy(body).replace('\0', "|"));
        rest = others;
    }
    requests
}

/// Lets the clock of a client run a thousand times too fast.
pub(crate) fn impatient(store: &Store) {
    const TSC_TO_SYSTEM_MUL: usize = 56;
    const TSC_SHIFT: usize = 60;
    let info = store.events.shared_info();
    info.store_u32(TSC_TO_SYSTEM_MUL, u32::MAX);
    info.store_u32(TSC_SHIFT, 10);
}
