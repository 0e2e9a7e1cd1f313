//! The nodes of a guest. They are those that libxl 4.17 writes for the same guest, so that xl,
//! xenconsoled, xentop and the guest's own drivers find what they expect; the permissions are
//! libxl's, too. One node is ours: `random-seed` in the guest's home, which the guest alone may
//! read, and may not change.
//!
//! A node takes over its parent's permissions when it is made, so only the roots of a subtree and
//! the nodes that the guest may write get permissions of their own.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use uuid::Uuid;

use super::{Batch, Store};
use crate::error::StoreError;
use crate::id::{DomId, KiB, Port};
use crate::info::DomainKind;
use crate::random_seed::RandomSeed;
use crate::seam::{NodePermission, RingFrames};

/// What xenconsoled keeps of a guest's output in its own memory, in bytes: libxl's value.
const CONSOLE_LIMIT: &str = "1048576";

/// XenbusStateInitialising of xen/include/public/io/xenbus.h.
const INITIALISING: &str = "1";

/// All that the nodes of a guest say.
#[derive(Debug)]
pub(crate) struct GuestNodes<'a> {
    pub(crate) domain: DomId,
    pub(crate) name: &'a str,
    pub(crate) uuid: Uuid,
    pub(crate) kind: DomainKind,
    pub(crate) memory: KiB,
    pub(crate) max_memory: KiB,
    pub(crate) vcpus: u32,
    pub(crate) console_domain: DomId,
}

/// Where a domain's own nodes lie.
pub(crate) fn home(domain: DomId) -> String {
    format!("/local/domain/{domain}")
}

/// Where libxl keeps what it knows of a domain.
pub(crate) fn libxl(domain: DomId) -> String {
    format!("/libxl/{domain}")
}

/// Where what belongs to a guest, whatever its domain, lies.
pub(crate) fn vm(uuid: Uuid) -> String {
    format!("/vm/{uuid}")
}

fn console_backend(console_domain: DomId, domain: DomId) -> String {
    format!("{}/backend/console/{domain}/0", home(console_domain))
}

/// The guest may read, and the control domain do all.
fn read_only(domain: DomId) -> [NodePermission; 2] {
    [
        NodePermission { domain: DomId::DOM0, read: false, write: false },
        NodePermission { domain, read: true, write: false },
    ]
}

/// The guest owns it.
fn guest_owned(domain: DomId) -> [NodePermission; 1] {
    [NodePermission { domain, read: false, write: false }]
}

/// Nobody but the control domain.
fn private() -> [NodePermission; 1] {
    [NodePermission { domain: DomId::DOM0, read: false, write: false }]
}

/// Nodes below a guest's home that the guest writes.
const WRITABLE: &[&str] = &[
    "control/shutdown",
    "control/feature-poweroff",
    "control/feature-reboot",
    "control/feature-suspend",
    "control/sysrq",
    "device/suspend/event-channel",
    "data",
    "drivers",
    "feature",
    "attr",
    "error",
];

/// This moment in seconds, as `xl uptime` reads it.
fn start_time() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{}.{:02}", now.as_secs(), now.subsec_millis() / 10)
}

/// Writes all nodes that can be written before the guest is built.
pub(crate) fn write(
    store: &Store,
    guest: &GuestNodes<'_>,
    seed: &RandomSeed,
) -> Result<(), StoreError> {
    let (home, vm, libxl) = (home(guest.domain), vm(guest.uuid), libxl(guest.domain));
    let mut batch = Batch::new();
    for (path, permissions) in [
        (&home, &read_only(guest.domain)[..]),
        (&vm, &read_only(guest.domain)),
        (&libxl, &private()),
    ] {
        batch.mkdir(path).set_permissions(path, permissions);
    }

    batch
        .write(format!("{vm}/uuid"), guest.uuid.to_string())
        .write(format!("{vm}/name"), guest.name)
        .write(format!("{vm}/start_time"), start_time())
        .write(format!("{libxl}/type"), guest.kind.as_str());

    batch
        .write(format!("{home}/vm"), &vm)
        .write(format!("{home}/name"), guest.name)
        .write(format!("{home}/domid"), guest.domain.to_string())
        .write(format!("{home}/{}", RandomSeed::NAME), seed.to_hex())
        .write(format!("{home}/memory/static-max"), guest.max_memory.get().to_string())
        .write(format!("{home}/memory/target"), guest.memory.get().to_string())
        .write(format!("{home}/memory/videoram"), "0");
    for vcpu in 0..guest.vcpus {
        batch.write(format!("{home}/cpu/{vcpu}/availability"), "online");
    }
    batch
        .write(format!("{home}/control/platform-feature-multiprocessor-suspend"), "1")
        .write(format!("{home}/control/platform-feature-xs_reset_watches"), "1");
    for node in WRITABLE {
        let path = format!("{home}/{node}");
        batch.write(&path, "").set_permissions(path, &guest_owned(guest.domain));
    }
    store.apply(&batch)
}

/// Writes what is known once the guest is built: its two rings, and with them its console.
/// xenconsoled looks at these nodes when the guest is introduced.
pub(crate) fn write_rings(
    store: &Store,
    guest: &GuestNodes<'_>,
    frames: RingFrames,
    store_port: Port,
    console_port: Port,
) -> Result<(), StoreError> {
    let (domain, home, libxl) = (guest.domain, home(guest.domain), libxl(guest.domain));
    let mut batch = Batch::new();
    batch
        .write(format!("{home}/store/port"), store_port.to_string())
        .write(format!("{home}/store/ring-ref"), frames.store.get().to_string());

    let frontend = format!("{home}/console");
    let backend = console_backend(guest.console_domain, domain);
    let (backend_id, frontend_id) = (guest.console_domain.to_string(), domain.to_string());
    let common = [
        ("frontend", frontend.as_str()),
        ("frontend-id", frontend_id.as_str()),
        ("online", "1"),
        ("state", INITIALISING),
        ("protocol", "vt100"),
    ];

    let record = format!("{libxl}/device/console/0");
    batch.write(format!("{record}/backend"), &backend);
    for (node, value) in common {
        batch.write(format!("{record}/{node}"), value);
    }

    let permissions = [
        NodePermission { domain: guest.console_domain, read: false, write: false },
        NodePermission { domain, read: true, write: false },
    ];
    batch.mkdir(&backend).set_permissions(&backend, &permissions);
    for (node, value) in common {
        batch.write(format!("{backend}/{node}"), value);
    }

    // The guest reads its console's nodes and cannot redirect them: they inherit the home's
    // permissions.
    for (node, value) in [
        ("backend", backend.as_str()),
        ("backend-id", backend_id.as_str()),
        ("limit", CONSOLE_LIMIT),
        ("type", "xenconsoled"),
        ("output", "pty"),
        ("tty", ""),
        ("port", &console_port.to_string()),
        ("ring-ref", &frames.console.get().to_string()),
    ] {
        batch.write(format!("{home}/console/{node}"), value);
    }
    store.apply(&batch)
}

/// How long xenconsoled may take to put a new guest's terminal into its home before the home is
/// removed all the same.
const SETTLE_LIMIT: Duration = Duration::from_millis(500);

/// Waits until xenconsoled has answered for a guest that has just been introduced: it would write
/// the terminal into a home that was removed meanwhile, and nobody would ever remove that node. To
/// be called before [`remove`].
pub(crate) fn settle_console(store: &Store, domain: DomId) -> Result<(), StoreError> {
    let home = home(domain);
    let tty = format!("{home}/console/tty");
    let answered = || Ok::<_, StoreError>(store.read(&tty)?.is_none_or(|path| !path.is_empty()));
    // xenconsoled hears of no other guests.
    if answered()? || !store.is_introduced(domain)? {
        return Ok(());
    }
    if !store.wait_until(std::slice::from_ref(&tty), SETTLE_LIMIT, answered)? {
        log::debug!("xenconsoled has not answered for {home}");
    }
    Ok(())
}

/// Removes every node of a domain, ours or libxl's: home, libxl's own, and those of its UUID.
///
/// To be called behind [`device::remove_all`](crate::device::remove_all), which finds what the
/// devices have in other domains by what goes here.
pub(crate) fn remove(store: &Store, domain: DomId, uuid: Option<Uuid>) -> Result<(), StoreError> {
    let (home, libxl) = (home(domain), libxl(domain));
    let vm = match store.read(&format!("{home}/vm"))? {
        Some(path) if path.starts_with("/vm/") => Some(path),
        _ => uuid.map(vm),
    };
    let mut batch = Batch::new();
    if let Some(path) = vm {
        batch.remove(path);
    }
    store.apply(batch.remove(libxl).remove(home))
}
