#![allow(clippy::unwrap_used)]

use noxs::control_page::End;
use noxs::device::{Device, DeviceId, DomId, GrantRef, Port};
use noxs::device_page::DeviceTable;
use proptest::prelude::*;

use super::*;
use crate::event::{Events, Source};
use crate::page::SharedPage;
use crate::test_page::{grant, test_page};

/// The host's side.
struct Host {
    table: DeviceTable<SharedPage>,
    page: SharedPage,
    backend: End<SharedPage>,
    keys: Keys,
    info: SharedPage,
}

const PORT: u32 = 5;

fn host() -> (Host, Noxs) {
    let (devices, page, info) = (test_page(), test_page(), test_page());
    let noxs = Noxs::fake(Events::new(info), {
        DeviceTable::create(devices);
        devices
    });
    let backend = End::create(page);
    let keys = Keys::for_side(Side::Backend);
    (Host { table: DeviceTable::create(devices), page, backend, keys, info }, noxs)
}

impl Host {
    fn add(&mut self) {
        self.backend.set_state(State::InitWait).unwrap();
        let grant = GrantRef(grant(self.page));
        let (id, backend, port) = (DeviceId(0), DomId(0), Port(PORT));
        self.table.add(&Device { class: Class::SYSCTL, id, backend, grant, port }).unwrap();
    }

    fn ask(&mut self, what: &str, count: &str) {
        self.keys.set(b"shutdown", what.as_bytes()).unwrap();
        self.keys.set(b"shutdown-request", count.as_bytes()).unwrap();
        self.backend.publish(&self.keys).unwrap();
        self.info.store_u64(2048, 1 << PORT);
    }

    fn told(&self, key: &str) -> Option<String> {
        let keys = self.backend.page().snapshot(Side::Frontend).unwrap();
        keys.get(key.as_bytes()).map(|value| String::from_utf8(value.to_vec()).unwrap())
    }
}

fn request(sysctl: &mut Sysctl, noxs: &mut Noxs) -> Option<Exit> {
    let _ = noxs.ready();
    sysctl.request(noxs)
}

#[test]
fn requests_are_acknowledged_once_and_others_refused() {
    let (mut host, mut noxs) = host();
    host.add();
    let mut sysctl = Sysctl::open(&mut noxs).unwrap();
    assert_eq!(request(&mut sysctl, &mut noxs), None);
    assert_eq!(host.backend.page().state(Side::Frontend), Ok(State::Connected));
    assert_eq!(
        (host.told("feature-poweroff"), host.told("feature-reboot")),
        (Some("1".into()), Some("1".into()))
    );
    assert_eq!((host.told("feature-suspend"), host.told("shutdown-ack")), (None, None));

    host.ask("suspend", "1");
    assert_eq!(request(&mut sysctl, &mut noxs), None);
    assert_eq!(
        (host.told("shutdown-refused"), host.told("shutdown-ack")),
        (Some("1".into()), None)
    );
    host.ask("poweroff", "2");
    assert_eq!(request(&mut sysctl, &mut noxs), Some(Exit::PowerOff));
    assert_eq!(host.told("shutdown-ack"), Some("2".into()));
    // The same again.
    host.ask("poweroff", "2");
    assert_eq!(request(&mut sysctl, &mut noxs), None);
    host.ask("reboot", "3");
    assert_eq!(request(&mut sysctl, &mut noxs), Some(Exit::Reboot));
    for count in ["", "0", "-1", "4294967296", "x"] {
        host.ask("halt", count);
        assert_eq!(request(&mut sysctl, &mut noxs), None, "{count}");
    }
    assert_eq!(host.told("shutdown-ack"), Some("3".into()));
}

#[test]
fn a_device_that_comes_later_is_taken() {
    let (mut host, mut noxs) = host();
    let mut sysctl = Sysctl::open(&mut noxs).unwrap();
    assert_eq!(request(&mut sysctl, &mut noxs), None);
    host.ask("poweroff", "1");
    host.add();
    assert_eq!(request(&mut sysctl, &mut noxs), Some(Exit::PowerOff));
}

#[test]
fn a_device_that_goes_and_comes_counts_anew() {
    let (mut host, mut noxs) = host();
    host.add();
    let mut sysctl = Sysctl::open(&mut noxs).unwrap();
    host.ask("suspend", "9");
    assert_eq!(request(&mut sysctl, &mut noxs), None);
    host.backend.set_state(State::Closing).unwrap();
    host.ask("poweroff", "10");
    assert_eq!(request(&mut sysctl, &mut noxs), None);
    assert_eq!(host.backend.page().state(Side::Frontend), Ok(State::Closed));
    host.table.clear();
    assert_eq!(request(&mut sysctl, &mut noxs), None);
    assert!(sysctl.endpoint.is_none());
    host.page = test_page();
    host.backend = End::create(host.page);
    host.keys = Keys::for_side(Side::Backend);
    host.add();
    host.ask("poweroff", "9");
    assert_eq!(request(&mut sysctl, &mut noxs), Some(Exit::PowerOff));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_page_makes_it_panic(
        steps in prop::collection::vec((0usize..1024, any::<u32>(), 0u8..8), 1..40),
    ) {
        let (mut host, mut noxs) = host();
        host.add();
        let mut sysctl = Sysctl::open(&mut noxs).unwrap();
        for (word, value, what) in steps {
            match what {
                0 => host.page.store_u32(16, value % 10),
                1 => host.page.store_u32(64, value & !1),
                2 => host.page.store_u32(68, value % 1600),
                3 => host.ask("poweroff", &value.to_string()),
                _ => host.page.store_u32(word * 4, value),
            }
            host.info.store_u64(2048, 1 << PORT);
            let _ = request(&mut sysctl, &mut noxs);
        }
    }
}
