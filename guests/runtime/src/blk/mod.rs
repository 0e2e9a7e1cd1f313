//! A disk: the frontend of blkif.h, one request at a time.
//!
//! One ring page and `SEGMENTS` pages of buffers, granted to the backend as long as the device
//! exists, so that it may map each of them once (`feature-persistent`). Sectors have 512 bytes, in
//! this interface as on the ring; a disk with a larger sector takes whole ones only.

use core::fmt;
use core::time::Duration;

use crate::channel::Channel;
use crate::clock::Instant;
use crate::device::{DeviceError, Devices, Driver, Frontend, Link, Offer, Own, Told};
use crate::event::{Events, Port, Source};
use crate::front_ring::{BadBackend, FrontRing};
use crate::grant::Access;
use crate::memory::{DeviceMemory, Granted};
use crate::plane::{Class, DeviceId, Plane};
use noxs::state::State;
use request::{MOST_SEGMENTS, Operation, REQUEST, RESPONSE, Request, Response};

pub use name::device_id;

mod name;
mod request;

/// Bytes of a sector.
pub const SECTOR: usize = 512;

/// The pages of data that a request can have: no more than `BLKIF_MAX_SEGMENTS_PER_REQUEST`.
const SEGMENTS: usize = 8;
const _: () = assert!(SEGMENTS <= MOST_SEGMENTS);

/// The pages of one disk: the ring and the buffers of one request.
pub const DISK_PAGES: usize = 1 + SEGMENTS;
const RING: usize = 0;
const BUFFERS: usize = 1;

/// Memory for `N` disks, 40 KiB each.
pub type DiskMemory<const N: usize> = DeviceMemory<N, DISK_PAGES>;

/// How long a backend may take for one request: generous, a disk may be slow to spin up, but an
/// end.
const PATIENCE: Duration = Duration::from_secs(120);

/// What a disk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Its size, in sectors of 512 bytes.
    pub sectors: u64,
    /// Bytes of its own sectors: what it is read and written in.
    pub sector_size: usize,
    /// Whether it takes no writes.
    pub read_only: bool,
    /// Whether it has a cache that can be flushed.
    pub flush: bool,
}

/// Why a request was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DiskError {
    /// The disk is not connected.
    NotConnected,
    /// The disk takes no writes.
    ReadOnly,
    /// The disk has no such sectors, or the bytes are no whole sectors of it.
    Range,
    /// The disk cannot do this.
    Unsupported,
    /// The backend could not do it.
    Failed,
    /// The backend broke the protocol or fell silent: the disk is of no more use.
    Backend,
    /// The operation was given up while the backend was at it: the disk is of no more use.
    Interrupted,
}

impl fmt::Display for DiskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DiskError::NotConnected => "not connected",
            DiskError::ReadOnly => "read-only",
            DiskError::Range => "out of range",
            DiskError::Unsupported => "not supported",
            DiskError::Failed => "the backend reports an error",
            DiskError::Backend => "the backend broke the protocol",
            DiskError::Interrupted => "interrupted",
        })
    }
}

impl core::error::Error for DiskError {}

impl From<BadBackend> for DiskError {
    fn from(_: BadBackend) -> Self {
        DiskError::Backend
    }
}

/// A disk.
#[derive(Debug)]
pub struct Disk {
    frontend: Frontend,
    queue: Queue,
}

impl Disk {
    /// Takes disk `id`.
    pub fn open<const N: usize>(
        devices: Devices,
        plane: &mut Plane,
        memory: &'static DiskMemory<N>,
        id: DeviceId,
    ) -> Result<Disk, DeviceError> {
        let offer = Offer::find(plane, Class::Disk, id)?;
        let backend = offer.backend()?;
        let pages = Granted::new(memory, devices.grants, backend, |_| Access::Write)?;
        let channel = Channel::open(devices.events, backend)?;
        let mut frontend = Frontend::open(plane, offer, pages.window(), id)?;
        frontend.watch(plane)?;
        Ok(Disk { frontend, queue: Queue::new(pages, channel, id) })
    }

    /// Goes on with connecting or ending, if the backend changed its state. To be called after each
    /// wait for the plane.
    pub fn advance(&mut self, plane: &mut Plane) -> Result<Link, DeviceError> {
        if self.queue.broken && self.frontend.link() < Link::Closing {
            self.frontend.close(plane);
        }
        let advanced = self.frontend.advance(plane, &mut self.queue);
        if self.frontend.link() != Link::Connected {
            self.queue.geometry = None;
        }
        advanced.map(|()| self.frontend.link())
    }

    /// Begins to end the connection; `advance` goes on with it until it is `Gone`.
    pub fn close(&mut self, plane: &mut Plane) {
        self.frontend.close(plane);
    }

    /// What the disk is, once it is connected.
    pub fn geometry(&self) -> Option<Geometry> {
        self.queue.geometry
    }

    /// Reads the sectors from `sector` on. Blocks until that is done, as `write` and `flush` do;
    /// with `waiting` they can be given up.
    pub fn read(&mut self, sector: u64, bytes: &mut [u8]) -> Result<(), DiskError> {
        let events = self.queue.channel.events();
        self.waiting(patiently(events)).read(sector, bytes)
    }

    /// Writes the sectors from `sector` on. They may be in the disk's cache afterwards: `flush`
    /// makes them last.
    pub fn write(&mut self, sector: u64, bytes: &[u8]) -> Result<(), DiskError> {
        let events = self.queue.channel.events();
        self.waiting(patiently(events)).write(sector, bytes)
    }

    /// Makes what was written last.
    pub fn flush(&mut self) -> Result<(), DiskError> {
        let events = self.queue.channel.events();
        self.waiting(patiently(events)).flush()
    }

    /// The same operations, with `wait` to wait for the backend. It blocks until the source that it
    /// is given is ready, or something else of its own is, but not beyond the deadline, and says
    /// whether to go on. If not, the operation is `Interrupted`, and so is the disk.
    pub fn waiting<W: FnMut(&mut dyn Source, Instant) -> bool>(
        &mut self,
        wait: W,
    ) -> Waiting<'_, W> {
        Waiting { queue: &mut self.queue, wait }
    }
}

/// Waits for nothing but the disk.
fn patiently(events: Events) -> impl FnMut(&mut dyn Source, Instant) -> bool {
    move |source, deadline| {
        events.wait(&mut [source], Some(deadline));
        true
    }
}

/// A disk whose operations wait as they are told.
#[derive(Debug)]
pub struct Waiting<'d, W> {
    queue: &'d mut Queue,
    wait: W,
}

impl<W: FnMut(&mut dyn Source, Instant) -> bool> Waiting<'_, W> {
    /// As [`Disk::read`].
    pub fn read(&mut self, sector: u64, bytes: &mut [u8]) -> Result<(), DiskError> {
        self.queue.check(sector, bytes.len())?;
        for (sector, bytes) in
            (sector..).step_by(Request::MOST_SECTORS).zip(bytes.chunks_mut(Request::MOST_BYTES))
        {
            self.queue.exchange(Operation::Read, sector, bytes.len(), &mut self.wait)?;
            self.queue.copy_out(bytes);
        }
        Ok(())
    }

    /// As [`Disk::write`].
    pub fn write(&mut self, sector: u64, bytes: &[u8]) -> Result<(), DiskError> {
        if self.queue.check(sector, bytes.len())?.read_only {
            return Err(DiskError::ReadOnly);
        }
        for (sector, bytes) in
            (sector..).step_by(Request::MOST_SECTORS).zip(bytes.chunks(Request::MOST_BYTES))
        {
            self.queue.copy_in(bytes);
            self.queue.exchange(Operation::Write, sector, bytes.len(), &mut self.wait)?;
        }
        Ok(())
    }

    /// As [`Disk::flush`].
    pub fn flush(&mut self) -> Result<(), DiskError> {
        if !self.queue.check(0, 0)?.flush {
            return Err(DiskError::Unsupported);
        }
        self.queue.exchange(Operation::Flush, 0, 0, &mut self.wait)
    }
}

/// A disk's events belong to its requests, which wait for them. What is left to wait for comes by
/// the plane.
impl Source for Disk {
    fn port(&self) -> Option<Port> {
        None
    }

    fn ready(&mut self) -> bool {
        false
    }
}

/// The ring, its buffers and its event channel.
#[derive(Debug)]
struct Queue {
    pages: Granted<DISK_PAGES>,
    channel: Channel,
    ring: FrontRing<REQUEST>,
    id: DeviceId,
    /// The number of the last request.
    last: u64,
    geometry: Option<Geometry>,
    /// The backend broke the protocol, or has a request still.
    broken: bool,
}

impl Queue {
    fn new(pages: Granted<DISK_PAGES>, channel: Channel, id: DeviceId) -> Queue {
        let ring = FrontRing::new(pages.page(RING));
        Queue { pages, channel, ring, id, last: 0, geometry: None, broken: false }
    }

    /// Whether the disk has `length` bytes from `sector` on.
    fn check(&self, sector: u64, length: usize) -> Result<Geometry, DiskError> {
        if self.broken {
            return Err(DiskError::Backend);
        }
        let geometry = self.geometry.ok_or(DiskError::NotConnected)?;
        let end = sector.checked_add((length / SECTOR) as u64).ok_or(DiskError::Range)?;
        let unit = (geometry.sector_size / SECTOR) as u64;
        if end > geometry.sectors
            || !sector.is_multiple_of(unit)
            || !length.is_multiple_of(geometry.sector_size)
        {
            return Err(DiskError::Range);
        }
        Ok(geometry)
    }

    /// Makes a request of `length` bytes and waits for its response.
    fn exchange(
        &mut self,
        operation: Operation,
        sector: u64,
        length: usize,
        wait: &mut dyn FnMut(&mut dyn Source, Instant) -> bool,
    ) -> Result<(), DiskError> {
        let result = self.try_exchange(operation, sector, length, wait);
        // What came late would be taken for the answer to the next.
        self.broken |= matches!(result, Err(DiskError::Backend | DiskError::Interrupted));
        result
    }

    fn try_exchange(
        &mut self,
        operation: Operation,
        sector: u64,
        length: usize,
        wait: &mut dyn FnMut(&mut dyn Source, Instant) -> bool,
    ) -> Result<(), DiskError> {
        self.last = self.last.wrapping_add(1);
        let request = Request { operation, disk: self.id, id: self.last, sector, length };
        self.ring.push(&request.encode(|segment| self.pages.reference(BUFFERS + segment)))?;
        if self.ring.publish() {
            self.channel.notify();
        }
        let events = self.channel.events();
        let mut pending = Pending { ring: &mut self.ring, port: self.channel.port() };
        let mut deadline = None;
        while !pending.ready() {
            let now = events.now();
            let deadline = *deadline.get_or_insert(now + PATIENCE);
            if now >= deadline {
                return Err(DiskError::Backend);
            }
            if !wait(&mut pending, deadline) {
                return Err(DiskError::Interrupted);
            }
        }
        let response = self.ring.pop::<RESPONSE>()?.ok_or(DiskError::Backend)?;
        Response::decode(response).check(&request)
    }

    fn copy_in(&self, bytes: &[u8]) {
        for (index, piece) in bytes.chunks(crate::page::PAGE).enumerate() {
            self.pages.page(BUFFERS + index).write(0, piece);
        }
    }

    fn copy_out(&self, bytes: &mut [u8]) {
        for (index, piece) in bytes.chunks_mut(crate::page::PAGE).enumerate() {
            self.pages.page(BUFFERS + index).read(0, piece);
        }
    }
}

/// A request that the backend has.
struct Pending<'a> {
    ring: &'a mut FrontRing<REQUEST>,
    port: Port,
}

impl Source for Pending<'_> {
    fn port(&self) -> Option<Port> {
        Some(self.port)
    }

    /// A bad ring ends the wait, too; `pop` reports it.
    fn ready(&mut self) -> bool {
        self.ring.arm() != Ok(false)
    }
}

impl Driver for Queue {
    const PUBLISHED: State = State::Initialised;

    fn publish(&mut self, own: &mut Own<'_>) -> Result<(), DeviceError> {
        own.write("ring-ref", self.pages.reference(RING).number())?;
        own.write("event-channel", self.channel.port().number())?;
        own.write("protocol", "x86_64-abi")?;
        own.write("feature-large-sector-size", 1)?;
        own.write("feature-persistent", 1)
    }

    fn connect(&mut self, told: &mut Told<'_>) -> Result<(), DeviceError> {
        let mut number = |key| told.number(key);
        let sectors = number("sectors")?.ok_or(DeviceError::Node("sectors"))?;
        let sector_size = number("sector-size")?.ok_or(DeviceError::Node("sector-size"))?;
        let info = number("info")?.ok_or(DeviceError::Node("info"))?;
        let flush = number("feature-flush-cache")?.unwrap_or(0);
        self.geometry = Some(geometry(sectors, sector_size, info, flush)?);
        Ok(())
    }
}

/// What the backend told, if a disk can be like that.
fn geometry(
    sectors: u64,
    sector_size: u64,
    info: u64,
    flush: u64,
) -> Result<Geometry, DeviceError> {
    /// `VDISK_READONLY`
    const READ_ONLY: u64 = 4;
    let size = usize::try_from(sector_size).map_err(|_| DeviceError::Node("sector-size"))?;
    if !size.is_power_of_two() || !(SECTOR..=crate::page::PAGE).contains(&size) {
        return Err(DeviceError::Node("sector-size"));
    }
    if sectors > u64::MAX / SECTOR as u64 {
        return Err(DeviceError::Node("sectors"));
    }
    Ok(Geometry { sectors, sector_size: size, read_only: info & READ_ONLY != 0, flush: flush != 0 })
}

#[cfg(test)]
mod tests;
