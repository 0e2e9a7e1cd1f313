//! What `chaos create` answers.

use std::time::Duration;

use h2::Counters;
use serde::Serialize;

use super::{mib, milliseconds, nanoseconds};

/// A guest that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Created {
    pub(crate) domid: u16,
    pub(crate) name: String,
    pub(crate) uuid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) stats: Option<Stats>,
}

/// What making it cost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Stats {
    pub(crate) hypercalls: Option<u64>,
    pub(crate) ioctls: Option<u64>,
    pub(crate) xenstore_operations: u64,
    /// Of a guest without Xenstore.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) noxs_operations: Option<u64>,
    pub(crate) bytes_copied: u64,
    pub(crate) total_ns: u64,
    pub(crate) phases: Vec<Phase>,
}

/// A part of the work, and how long it took.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Phase {
    pub(crate) name: &'static str,
    pub(crate) ns: u64,
}

impl Stats {
    /// What was counted and measured for one guest.
    pub(crate) fn new(
        cost: &Counters,
        total: Duration,
        phases: &[(&'static str, Duration)],
    ) -> Self {
        Self {
            hypercalls: cost.hypercalls,
            ioctls: cost.ioctls,
            xenstore_operations: cost.xenstore_operations,
            noxs_operations: Some(cost.noxs_operations).filter(|&operations| operations > 0),
            bytes_copied: cost.bytes_copied,
            total_ns: nanoseconds(total),
            phases: phases
                .iter()
                .map(|(name, time)| Phase { name, ns: nanoseconds(*time) })
                .collect(),
        }
    }

    fn text(&self) -> String {
        let count = |count: Option<u64>| {
            count.map_or_else(|| "not counted".to_owned(), |count| count.to_string())
        };
        let mut lines = vec![
            ("hypercalls", count(self.hypercalls)),
            ("ioctls", count(self.ioctls)),
            ("xenstore operations", self.xenstore_operations.to_string()),
        ];
        lines.extend(
            self.noxs_operations.map(|operations| ("noxs operations", operations.to_string())),
        );
        lines.push(("bytes copied", self.bytes_copied.to_string()));
        lines.push(("total", milliseconds(self.total_ns)));
        lines.extend(self.phases.iter().map(|phase| (phase.name, milliseconds(phase.ns))));
        let names = lines.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        let values = lines.iter().map(|(_, value)| value.len()).max().unwrap_or(0);
        lines.iter().map(|(name, value)| format!("  {name:<names$}  {value:>values$}\n")).collect()
    }
}

impl Created {
    /// The line about it, and its costs below.
    pub(crate) fn text(&self) -> String {
        let stats = self.stats.as_ref().map(Stats::text).unwrap_or_default();
        format!("created {}, domain {}\n{stats}", self.name, self.domid)
    }
}

/// What `chaos create --dry-run` found to be fine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Checked {
    pub(crate) name: String,
    pub(crate) dry_run: bool,
    pub(crate) memory_kib: u64,
    pub(crate) free_memory_kib: u64,
}

impl Checked {
    pub(crate) fn text(&self) -> String {
        format!(
            "{} can be created: it takes {} MiB of {} MiB free\n",
            self.name,
            mib(self.memory_kib),
            mib(self.free_memory_kib)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Created {
        let phases =
            vec![Phase { name: "domain", ns: 90_400 }, Phase { name: "image", ns: 1_000_000 }];
        let stats = Stats {
            hypercalls: Some(41),
            ioctls: None,
            xenstore_operations: 12,
            noxs_operations: None,
            bytes_copied: 13_312,
            total_ns: 1_360_500,
            phases,
        };
        Created {
            domid: 5,
            name: "web0".into(),
            uuid: Some("6f9c1d1e-30a0-4e5c-8d0e-000000000001".into()),
            stats: Some(stats),
        }
    }

    #[test]
    fn schema() {
        assert_eq!(
            serde_json::to_string(&example()).unwrap(),
            "{\"domid\":5,\"name\":\"web0\",\"uuid\":\"6f9c1d1e-30a0-4e5c-8d0e-000000000001\",\
             \"stats\":{\"hypercalls\":41,\"ioctls\":null,\
             \"xenstore_operations\":12,\"bytes_copied\":13312,\"total_ns\":1360500,\
             \"phases\":[{\"name\":\"domain\",\"ns\":90400},{\"name\":\"image\",\"ns\":1000000}]}}"
        );
        let plain = Created { stats: None, uuid: None, ..example() };
        assert_eq!(
            serde_json::to_string(&plain).unwrap(),
            "{\"domid\":5,\"name\":\"web0\",\"uuid\":null}"
        );
        let checked = Checked {
            name: "web0".into(),
            dry_run: true,
            memory_kib: 16_384,
            free_memory_kib: 1_048_576,
        };
        assert_eq!(
            serde_json::to_string(&checked).unwrap(),
            "{\"name\":\"web0\",\"dry_run\":true,\"memory_kib\":16384,\"free_memory_kib\":1048576}"
        );
    }

    #[test]
    fn text() {
        let expected = "\
created web0, domain 5
  hypercalls                    41
  ioctls               not counted
  xenstore operations           12
  bytes copied               13312
  total                   1.361 ms
  domain                  0.090 ms
  image                   1.000 ms
";
        assert_eq!(example().text(), expected);
        assert_eq!(Created { stats: None, ..example() }.text(), "created web0, domain 5\n");
        let stats = example().stats.map(|stats| Stats { noxs_operations: Some(9), ..stats });
        let noxs = Created { stats, ..example() };
        assert!(
            noxs.text().contains("  noxs operations                9\n  bytes copied"),
            "{}",
            noxs.text()
        );
        assert!(
            serde_json::to_string(&noxs)
                .unwrap()
                .contains("\"xenstore_operations\":12,\"noxs_operations\":9,")
        );
    }

    #[test]
    fn counters_become_stats() {
        let mut cost = Counters::default();
        cost.hypercalls = Some(41);
        cost.xenstore_operations = 12;
        let stats =
            Stats::new(&cost, Duration::from_nanos(5), &[("domain", Duration::from_nanos(3))]);
        assert_eq!(
            (stats.hypercalls, stats.ioctls, stats.xenstore_operations, stats.total_ns),
            (Some(41), None, 12, 5)
        );
        assert_eq!(stats.phases, [Phase { name: "domain", ns: 3 }]);
    }
}
