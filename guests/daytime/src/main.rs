//! A guest with a network: on each of its interfaces it answers ping, tells the time on TCP port 13
//! (RFC 867) and echoes on port 7 (RFC 862). Interfaces may come and go while it runs.

#![no_std]
#![no_main]

use core::array;
use core::fmt::{Arguments, Write};
use core::iter::zip;

use guest_runtime::net::{NETWORK_PAGES, NetworkMemory};
use guest_runtime::{Class, Console, Control, DeviceId, Devices, Exit, Guest, Once, Plane, Random};
use interface::Interface;
use service::{Buffers, Service, Storage};

mod interface;
mod service;

guest_runtime::main!(run);

/// The interfaces that are served at the same time.
const INTERFACES: usize = 4;

guest_runtime::device_memory!(static MEMORY: NetworkMemory<INTERFACES>);
static BUFFERS: Once<[Buffers; INTERFACES]> = Once::new([const { Buffers::new() }; INTERFACES]);

const _: () =
    assert!(NETWORK_PAGES * INTERFACES < 500, "more grants than one page of the table has");

fn run(mut guest: Guest) -> Exit {
    let mut console = guest.console();
    let (Some(mut plane), Some(devices), Some(buffers)) =
        (guest.plane(), guest.devices(), BUFFERS.take())
    else {
        say(&mut console, format_args!("neither Xenstore nor NoXS, or no grant table\n"));
        guest.wait_forever()
    };
    interface::check_options(&guest, &mut console);
    let mut control = Control::open(&mut plane).ok();
    let watch = match plane.watch(Class::Network) {
        Ok(watch) => Some(watch),
        Err(error) => {
            say(&mut console, format_args!("cannot watch for interfaces: {error}\n"));
            None
        }
    };
    let mut random = guest.random(control.as_mut().zip(Some(&mut plane)));
    let mut storage: [Storage<'_>; INTERFACES] = array::from_fn(|_| Storage::default());
    let mut services =
        zip(&mut storage, buffers).map(|(storage, buffers)| Service::new(storage, buffers));
    let mut places: [Place<'_>; INTERFACES] =
        array::from_fn(|_| Place { service: services.next(), interface: None });
    loop {
        if let Some(exit) = control.as_mut().and_then(|control| control.request(&mut plane)) {
            say(&mut console, format_args!("goodbye\n"));
            return exit;
        }
        let mut changed = watch.as_ref().is_some_and(|watch| plane.take_fired(watch));
        for place in &mut places {
            changed |= place.advance(&mut console, &mut plane);
        }
        if changed {
            look_around(&guest, devices, &mut random, &mut console, &mut plane, &mut places);
        }
        let deadline =
            places.iter_mut().filter_map(|place| place.serve(&guest, &mut console)).min();
        let [a, b, c, d] = &mut places;
        let sources: &mut [&mut dyn guest_runtime::Source; INTERFACES + 1] = &mut [
            &mut plane,
            &mut a.interface,
            &mut b.interface,
            &mut c.interface,
            &mut d.interface,
        ];
        guest.wait(sources, deadline);
    }
}

/// Where an interface can be: what it serves with, and the interface, if there is one.
#[derive(Debug)]
struct Place<'a> {
    service: Option<Service<'a>>,
    interface: Option<Interface>,
}

impl Place<'_> {
    /// Follows the interface's backend. True if the place became free.
    fn advance(&mut self, console: &mut Option<Console>, plane: &mut Plane) -> bool {
        let Some(interface) = &mut self.interface else { return false };
        let id = interface.id();
        match interface.advance(plane) {
            Ok(true) => return false,
            Ok(false) => say(console, format_args!("vif {id} is gone\n")),
            Err(error) => {
                say(console, format_args!("vif {id}: {error}\n"));
                return false;
            }
        }
        self.interface = None;
        true
    }

    /// Does what there is to do, and tells until when it can wait.
    fn serve(
        &mut self,
        guest: &Guest,
        console: &mut Option<Console>,
    ) -> Option<guest_runtime::Instant> {
        let interface = self.interface.as_mut()?;
        let deadline = interface.serve(guest, self.service.as_mut()?);
        let announcement = interface.announce(guest, console);
        [deadline, announcement].into_iter().flatten().min()
    }
}

/// Takes the interfaces that came, lets go of those whose nodes are gone.
fn look_around(
    guest: &Guest,
    devices: Devices,
    random: &mut Random,
    console: &mut Option<Console>,
    plane: &mut Plane,
    places: &mut [Place<'_>; INTERFACES],
) {
    let mut ids = [DeviceId::default(); 16];
    let ids = match plane.devices(Class::Network, &mut ids) {
        Ok(count) => ids.get(..count).unwrap_or_default(),
        Err(error) => return say(console, format_args!("cannot list interfaces: {error}\n")),
    };
    for place in places.iter_mut() {
        if let Some(interface) = place.interface.take_if(|interface| !ids.contains(&interface.id()))
        {
            say(console, format_args!("vif {} was taken away\n", interface.id()));
            interface.abandon(plane);
        }
    }
    for &id in ids {
        let known = |place: &Place<'_>| {
            place.interface.as_ref().is_some_and(|interface| interface.id() == id)
        };
        if places.iter().any(known) {
            continue;
        }
        let Some(place) = places.iter_mut().find(|place| place.interface.is_none()) else {
            say(console, format_args!("vif {id}: no place for it\n"));
            continue;
        };
        match Interface::open(guest, devices, plane, &MEMORY, id, random.next_u64()) {
            Ok(interface) => {
                if let Some(service) = &mut place.service {
                    service.begin(interface.wants_dhcp());
                }
                place.interface = Some(interface);
            }
            // On its way out.
            Err(guest_runtime::DeviceError::NotOffered) => {}
            Err(error) => say(console, format_args!("vif {id}: {error}\n")),
        }
    }
}

/// A line on the console, if there is one.
fn say(console: &mut Option<Console>, text: Arguments<'_>) {
    if let Some(console) = console {
        // The console's writer never fails: it drops what nobody takes.
        let _ = write!(console, "daytime: {text}");
    }
}
