//! The handle to the fake host, and what it shares with the seam's implementations.

use std::cell::RefCell;
use std::fs;
use std::io;
use std::path::Path;
use std::process;
use std::rc::Rc;

use h2::config::GuestType;
use h2::id::KiB;
use h2::seam::{HvmParam, Hypercalls, NewDomain, NoxsNode, StoreCalls};
use h2::{DomId, Hypervisor, OpenError, Options};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::backends::{self, Backends, Frontends};
use crate::guest::{Guest, Reaction};
use crate::host::Host;
use crate::hypercalls::FakeCalls;
use crate::noxs;
use crate::noxs_files::{Files, NoxsEvents, Told};
use crate::noxs_node::FakeNode;
use crate::plan::{Call, Fault, Plan, When};
use crate::session::Session;
use crate::snapshot::Snapshot;
use crate::store::FakeStore;

/// `SHUTDOWN_reboot` and `SHUTDOWN_crash` of xen/include/public/sched.h.
const REBOOT: u64 = 1;
const CRASH: u64 = 3;

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) host: RefCell<Host>,
    pub(crate) session: RefCell<Session>,
    /// Open files of the kernel's NoXS node.
    pub(crate) files: RefCell<Files>,
    plan: RefCell<Plan>,
}

impl Shared {
    /// One call: counted, perhaps failed.
    pub(crate) fn run<T>(
        &self,
        operation: &'static str,
        subject: String,
        op: impl FnOnce(&mut Host) -> Result<T, i32>,
    ) -> Result<T, i32> {
        self.run_partly(operation, subject, |_| (), op)
    }

    /// As [`run`](Self::run), for a call that has had part of its effect when it fails.
    pub(crate) fn run_partly<T>(
        &self,
        operation: &'static str,
        subject: String,
        part: impl FnOnce(&mut Host),
        op: impl FnOnce(&mut Host) -> Result<T, i32>,
    ) -> Result<T, i32> {
        let faults = self.plan.borrow_mut().step(operation, subject);
        let (mut fails_after, mut hooks) = (None, Vec::new());
        for fault in faults {
            match fault {
                Fault::Fail(When::Before, errno) | Fault::FailFromHere(errno) => {
                    part(&mut self.host.borrow_mut());
                    return Err(errno);
                }
                Fault::Die(When::Before, file) => {
                    part(&mut self.host.borrow_mut());
                    self.die(&file);
                }
                Fault::BreakStore => self.session.borrow_mut().break_all(),
                Fault::Fail(When::After, errno) => fails_after = Some(errno),
                Fault::Die(When::After, file) => hooks.push(After::Die(file)),
                Fault::Meanwhile(hook) => hooks.push(After::Run(hook)),
            }
        }
        let result = {
            let mut host = self.host.borrow_mut();
            let result = op(&mut host);
            self.deliver(&mut host);
            result
        };
        // Nothing is borrowed here: a hook may call whatever it likes.
        for hook in hooks {
            match hook {
                After::Die(file) => self.die(&file),
                After::Run(hook) => hook(),
            }
        }
        match fails_after {
            Some(errno) => result.and(Err(errno)),
            None => result,
        }
    }

    fn die(&self, file: &Path) -> ! {
        if let Err(error) = save(&self.host.borrow(), file) {
            eprintln!("cannot write the fake host to {}: {error}", file.display());
        }
        // As an administrator or the kernel would: nothing is unwound, no handler runs.
        let _ = kill(Pid::this(), Signal::SIGKILL);
        process::abort()
    }

    /// Tells open files what has happened to devices and domains.
    pub(crate) fn deliver(&self, host: &mut Host) {
        self.files.borrow_mut().tell(host.noxs.told.drain(..));
    }

    /// Something changed in the store.
    pub(crate) fn fire(&self, path: &str) {
        self.session.borrow_mut().fire(path);
    }

    /// Lets every device, and every guest that runs, take one step. Whether a NoXS device changed.
    pub(crate) fn react(&self, host: &mut Host) -> bool {
        for node in backends::react(host) {
            self.fire(&node);
        }
        let changed = noxs::react(host);
        let running: Vec<DomId> =
            host.domains.iter().filter(|(_, guest)| guest.runs()).map(|(&id, _)| id).collect();
        for id in running {
            let node = format!("/local/domain/{id}/control/shutdown");
            let request = host.tree.read_as(id, &node).unwrap_or_default();
            let request = match request.as_slice() {
                b"" => noxs::request(host, id),
                b"reboot" => Some(1),
                _ => Some(0),
            };
            let Ok(guest) = host.guest(id) else { continue };
            let reaction = guest.reaction;
            match (reaction, request, guest.asked) {
                (Reaction::Obey, None, Some(code)) | (Reaction::EndAtOnce, Some(code), _) => {
                    self.end(host, id, code)
                }
                (Reaction::Crash, Some(_), _) => self.end(host, id, 3),
                (Reaction::Vanish, Some(_), _) => self.remove_guest(host, id),
                (Reaction::Obey | Reaction::Acknowledge, Some(code), _) => {
                    guest.asked = Some(code);
                    if host.noxs.devices.iter().any(|device| device.guest == id) {
                        noxs::take(host, id);
                        continue;
                    }
                    // One that may not say so ends all the same.
                    if host.tree.write_as(id, &node, b"").is_ok() {
                        self.fire(&node);
                    }
                }
                (Reaction::Refuse, Some(_), _) => noxs::refuse(host, id),
                _ => {}
            }
        }
        changed
    }

    fn end(&self, host: &mut Host, id: DomId, code: u8) {
        if let Ok(guest) = host.guest(id) {
            guest.ended = Some(code);
            host.noxs.told.push(Told::End);
        }
        if host.introduced.contains_key(&id) {
            self.fire("@releaseDomain");
        }
    }

    /// What `xl destroy` does.
    fn remove_guest(&self, host: &mut Host, id: DomId) {
        let home = format!("/local/domain/{id}");
        let vm = host.tree.read(&format!("{home}/vm")).ok().flatten().unwrap_or_default();
        let backends =
            ["console", "vif", "vbd"].map(|class| format!("/local/domain/0/backend/{class}/{id}"));
        let vm = String::from_utf8_lossy(&vm).into_owned();
        for path in [home, format!("/libxl/{id}"), vm].into_iter().chain(backends) {
            for gone in host.tree.remove(&path).unwrap_or_default() {
                self.fire(&gone);
            }
        }
        let introduced = host.introduced.contains_key(&id);
        if host.destroy(id).is_ok() && introduced {
            self.fire("@releaseDomain");
        }
    }
}

/// What comes after a call's effect.
enum After {
    Die(std::path::PathBuf),
    Run(Box<dyn FnOnce()>),
}

fn save(host: &Host, file: &Path) -> io::Result<()> {
    fs::write(file, serde_json::to_vec(host)?)
}

/// A fake Xen host. Clones are handles to the same host.
#[derive(Debug, Clone)]
pub struct FakeHost {
    shared: Rc<Shared>,
}

impl Default for FakeHost {
    fn default() -> Self {
        Self::new()
    }
}

impl FakeHost {
    /// A host of 16 GiB and 4 CPUs with a control domain alone.
    #[must_use]
    pub fn new() -> Self {
        Self::over(Host::new())
    }

    fn over(host: Host) -> Self {
        let shared = Shared {
            host: RefCell::new(host),
            session: RefCell::default(),
            files: RefCell::default(),
            plan: RefCell::default(),
        };
        Self { shared: Rc::new(shared) }
    }

    /// The host that a process which died wrote to this file.
    ///
    /// # Errors
    /// If the file cannot be read, or holds something else.
    pub fn load(file: &Path) -> io::Result<Self> {
        Ok(Self::over(serde_json::from_slice(&fs::read(file)?)?))
    }

    /// Writes the host to a file.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save(&self, file: &Path) -> io::Result<()> {
        save(&self.shared.host.borrow(), file)
    }

    /// A hypervisor over this host, with a connection to the store of its own.
    ///
    /// # Errors
    /// As [`Options::over`].
    pub fn open(&self, state_dir: &Path) -> Result<Hypervisor, OpenError> {
        self.open_with(&Options::default().state_dir(state_dir))
    }

    /// As [`open`](Self::open), with other options.
    ///
    /// # Errors
    /// As [`Options::over`].
    pub fn open_with(&self, options: &Options) -> Result<Hypervisor, OpenError> {
        let store = self.shared.host.borrow().xenstored.then(|| self.store());
        options.over_all(self.hypercalls(), store, self.node())
    }

    /// Whether xenstored runs on this host.
    pub fn set_xenstored(&self, runs: bool) {
        self.shared.host.borrow_mut().xenstored = runs;
    }

    /// Gives the host NoXS: its kernel the node, and its hypervisor device pages.
    pub fn set_noxs(&self, kernel: bool, hypervisor: bool) {
        let noxs = &mut self.shared.host.borrow_mut().noxs;
        (noxs.kernel, noxs.hypervisor) = (kernel, hypervisor);
    }

    /// When the kernel tells changes of NoXS devices, and the ends of domains, from here on.
    pub fn set_noxs_events(&self, events: NoxsEvents) {
        self.shared.files.borrow_mut().events = events;
    }

    /// How many waits for the kernel's news have taken all their time.
    #[must_use]
    pub fn noxs_timeouts(&self) -> u64 {
        self.shared.files.borrow().timeouts
    }

    /// The kernel's side of the seam, if it has NoXS.
    ///
    /// # Panics
    /// If this process can open no more descriptors.
    #[must_use]
    pub fn node(&self) -> Option<Box<dyn NoxsNode>> {
        let node =
            self.shared.host.borrow().noxs.kernel.then(|| FakeNode::new(Rc::clone(&self.shared)));
        #[allow(clippy::expect_used, reason = "a test fails by it")]
        node.map(|node| -> Box<dyn NoxsNode> { Box::new(node.expect("a pair of sockets")) })
    }

    /// The hypervisor's side of the seam.
    #[must_use]
    pub fn hypercalls(&self) -> Box<dyn Hypercalls> {
        Box::new(FakeCalls(Rc::clone(&self.shared)))
    }

    /// The store's side of the seam: a new connection.
    #[must_use]
    pub fn store(&self) -> Box<dyn StoreCalls> {
        Box::new(FakeStore::new(Rc::clone(&self.shared)))
    }

    /// Starts to count anew: the next call is number 1. Faults that wait are forgotten.
    pub fn clear_plan(&self) {
        self.shared.plan.borrow_mut().clear();
    }

    /// How many calls were made since [`clear_plan`](Self::clear_plan).
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.shared.plan.borrow().calls()
    }

    /// Those calls.
    #[must_use]
    pub fn log(&self) -> Vec<Call> {
        self.shared.plan.borrow().log().to_vec()
    }

    /// Lets something happen at call `n`.
    pub fn at(&self, n: u64, fault: Fault) {
        self.shared.plan.borrow_mut().add(n, fault);
    }

    /// Call `n` fails without effect.
    pub fn fail_nth(&self, n: u64, errno: i32) {
        self.at(n, Fault::Fail(When::Before, errno));
    }

    /// From call `n` on the connections that are open now are dead, until `reconnect`.
    pub fn break_store_at(&self, n: u64) {
        self.at(n, Fault::BreakStore);
    }

    /// Somebody else does something right after call `n`.
    pub fn meanwhile(&self, n: u64, hook: impl FnOnce() + 'static) {
        self.at(n, Fault::Meanwhile(Box::new(hook)));
    }

    /// A picture of the host.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::new(&self.shared.host.borrow(), &self.shared.session.borrow())
    }

    /// A domain, as the hypervisor has it.
    #[must_use]
    pub fn guest(&self, id: DomId) -> Option<Guest> {
        self.shared.host.borrow().domains.get(&id).cloned()
    }

    /// What this guest does when it is asked to end.
    pub fn set_reaction(&self, id: DomId, reaction: Reaction) {
        if let Ok(guest) = self.shared.host.borrow_mut().guest(id) {
            guest.reaction = reaction;
        }
    }

    /// What the backends' side does with devices from here on.
    pub fn set_backends(&self, backends: Backends) {
        self.shared.host.borrow_mut().backends = backends;
    }

    /// What guests do with their devices from here on.
    pub fn set_frontends(&self, frontends: Frontends) {
        self.shared.host.borrow_mut().frontends = frontends;
    }

    /// A guest ends by itself (`SHUTDOWN_*` of xen/include/public/sched.h).
    pub fn end_guest(&self, id: DomId, code: u8) {
        let mut host = self.shared.host.borrow_mut();
        self.shared.end(&mut host, id, code);
        self.shared.deliver(&mut host);
    }

    /// A guest meets an exception that it has no handler for. Xen crashes a PV guest; a PVH guest's
    /// triple fault is what its toolstack has told Xen, and a reboot if it has not.
    pub fn fault_guest(&self, id: DomId) {
        let guest = self.guest(id);
        let reason = guest.map_or(REBOOT, |guest| match guest.pvh {
            false => CRASH,
            true => guest.hvm_param(HvmParam::TripleFaultReason).unwrap_or(REBOOT),
        });
        self.end_guest(id, u8::try_from(reason).unwrap_or(u8::MAX));
    }

    /// Another toolstack makes a guest that runs. `None` if the host is full.
    #[must_use]
    pub fn make_foreign_guest(&self, name: Option<&str>, handle: [u8; 16]) -> Option<DomId> {
        let mut host = self.shared.host.borrow_mut();
        let new = NewDomain {
            handle,
            guest_type: GuestType::Pv,
            vcpus: 1,
            max_event_channels: 1023,
            max_grant_frames: None,
            grant_version: 2,
        };
        let id = host.create(&new).ok()?;
        let guest = host.guest(id).ok()?;
        guest.pauses = 0;
        guest.vcpus = 1;
        guest.memory_limit = KiB::new(4096);
        host.tree.mkdir(&format!("/local/domain/{id}")).ok()?;
        if let Some(name) = name {
            host.tree.write(&format!("/local/domain/{id}/name"), name.as_bytes()).ok()?;
        }
        Some(id)
    }

    /// Another tool destroys a guest and removes its nodes, as `xl destroy` does.
    pub fn destroy_elsewhere(&self, id: DomId) {
        let mut host = self.shared.host.borrow_mut();
        self.shared.remove_guest(&mut host, id);
        self.shared.deliver(&mut host);
    }

    /// The next domain gets this id, as when they come around.
    pub fn set_next_id(&self, id: DomId) {
        self.shared.host.borrow_mut().set_next(id);
    }

    /// Takes back a watch that a test has left on purpose.
    pub fn drop_watch(&self, path: &str, token: &str) {
        self.shared.session.borrow_mut().drop_watch(path, token);
    }

    /// A node, as another tool reads it.
    #[must_use]
    pub fn read_node(&self, path: &str) -> Option<String> {
        let value = self.shared.host.borrow().tree.read(path).ok()??;
        Some(String::from_utf8_lossy(&value).into_owned())
    }

    /// What a guest reads, with its own rights.
    ///
    /// # Errors
    /// xenstored's errno.
    pub fn guest_reads(&self, id: DomId, path: &str) -> Result<String, i32> {
        let value = self.shared.host.borrow().tree.read_as(id, path)?;
        Ok(String::from_utf8_lossy(&value).into_owned())
    }

    /// A guest writes a node, with its own rights and within its quotas.
    ///
    /// # Errors
    /// xenstored's errno.
    pub fn guest_writes(&self, id: DomId, path: &str, value: &str) -> Result<(), i32> {
        self.shared.host.borrow_mut().tree.write_as(id, path, value.as_bytes())?;
        self.shared.fire(path);
        Ok(())
    }

    /// A guest uses up the memory that xenstored has for it: from then on nobody writes a node that
    /// it owns.
    pub fn guest_hoards(&self, id: DomId) {
        self.shared.host.borrow_mut().tree.hoard(id);
    }

    /// Another tool writes a node.
    ///
    /// # Panics
    /// For a path that xenstored would refuse.
    pub fn write_node(&self, path: &str, value: &str) {
        let written = self.shared.host.borrow_mut().tree.write(path, value.as_bytes());
        assert_eq!(written, Ok(()), "{path}");
        self.shared.fire(path);
    }
}
