//! A fake Xen below the seam of `libh2` ([`h2::seam`]), for fault injection: it fails the Nth call,
//! breaks the store's connection, or kills the process, and says afterwards what is left on the
//! host.
//!
//! ```text
//!   h2::Hypervisor          FakeHost: what a test holds
//!        |                     |  fail_nth, at, snapshot, guests and tools of others
//!        v                     v
//!   Hypercalls, Builder, StoreCalls, NoxsNode  --every call-->  Plan (counts, fails, dies, hooks)
//!                                                       |
//!                                                       v
//!                             Host (domains, memory, Tree, Noxs)   Session, Files (what is told)
//! ```
//!
//! - [`FakeHost`] is the handle; clones are the same host.
//! - [`Fault`] is what can happen at a call.
//! - [`Snapshot`] is a picture of the host that can be compared.
//! - [`Guest`] and [`Reaction`]: a domain, and what it does when it is asked to end.
//! - [`Backends`] and [`Frontends`]: what the two ends of devices do; [`NoxsEvents`]: when the
//!   kernel tells it.
//!
//! The fake refuses what Xen and xenstored refuse where a test could otherwise pass by mistake:
//! calls on domains that are not there, steps in the wrong order, malformed paths. It is a model of
//! bookkeeping alone: nothing it does is a measurement, and behaviour on Xen is tested in the lab.

#![deny(missing_docs)]

mod backends;
mod builder;
mod fake;
mod guest;
mod host;
mod hypercalls;
mod noxs;
mod noxs_files;
mod noxs_node;
mod plan;
mod session;
mod snapshot;
mod store;
mod tree;

pub use backends::{Backends, Frontends};
pub use fake::FakeHost;
pub use guest::{Guest, Reaction};
pub use noxs_files::NoxsEvents;
pub use plan::{Call, Fault, When};
pub use snapshot::Snapshot;
