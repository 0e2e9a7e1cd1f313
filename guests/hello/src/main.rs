//! A guest that talks: it greets on its console, answers each line, and ends when it is told to, by
//! a line, by its command line or by the toolstack.

#![no_std]
#![no_main]

use core::fmt::Write;

use guest_runtime::fault::Fault;
use guest_runtime::{About, Console, Control, Exit, Guest, Plane};
use line::Line;

mod line;

guest_runtime::main!(run);

fn run(mut guest: Guest) -> Exit {
    let mut console = guest.console();
    let mut plane = guest.plane();
    let mut control = plane.as_mut().and_then(|plane| Control::open(plane).ok());
    greet(&guest, console.as_mut(), control.as_mut().zip(plane.as_mut()));
    if let Some(exit) = guest.cmdline().split_whitespace().find_map(end) {
        return exit;
    }
    let mut line = Line::new();
    loop {
        if console.is_none() && plane.is_none() {
            guest.wait_forever();
        }
        guest.wait(&mut [&mut console, &mut plane], None);
        if let (Some(control), Some(plane)) = (&mut control, &mut plane)
            && let Some(exit) = control.request(plane)
        {
            say(console.as_mut(), format_args!("goodbye\n"));
            return exit;
        }
        if let Some(console) = &mut console
            && let Some(exit) = listen(console, &mut line)
        {
            return exit;
        }
    }
}

fn greet(
    guest: &Guest,
    console: Option<&mut Console>,
    mut control: Option<(&mut Control, &mut Plane)>,
) {
    let mut ask = |key| control.as_mut().and_then(|(control, plane)| control.about_me(plane, key));
    let (name, domid) = (ask("name"), ask("domid"));
    let (name, domid) = (Answer(name), Answer(domid));
    say(console, format_args!("hello from {name} ({}), domid {domid}\n", guest.kind()));
}

/// What the toolstack told, or a question mark.
struct Answer(Option<About>);

impl core::fmt::Display for Answer {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match &self.0 {
            Some(text) => text.fmt(f),
            None => f.write_str("?"),
        }
    }
}

fn say(console: Option<&mut Console>, text: core::fmt::Arguments<'_>) {
    if let Some(console) = console {
        // The console's writer never fails: it drops what nobody takes.
        let _ = console.write_fmt(text);
    }
}

/// The words that end this guest, on a line of their own or on its command line.
fn end(word: &str) -> Option<Exit> {
    match word {
        "exit" => Some(Exit::PowerOff),
        "reboot" => Some(Exit::Reboot),
        "crash" => panic!("somebody said crash"),
        _ => Fault::named(word)?.raise(),
    }
}

/// Takes what was typed and answers the lines that are complete.
fn listen(console: &mut Console, line: &mut Line) -> Option<Exit> {
    let mut bytes = [0; 64];
    loop {
        let count = console.read(&mut bytes);
        if count == 0 {
            return None;
        }
        for byte in bytes.iter().take(count) {
            console.write_bytes(line.echo(byte));
            if !line.push(*byte) {
                continue;
            }
            let text = line.text();
            if let Some(exit) = end(text) {
                return Some(exit);
            }
            if !text.is_empty() {
                say(Some(console), format_args!("you said: {text}\n"));
            }
            line.clear();
        }
    }
}
