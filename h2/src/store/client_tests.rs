//! The client against a daemon that does what the test says.
#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::thread;

use super::super::wire::{HEADER, Header};
use super::*;

/// A client, and the other end of its connection.
fn pair() -> (Client, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    (Client::over(Connection::over(ours).unwrap()), theirs)
}

/// Takes a request: its kind, its number and its payload.
fn take(daemon: &mut UnixStream) -> (u32, u32, Vec<u8>) {
    let mut header = [0; HEADER];
    daemon.read_exact(&mut header).unwrap();
    let header = Header::decode(header).unwrap();
    let mut payload = vec![0; header.length];
    daemon.read_exact(&mut payload).unwrap();
    (header.kind, header.request, payload)
}

fn answer(daemon: &mut UnixStream, kind: Kind, request: u32, payload: &[u8]) {
    daemon.write_all(&wire::encode(kind, request, &[payload]).unwrap()).unwrap();
}

#[test]
fn events_before_an_answer_are_kept() {
    let (client, mut daemon) = pair();
    let daemon = thread::spawn(move || {
        let (kind, request, payload) = take(&mut daemon);
        assert_eq!((kind, payload.as_slice()), (Kind::Read as u32, &b"/a\0"[..]));
        answer(&mut daemon, Kind::WatchEvent, 0, b"/a/b\0h2\0");
        answer(&mut daemon, Kind::Read, request, b"value");
        daemon
    });
    assert_eq!(client.read("/a").unwrap(), Some(b"value".to_vec()));
    let _open = daemon.join().unwrap();
    assert_eq!(
        client.next_event(Duration::ZERO).unwrap(),
        Some(("/a/b".to_owned(), "h2".to_owned()))
    );
    assert_eq!(client.next_event(Duration::from_millis(1)).unwrap(), None);
}

#[test]
fn errors_have_their_numbers_and_absence_is_none() {
    let (client, mut daemon) = pair();
    thread::spawn(move || {
        for error in [&b"ENOENT\0"[..], b"EACCES\0"] {
            let (_, request, _) = take(&mut daemon);
            answer(&mut daemon, Kind::Error, request, error);
        }
    });
    assert_eq!(client.read("/a").unwrap(), None);
    assert_eq!(client.write("/a", "1").unwrap_err().raw_os_error(), Some(libc::EACCES));
}

/// A daemon with a node of many children, which answers as xenstored 4.17 does
/// (`send_directory_part`). When the third part is asked for, a child comes.
fn many_children(mut daemon: UnixStream) {
    let name = |number: u32| format!("{number}\0").into_bytes();
    let mut children: Vec<u8> = (0..3000).flat_map(name).collect();
    let mut generation = 7;
    let (mut parts, mut changed) = (0, false);
    // The client's end closes it: `take` panics in this thread alone.
    loop {
        let (kind, request, payload) = take(&mut daemon);
        if kind == Kind::Directory as u32 {
            answer(&mut daemon, Kind::Error, request, b"E2BIG\0");
            continue;
        }
        assert_eq!(kind, Kind::DirectoryPart as u32);
        parts += 1;
        if parts == 3 && !changed {
            (generation, changed) = (8, true);
            children.extend(name(3000));
        }
        let texts = wire::texts(&payload);
        assert_eq!(texts[0], "/a");
        let offset: usize = texts[1].parse().unwrap();
        let mut part = format!("{generation}\0").into_bytes();
        let mut left = &children[offset.min(children.len())..];
        while let Some(end) = left.iter().position(|&byte| byte == 0) {
            if part.len() + end + 2 > wire::MAX_PAYLOAD {
                break;
            }
            part.extend_from_slice(&left[..=end]);
            left = &left[end + 1..];
        }
        if left.is_empty() {
            part.push(0);
        }
        answer(&mut daemon, Kind::DirectoryPart, request, &part);
    }
}

#[test]
fn a_list_longer_than_a_message_comes_in_parts() {
    let (client, daemon) = pair();
    thread::spawn(move || many_children(daemon));
    let names = client.directory("/a").unwrap().unwrap();
    assert_eq!(names.len(), 3001);
    assert!((0..).zip(&names).all(|(number, name): (u32, _)| *name == number.to_string()));
}

#[test]
fn parts_of_lists() {
    let part = |generation, names, last| wire::DirectoryPart { generation, names, last };
    for (payload, expected) in [
        (&b"7\0a\0b\0"[..], part(b"7", b"a\0b\0", false)),
        (b"7\0a\0b\0\0", part(b"7", b"a\0b\0", true)),
        (b"7\0\0", part(b"7", b"", true)),
    ] {
        assert_eq!(wire::DirectoryPart::decode(payload).unwrap(), expected);
    }
    for payload in [&b""[..], b"7", b"7\0", b"7\0a"] {
        assert!(wire::DirectoryPart::decode(payload).is_err(), "{payload:?}");
    }
}

#[test]
fn permissions_are_letters() {
    let (client, mut daemon) = pair();
    let daemon = thread::spawn(move || {
        let (_, request, payload) = take(&mut daemon);
        answer(&mut daemon, Kind::SetPermissions, request, b"OK\0");
        payload
    });
    let guest = DomId::new(5).unwrap();
    let permissions = [
        NodePermission { domain: DomId::DOM0, read: false, write: false },
        NodePermission { domain: guest, read: true, write: false },
    ];
    client.set_permissions("/a", &permissions).unwrap();
    assert_eq!(daemon.join().unwrap(), b"/a\0n0\0r5\0");
}

fn write(path: &str) -> StoreChange {
    StoreChange::Write { path: path.to_owned(), value: "1".to_owned() }
}

#[test]
fn changes_go_together_and_the_first_failure_is_told() {
    let (client, mut daemon) = pair();
    thread::spawn(move || {
        // All requests are there before the first is answered.
        let requests: Vec<_> = (0..4).map(|_| take(&mut daemon)).collect();
        let answers = [
            (Kind::Write, &b"OK\0"[..]),
            (Kind::Error, b"ENOENT\0"),
            (Kind::Error, b"EACCES\0"),
            (Kind::Error, b"EIO\0"),
        ];
        for ((_, request, _), (kind, payload)) in requests.iter().zip(answers) {
            answer(&mut daemon, kind, *request, payload);
        }
        let (_, request, _) = take(&mut daemon);
        answer(&mut daemon, Kind::Mkdir, request, b"OK\0");
    });
    let changes =
        [write("/a"), StoreChange::Remove { path: "/b".to_owned() }, write("/c"), write("/d")];
    let (index, error) = client.change(&changes).unwrap_err();
    assert_eq!((index, error.raw_os_error()), (2, Some(libc::EACCES)));
    client.mkdir("/e").unwrap();
}

#[test]
fn many_changes_do_not_block_each_other() {
    let (client, mut daemon) = pair();
    thread::spawn(move || {
        for _ in 0..1000 {
            let (_, request, _) = take(&mut daemon);
            answer(&mut daemon, Kind::Write, request, b"OK\0");
        }
    });
    client.change(&vec![write("/a"); 1000]).unwrap();
}

#[test]
fn a_broken_connection_stays_broken() {
    let (client, daemon) = pair();
    drop(daemon);
    assert!(client.read("/a").is_err());
    assert_eq!(client.read("/a").unwrap_err().kind(), io::ErrorKind::NotConnected);
}

#[test]
fn an_answer_to_another_request_is_refused() {
    let (client, mut daemon) = pair();
    thread::spawn(move || {
        let (_, request, _) = take(&mut daemon);
        answer(&mut daemon, Kind::Read, request + 1, b"other");
    });
    assert_eq!(client.read("/a").unwrap_err().kind(), io::ErrorKind::InvalidData);
}

#[test]
fn what_a_watch_covers() {
    assert!(is_at_or_below("/a/b", "/a"));
    assert!(is_at_or_below("@releaseDomain", "@releaseDomain"));
    assert!(!is_at_or_below("/ab", "/a"));
}
