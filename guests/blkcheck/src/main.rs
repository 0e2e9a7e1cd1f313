//! A guest that checks disks: it does what its command line says, on each disk that it names, tells
//! what came out, and waits to be shut down.

#![no_std]
#![no_main]

use core::fmt::{Arguments, Write};
use core::time::Duration;

use guest_runtime::blk::{self, Disk, DiskMemory};
use guest_runtime::{
    Class, Console, Control, DeviceError, DeviceId, Devices, Exit, Guest, Instant, Link, Once,
    Plane, Source, Wake, Watch,
};
use operation::Operation;

mod operation;
mod pattern;

guest_runtime::main!(run);

/// The disks that can be checked in one life.
const DISKS: usize = 4;

/// How long a disk may take to be there and connected.
const PATIENCE: Duration = Duration::from_secs(60);

guest_runtime::device_memory!(static MEMORY: DiskMemory<DISKS>);
static BUFFER: Once<[u8; operation::BUFFER]> = Once::new([0; operation::BUFFER]);

/// What everything here needs.
struct Check {
    guest: Guest,
    console: Option<Console>,
    plane: Plane,
    devices: Devices,
    control: Option<Control>,
    /// For disks that come.
    watch: Option<Watch>,
    disks: [Option<Disk>; DISKS],
    buffer: &'static mut [u8],
}

/// The toolstack asked for an end.
struct Ended(Exit);

fn run(mut guest: Guest) -> Exit {
    let mut console = guest.console();
    let (Some(mut plane), Some(devices), Some(buffer)) =
        (guest.plane(), guest.devices(), BUFFER.take())
    else {
        say(&mut console, format_args!("neither Xenstore nor NoXS, or no grant table\n"));
        say(&mut console, format_args!("failed\n"));
        guest.wait_forever()
    };
    let control = Control::open(&mut plane).ok();
    let disks = [const { None }; DISKS];
    let mut check = Check { guest, console, plane, devices, control, watch: None, disks, buffer };
    let Err(Ended(exit)) = check.run();
    exit
}

impl Check {
    /// Checks the disks, and waits for the end.
    fn run(&mut self) -> Result<core::convert::Infallible, Ended> {
        let last = if self.check()? { "done" } else { "failed" };
        self.say(format_args!("{last}\n"));
        if self.guest.cmdline().split_ascii_whitespace().any(|word| word == "exit") {
            return Err(Ended(Exit::PowerOff));
        }
        loop {
            self.wait(None)?;
            let _ = self.take_fired();
            self.follow();
        }
    }

    /// Does all operations on all disks. False if one failed; the rest is not done then.
    fn check(&mut self) -> Result<bool, Ended> {
        let names = self.guest.option("disk").unwrap_or("first");
        let operations = self.guest.option("ops").unwrap_or("info");
        match self.plane.watch(Class::Disk) {
            Ok(watch) => self.watch = Some(watch),
            Err(error) => {
                self.say(format_args!("cannot watch for disks: {error}\n"));
                return Ok(false);
            }
        }
        for (place, name) in names.split(',').enumerate() {
            if place >= DISKS {
                self.say(format_args!("no more than {DISKS} disks\n"));
                return Ok(false);
            }
            let mut disk = match self.connect(place, name)? {
                Ok(disk) => disk,
                Err(reason) => {
                    self.say(format_args!("disk {name}: {reason}\n"));
                    return Ok(false);
                }
            };
            let done = self.perform_all(&mut disk, operations);
            self.disks[place] = Some(disk);
            if !done? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Waits for a disk to be there and connected. The reason why it is not is for the console.
    fn connect(&mut self, place: usize, name: &str) -> Result<Result<Disk, Reason>, Ended> {
        let wanted = blk::device_id(name);
        if wanted.is_none() && name != "first" {
            return Ok(Err(Reason::Name));
        }
        let deadline = self.guest.now() + PATIENCE;
        let (mut disk, mut look) = (None, true);
        loop {
            look |= self.take_fired();
            if disk.is_none() && core::mem::take(&mut look) {
                disk = match self.open(wanted) {
                    Ok(disk) => disk,
                    Err(error) => return Ok(Err(Reason::Device(error))),
                };
            }
            if let Some(mut waiting) = disk.take() {
                match waiting.advance(&mut self.plane) {
                    Ok(Link::Connected) => return Ok(Ok(waiting)),
                    Ok(Link::Offered | Link::Published) => disk = Some(waiting),
                    Ok(_) => return Ok(Err(self.keep(place, waiting, Reason::Closed))),
                    Err(error) => return Ok(Err(self.keep(place, waiting, Reason::Device(error)))),
                }
            }
            if self.wait(Some(deadline))? == Wake::TimedOut {
                let reason = disk.map(|disk| self.keep(place, disk, Reason::NotConnected));
                return Ok(Err(reason.unwrap_or(Reason::Missing)));
            }
            self.follow();
        }
    }

    /// Keeps a disk that cannot be used, for a reason, to go with its backend.
    fn keep(&mut self, place: usize, disk: Disk, reason: Reason) -> Reason {
        self.disks[place] = Some(disk);
        reason
    }

    /// Takes disk `wanted`, or the first; None if it is not there yet.
    fn open(&mut self, wanted: Option<DeviceId>) -> Result<Option<Disk>, DeviceError> {
        let mut ids = [DeviceId::default(); 32];
        let count = self.plane.devices(Class::Disk, &mut ids)?;
        let mut present = ids.iter().take(count);
        let Some(&id) = present.find(|&&id| wanted.is_none_or(|wanted| wanted == id)) else {
            return Ok(None);
        };
        match Disk::open(self.devices, &mut self.plane, &MEMORY, id) {
            Ok(disk) => Ok(Some(disk)),
            Err(DeviceError::NotOffered) if wanted.is_some() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Does operations until one fails; false then.
    fn perform_all(&mut self, disk: &mut Disk, operations: &str) -> Result<bool, Ended> {
        for text in operations.split(',') {
            if !self.perform(disk, text)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Does one operation and tells what came out. A disk that takes its time does not keep the
    /// toolstack waiting.
    fn perform(&mut self, disk: &mut Disk, text: &str) -> Result<bool, Ended> {
        let Some(operation) = Operation::parse(text) else {
            self.say(format_args!("{text:?} is not an operation\n"));
            return Ok(false);
        };
        let (guest, plane, control) = (&self.guest, &mut self.plane, &mut self.control);
        let mut exit = None;
        let wait = |disk: &mut dyn Source, deadline| {
            let mut requested = control.as_ref().map(|control| control.only(plane));
            guest.wait(&mut [disk, &mut requested], Some(deadline));
            exit = control.as_mut().and_then(|control| control.request(plane));
            exit.is_none()
        };
        let result = operation.perform(disk, wait, self.buffer);
        if let Some(exit) = exit {
            return Err(Ended(exit));
        }
        match &result {
            Ok(outcome) => self.say(format_args!("{operation} {outcome}\n")),
            Err(failure) => self.say(format_args!("{operation} failed: {failure}\n")),
        }
        Ok(result.is_ok())
    }

    /// Whether disks may have come.
    fn take_fired(&mut self) -> bool {
        self.watch.as_ref().is_some_and(|watch| self.plane.take_fired(watch))
    }

    /// Blocks until there is something new, or until `deadline`.
    fn wait(&mut self, deadline: Option<Instant>) -> Result<Wake, Ended> {
        let wake = self.guest.wait(&mut [&mut self.plane], deadline);
        match self.control.as_mut().and_then(|control| control.request(&mut self.plane)) {
            Some(exit) => Err(Ended(exit)),
            None => Ok(wake),
        }
    }

    /// Goes with backends that end.
    fn follow(&mut self) {
        for place in &mut self.disks {
            // What cannot be followed stays as it is.
            place.take_if(|disk| disk.advance(&mut self.plane) == Ok(Link::Gone));
        }
    }

    fn say(&mut self, text: Arguments<'_>) {
        say(&mut self.console, text);
    }
}

/// Why there is no disk.
enum Reason {
    Name,
    Missing,
    NotConnected,
    Closed,
    Device(DeviceError),
}

impl core::fmt::Display for Reason {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Reason::Name => f.write_str("not the name of a disk"),
            Reason::Missing => f.write_str("there is none"),
            Reason::NotConnected => f.write_str("its backend does not connect"),
            Reason::Closed => f.write_str("its backend ended it"),
            Reason::Device(error) => error.fmt(f),
        }
    }
}

/// A line on the console, if there is one.
fn say(console: &mut Option<Console>, text: Arguments<'_>) {
    if let Some(console) = console {
        // The console's writer never fails: it drops what nobody takes.
        let _ = write!(console, "blkcheck: {text}");
    }
}
