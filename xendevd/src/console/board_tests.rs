use std::cell::RefCell;
use std::fs;
use std::io::{Read, Write};
use std::os::fd::BorrowedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::rc::Rc;

use nix::sys::eventfd::{EfdFlags, EventFd};

use super::*;

/// A guest's end of a ring: what it prints, and what it was given.
#[derive(Debug, Default)]
struct Kept {
    out: VecDeque<u8>,
    input: Vec<u8>,
    input_room: usize,
    /// It prints more as soon as there is room, for ever.
    floods: bool,
    reads: usize,
    broken: bool,
}

#[derive(Debug, Clone)]
struct FakeRing {
    kept: Rc<RefCell<Kept>>,
    event: Rc<EventFd>,
}

impl FakeRing {
    fn new() -> Self {
        let event = EventFd::from_flags(EfdFlags::EFD_NONBLOCK).unwrap();
        Self {
            kept: Rc::new(RefCell::new(Kept { input_room: 1024, ..Kept::default() })),
            event: Rc::new(event),
        }
    }

    fn print(&self, text: &str) {
        self.kept.borrow_mut().out.extend(text.bytes());
        self.event.write(1).unwrap();
    }
}

impl AsFd for FakeRing {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}

impl Ring for FakeRing {
    fn read(&mut self) -> Result<Vec<u8>, RingError> {
        let mut kept = self.kept.borrow_mut();
        kept.reads += 1;
        if kept.floods {
            self.event.write(1)?;
            return Ok(vec![b'x'; 2048]);
        }
        let length = kept.out.len().min(2048);
        Ok(kept.out.drain(..length).collect())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<usize, RingError> {
        let mut kept = self.kept.borrow_mut();
        let count = bytes.len().min(kept.input_room);
        kept.input_room -= count;
        kept.input.extend(&bytes[..count]);
        Ok(count)
    }

    fn acknowledge(&mut self) -> Result<(), RingError> {
        if self.kept.borrow().broken {
            return Err("broken".into());
        }
        let _ = self.event.read();
        Ok(())
    }
}

#[derive(Debug, Clone, Default)]
struct FakeWorld(Rc<RefCell<BTreeMap<DomId, FakeRing>>>);

impl World for FakeWorld {
    fn open(&mut self, domain: DomId) -> Result<Box<dyn Ring>, RingError> {
        match self.0.borrow().get(&domain) {
            Some(ring) => Ok(Box::new(ring.clone())),
            None => Err("there is no such domain".into()),
        }
    }

    fn living(&mut self) -> Result<BTreeSet<DomId>, RingError> {
        Ok(self.0.borrow().keys().copied().collect())
    }
}

struct Test {
    dir: tempfile::TempDir,
    world: FakeWorld,
    board: Board<FakeWorld>,
}

fn domain(number: u16) -> DomId {
    DomId::new(number).unwrap()
}

impl Test {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let records = Guests::below(dir.path());
        fs::create_dir(records.folder()).unwrap();
        fs::create_dir(dir.path().join("console")).unwrap();
        let world = FakeWorld::default();
        let logs = Logs::start(dir.path().join("logs")).unwrap();
        let board = Board::new(
            world.clone(),
            records,
            dir.path().join("console"),
            logs,
            Tallies::default(),
        )
        .unwrap();
        Self { dir, world, board }
    }

    /// Makes a guest with a record, and has it served.
    fn guest(&mut self, number: u16, name: &str) -> FakeRing {
        let ring = FakeRing::new();
        self.world.0.borrow_mut().insert(domain(number), ring.clone());
        self.record(number, name, 1);
        ring
    }

    fn record(&mut self, number: u16, name: &str, life: u128) {
        let uuid = uuid::Uuid::from_u128(life);
        let text = format!(
            r#"{{"uuid":"{uuid}","name":"{name}","config":"","console":{{"frame":1,"port":2}}}}"#
        );
        fs::write(self.dir.path().join(format!("guests/{number}.json")), text).unwrap();
        self.board.look(domain(number), Instant::now());
    }

    fn attach(&mut self, number: u16) -> UnixStream {
        let stream =
            UnixStream::connect(self.dir.path().join(format!("console/{number}"))).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let attached = self.board.guests[&domain(number)].clients.len();
        self.turn_until(|board| board.guests[&domain(number)].clients.len() > attached);
        stream
    }

    fn turn_until(&mut self, done: impl Fn(&Board<FakeWorld>) -> bool) {
        let start = Instant::now();
        while !done(&self.board) {
            assert!(start.elapsed() < Duration::from_secs(30), "it does not happen");
            self.board.turn(Duration::from_millis(20)).unwrap();
        }
    }

    fn turns(&mut self, count: usize) {
        (0..count).for_each(|_| _ = self.board.turn(Duration::ZERO).unwrap());
    }

    /// Ends the board, and tells what is in a log.
    fn log(self, name: &str) -> String {
        self.board.stop();
        fs::read_to_string(self.dir.path().join(format!("logs/{name}.log"))).unwrap_or_default()
    }
}

fn read(stream: &mut UnixStream, length: usize) -> String {
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}

#[test]
fn what_a_guest_prints_goes_to_its_log_and_to_all_who_are_attached() {
    let mut test = Test::new();
    let (web, other) = (test.guest(5, "web0"), test.guest(6, "other"));
    web.print("before\n");
    other.print("not mine\n");
    test.turns(3);
    let socket = test.dir.path().join("console/5");
    assert_eq!(fs::metadata(socket).unwrap().permissions().mode() & 0o777, 0o600);
    let mut clients = [test.attach(5), test.attach(5)];
    web.print("hello\n");
    test.turns(2);
    for client in &mut clients {
        assert_eq!(read(client, 6), "hello\n");
        client.write_all(b"ls\n").unwrap();
    }
    test.turn_until(|_| web.kept.borrow().input == b"ls\nls\n");
    let status = test.board.tallies.status();
    assert_eq!((status[0].guest.as_str(), status[0].attached, status[0].printed), ("web0", 2, 13));
    drop(clients);
    test.turn_until(|board| board.guests[&domain(5)].clients.is_empty());
    assert!(other.kept.borrow().input.is_empty());
    assert_eq!(test.log("web0"), "before\nhello\n");
}

#[test]
fn a_guest_that_floods_waits_and_the_others_do_not() {
    let mut test = Test::new();
    let flood = test.guest(5, "flood");
    flood.kept.borrow_mut().floods = true;
    flood.event.write(1).unwrap();
    let quiet = test.guest(6, "quiet");
    let mut client = test.attach(6);
    for _ in 0..500 {
        quiet.print("x");
        test.turns(2);
        assert_eq!(read(&mut client, 1), "x");
    }
    let start = Instant::now();
    test.turn_until(|_| start.elapsed() > Duration::from_millis(700));
    let printed = 2048 * flood.kept.borrow().reads as u64;
    // A burst of 256 KiB, and 128 KiB a second in a test that may take its time.
    assert!((256 << 10..2 << 20).contains(&printed), "{printed} bytes");
    let status = test.board.tallies.status();
    assert!(status[0].throttled > 0 && status[1].throttled == 0, "{status:?}");
    assert!(test.board.paused.len() <= 1 && test.board.ready.len() <= 2, "it waits once");
}

#[test]
fn a_client_that_does_not_read_is_dropped_and_holds_up_nobody() {
    let mut test = Test::new();
    let ring = test.guest(5, "a");
    let (slow, mut fast) = (test.attach(5), test.attach(5));
    let mut total = 0;
    while test.board.guests[&domain(5)].clients.len() == 2 {
        ring.print(&"y".repeat(1000));
        test.turn_until(|_| ring.kept.borrow().out.is_empty());
        assert_eq!(read(&mut fast, 1000).len(), 1000);
        total += 1000;
        assert!(total < 16 << 20, "it is never dropped");
    }
    drop(slow);
}

#[test]
fn input_waits_for_a_guest_that_does_not_read_and_nothing_grows() {
    let mut test = Test::new();
    let ring = test.guest(5, "a");
    let mut client = test.attach(5);
    client.set_nonblocking(true).unwrap();
    let text: Vec<u8> =
        (0..100_000u32).map(|number| b'a' + u8::try_from(number % 26).unwrap()).collect();
    let mut sent = 0;
    for _ in 0..200 {
        sent += client.write(&text[sent..]).unwrap_or(0);
        test.turns(1);
    }
    assert_eq!(ring.kept.borrow().input.len(), 1024);
    let start = Instant::now();
    while ring.kept.borrow().input.len() < text.len() {
        sent += client.write(&text[sent..]).unwrap_or(0);
        ring.kept.borrow_mut().input_room = 700;
        ring.event.write(1).unwrap();
        test.board.turn(Duration::from_millis(1)).unwrap();
        assert!(start.elapsed() < Duration::from_secs(60));
    }
    assert!(ring.kept.borrow().input == text);
}

#[test]
fn guests_come_and_go() {
    let mut test = Test::new();
    let ring = test.guest(5, "a");
    let mut client = test.attach(5);
    // It is renamed.
    test.record(5, "b", 1);
    ring.print("one\n");
    test.turns(2);
    // Another guest has its number.
    test.world.0.borrow_mut().insert(domain(5), FakeRing::new());
    ring.print("two\n");
    test.record(5, "c", 2);
    let mut rest = String::new();
    client.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "one\ntwo\n", "the end of a guest is not lost");
    assert!(test.dir.path().join("console/5").exists());
    // It goes with its record, or without.
    fs::remove_file(test.dir.path().join("guests/5.json")).unwrap();
    test.board.look(domain(5), Instant::now());
    assert!(test.board.guests.is_empty() && !test.dir.path().join("console/5").exists());
    test.guest(7, "d");
    test.world.0.borrow_mut().clear();
    test.turn_until(|board| board.guests.is_empty());
    assert!(test.board.tallies.status().is_empty());
    assert_eq!(test.log("b"), "one\ntwo\n");
}

#[test]
fn a_console_that_fails_is_tried_again_while_its_guest_lives() {
    let mut test = Test::new();
    let ring = test.guest(5, "a");
    test.turns(1);
    ring.kept.borrow_mut().broken = true;
    ring.print("x");
    test.turn_until(|board| !board.failed.is_empty());
    assert!(test.board.guests.is_empty());
    ring.kept.borrow_mut().broken = false;
    test.turn_until(|board| board.guests.len() == 1 && board.failed.is_empty());
    // A record of a domain that is no more is no reason to try for ever.
    test.record(9, "gone", 1);
    assert!(!test.board.failed.is_empty());
    test.turn_until(|board| board.failed.is_empty());
}

/// What a thousand guests say is heard, from all of them.
#[test]
fn a_thousand_guests_have_their_turn() {
    let mut test = Test::new();
    let rings: Vec<FakeRing> =
        (1..=300).map(|number| test.guest(number, &format!("g{number}"))).collect();
    for ring in &rings {
        ring.print("hello\n");
    }
    test.turn_until(|_| rings.iter().all(|ring| ring.kept.borrow().out.is_empty()));
    assert_eq!(
        test.board.tallies.status().iter().map(|status| status.printed).sum::<u64>(),
        6 * 300
    );
}

/// All together print more than they may: each has its share, wherever it stands.
#[test]
fn a_crowd_that_floods_shares_what_there_is() {
    let mut test = Test::new();
    test.board.all = Budget::new(8 << 10, 512 << 10, Instant::now());
    let rings: Vec<FakeRing> =
        (1..=8).map(|number| test.guest(number, &format!("g{number}"))).collect();
    for ring in &rings {
        ring.kept.borrow_mut().floods = true;
        ring.event.write(1).unwrap();
    }
    let start = Instant::now();
    test.turn_until(|_| start.elapsed() > Duration::from_secs(1));
    let reads: Vec<usize> = rings.iter().map(|ring| ring.kept.borrow().reads).collect();
    let (least, most) = (reads.iter().min().unwrap(), reads.iter().max().unwrap());
    assert!(*least > 0 && most - least <= 1, "{reads:?}");
    assert!(reads.iter().sum::<usize>() * 2048 < 4 << 20, "{reads:?}");
}
