use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;
use std::time::Duration;

use h2::DomId;
use h2::noxs_backend::Listed;
use h2::seam::{NoxsName, NoxsNews, NoxsNode, NoxsRead, NoxsWatch, NoxsWhich};

use super::*;
use crate::nodes::{Mode, VbdNodes, VifNodes};
use crate::plane::{Nodes, Planes};

/// What the kernel keeps of one device, and what it was asked for.
#[derive(Debug, Default)]
struct Kept {
    page: Keys,
    private: Keys,
    state: Option<DeviceState>,
    asked: Vec<&'static str>,
}

/// A kernel with one device, if any: `vif` or `vbd` 0 of domain 5.
#[derive(Debug, Clone)]
struct Kernel {
    kept: Rc<RefCell<Option<Kept>>>,
    file: Rc<File>,
}

impl Kernel {
    fn new(page: &[(&str, &str)], private: &[(&str, &str)]) -> Self {
        let keys = |keys: &[(&str, &str)]| keys.iter().copied().collect::<Keys>();
        let kept = Kept { page: keys(page), private: keys(private), ..Kept::default() };
        Self {
            kept: Rc::new(RefCell::new(Some(kept))),
            file: Rc::new(File::open("/dev/null").unwrap()),
        }
    }

    fn planes(&self) -> Planes {
        Planes { noxs: Noxs::over(Backend::over(Box::new(self.clone()))), ..Planes::default() }
    }

    fn run<T>(
        &self,
        name: &'static str,
        work: impl FnOnce(&mut Kept) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut kept = self.kept.borrow_mut();
        let kept = kept.as_mut().ok_or(io::Error::from_raw_os_error(Errno::ENOENT as i32))?;
        kept.asked.push(name);
        work(kept)
    }

    fn private(&self, key: &str) -> Option<String> {
        self.kept.borrow().as_ref().unwrap().private.get(key).map(str::to_owned)
    }
}

impl AsFd for Kernel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl NoxsNode for Kernel {
    fn create(
        &self,
        _: NoxsName,
        _: &[u8],
        _: &[u8],
    ) -> io::Result<(h2::id::GrantRef, h2::id::Port)> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn destroy(&self, _: NoxsName, _: Duration, _: bool) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn set_keys(&self, _: NoxsName, keys: &[u8], private: bool) -> io::Result<()> {
        self.run("set", |kept| {
            let into = if private { &mut kept.private } else { &mut kept.page };
            for (key, value) in Keys::decode(keys)?.iter() {
                into.set(key, value);
            }
            Ok(())
        })
    }

    fn remove_keys(&self, _: NoxsName, keys: &[u8], _: bool) -> io::Result<()> {
        self.run("remove", |kept| {
            let gone = Keys::decode(keys)?;
            // What the kernel does about a key that is not there.
            if gone.iter().any(|(key, _)| kept.private.get(key).is_none()) {
                return Err(io::Error::from_raw_os_error(Errno::ENOENT as i32));
            }
            kept.private = kept.private.iter().filter(|(key, _)| gone.get(key).is_none()).collect();
            Ok(())
        })
    }

    fn read(&self, name: NoxsName, which: NoxsWhich) -> io::Result<NoxsRead> {
        assert_eq!((name.domain.get(), name.id), (5, 0));
        self.run("read", |kept| {
            let keys = if which == NoxsWhich::Private { &kept.private } else { &kept.page };
            Ok(NoxsRead {
                keys: keys.encode()?,
                backend_state: kept.state.unwrap_or(DeviceState::InitWait),
                frontend_state: DeviceState::Unknown,
                backend_generation: 1,
                frontend_generation: 0,
                grant: h2::id::GrantRef::new(8),
                port: h2::id::Port::new(3),
            })
        })
    }

    fn another(&self) -> io::Result<Box<dyn NoxsNode>> {
        Ok(Box::new(self.clone()))
    }

    fn list(&self, _: Option<DomId>) -> io::Result<Vec<Listed>> {
        Ok(Vec::new())
    }

    fn watch(&self, _: NoxsWatch) -> io::Result<()> {
        Ok(())
    }

    fn news(&self) -> io::Result<NoxsNews> {
        Ok(NoxsNews::default())
    }
}

fn device(name: &str) -> DeviceId {
    DeviceId::from_sysname(name).unwrap()
}

#[test]
fn a_disk_has_nodes_in_its_page_and_with_the_host() {
    let kernel = Kernel::new(
        &[("mode", "w"), ("device-type", "disk")],
        &[("params", "/srv/a.img"), ("type", "file"), ("dev", "xvda"), ("online", "1")],
    );
    let (mut planes, vbd) = (kernel.planes(), device("vbd-5-0"));
    let mut nodes = planes.nodes(vbd).unwrap();
    assert!(matches!(nodes, Nodes::Noxs(_)));
    assert!(nodes.is_there().unwrap() && !nodes.is_others().unwrap());
    let read = VbdNodes::read(vbd, |node| nodes.get(node)).unwrap().unwrap();
    assert_eq!(
        (read.target.to_str(), read.mode, read.script),
        (Some("/srv/a.img"), Mode::Write, None)
    );
    assert_eq!(nodes.hotplug_status().unwrap(), None);
}

#[test]
fn an_interface_is_answered_for_and_told_its_mtu() {
    let kernel = Kernel::new(
        &[("mac", "00:16:3e:00:00:01"), ("handle", "0")],
        &[("bridge", "xenbr0"), ("script", "xendevd"), ("hotplug-error", "there was no bridge")],
    );
    let (mut planes, vif) = (kernel.planes(), device("vif-5-0"));
    let mut nodes = planes.nodes(vif).unwrap();
    let read = VifNodes::read(vif, |node| nodes.get(node)).unwrap().unwrap();
    assert_eq!((read.bridge.as_deref(), read.script), (Some("xenbr0"), None));
    let connected = [("hotplug-error", None), ("hotplug-status", Some("connected".to_owned()))];
    assert!(planes.answer(vif, &connected).unwrap());
    assert_eq!(
        (kernel.private("hotplug-status").as_deref(), kernel.private("hotplug-error")),
        (Some("connected"), None)
    );
    // Once more, with nothing to remove.
    assert!(planes.answer(vif, &connected).unwrap());
    let page = |key: &str| kernel.kept.borrow().as_ref().unwrap().page.get(key).map(str::to_owned);
    planes.tell_mtu(vif, 1500).unwrap();
    assert_eq!(page("mtu"), None, "what every guest takes for granted costs no event");
    planes.tell_mtu(vif, 9000).unwrap();
    assert_eq!(page("mtu").as_deref(), Some("9000"));
    assert_eq!(planes.hotplug_status(vif).unwrap().as_deref(), Some("connected"));
}

/// A text of any length is an answer, and breaks off between two characters.
#[test]
fn what_is_too_long_is_cut() {
    let kernel = Kernel::new(&[], &[]);
    let mut planes = kernel.planes();
    let text = format!("{}\0{}", "x".repeat(507), "ü".repeat(100));
    assert!(planes.answer(device("vbd-5-0"), &[("hotplug-error", Some(text))]).unwrap());
    let said = kernel.private("hotplug-error").unwrap();
    assert!(
        said.len() <= VALUE_MAX
            && said.starts_with("xxx")
            && said.contains('?')
            && said.ends_with("..."),
        "{said}"
    );
}

#[test]
fn a_device_that_is_going_is_known_by_its_state_or_its_toolstack() {
    let kernel = Kernel::new(&[], &[("online", "1")]);
    let (mut planes, vbd) = (kernel.planes(), device("vbd-5-0"));
    assert!(!planes.is_leaving(vbd));
    kernel.kept.borrow_mut().as_mut().unwrap().state = Some(DeviceState::Closing);
    assert!(planes.is_leaving(vbd));
    kernel.kept.borrow_mut().as_mut().unwrap().state = None;
    kernel.kept.borrow_mut().as_mut().unwrap().private.set("online", "0");
    assert!(planes.is_leaving(vbd));
}

/// What the kernel does not know is Xenstore's, and without xenstored nothing is known of it.
#[test]
fn other_devices_are_xenstores() {
    let kernel = Kernel::new(&[], &[]);
    *kernel.kept.borrow_mut() = None;
    for mut planes in [kernel.planes(), Planes::default()] {
        let vif = device("vif-5-0");
        assert!(matches!(planes.nodes(vif).unwrap(), Nodes::Xenstore(..)));
        let error =
            planes.answer(vif, &[("hotplug-status", Some("connected".to_owned()))]).unwrap_err();
        assert_eq!(error.to_string(), "there is no connection to xenstored");
        assert!(!planes.is_leaving(vif), "nobody knows");
    }
}

/// It goes between the two: that is no failure.
#[test]
fn a_device_may_go_at_any_time() {
    let kernel = Kernel::new(&[], &[]);
    let planes = kernel.planes();
    let vif = device("vif-5-0");
    let there = planes.noxs.read(vif).unwrap().unwrap();
    *kernel.kept.borrow_mut() = None;
    assert!(
        !planes
            .noxs
            .answer(vif, &there, &[("hotplug-status", Some("connected".to_owned()))])
            .unwrap()
    );
    planes.noxs.tell_mtu(vif, &there, 9000).unwrap();
}
