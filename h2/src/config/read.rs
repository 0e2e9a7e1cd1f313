//! From the JSON tree to a [`GuestConfig`]: one function per object of the configuration.

use std::path::PathBuf;
use std::str::FromStr;

use uuid::Uuid;

use super::choices::{Access, DiskFormat, DiskType, GuestType, Plane, StopAction, TscMode};
use super::error::{ConfigError, ValueError};
use super::limits;
use super::tree::{Node, Object};
use super::{CpuSet, GuestConfig, GuestName, Interface, Mac, Rate, Vbd, Vcpus, Vdev, Vif};
use crate::id::{DomId, MiB};

const GUEST_KEYS: &[&str] = &[
    "name",
    "type",
    "kernel",
    "ramdisk",
    "cmdline",
    "memory",
    "maxmem",
    "vcpus",
    "address_size",
    "uuid",
    "on_poweroff",
    "on_reboot",
    "on_crash",
    "cpu_weight",
    "cpu_cap",
    "max_grant_frames",
    "max_event_channels",
    "tsc_mode",
    "vifs",
    "vbds",
    "paused",
    "xen",
];
const VCPUS_KEYS: &[&str] = &["count", "cpumap"];
const VIF_KEYS: &[&str] = &["ip", "mac", "bridge", "script", "rate", "backend"];
const VBD_KEYS: &[&str] = &["target", "type", "vdev", "access", "format", "backend"];
const XEN_KEYS: &[&str] = &["pvh", "dev_method"];

/// The keys of all objects, for the test that looks for them in the documentation.
#[cfg(test)]
pub(super) const ALL_KEYS: &[&[&str]] = &[GUEST_KEYS, VCPUS_KEYS, VIF_KEYS, VBD_KEYS, XEN_KEYS];

const KERNEL: &str = "the path of a kernel image";
const UUID: &str =
    "32 hexadecimal digits, not all zero, as in 6b7a3f52-96d5-4c6e-9d0a-3a2b0c1d4e5f";

/// Reads all of it.
pub(super) fn guest(root: &Node<'_, '_>) -> Result<GuestConfig, ConfigError> {
    let keys = root.object(GUEST_KEYS, "a guest configuration", "an object, { \"name\": ... }")?;
    let name: GuestName =
        parsed(keys.require("name", GuestName::RIGHT)?, GuestName::NOUN, GuestName::RIGHT)?;
    let kernel = path(keys.require("kernel", KERNEL)?, KERNEL)?;
    let memory = keys.require("memory", &limits::MEMORY.right())?.number(&limits::MEMORY)?;

    let mut config = GuestConfig::new(name, kernel, MiB::new(memory));
    (config.guest_type, config.plane) = kind(&keys)?;
    config.ramdisk =
        keys.get("ramdisk").map(|node| path(node, "the path of a ramdisk")).transpose()?;
    config.cmdline = keys
        .get("cmdline")
        .map(|node| plain(node, "a command line", "one line of text"))
        .transpose()?;
    config.maxmem = number(&keys, "maxmem", &limits::MEMORY)?.map(MiB::new);
    if let Some(node) = keys.get("vcpus") {
        config.vcpus = vcpus(node)?;
    }
    address_size(&keys)?;
    config.uuid = keys.get("uuid").map(uuid).transpose()?;
    config.on_poweroff = choice(&keys, "on_poweroff", StopAction::NOUN, StopAction::right)?
        .unwrap_or(config.on_poweroff);
    config.on_reboot = choice(&keys, "on_reboot", StopAction::NOUN, StopAction::right)?
        .unwrap_or(config.on_reboot);
    config.on_crash =
        choice(&keys, "on_crash", StopAction::NOUN, StopAction::right)?.unwrap_or(config.on_crash);
    config.cpu_weight = number(&keys, "cpu_weight", &limits::CPU_WEIGHT)?;
    config.cpu_cap = number(&keys, "cpu_cap", &limits::CPU_CAP)?;
    config.max_grant_frames = number(&keys, "max_grant_frames", &limits::MAX_GRANT_FRAMES)?;
    config.max_event_channels = number(&keys, "max_event_channels", &limits::MAX_EVENT_CHANNELS)?;
    config.tsc_mode =
        choice(&keys, "tsc_mode", TscMode::NOUN, TscMode::right)?.unwrap_or(config.tsc_mode);
    config.vifs = each(&keys, "vifs", "a list of interfaces", vif)?;
    config.vbds = each(&keys, "vbds", "a list of disks", vbd)?;
    config.paused = keys.get("paused").map_or(Ok(false), Node::truth)?;
    Ok(config)
}

/// The type, which `type` names and the original's `xen.pvh` may name too, and the control plane.
fn kind(keys: &Object<'_, '_>) -> Result<(GuestType, Option<Plane>), ConfigError> {
    let guest_type = choice(keys, "type", GuestType::NOUN, GuestType::right)?;
    let Some(xen) = keys.get("xen") else {
        return Ok((guest_type.unwrap_or(GuestType::Pv), None));
    };
    let xen =
        xen.object(XEN_KEYS, "a set of Xen's own keys", "an object, { \"dev_method\": ... }")?;
    let plane = choice(&xen, "dev_method", Plane::NOUN, Plane::right)?;
    let Some(node) = xen.get("pvh") else {
        return Ok((guest_type.unwrap_or(GuestType::Pv), plane));
    };
    let alias = if node.truth()? { GuestType::Pvh } else { GuestType::Pv };
    match guest_type {
        Some(named) if named != alias => Err(node.error(format_args!(
            "it says \"{alias}\" where `type` says \"{named}\"; leave `xen.pvh` out"
        ))),
        _ => Ok((alias, plane)),
    }
}

fn address_size(keys: &Object<'_, '_>) -> Result<(), ConfigError> {
    let Some(node) = keys.get("address_size") else {
        return Ok(());
    };
    match node.number(&limits::ADDRESS_SIZE)? {
        64 => Ok(()),
        32 => Err(node.error("32-bit PV guests are not supported; give 64, or leave it out")),
        other => Err(node.error(ValueError::not(other, "an address size", "64, or leave it out"))),
    }
}

fn uuid(node: &Node<'_, '_>) -> Result<Uuid, ConfigError> {
    let text = node.text("a UUID", UUID)?;
    match Uuid::parse_str(&text) {
        Ok(uuid) if !uuid.is_nil() => Ok(uuid),
        _ => Err(node.error(ValueError::not(format_args!("{text:?}"), "a UUID", UUID))),
    }
}

fn vcpus(node: &Node<'_, '_>) -> Result<Vcpus, ConfigError> {
    if !node.is_object() {
        return Vcpus::new(narrow(node, &limits::VCPUS)?).map_err(|error| node.error(error));
    }
    let keys = node.object(VCPUS_KEYS, "a number of vcpus", "1 to 128")?;
    let count = narrow(keys.require("count", &limits::VCPUS.right())?, &limits::VCPUS)?;
    let Some(map) = keys.get("cpumap") else {
        return Vcpus::new(count).map_err(|error| node.error(error));
    };
    let rows = map.list("a CPU map", "a list with a list of CPUs for each vcpu")?;
    let rows = rows.iter().map(cpu_set).collect::<Result<_, _>>()?;
    Vcpus::pinned(count, rows).map_err(|error| map.error(error))
}

fn cpu_set(node: &Node<'_, '_>) -> Result<CpuSet, ConfigError> {
    let cpus = node.list("a list of CPUs", "a list of numbers, as in [0, 1]")?;
    let cpus = cpus.iter().map(|cpu| narrow(cpu, &limits::CPU)).collect::<Result<Vec<u16>, _>>()?;
    CpuSet::new(cpus).map_err(|error| node.error(error))
}

fn vif(node: &Node<'_, '_>) -> Result<Vif, ConfigError> {
    let keys = node.object(VIF_KEYS, "a network interface", "an object, { \"bridge\": ... }")?;
    let ip = |node: &Node<'_, '_>| {
        let (noun, right) = ("an IPv4 address", "four numbers, as in 10.77.0.13");
        let text = node.text(noun, right)?;
        text.parse().map_err(|_| node.error(ValueError::not(format_args!("{text:?}"), noun, right)))
    };
    Ok(Vif {
        ip: keys.get("ip").map(ip).transpose()?,
        mac: keys.get("mac").map(|node| parsed(node, Mac::NOUN, Mac::RIGHT)).transpose()?,
        bridge: keys
            .get("bridge")
            .map(|node| parsed(node, Interface::NOUN, Interface::RIGHT))
            .transpose()?,
        script: keys
            .get("script")
            .map(|node| path(node, "the path of a hotplug script"))
            .transpose()?,
        rate: keys.get("rate").map(|node| parsed(node, Rate::NOUN, Rate::RIGHT)).transpose()?,
        backend: backend(&keys)?,
    })
}

fn vbd(node: &Node<'_, '_>) -> Result<Vbd, ConfigError> {
    const TARGET: &str = "the path of a block device or a file";
    let keys = node.object(VBD_KEYS, "a disk", "an object, { \"target\": ... }")?;
    let disk_type = keys.require("type", &DiskType::right())?;
    let vdev = keys.require("vdev", Vdev::RIGHT)?;
    let access = keys.require("access", &Access::right())?;
    Ok(Vbd {
        target: path(keys.require("target", TARGET)?, TARGET)?,
        disk_type: parsed(disk_type, DiskType::NOUN, &DiskType::right())?,
        vdev: parsed(vdev, Vdev::NOUN, Vdev::RIGHT)?,
        access: parsed(access, Access::NOUN, &Access::right())?,
        format: choice(&keys, "format", DiskFormat::NOUN, DiskFormat::right)?
            .unwrap_or(DiskFormat::Raw),
        backend: backend(&keys)?,
    })
}

fn backend(keys: &Object<'_, '_>) -> Result<DomId, ConfigError> {
    let id: Option<u16> = number(keys, "backend", &limits::BACKEND)?;
    Ok(id.and_then(DomId::new).unwrap_or(DomId::DOM0))
}

/// A path: text that is not empty and that the C libraries can take.
fn path(node: &Node<'_, '_>, noun: &str) -> Result<PathBuf, ConfigError> {
    match plain(node, noun, "a path")? {
        path if path.is_empty() => Err(node.error(ValueError::not("\"\"", noun, "a path"))),
        path => Ok(PathBuf::from(path)),
    }
}

/// A text without control characters.
fn plain(node: &Node<'_, '_>, noun: &str, right: &str) -> Result<String, ConfigError> {
    let text = node.text(noun, right)?;
    match text.chars().find(|&c| c.is_control() && c != '\t') {
        None => Ok(text),
        Some(wrong) => {
            Err(node.error(format_args!("{wrong:?} cannot be part of {noun}; give {right}")))
        }
    }
}

/// A text that a type can read by itself.
fn parsed<T: FromStr<Err = ValueError>>(
    node: &Node<'_, '_>,
    noun: &str,
    right: &str,
) -> Result<T, ConfigError> {
    node.text(noun, right)?.parse().map_err(|error| node.error(error))
}

fn choice<T: FromStr<Err = ValueError>>(
    keys: &Object<'_, '_>,
    key: &str,
    noun: &str,
    right: fn() -> String,
) -> Result<Option<T>, ConfigError> {
    keys.get(key).map(|node| parsed(node, noun, &right())).transpose()
}

fn number<T: TryFrom<u64>>(
    keys: &Object<'_, '_>,
    key: &str,
    limits: &limits::Limits,
) -> Result<Option<T>, ConfigError> {
    keys.get(key).map(|node| narrow(node, limits)).transpose()
}

/// A number in a type that holds all that the limits allow.
fn narrow<T: TryFrom<u64>>(node: &Node<'_, '_>, limits: &limits::Limits) -> Result<T, ConfigError> {
    let number = node.number(limits)?;
    T::try_from(number).map_err(|_| node.error(limits.error(number)))
}

fn each<T>(
    keys: &Object<'_, '_>,
    key: &str,
    noun: &str,
    read: fn(&Node<'_, '_>) -> Result<T, ConfigError>,
) -> Result<Vec<T>, ConfigError> {
    let Some(node) = keys.get(key) else {
        return Ok(Vec::new());
    };
    node.list(noun, "a list, [ ... ]")?.iter().map(read).collect()
}
