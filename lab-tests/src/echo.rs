//! Bulk data over TCP: sent by dom0 or by a Linux guest, echoed, and compared on the way back.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use crate::shell::Shell;
use crate::wait;

/// The port of the echo service (RFC 862).
pub const PORT: u16 = 7;

/// How long a connection may be silent.
const SILENCE: Duration = Duration::from_secs(120);

/// Bytes that repeat after no time that a transfer lasts: xorshift64.
#[derive(Debug, Clone)]
pub struct Noise(u64);

impl Noise {
    /// The stream with this number.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            chunk.copy_from_slice(&self.0.to_le_bytes()[..chunk.len()]);
        }
    }
}

/// Connects, however long the other end takes to be there.
#[track_caller]
pub fn connect(address: &str, port: u16) -> TcpStream {
    let address: SocketAddr = format!("{address}:{port}").parse().unwrap();
    let stream = wait::wait_until(&format!("{address} does not answer"), || {
        TcpStream::connect_timeout(&address, Duration::from_secs(5)).ok()
    });
    stream.set_read_timeout(Some(SILENCE)).unwrap();
    stream.set_write_timeout(Some(SILENCE)).unwrap();
    stream
}

/// Sends so many bytes to the echo service at `address`, and fails unless the same come back.
#[track_caller]
pub fn through(address: &str, length: usize) {
    const CHUNK: usize = 64 << 10;
    let mut stream = connect(address, PORT);
    let mut sender = stream.try_clone().unwrap();
    let sending = thread::spawn(move || {
        let (mut noise, mut chunk) = (Noise::new(1), vec![0; CHUNK]);
        for sent in (0..length).step_by(CHUNK) {
            let part = &mut chunk[..CHUNK.min(length - sent)];
            noise.fill(part);
            sender.write_all(part).unwrap();
        }
        sender.shutdown(Shutdown::Write).unwrap();
    });
    let (mut noise, mut expected, mut chunk) = (Noise::new(1), vec![0; CHUNK], vec![0; CHUNK]);
    for got in (0..length).step_by(CHUNK) {
        let size = CHUNK.min(length - got);
        stream
            .read_exact(&mut chunk[..size])
            .unwrap_or_else(|error| panic!("{address}: {error} after {got} bytes"));
        noise.fill(&mut expected[..size]);
        assert!(
            chunk[..size] == expected[..size],
            "{address}: other bytes came back between {got} and {}",
            got + size
        );
    }
    assert_eq!(stream.read(&mut chunk).unwrap(), 0, "{address}: more came back than was sent");
    sending.join().unwrap();
}

/// Has a Linux guest send so many bytes to an echo service and compare what comes back, by
/// checksum.
#[track_caller]
pub fn from_guest(shell: &mut Shell, to: &str, port: u16, length: usize) {
    const PIECE: usize = 1_000_000;
    let count = length / PIECE;
    // busybox's nc itself sends a KiB at a time. With -e it leaves the socket to a program, and cat
    // sends 64 KiB.
    shell.run(&format!("head -c {PIECE} /dev/urandom >/tmp/piece"));
    shell.run(&format!("echo 'for i in $(seq {count}); do cat /tmp/piece; done' >/tmp/pieces"));
    let back =
        format!("dd bs={PIECE} count={count} iflag=fullblock 2>/dev/null | sha256sum >/tmp/back");
    shell.run(&format!(
        "printf '#!/bin/sh\nsh /tmp/pieces & {back}\n' >/tmp/both; chmod 755 /tmp/both"
    ));
    let sum = shell.run("sh /tmp/pieces | sha256sum");
    shell.run(&format!("nc {to} {port} -e /tmp/both"));
    assert_eq!(shell.run("cat /tmp/back"), sum, "{to}:{port}");
}

/// Echoes whatever comes to one connection on this port of dom0.
#[track_caller]
pub fn serve_once(port: u16) -> thread::JoinHandle<u64> {
    let listener = TcpListener::bind(("0.0.0.0", port)).unwrap();
    thread::spawn(move || {
        let (mut from, _) = listener.accept().unwrap();
        let mut to = from.try_clone().unwrap();
        let count = std::io::copy(&mut from, &mut to).unwrap();
        to.shutdown(Shutdown::Write).unwrap();
        count
    })
}
