#![allow(clippy::unwrap_used)]

use noxs::device::{
    Class as PageClass, Device, DeviceId as PageId, DomId, GrantRef, Port as PagePort,
};
use noxs::device_page::DeviceTable;
use proptest::prelude::*;

use super::*;
use crate::test_page::test_page;

fn device(class: PageClass, id: u32) -> Device {
    Device { class, id: PageId(id), backend: DomId(0), grant: GrantRef(8), port: PagePort(9) }
}

#[test]
fn a_watch_fires_at_once_and_with_each_change() {
    let page = test_page();
    let mut table = DeviceTable::create(page);
    let mut noxs = Noxs::fake(Events::new(test_page()), page);
    assert!(!noxs.ready());
    let watch = noxs.watch(Class::Network).unwrap();
    assert!(noxs.ready());
    assert!(noxs.take_fired(&watch));
    assert!(!noxs.take_fired(&watch));
    assert!(!noxs.ready());
    table.add(&device(PageClass::VIF, 3)).unwrap();
    assert!(noxs.ready());
    assert!(noxs.ready());
    assert!(noxs.take_fired(&watch));
    assert!(!noxs.ready());
    table.clear();
    noxs.unwatch(watch);
    assert!(!noxs.ready());
}

#[test]
fn a_watch_that_is_dropped_fires_no_more() {
    let page = test_page();
    let mut table = DeviceTable::create(page);
    let mut noxs = Noxs::fake(Events::new(test_page()), page);
    drop(noxs.watch(Class::Disk).unwrap());
    assert!(!noxs.ready());
    table.add(&device(PageClass::VIF, 3)).unwrap();
    assert!(!noxs.ready());
}

#[test]
fn devices_are_listed_by_class() {
    let page = test_page();
    let mut table = DeviceTable::create(page);
    for (class, id) in
        [(PageClass::VIF, 3), (PageClass::VBD, 51712), (PageClass::VIF, 1), (PageClass::SYSCTL, 0)]
    {
        table.add(&device(class, id)).unwrap();
    }
    let noxs = Noxs::fake(Events::new(test_page()), page);
    let ids = |class| noxs.ids(class).map(DeviceId::number).collect::<Vec<_>>();
    assert_eq!(ids(Class::Network), [3, 1]);
    assert_eq!(ids(Class::Disk), [51712]);
    let entry = noxs.offered(PageClass::SYSCTL, 0).unwrap();
    assert!(noxs.holds(&entry));
    assert!(noxs.offered(PageClass::SYSCTL, 1).is_none());
    table.clear();
    assert!(!noxs.holds(&entry));
    table.add(&entry.device).unwrap();
    assert!(!noxs.holds(&entry));
}

#[test]
fn without_a_page_there_are_no_devices() {
    let mut noxs = Noxs::fake(Events::new(test_page()), test_page());
    let watch = noxs.watch(Class::Network).unwrap();
    assert!(noxs.take_fired(&watch));
    assert_eq!(noxs.ids(Class::Network).count(), 0);
    assert!(!noxs.ready());
}

proptest! {
    /// A device page with anything behind its header.
    #[test]
    fn any_page_can_be_read(words in prop::collection::vec((5usize..1024, any::<u32>()), 0..200)) {
        let page = test_page();
        DeviceTable::create(page);
        for (word, value) in words {
            page.store_u32(word * 4, value);
        }
        let mut noxs = Noxs::fake(Events::new(test_page()), page);
        let _ = noxs.ready();
        for entry in noxs.entries() {
            prop_assert!(noxs.holds(&entry));
        }
        prop_assert!(noxs.ids(Class::Network).count() <= SLOTS);
    }
}
