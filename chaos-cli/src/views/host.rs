//! The host.

use h2::{HostInfo, Scheduler};
use serde::Serialize;

use super::mib;
use crate::table::pairs;

/// The host as `chaos info` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Host {
    pub(crate) hypervisor_version: String,
    pub(crate) library_version: String,
    pub(crate) chaos_version: &'static str,
    pub(crate) capabilities: Vec<String>,
    pub(crate) command_line: String,
    pub(crate) scheduler: String,
    pub(crate) cpus: u32,
    pub(crate) max_cpu_id: u32,
    pub(crate) nodes: u32,
    pub(crate) cores_per_socket: u32,
    pub(crate) threads_per_core: u32,
    pub(crate) cpu_khz: u32,
    pub(crate) total_memory_kib: u64,
    pub(crate) free_memory_kib: u64,
    pub(crate) scrub_memory_kib: u64,
    pub(crate) outstanding_memory_kib: u64,
    pub(crate) pv: bool,
    pub(crate) pvh: bool,
    pub(crate) hap: bool,
    pub(crate) grant_version: u32,
}

impl From<HostInfo> for Host {
    fn from(info: HostInfo) -> Self {
        Self {
            library_version: info.library_version.to_owned(),
            chaos_version: env!("CARGO_PKG_VERSION"),
            scheduler: scheduler_name(info.scheduler).to_owned(),
            cpus: info.cpus,
            max_cpu_id: info.max_cpu_id,
            nodes: info.nodes,
            cores_per_socket: info.cores_per_socket,
            threads_per_core: info.threads_per_core,
            cpu_khz: info.cpu_khz,
            total_memory_kib: info.total_memory.get(),
            free_memory_kib: info.free_memory.get(),
            scrub_memory_kib: info.scrub_memory.get(),
            outstanding_memory_kib: info.outstanding_memory.get(),
            pv: info.pv,
            pvh: info.hvm,
            hap: info.hap,
            grant_version: info.grant_version,
            hypervisor_version: info.hypervisor_version,
            capabilities: info.capabilities,
            command_line: info.command_line.trim_end().to_owned(),
        }
    }
}

/// The scheduler as Xen's command line names it.
fn scheduler_name(scheduler: Scheduler) -> &'static str {
    match scheduler {
        Scheduler::Credit => "credit",
        Scheduler::Credit2 => "credit2",
        Scheduler::Arinc653 => "arinc653",
        Scheduler::Rtds => "rtds",
        Scheduler::Null => "null",
        _ => "unknown",
    }
}

impl Host {
    /// The host in lines.
    pub(crate) fn text(&self) -> String {
        let types: Vec<&str> = [("pv", self.pv), ("pvh", self.pvh)]
            .into_iter()
            .filter_map(|(name, has)| has.then_some(name))
            .collect();
        pairs(&[
            ("xen version", self.hypervisor_version.clone()),
            ("libxenctrl version", self.library_version.clone()),
            ("chaos version", self.chaos_version.to_owned()),
            ("capabilities", self.capabilities.join(" ")),
            ("guest types", types.join(" ")),
            ("nested paging", if self.hap { "yes" } else { "no" }.to_owned()),
            ("xen command line", self.command_line.clone()),
            ("scheduler", self.scheduler.clone()),
            ("cpus", format!("{} at {} MHz", self.cpus, self.cpu_khz / 1000)),
            ("threads per core", self.threads_per_core.to_string()),
            ("cores per socket", self.cores_per_socket.to_string()),
            ("numa nodes", self.nodes.to_string()),
            ("total memory", format!("{} MiB", mib(self.total_memory_kib))),
            ("free memory", format!("{} MiB", mib(self.free_memory_kib))),
            ("promised memory", format!("{} MiB", mib(self.outstanding_memory_kib))),
            ("unscrubbed memory", format!("{} MiB", mib(self.scrub_memory_kib))),
            ("grant table version", self.grant_version.to_string()),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Host {
        Host {
            hypervisor_version: "4.17.5".into(),
            library_version: "4.17".into(),
            chaos_version: "0.1.0",
            capabilities: vec!["xen-3.0-x86_64".into()],
            command_line: "console=com1".into(),
            scheduler: "credit2".into(),
            cpus: 2,
            max_cpu_id: 1,
            nodes: 1,
            cores_per_socket: 2,
            threads_per_core: 1,
            cpu_khz: 2_000_000,
            total_memory_kib: 4_194_304,
            free_memory_kib: 2_097_152,
            scrub_memory_kib: 0,
            outstanding_memory_kib: 0,
            pv: true,
            pvh: false,
            hap: false,
            grant_version: 2,
        }
    }

    #[test]
    fn schema() {
        assert_eq!(
            serde_json::to_string(&example()).unwrap(),
            "{\"hypervisor_version\":\"4.17.5\",\"library_version\":\"4.17\",\
             \"chaos_version\":\"0.1.0\",\"capabilities\":[\"xen-3.0-x86_64\"],\
             \"command_line\":\"console=com1\",\"scheduler\":\"credit2\",\"cpus\":2,\
             \"max_cpu_id\":1,\"nodes\":1,\"cores_per_socket\":2,\
             \"threads_per_core\":1,\"cpu_khz\":2000000,\"total_memory_kib\":4194304,\
             \"free_memory_kib\":2097152,\"scrub_memory_kib\":0,\
             \"outstanding_memory_kib\":0,\"pv\":true,\"pvh\":false,\"hap\":false,\
             \"grant_version\":2}"
        );
    }

    #[test]
    fn text() {
        let text = example().text();
        assert!(text.contains("guest types         : pv\n"), "{text}");
        assert!(text.contains("free memory         : 2048 MiB\n"), "{text}");
    }
}
