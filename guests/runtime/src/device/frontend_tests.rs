#![allow(clippy::unwrap_used)]

use noxs::control_page::End;
use noxs::device::{
    Class as PageClass, Device, DeviceId as PageId, DomId as PageDom, GrantRef, Port,
};
use noxs::device_page::DeviceTable;
use noxs::keys::Keys;
use noxs::state::Side;
use proptest::prelude::*;

use super::*;
use crate::event::Events;
use crate::foreign::{ForeignWindow, Tenancy};
use crate::grant::DomId;
use crate::page::SharedPage;
use crate::plane::{Class, Noxs};
use crate::store::fake::{Answer, impatient, pair, requests, script};
use crate::store::{Store, Token};
use crate::test_page::{grant, test_page};
use crate::window::Window;
use Answer::{Fires, Missing, Unwatches, Value, Watches, Wrote};

/// The first one that a plane hands out.
const TOKEN: Token = Token::new(0);

/// Publishes one node, and connects unless it is told to fail.
struct Fake {
    fails: bool,
}

impl Driver for Fake {
    const PUBLISHED: State = State::Initialised;

    fn publish(&mut self, own: &mut Own<'_>) -> Result<(), DeviceError> {
        own.write("ring-ref", 8)
    }

    fn connect(&mut self, told: &mut Told<'_>) -> Result<(), DeviceError> {
        if self.fails {
            return Err(DeviceError::Node("sectors"));
        }
        match told.number("sectors")? {
            Some(7) => Ok(()),
            _ => Err(DeviceError::Node("sectors")),
        }
    }
}

fn window() -> ForeignWindow {
    let (window, tenancy) =
        (Box::leak(Box::new(Window::new())), Box::leak(Box::new(Tenancy::new())));
    ForeignWindow { window, tenancy }
}

fn take(plane: &mut Plane) -> Result<Frontend, DeviceError> {
    let offer = Offer::find(plane, Class::Disk, DeviceId::new(5))?;
    assert_eq!(offer.backend()?, DomId::new(2).unwrap());
    let mut frontend = Frontend::open(plane, offer, window(), DeviceId::new(5))?;
    frontend.watch(plane)?;
    Ok(frontend)
}

fn store(plane: &mut Plane) -> &Store {
    let Plane::Xenstore(store) = plane else { panic!("the test has Xenstore") };
    store
}

fn offered(answers: &[Answer<'_>]) -> Result<Offer, DeviceError> {
    let (store, _, mut server) = pair();
    script(&store, &mut server, answers);
    Offer::find(&mut Plane::Xenstore(store), Class::Disk, DeviceId::new(5))
}

#[test]
fn a_whole_life() {
    let (given, mut asked, mut server) = pair();
    let mut driver = Fake { fails: false };
    script(&given, &mut server, &[Value("1"), Value("2"), Value("/b"), Watches]);
    let mut plane = Plane::Xenstore(given);
    let mut frontend = take(&mut plane).unwrap();
    let expected = [
        "device/vbd/5/state|",
        "device/vbd/5/backend-id|",
        "device/vbd/5/backend|",
        "/b/state|Aa|",
    ];
    assert_eq!(requests(&mut asked), expected);

    let mut advance = |answers: &[Answer<'_>]| {
        script(store(&mut plane), &mut server, &[Fires(TOKEN)]);
        assert!(crate::Source::ready(&mut plane));
        script(store(&mut plane), &mut server, answers);
        frontend.advance(&mut plane, &mut driver).unwrap();
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
    assert_eq!(asked, ["/b/state|", "/b/state|Aa|"]);
}

#[test]
fn a_device_that_tells_nonsense_is_closed() {
    let (given, mut asked, mut server) = pair();
    script(&given, &mut server, &[Value("1"), Value("2"), Value("/b"), Watches]);
    let mut plane = Plane::Xenstore(given);
    let mut frontend = take(&mut plane).unwrap();
    frontend.link = Link::Published;
    requests(&mut asked);
    script(store(&mut plane), &mut server, &[Fires(TOKEN)]);
    assert!(crate::Source::ready(&mut plane));
    script(store(&mut plane), &mut server, &[Value("4"), Wrote]);
    let advanced = frontend.advance(&mut plane, &mut Fake { fails: true });
    assert_eq!(advanced, Err(DeviceError::Node("sectors")));
    assert_eq!(frontend.link(), Link::Closing);
    assert_eq!(requests(&mut asked), ["/b/state|", "device/vbd/5/state|5"]);
}

/// A frontend on a store, whose watch has fired once; and the other end of the store's ring.
fn taken() -> (Plane, Frontend, crate::ring::Consumer, crate::ring::Producer) {
    let (given, asked, mut server) = pair();
    script(&given, &mut server, &[Value("1"), Value("2"), Value("/b"), Watches]);
    let mut plane = Plane::Xenstore(given);
    let frontend = take(&mut plane).unwrap();
    script(store(&mut plane), &mut server, &[Fires(TOKEN)]);
    assert!(crate::Source::ready(&mut plane));
    (plane, frontend, asked, server)
}

/// The toolstack has removed all nodes, and while the guest finds that out, more comes for its
/// watch.
#[test]
fn what_fires_for_a_device_that_is_gone_is_for_nobody() {
    let (mut plane, mut frontend, _asked, mut server) = taken();
    script(store(&mut plane), &mut server, &[Missing, Fires(TOKEN), Unwatches, Fires(TOKEN)]);
    frontend.advance(&mut plane, &mut Fake { fails: false }).unwrap();
    assert_eq!(frontend.link(), Link::Gone);
    assert!(!crate::Source::ready(&mut plane));
    // The token is another's by now, for which nothing has fired.
    let claims: Vec<_> = (0..Token::COUNT).map(|_| plane.claim().unwrap()).collect();
    assert!(claims.iter().any(|claim| claim.token() == TOKEN));
    assert!(!crate::Source::ready(&mut plane));
}

#[test]
fn a_device_that_is_dropped_gives_its_token_back() {
    let (mut plane, frontend, _asked, mut server) = taken();
    drop(frontend);
    assert!(!crate::Source::ready(&mut plane));
    script(store(&mut plane), &mut server, &[Fires(TOKEN)]);
    assert!(!crate::Source::ready(&mut plane));
    let claims: Vec<_> = (0..Token::COUNT).map(|_| plane.claim().unwrap()).collect();
    assert_eq!(plane.claim().unwrap_err(), crate::StoreError::NoToken);
    drop(claims);

    let (host, mut plane) = host();
    let frontend = take(&mut plane).unwrap();
    assert!(crate::Source::ready(&mut plane));
    drop(frontend);
    assert!(!crate::Source::ready(&mut plane));
    // Its port may be somebody else's.
    host.ring();
    assert!(!crate::Source::ready(&mut plane));
    assert_eq!(host.info.load_u64(PENDING), 1 << PORT);
}

/// A store that does not answer for a while: the sequence goes on when it does.
#[test]
fn what_cannot_be_told_at_present_is_told_later() {
    let (mut plane, mut frontend, mut asked, mut server) = taken();
    let mut driver = Fake { fails: false };
    impatient(store(&mut plane));
    script(store(&mut plane), &mut server, &[Value("2"), Wrote]);
    let silent = Err(DeviceError::Store(crate::StoreError::Silent));
    assert_eq!(frontend.advance(&mut plane, &mut driver), silent);
    assert_eq!(frontend.link(), Link::Offered);
    assert_eq!(frontend.advance(&mut plane, &mut driver), Ok(()));
    frontend.close(&mut plane);
    assert_eq!(frontend.link(), Link::Closing);
    requests(&mut asked);
    crate::store::fake::put(&mut server, 11, store(&mut plane).requests_made(), b"OK\0");
    assert!(crate::Source::ready(&mut plane));
    script(store(&mut plane), &mut server, &[Wrote, Value("5"), Wrote]);
    frontend.advance(&mut plane, &mut driver).unwrap();
    assert_eq!(frontend.link(), Link::Closed);
    let told = ["device/vbd/5/state|5", "/b/state|", "device/vbd/5/state|6"];
    assert_eq!(requests(&mut asked), told);
}

#[test]
fn only_what_is_offered_is_taken() {
    assert_eq!(offered(&[Value("6")]).unwrap_err(), DeviceError::NotOffered);
    assert_eq!(offered(&[Missing]).unwrap_err(), DeviceError::NotOffered);
    assert_eq!(offered(&[Value("1"), Value("-1")]).unwrap_err(), DeviceError::Node("backend-id"));
    assert_eq!(
        offered(&[Value("1"), Value("32752")]).unwrap_err(),
        DeviceError::Node("backend-id")
    );
    assert_eq!(
        offered(&[Value("1"), Value("0"), Missing]).unwrap_err(),
        DeviceError::Node("backend")
    );
    let long = "/".repeat(129);
    assert_eq!(
        offered(&[Value("1"), Value("0"), Value(&long)]).unwrap_err(),
        DeviceError::Node("backend")
    );
    assert!(offered(&[Value("1"), Value("0"), Value("/b")]).is_ok());
}

/// A guest with disk 5, and the other end of it.
struct Host {
    table: DeviceTable<SharedPage>,
    page: SharedPage,
    backend: End<SharedPage>,
    events: Events,
    info: SharedPage,
}

/// Where the shared info page has a bit for each port with news.
const PENDING: usize = 2048;
const PORT: u32 = 40;

fn host() -> (Host, Plane) {
    let (devices, page, info) = (test_page(), test_page(), test_page());
    let events = Events::new(info);
    let mut backend = End::create(page);
    backend.set_state(State::InitWait).unwrap();
    let mut host = Host { table: DeviceTable::create(devices), page, backend, events, info };
    host.table.add(&host.device()).unwrap();
    (host, Plane::Noxs(Noxs::fake(events, devices)))
}

impl Host {
    fn device(&self) -> Device {
        let grant = GrantRef(grant(self.page));
        Device {
            class: PageClass::VBD,
            id: PageId(5),
            backend: PageDom(2),
            grant,
            port: Port(PORT),
        }
    }

    fn tell(&mut self, key: &[u8], value: &[u8]) {
        let mut keys = Keys::for_side(Side::Backend);
        keys.set(key, value).unwrap();
        self.backend.publish(&keys).unwrap();
    }

    fn go(&mut self, state: State) {
        self.backend.set_state(state).unwrap();
        self.ring();
    }

    fn ring(&self) {
        self.info.store_u64(PENDING, 1 << PORT);
    }

    fn frontend(&self) -> State {
        self.backend.page().state(Side::Frontend).unwrap()
    }
}

#[test]
fn a_whole_life_without_a_store() {
    let (mut host, mut plane) = host();
    let mut driver = Fake { fails: false };
    let mut frontend = take(&mut plane).unwrap();
    assert_eq!(host.frontend(), State::Initialising);
    // It is used: nobody else gets it.
    assert_eq!(take(&mut plane).unwrap_err(), DeviceError::NotOffered);
    assert!(crate::Source::ready(&mut plane));
    frontend.advance(&mut plane, &mut driver).unwrap();
    assert_eq!((frontend.link(), host.frontend()), (Link::Published, State::Initialised));
    assert_eq!(
        host.backend.page().snapshot(Side::Frontend).unwrap().get(b"ring-ref"),
        Some(&b"8"[..])
    );
    assert!(!crate::Source::ready(&mut plane));

    host.tell(b"sectors", b"7");
    host.go(State::Connected);
    assert!(crate::Source::ready(&mut plane));
    frontend.advance(&mut plane, &mut driver).unwrap();
    assert_eq!((frontend.link(), host.frontend()), (Link::Connected, State::Connected));

    host.go(State::Closing);
    assert!(crate::Source::ready(&mut plane));
    frontend.advance(&mut plane, &mut driver).unwrap();
    assert_eq!((frontend.link(), host.frontend()), (Link::Closed, State::Closed));
    host.go(State::Closed);
    assert!(crate::Source::ready(&mut plane));
    frontend.advance(&mut plane, &mut driver).unwrap();
    assert_eq!(frontend.link(), Link::Gone);
    assert_eq!(take(&mut plane).unwrap_err(), DeviceError::NotOffered);

    // Removed and added again, into the same slot, it is another device.
    host.table.remove(PageClass::VBD, PageId(5), PageDom(2)).unwrap();
    host.backend = End::create(test_page());
    host.page = test_page();
    host.backend = End::create(host.page);
    let device = host.device();
    host.table.add(&device).unwrap();
    assert!(take(&mut plane).is_ok());
}

#[test]
fn what_is_taken_away_is_gone_at_once() {
    let (mut host, mut plane) = host();
    let mut frontend = take(&mut plane).unwrap();
    assert!(crate::Source::ready(&mut plane));
    host.table.clear();
    let device = host.device();
    host.table.add(&device).unwrap();
    assert!(crate::Source::ready(&mut plane));
    frontend.advance(&mut plane, &mut Fake { fails: false }).unwrap();
    assert_eq!(frontend.link(), Link::Gone);
}

#[test]
fn a_backend_that_starts_again_unseen_ends_it() {
    let (mut host, mut plane) = host();
    let mut driver = Fake { fails: false };
    let mut frontend = take(&mut plane).unwrap();
    host.tell(b"sectors", b"7");
    host.go(State::Initialised);
    frontend.advance(&mut plane, &mut driver).unwrap();
    host.go(State::Connected);
    assert!(crate::Source::ready(&mut plane));
    frontend.advance(&mut plane, &mut driver).unwrap();
    assert_eq!(frontend.link(), Link::Connected);
    for state in [State::Closing, State::Closed, State::InitWait] {
        host.go(state);
    }
    assert!(crate::Source::ready(&mut plane));
    frontend.advance(&mut plane, &mut driver).unwrap();
    assert_eq!((frontend.link(), host.frontend()), (Link::Gone, State::Closed));
}

#[test]
fn a_page_that_is_none_is_refused() {
    let (mut host, mut plane) = host();
    host.page.store_u32(0, 0x6c6f_6c6f);
    assert_eq!(take(&mut plane).unwrap_err(), DeviceError::Backend);
    let (mut other, mut plane) = self::host();
    other.table.clear();
    other.table.add(&Device { grant: GrantRef(0), ..host.device() }).unwrap();
    assert!(matches!(take(&mut plane).unwrap_err(), DeviceError::Xen(_)));
    let far = Device { backend: PageDom(0x7ff1), id: PageId(6), ..host.device() };
    host.table.add(&far).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever is in the page and changes there, and whatever events come: the link goes forward
    /// only, our own state is what we wrote, and when the device is taken away it ends.
    #[test]
    fn no_page_makes_it_panic(
        steps in prop::collection::vec((0usize..1024, any::<u32>(), 0u8..12, any::<bool>()), 1..60),
    ) {
        let (mut host, mut plane) = host();
        let mut driver = Fake { fails: false };
        let mut frontend = take(&mut plane).unwrap();
        let mut before = frontend.link();
        for (word, value, what, rings) in steps {
            match what {
                // A state, likely ones too; a sequence; a length; keys; anything.
                0..=2 => host.page.store_u32(16, value % 10),
                3 => host.page.store_u32(64, value & !1),
                4 => host.page.store_u32(68, value % 1600),
                5 => host.page.write(72, b"\x07\0\x01\0sectors7"),
                6 => host.page.store_u32(68, 12),
                _ => host.page.store_u32(word * 4, value),
            }
            if rings {
                host.ring();
            }
            let _ = crate::Source::ready(&mut plane);
            let _ = frontend.advance(&mut plane, &mut driver);
            prop_assert!(frontend.link() >= before);
            before = frontend.link();
        }
        host.table.clear();
        let gone = frontend.link() == Link::Gone;
        prop_assert!(crate::Source::ready(&mut plane) || gone);
        frontend.advance(&mut plane, &mut driver).unwrap();
        prop_assert_eq!(frontend.link(), Link::Gone);
        let _ = host.events;
    }
}
