//! A lean Xen toolstack as a library: guests are built, watched and destroyed by a Rust program in
//! the control domain.
//!
//! ```text
//!   Hypervisor --create(config)--> Shell --boot(image)--> Domain
//!       |                                                   ^
//!       +------------------- find, domain ------------------+
//! ```
//!
//! - [`Hypervisor`] opens Xen, lists and finds domains, knows the host.
//! - [`GuestConfig`] says what a guest is to be; it reads the JSON of `chaos`.
//! - [`Shell`] is a guest on its way: it is undone when dropped.
//! - [`Domain`] is a domain that exists, whoever made it: pause, shut down, destroy, rename,
//!   console, shares.
//! - [`device`]: network interfaces and disks, of a configuration or attached to a guest that runs.
//! - [`store::Store`] is a connection to xenstored, for programs that serve devices.
//! - [`noxs_backend::Backend`] is the same for guests without Xenstore; [`GuestConsole`] their
//!   console, for the program that drains it.
//!
//! ```no_run
//! use h2::{BootImage, GuestConfig, Hypervisor};
//!
//! let mut config = GuestConfig::from_file("/guests/hello-pv.json")?;
//! // This program deals with the guest's end, and not xendevd.
//! config.on_poweroff = h2::config::StopAction::Preserve;
//! let image = BootImage::open(&config)?;
//! let hypervisor = Hypervisor::open()?;
//! let guest = hypervisor.create(&config)?.boot(&image)?;
//! let reason = guest.wait_for_shutdown(None)?;
//! println!("{} ended: {reason}", guest.id());
//! guest.destroy()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! All of it needs the privileges of the control domain's root. The layers below: the raw C
//! libraries are in `h2-sys`, which only this crate's `raw` module uses; the hypercalls that it
//! makes are listed in [`seam`].
//!
//! The feature `count` makes [`Counters`] tell hypercalls and ioctls; it replaces the symbol
//! `ioctl` in the program, so it is for binaries to switch on.

#![deny(missing_docs)]
#![warn(clippy::missing_errors_doc, clippy::missing_panics_doc)]

mod acpi;
mod boot_image;
pub mod config;
mod console;
pub mod console_ring;
mod detect;
pub mod device;
mod domain;
pub mod error;
mod foreign;
mod host;
mod hypervisor;
pub mod id;
pub mod image;
mod info;
mod inner;
pub mod lifecycle;
mod limits;
pub mod noxs_backend;
mod plane;
mod random_seed;
mod raw;
mod reap;
pub mod seam;
mod shell;
mod shutdown;
mod state;
mod stats;
pub mod store;

pub use boot_image::BootImage;
pub use config::GuestConfig;
pub use console::Console;
pub use console_ring::GuestConsole;
pub use device::{DeviceClass, DeviceConfig, DeviceError, DeviceId, DeviceInfo, DeviceState};
pub use domain::Domain;
pub use error::{CreateError, Error, ErrorKind, OpenError};
pub use host::{HostInfo, Scheduler, SchedulerParams};
pub use hypervisor::{GuestSummary, Hypervisor, Options};
pub use id::DomId;
pub use info::{DomainInfo, DomainKind, DomainState, ShutdownReason};
pub use plane::{NoxsDump, NoxsDumpDevice, NoxsDumpEnd};
pub use reap::Reaped;
pub use shell::Shell;
pub use shutdown::ShutdownRequest;
pub use stats::Counters;
