//! `xendevd status` for people.

use std::fmt::Write;

use crate::nodes::shown;
use crate::protocol::{DeviceStatus, RestartStatus, Status};

/// All of it, line by line.
pub(crate) fn text(status: &Status) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = write_all(&mut text, status);
    text
}

fn write_all(text: &mut String, status: &Status) -> std::fmt::Result {
    let xenstored = match (status.xenstore, status.noxs) {
        (true, true) => "connected to xenstored, serving NoXS",
        (true, false) => "connected to xenstored",
        (false, true) => "serving NoXS without xenstored",
        (false, false) => "waiting for xenstored",
    };
    let settled = if status.settled { "nothing under way" } else { "work under way" };
    let Status { daemon, pid, uptime_s, counters, .. } = status;
    writeln!(
        text,
        "xendevd {daemon}, process {pid}, up {}, {xenstored}, {settled}",
        time(*uptime_s)
    )?;
    writeln!(
        text,
        "since then: {} disks and {} interfaces connected, {} failures, {} scripts, {} sweeps, {} \
         losses of uevents",
        counters.disks,
        counters.interfaces,
        counters.errors,
        counters.scripts,
        counters.sweeps,
        counters.lost_uevents
    )?;
    if status.jobs_running + status.jobs_queued > 0 {
        writeln!(
            text,
            "jobs on disks: {} running, {} waiting",
            status.jobs_running, status.jobs_queued
        )?;
    }
    if !status.devices.is_empty() {
        writeln!(text, "\n{:<16} {:<20} {:<10} what", "device", "guest", "state")?;
    }
    for device in &status.devices {
        let guest = plain(device.guest.as_deref().unwrap_or("-"));
        writeln!(text, "{:<16} {guest:<20} {:<10} {}", device.device, device.state, what(device))?;
    }
    for (at, restart) in status.restarts.iter().enumerate() {
        if at == 0 {
            writeln!(text, "\nguests that have ended")?;
        }
        writeln!(text, "{}", pending(restart))?;
    }
    if !status.consoles.is_empty() {
        writeln!(text, "\n{:<16} {:<20} {:<10} attached", "console", "guest", "bytes")?;
    }
    for console in &status.consoles {
        let name = format!("domain {}", console.domain);
        let waits = if console.throttled > 0 { ", throttled" } else { "" };
        writeln!(
            text,
            "{name:<16} {:<20} {:<10} {}{waits}",
            plain(&console.guest),
            console.printed,
            console.attached
        )?;
    }
    Ok(())
}

fn what(device: &DeviceStatus) -> String {
    if let Some(error) = &device.error {
        return plain(error);
    }
    let disk = device.target.as_ref().map(|target| {
        let mode = device.mode.as_deref().unwrap_or_default();
        let on = device.loop_device.as_ref().map(|path| format!(" on {path}")).unwrap_or_default();
        format!("{}{on}, {mode}", plain(target))
    });
    let interface = device
        .interface
        .as_ref()
        .zip(device.bridge.as_ref())
        .map(|(name, bridge)| format!("{name} in {bridge}"));
    disk.or(interface).unwrap_or_default()
}

fn pending(restart: &RestartStatus) -> String {
    let when = match restart.in_ms {
        Some(milliseconds) => format!("next try in {} s", milliseconds.div_ceil(1000)),
        None => "not tried again until xendevd is reloaded".to_owned(),
    };
    let error =
        restart.error.as_ref().map(|error| format!("; {}", plain(error))).unwrap_or_default();
    format!(
        "{}: {}, {} in a row, {when}{error}",
        plain(&restart.guest),
        restart.reason,
        restart.in_a_row
    )
}

/// A text without what could harm a terminal.
fn plain(text: &str) -> String {
    if text.chars().any(char::is_control) { shown(text) } else { text.to_owned() }
}

fn time(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..86400 => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / 86400, seconds / 3600 % 24),
    }
}
