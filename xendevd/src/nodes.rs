//! What the backend directory of a device says.
//!
//! The control domain's toolstack writes these nodes, and guests cannot; they are checked all the
//! same, since what stands there is opened, and becomes the name of an interface or of a program.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::device::DeviceId;

/// Where hotplug scripts are looked for that are given without a folder, as libxl does.
pub const SCRIPT_DIR: &str = "/etc/xen/scripts";

/// The name of our own script there, which libxl runs instead of the stock one.
const HOOK_NAME: &str = "xendevd-hook";

/// What stands for no script at all where netback insists on one: it tells of no interface that has
/// no node `script`.
const NO_SCRIPT: &str = "xendevd";

/// The longest name of an interface (`IFNAMSIZ` less its end).
const MAX_INTERFACE: usize = 15;

/// What may be done with a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Reading.
    Read,
    /// Reading and writing, by nobody else.
    Write,
    /// Reading and writing, and somebody who knows what that means wants it shared (`w!`).
    Shared,
}

impl Mode {
    /// Whether the guest may write.
    #[must_use]
    pub fn writes(self) -> bool {
        self != Self::Read
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read-only",
            Self::Write => "writable",
            Self::Shared => "writable and shared",
        })
    }
}

/// Numbers of a device node, as `physical-device` has them in hexadecimal: `7:1f`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DeviceNumbers {
    /// Its driver.
    pub major: u32,
    /// Which of that driver's.
    pub minor: u32,
}

impl DeviceNumbers {
    /// Reads `MAJOR:MINOR`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let number = |part: &str| {
            let hexadecimal = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_hexdigit());
            hexadecimal.then(|| u32::from_str_radix(part, 16).ok())?
        };
        let (major, minor) = text.split_once(':')?;
        Some(Self { major: number(major)?, minor: number(minor)? })
    }
}

impl fmt::Display for DeviceNumbers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}:{:x}", self.major, self.minor)
    }
}

/// What a disk's directory says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VbdNodes {
    /// The file or the block device.
    pub target: PathBuf,
    /// What the guest may do with it.
    pub mode: Mode,
    /// A hotplug script that is not the stock one.
    pub script: Option<PathBuf>,
    /// What blkback is to open, if somebody has said so already.
    pub physical: Option<DeviceNumbers>,
    /// The loop device that it was given.
    pub loop_device: Option<u32>,
}

/// What an interface's directory says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VifNodes {
    /// The bridge that it goes to.
    pub bridge: Option<String>,
    /// Its MTU, where it is not to be the bridge's.
    pub mtu: Option<u32>,
    /// The name that it gets in this domain.
    pub name: Option<String>,
    /// A hotplug script that is not the stock one.
    pub script: Option<PathBuf>,
}

/// A node that is missing or cannot be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{device}: its node {node} {problem}")]
pub struct NodeError {
    device: DeviceId,
    node: &'static str,
    problem: String,
}

/// The nodes that [`VbdNodes::read`] looks at.
const VBD_NODES: [&str; 5] = ["params", "mode", "script", "physical-device", "node"];

impl VbdNodes {
    /// Reads them; `get` reads one node.
    ///
    /// # Errors
    /// Those of `get`, and in the inner result what is wrong with the nodes.
    pub fn read<E>(
        device: DeviceId,
        mut get: impl FnMut(&str) -> Result<Option<String>, E>,
    ) -> Result<Result<Self, NodeError>, E> {
        let mut values = Vec::with_capacity(VBD_NODES.len());
        for node in VBD_NODES {
            values.push(get(node)?);
        }
        let mut values = values.into_iter().map(Option::unwrap_or_default);
        let mut next = || values.next().unwrap_or_default();
        let [params, mode, script, physical, node] = [next(), next(), next(), next(), next()];
        Ok(Self::from_values(device, &params, &mode, &script, &physical, &node))
    }

    fn from_values(
        device: DeviceId,
        params: &str,
        mode: &str,
        script: &str,
        physical: &str,
        node: &str,
    ) -> Result<Self, NodeError> {
        let wrong = |node, problem: String| NodeError { device, node, problem };
        let script = other_than("block", script).map_err(|problem| wrong("script", problem))?;
        let target =
            params.strip_prefix("file:").or_else(|| params.strip_prefix("phy:")).unwrap_or(params);
        // What the parameters of somebody's own script are is for that script to know.
        if script.is_none() {
            if target.is_empty() {
                return Err(wrong("params", "names no file and no block device".to_owned()));
            }
            if !target.starts_with('/') || target.contains('\0') {
                return Err(wrong("params", format!("is no absolute path: {}", shown(params))));
            }
        }
        let mode = match mode {
            "r" | "ro" => Mode::Read,
            "w" | "rw" => Mode::Write,
            "w!" | "!" => Mode::Shared,
            other => {
                return Err(wrong("mode", format!("is neither r nor w nor w!: {}", shown(other))));
            }
        };
        Ok(Self {
            target: PathBuf::from(target),
            mode,
            script,
            physical: DeviceNumbers::parse(physical),
            loop_device: loop_number(node),
        })
    }
}

/// The nodes that [`VifNodes::read`] looks at.
const VIF_NODES: [&str; 4] = ["bridge", "mtu", "vifname", "script"];

impl VifNodes {
    /// Reads them; `get` reads one node.
    ///
    /// # Errors
    /// Those of `get`, and in the inner result what is wrong with the nodes.
    pub fn read<E>(
        device: DeviceId,
        mut get: impl FnMut(&str) -> Result<Option<String>, E>,
    ) -> Result<Result<Self, NodeError>, E> {
        let mut values = Vec::with_capacity(VIF_NODES.len());
        for node in VIF_NODES {
            values.push(get(node)?);
        }
        let mut values = values.into_iter().map(|value| value.filter(|text| !text.is_empty()));
        let mut next = || values.next().flatten();
        let [bridge, mtu, name, script] = [next(), next(), next(), next()];
        Ok(Self::from_values(device, bridge, mtu.as_deref(), name, script.as_deref()))
    }

    fn from_values(
        device: DeviceId,
        bridge: Option<String>,
        mtu: Option<&str>,
        name: Option<String>,
        script: Option<&str>,
    ) -> Result<Self, NodeError> {
        let wrong = |node, problem: String| NodeError { device, node, problem };
        let interface = |node, text: Option<String>| match text {
            Some(text) if !is_interface(&text) => {
                Err(wrong(node, format!("is no name of a network interface: {}", shown(&text))))
            }
            text => Ok(text),
        };
        let mtu = match mtu {
            None | Some("0") => None,
            Some(text) => match text.parse::<u32>() {
                Ok(mtu @ 68..=65535) => Some(mtu),
                _ => {
                    return Err(wrong(
                        "mtu",
                        format!("is no MTU from 68 to 65535: {}", shown(text)),
                    ));
                }
            },
        };
        Ok(Self {
            bridge: interface("bridge", bridge)?,
            mtu,
            name: interface("vifname", name)?,
            script: other_than("vif-bridge", script.unwrap_or_default())
                .map_err(|problem| wrong("script", problem))?,
        })
    }
}

/// The number of `/dev/loopN`.
#[must_use]
pub fn loop_number(node: &str) -> Option<u32> {
    let digits = node.strip_prefix("/dev/loop")?;
    (!digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()))
        .then(|| digits.parse().ok())?
}

/// Whether the kernel would take this as the name of an interface.
#[must_use]
pub fn is_interface(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= MAX_INTERFACE
        && name != "."
        && name != ".."
        && name.bytes().all(|byte| byte.is_ascii_graphic() && !b"/:%".contains(&byte))
}

/// The path of a script, unless it is the stock one that this daemon stands for.
fn other_than(stock: &str, script: &str) -> Result<Option<PathBuf>, String> {
    if script.is_empty() || script == NO_SCRIPT {
        return Ok(None);
    }
    let path = Path::new(SCRIPT_DIR).join(script);
    let plain =
        path.components().skip(1).all(|part| matches!(part, std::path::Component::Normal(_)));
    if !plain || script.chars().any(char::is_control) {
        return Err(format!("is no plain path: {}", shown(script)));
    }
    // Also where Xen was configured with another prefix.
    let is_stock = path.file_name().is_some_and(|name| name == stock || name == HOOK_NAME)
        && path.parent().is_some_and(|dir| dir.ends_with("xen/scripts"));
    Ok((!is_stock).then_some(path))
}

/// A value in a form that breaks no line of a message and no terminal.
#[must_use]
pub fn shown(text: &str) -> String {
    const LONGEST: usize = 80;
    let mut out = String::from("\"");
    let mut chars = text.chars();
    for char in chars.by_ref().take(LONGEST) {
        out.extend(char.escape_debug());
    }
    out.push_str(if chars.next().is_some() { "...\"" } else { "\"" });
    out
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
#[path = "nodes_tests.rs"]
mod tests;
