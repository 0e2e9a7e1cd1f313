//! A guest that talks: it greets on its console, answers each line, and ends when it is told to, by a line, by its command
//! line or by the toolstack.

#![no_std]
#![no_main]

use core::fmt::Write;
use core::str;

use guest_runtime::{Console, Control, Exit, Guest, Store};
use line::Line;

mod line;

guest_runtime::main!(run);

fn run(mut guest: Guest) -> Exit {
    let mut console = guest.console();
    let mut store = guest.store();
    greet(&guest, console.as_mut(), store.as_mut());
    if let Some(exit) = guest.cmdline().split_whitespace().find_map(end) {
        return exit;
    }
    let mut control = store.as_mut().and_then(|store| Control::open(store).ok());
    let mut line = Line::new();
    loop {
        match (&mut console, &mut store) {
            (Some(console), Some(store)) => guest.wait(&mut [console, store], None),
            (Some(console), None) => guest.wait(&mut [console], None),
            (None, Some(store)) => guest.wait(&mut [store], None),
            (None, None) => guest.wait_forever(),
        };
        if let (Some(control), Some(store)) = (&mut control, &mut store)
            && let Some(exit) = control.request(store)
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

fn greet(guest: &Guest, console: Option<&mut Console>, mut store: Option<&mut Store>) {
    let mut ask = |path, buffer| store.as_mut().and_then(|store| ask(store, path, buffer)).unwrap_or("?");
    let (mut name, mut domid) = ([0; 128], [0; 8]);
    let (name, domid) = (ask("name", &mut name), ask("domid", &mut domid));
    say(console, format_args!("hello from {name} ({}), domid {domid}\n", guest.kind()));
}

fn ask<'b>(store: &mut Store, path: &str, buffer: &'b mut [u8]) -> Option<&'b str> {
    str::from_utf8(store.read(path, buffer).ok()?).ok()
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
        _ => None,
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
