//! Everything about one guest.

use serde::Serialize;

use super::guest::printable;
use super::{DeviceRow, GuestRow, mib};
use crate::cpulist;
use crate::table::pairs;

/// A guest as `chaos info GUEST` shows it: the keys of a list's row, and more.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Details {
    #[serde(flatten)]
    pub(crate) row: GuestRow,
    pub(crate) max_vcpus: u32,
    pub(crate) shutdown_reason: Option<String>,
    pub(crate) cpu_pool: u32,
    /// "chaos" or "other".
    pub(crate) made_by: &'static str,
    pub(crate) scheduler: Option<Share>,
    pub(crate) vcpu_affinity: Vec<Affinity>,
    pub(crate) console_tty: Option<String>,
    pub(crate) devices: Vec<DeviceRow>,
    /// The configuration that it was made from, if chaos made it.
    pub(crate) config: Option<serde_json::Value>,
}

/// A guest's share of the CPUs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Share {
    pub(crate) weight: u16,
    pub(crate) cap_percent: u16,
}

/// Where a virtual CPU may run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Affinity {
    pub(crate) vcpu: u32,
    pub(crate) cpus: Vec<u32>,
}

impl Details {
    /// The guest in lines.
    pub(crate) fn text(&self) -> String {
        let row = &self.row;
        let configured = |key: &str| {
            self.config.as_ref().and_then(|config| config.get(key)).and_then(|value| value.as_str())
        };
        let mut lines = vec![
            ("name", row.name.as_deref().map(printable).unwrap_or_default()),
            ("domid", row.domid.to_string()),
            ("uuid", row.uuid.clone()),
            ("type", row.kind.to_owned()),
            ("state", self.state()),
            (
                "memory",
                format!("{} MiB, at most {} MiB", mib(row.memory_kib), mib(row.max_memory_kib)),
            ),
            ("vcpus", format!("{} of {}", row.vcpus, self.max_vcpus)),
            ("cpu time", super::seconds(row.cpu_time_ns)),
            ("cpu pool", self.cpu_pool.to_string()),
            ("made by", self.made_by.to_owned()),
        ];
        for affinity in &self.vcpu_affinity {
            lines.push((
                "vcpu affinity",
                format!("vcpu {} on cpus {}", affinity.vcpu, cpulist::display(&affinity.cpus)),
            ));
        }
        lines.extend(self.scheduler.map(|share| ("scheduler", share.text())));
        lines.extend(self.console_tty.clone().map(|tty| ("console", tty)));
        lines.extend(self.devices.iter().map(|device| (device.class.as_str(), device.line())));
        lines.extend(
            ["kernel", "ramdisk", "cmdline"]
                .into_iter()
                .filter_map(|key| Some((key, printable(configured(key)?)))),
        );
        pairs(&lines)
    }

    fn state(&self) -> String {
        match &self.shutdown_reason {
            // "crashed" says it already.
            Some(reason) if reason != "crash" => format!("{} ({reason})", self.row.state),
            _ => self.row.state.to_owned(),
        }
    }
}

impl Share {
    pub(crate) fn text(self) -> String {
        match self.cap_percent {
            0 => format!("weight {}, no cap", self.weight),
            cap => format!("weight {}, cap {cap} %", self.weight),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::views::device::tests::vif;

    fn example() -> Details {
        let row = GuestRow {
            domid: 5,
            name: Some("web0".into()),
            uuid: "6f9c1d1e-30a0-4e5c-8d0e-000000000001".into(),
            kind: "pv",
            state: "shutdown",
            memory_kib: 16_384,
            max_memory_kib: 17_408,
            vcpus: 1,
            cpu_time_ns: 1_234_567,
        };
        Details {
            row,
            max_vcpus: 2,
            shutdown_reason: Some("poweroff".into()),
            cpu_pool: 0,
            made_by: "chaos",
            scheduler: Some(Share { weight: 256, cap_percent: 50 }),
            vcpu_affinity: vec![Affinity { vcpu: 0, cpus: vec![0, 1, 2] }],
            console_tty: Some("/dev/pts/3".into()),
            devices: vec![vif()],
            config: Some(serde_json::json!({"kernel": "/guests/web", "memory": 16})),
        }
    }

    #[test]
    fn schema() {
        assert_eq!(
            serde_json::to_string(&example()).unwrap(),
            "{\"domid\":5,\"name\":\"web0\",\"uuid\":\"6f9c1d1e-30a0-4e5c-8d0e-000000000001\",\
             \"type\":\"pv\",\"state\":\"shutdown\",\
             \"memory_kib\":16384,\"max_memory_kib\":17408,\"vcpus\":1,\"cpu_time_ns\":1234567,\
             \"max_vcpus\":2,\
             \"shutdown_reason\":\"poweroff\",\"cpu_pool\":0,\"made_by\":\"chaos\",\
             \"scheduler\":{\"weight\":256,\"cap_percent\":50},\
             \"vcpu_affinity\":[{\"vcpu\":0,\"cpus\":[0,1,2]}],\"console_tty\":\"/dev/pts/3\",\
             \"devices\":[{\"class\":\"vif\",\"id\":0,\"name\":\"vif5.0\",\"backend_domid\":0,\
             \"frontend_state\":\"connected\",\
             \"backend_state\":\"connected\",\"hotplug_status\":\"connected\",\
             \"mac\":\"00:16:3e:00:00:01\",\"bridge\":\"xenbr0\",\
             \"ip\":null,\"target\":null,\"access\":null}],\
             \"config\":{\"kernel\":\"/guests/web\",\"memory\":16}}"
        );
    }

    #[test]
    fn text() {
        let expected = "\
name          : web0
domid         : 5
uuid          : 6f9c1d1e-30a0-4e5c-8d0e-000000000001
type          : pv
state         : shutdown (poweroff)
memory        : 16 MiB, at most 17 MiB
vcpus         : 1 of 2
cpu time      : 0.001 s
cpu pool      : 0
made by       : chaos
vcpu affinity : vcpu 0 on cpus 0-2
scheduler     : weight 256, cap 50 %
console       : /dev/pts/3
vif           : vif5.0: 00:16:3e:00:00:01, on xenbr0 (guest connected, host connected)
kernel        : /guests/web
";
        assert_eq!(example().text(), expected);
    }
}
