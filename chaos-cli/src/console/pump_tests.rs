//! The pump between pipes: the guest is one end of a socket pair, whose other end the test holds.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use super::*;

struct Bench {
    input: UnixStream,
    output: UnixStream,
    guest: UnixStream,
    signals: UnixStream,
    pump: std::thread::JoinHandle<End>,
}

fn bench(
    interactive: bool,
    first: &[u8],
    mut ended: impl FnMut() -> bool + Send + 'static,
) -> Bench {
    let (input, pump_input) = UnixStream::pair().unwrap();
    let (output, pump_output) = UnixStream::pair().unwrap();
    let (guest, pump_guest) = UnixStream::pair().unwrap();
    let (signals, pump_signals) = UnixStream::pair().unwrap();
    set_nonblocking(&pump_guest).unwrap();
    let first = first.to_vec();
    let pump = std::thread::spawn(move || {
        let pump = Pump {
            input: pump_input.as_fd(),
            output: pump_output.as_fd(),
            guest: pump_guest.as_fd(),
            signals: pump_signals.as_fd(),
            interactive,
            patience: Patience {
                quiet: Duration::from_millis(300),
                linger: Duration::from_secs(20),
            },
            ended: &mut ended,
        };
        pump.run(first).unwrap()
    });
    Bench { input, output, guest, signals, pump }
}

fn read_exactly(mut from: &UnixStream, length: usize) -> String {
    let mut bytes = vec![0; length];
    from.read_exact(&mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}

#[test]
fn carries_bytes_both_ways_and_detaches() {
    let mut bench = bench(true, b"old ", || false);
    bench.guest.write_all(b"login: ").unwrap();
    assert_eq!(read_exactly(&bench.output, 11), "old login: ");
    bench.input.write_all(b"root\r").unwrap();
    assert_eq!(read_exactly(&bench.guest, 5), "root\r");
    bench.input.write_all(b"x\x1dy").unwrap();
    assert_eq!(bench.pump.join().unwrap(), End::Detached);
    assert_eq!(read_exactly(&bench.guest, 1), "x");
}

#[test]
fn input_that_ends_waits_for_the_answer() {
    let mut bench = bench(false, b"", || false);
    bench.input.write_all(b"uname\n\x1d").unwrap();
    drop(bench.input);
    // Ctrl-] is an ordinary byte when nobody types.
    assert_eq!(read_exactly(&bench.guest, 7), "uname\n\x1d");
    bench.guest.write_all(b"Linux\n").unwrap();
    assert_eq!(bench.pump.join().unwrap(), End::InputEnded);
    assert_eq!(read_exactly(&bench.output, 6), "Linux\n");
}

#[test]
fn much_goes_through_unharmed() {
    let mut bench = bench(false, b"", || false);
    let sent: Vec<u8> = (0..200_000_u32).flat_map(u32::to_le_bytes).collect();
    let expected = sent.clone();
    let mut guest = bench.guest.try_clone().unwrap();
    let writer = std::thread::spawn(move || guest.write_all(&sent).unwrap());
    let mut seen = vec![0; expected.len()];
    bench.output.read_exact(&mut seen).unwrap();
    assert!(seen == expected);
    writer.join().unwrap();
    drop(bench.guest);
    assert_eq!(bench.pump.join().unwrap(), End::GuestEnded);
}

#[test]
fn guest_that_stopped_but_keeps_its_terminal() {
    let mut bench = bench(true, b"", || true);
    bench.guest.write_all(b"bye").unwrap();
    assert_eq!(bench.pump.join().unwrap(), End::GuestEnded);
    assert_eq!(read_exactly(&bench.output, 3), "bye");
}

#[test]
fn reader_that_went_away() {
    let mut bench = bench(false, b"", || false);
    drop(bench.output);
    bench.guest.write_all(b"hello").unwrap();
    assert_eq!(bench.pump.join().unwrap(), End::ReaderGone);
}

#[test]
fn signals_end_it() {
    let mut bench = bench(true, b"", || false);
    bench.signals.write_all(b"x").unwrap();
    assert_eq!(bench.pump.join().unwrap(), End::Signal);
}
