#![allow(clippy::unwrap_used)]

use super::*;
use crate::store::fake::{Answer, pair, requests, script};
use Answer::{Fires, Missing, Unwatches, Value, Watches, Wrote};

const TOKEN: Token = Token::new(3);

/// Publishes one node, and connects unless it is told to fail.
struct Fake {
    fails: bool,
}

impl Driver for Fake {
    const PUBLISHED: State = State::Initialised;

    fn publish(&mut self, frontend: &Frontend, store: &mut Store) -> Result<(), DeviceError> {
        frontend.write(store, "ring-ref", 8)
    }

    fn connect(&mut self, frontend: &Frontend, store: &mut Store) -> Result<(), DeviceError> {
        if self.fails {
            return Err(DeviceError::Node("sectors"));
        }
        assert_eq!(frontend.backend_number(store, "sectors"), Ok(Some(7)));
        Ok(())
    }
}

fn open(answers: &[Answer<'_>]) -> Result<Frontend, DeviceError> {
    let (mut store, _, mut server) = pair();
    script(&store, &mut server, answers);
    Frontend::open(&mut store, Class::Disk, DeviceId::new(5), TOKEN)
}

#[test]
fn a_whole_life() {
    let (mut store, mut asked, mut server) = pair();
    let mut driver = Fake { fails: false };
    script(&store, &mut server, &[Value("1"), Value("2"), Value("/b"), Watches]);
    let mut frontend = Frontend::open(&mut store, Class::Disk, DeviceId::new(5), TOKEN).unwrap();
    frontend.watch(&mut store).unwrap();
    assert_eq!(frontend.backend(), DomId::new(2).unwrap());
    let expected = ["device/vbd/5/state|", "device/vbd/5/backend-id|", "device/vbd/5/backend|", "/b/state|Ad|"];
    assert_eq!(requests(&mut asked), expected);

    let mut advance = |answers: &[Answer<'_>]| {
        script(&store, &mut server, &[Fires(TOKEN)]);
        assert!(crate::Source::ready(&mut store));
        script(&store, &mut server, answers);
        frontend.advance(&mut store, &mut driver).unwrap();
        (frontend.link(), requests(&mut asked))
    };
    let (link, asked) = advance(&[Value("2"), Wrote, Wrote]);
    assert_eq!(link, Link::Published);
    assert_eq!(asked, ["/b/state|", "device/vbd/5/ring-ref|8", "device/vbd/5/state|3"]);
    let (link, asked) = advance(&[Value("4"), Value("7"), Wrote]);
    assert_eq!(link, Link::Connected);
    assert_eq!(asked, ["/b/state|", "/b/sectors|", "device/vbd/5/state|4"]);
    let (link, asked) = advance(&[Value("5"), Wrote, Wrote]);
    assert_eq!(link, Link::Closed);
    assert_eq!(asked, ["/b/state|", "device/vbd/5/state|5", "device/vbd/5/state|6"]);
    let (link, asked) = advance(&[Missing, Unwatches]);
    assert_eq!(link, Link::Gone);
    assert_eq!(asked, ["/b/state|", "/b/state|Ad|"]);
}

#[test]
fn a_device_that_tells_nonsense_is_closed() {
    let (mut store, mut asked, mut server) = pair();
    script(&store, &mut server, &[Value("1"), Value("2"), Value("/b"), Watches]);
    let mut frontend = Frontend::open(&mut store, Class::Disk, DeviceId::new(5), TOKEN).unwrap();
    frontend.watch(&mut store).unwrap();
    frontend.link = Link::Published;
    requests(&mut asked);
    script(&store, &mut server, &[Fires(TOKEN)]);
    assert!(crate::Source::ready(&mut store));
    script(&store, &mut server, &[Value("4"), Wrote]);
    let advanced = frontend.advance(&mut store, &mut Fake { fails: true });
    assert_eq!(advanced, Err(DeviceError::Node("sectors")));
    assert_eq!(frontend.link(), Link::Closing);
    assert_eq!(requests(&mut asked), ["/b/state|", "device/vbd/5/state|5"]);
}

#[test]
fn only_what_is_offered_is_taken() {
    assert_eq!(open(&[Value("6")]).unwrap_err(), DeviceError::NotOffered);
    assert_eq!(open(&[Missing]).unwrap_err(), DeviceError::NotOffered);
    assert_eq!(open(&[Value("1"), Value("-1")]).unwrap_err(), DeviceError::Node("backend-id"));
    assert_eq!(open(&[Value("1"), Value("32752")]).unwrap_err(), DeviceError::Node("backend-id"));
    assert_eq!(open(&[Value("1"), Value("0"), Missing]).unwrap_err(), DeviceError::Node("backend"));
    let long = "/".repeat(PATH + 1);
    assert_eq!(open(&[Value("1"), Value("0"), Value(&long)]).unwrap_err(), DeviceError::Node("backend"));
    assert!(open(&[Value("1"), Value("0"), Value("/b")]).is_ok());
}
