//! The client against a daemon that does what the test says.
#![allow(clippy::unwrap_used)]

use std::thread;

use super::*;

/// A client, and the other end of its connection.
fn pair() -> (Client, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    (Client::over(File::from(OwnedFd::from(ours))), theirs)
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
    assert_eq!(client.next_event(Duration::ZERO).unwrap(), Some(("/a/b".to_owned(), "h2".to_owned())));
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
