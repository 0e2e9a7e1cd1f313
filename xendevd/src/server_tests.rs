use std::thread;

use nix::poll::{PollFd, poll};

use super::*;
use crate::client::{Client as Caller, ClientError};

/// Serves until a client has asked for `until` answers.
fn serve(server: &mut Server, until: usize) {
    let start = Instant::now();
    let mut answered = 0;
    while answered < until {
        assert!(start.elapsed() < Duration::from_secs(60), "clients did not come");
        let clients: Vec<_> =
            server.clients().map(|(id, fd, flags)| (id, PollFd::new(fd, flags))).collect();
        let ids: Vec<ClientId> = clients.iter().map(|(id, _)| *id).collect();
        let mut fds: Vec<PollFd> = clients.into_iter().map(|(_, fd)| fd).collect();
        fds.push(PollFd::new(server.listener(), PollFlags::POLLIN));
        poll(&mut fds, 100u16).unwrap();
        let ready: Vec<bool> = fds.iter().map(|fd| fd.any().unwrap_or_default()).collect();
        let now = Instant::now();
        for (id, _) in ids.iter().zip(&ready).filter(|(_, ready)| **ready) {
            if server.ready(*id, now).is_some() {
                server.answer(*id, Answer::Done, now);
                answered += 1;
            }
        }
        server.accept(now);
    }
}

#[test]
fn a_slow_client_holds_up_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sock");
    let mut server = Server::listen(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let mut slow = UnixStream::connect(&path).unwrap();
    slow.write_all(&[0, 0, 0, 32, b'{']).unwrap();
    let caller = thread::spawn({
        let path = path.clone();
        move || Caller::connect_to(&path).unwrap().reload()
    });
    serve(&mut server, 1);
    caller.join().unwrap().unwrap();
    let left = server.next_end().unwrap();
    server.expire(left + IDLE);
    assert_eq!(server.clients().count(), 0, "who is silent is dropped");
}

#[test]
fn a_frame_that_is_too_long_is_refused_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sock");
    let mut server = Server::listen(&path).unwrap();
    let mut client = UnixStream::connect(&path).unwrap();
    client.write_all(&[0x7f, 0, 0, 0]).unwrap();
    let now = Instant::now();
    server.accept(now);
    assert_eq!(server.ready(1, now), None);
    let mut said = Vec::new();
    client.read_to_end(&mut said).unwrap();
    assert!(
        String::from_utf8_lossy(&said).contains("a frame of 2130706432 bytes, more than 16384")
    );
    assert_eq!(server.clients().count(), 0);
}

#[test]
fn there_are_never_too_many_clients() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sock");
    let mut server = Server::listen(&path).unwrap();
    let mut kept = Vec::new();
    for _ in 0..3 {
        kept.extend((0..MAX_CLIENTS).map(|_| UnixStream::connect(&path).unwrap()));
        server.accept(Instant::now());
        assert_eq!(server.clients().count(), MAX_CLIENTS);
    }
}

#[test]
fn without_a_daemon_the_client_says_so() {
    let error = Caller::connect_to(Path::new("/nowhere/sock")).unwrap_err();
    assert!(matches!(error, ClientError::NotThere { .. }));
    assert!(error.to_string().starts_with("xendevd cannot be reached at /nowhere/sock"));
}
