//! One disk: where it is on its way to the guest.

use std::io;
use std::path::PathBuf;
use std::time::Instant;

use h2::error::OpenError;
use loopctl::Backing;

use crate::disk::{Attachment, Found, Refusal, Target};
use crate::nodes::Mode;

/// What a worker has done.
#[derive(Debug)]
pub(super) enum Done {
    Probed(Result<Target, Refusal>),
    Attached(Result<Attachment, Refusal>),
    Looked(io::Result<Option<Found>>),
    Adopted(io::Result<Option<(Attachment, Backing)>>),
    Sealed(io::Result<()>),
    Scanned(Vec<Found>),
    /// Whether xenstored answers.
    Reached(Result<(), OpenError>),
    Undone,
}

impl Done {
    /// Whether it may block to drop this.
    pub(super) fn holds_something(&self) -> bool {
        matches!(self, Self::Probed(Ok(_)) | Self::Attached(Ok(_)) | Self::Adopted(Ok(Some(_))))
    }
}

/// Where a disk is on its way.
#[derive(Debug)]
pub(super) enum Phase {
    /// For the first sweep, which finds out who has what.
    Waiting,
    /// An earlier daemon or another toolstack has begun; a worker looks at what is there.
    Learning { connected: bool },
    /// A worker looks at its file.
    Probing,
    /// Somebody who is about to go still has it.
    Contended(Target),
    /// A worker makes a loop device.
    Attaching,
    /// Its nodes are written; blkback has not opened it yet.
    Opening { attachment: Option<Attachment>, looks: u32 },
    /// A worker leaves the loop device to the kernel.
    Sealing,
    /// The guest can use it.
    Served,
    /// A script of somebody's own is at it.
    Script,
    /// It does not work; the toolstack has been told.
    Failed,
}

/// A disk of a guest.
#[derive(Debug)]
pub(super) struct Disk {
    pub(super) phase: Phase,
    pub(super) target: PathBuf,
    pub(super) mode: Mode,
    pub(super) script: Option<PathBuf>,
    /// Its loop device.
    pub(super) loop_device: Option<u32>,
    /// Why it does not work.
    pub(super) failure: Option<String>,
    /// When whoever made it gives up.
    pub(super) deadline: Instant,
    /// Its entry among the timers.
    pub(super) due: Option<Instant>,
}

/// Looks for blkback's open after which its absence is worth no more than one look in a while.
pub(super) const MANY_LOOKS: u32 = 12;

impl Disk {
    pub(super) fn new(deadline: Instant) -> Self {
        Self {
            phase: Phase::Waiting,
            target: PathBuf::new(),
            mode: Mode::Read,
            script: None,
            loop_device: None,
            failure: None,
            deadline,
            due: None,
        }
    }

    /// Whether this waits for nothing that is bound to come.
    pub(super) fn is_settled(&self) -> bool {
        match &self.phase {
            Phase::Served | Phase::Failed => true,
            Phase::Opening { looks, .. } => *looks >= MANY_LOOKS,
            _ => false,
        }
    }

    /// Whether the guest can use it, or will as soon as blkback has opened it.
    pub(super) fn is_connected(&self) -> bool {
        matches!(self.phase, Phase::Opening { .. } | Phase::Sealing | Phase::Served)
    }

    /// A word for it.
    pub(super) fn state(&self) -> &'static str {
        match &self.phase {
            Phase::Waiting => "waiting",
            Phase::Learning { .. } => "learning",
            Phase::Probing => "probing",
            Phase::Contended(_) => "contended",
            Phase::Attaching => "attaching",
            Phase::Opening { .. } => "opening",
            Phase::Sealing => "sealing",
            Phase::Served => "connected",
            Phase::Script => "script",
            Phase::Failed => "error",
        }
    }
}
