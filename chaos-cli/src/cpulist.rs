//! Lists of CPUs as xl writes them: `0-3,5`, `0-7,^2`, `all`.

use std::collections::BTreeSet;

use anyhow::{Error, bail};

use crate::failure::Usage;

/// The highest CPU that a list may name: Xen's own bound.
const HIGHEST: u32 = 4095;

/// CPUs that were named on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CpuList {
    /// Every CPU of the host.
    All,
    /// These, ascending, at least one.
    These(Vec<u32>),
}

impl CpuList {
    /// The CPUs on a host whose CPUs are numbered up to `highest`.
    ///
    /// # Errors
    /// A CPU that the host does not have.
    pub(crate) fn resolve(&self, highest: u32) -> Result<Vec<u32>, Usage> {
        match self {
            Self::All => Ok((0..=highest).collect()),
            Self::These(cpus) => match cpus.iter().find(|cpu| **cpu > highest) {
                Some(cpu) => Err(Usage::new(format!(
                    "this host has no CPU {cpu}; its CPUs are 0 to {highest}"
                ))),
                None => Ok(cpus.clone()),
            },
        }
    }
}

impl std::str::FromStr for CpuList {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if text == "all" {
            return Ok(Self::All);
        }
        let mut cpus = BTreeSet::new();
        for part in text.split(',') {
            match part.strip_prefix('^') {
                Some(part) => {
                    let without: BTreeSet<u32> = range(part)?.collect();
                    cpus.retain(|cpu| !without.contains(cpu));
                }
                None => cpus.extend(range(part)?),
            }
        }
        if cpus.is_empty() {
            bail!("the list names no CPU");
        }
        Ok(Self::These(cpus.into_iter().collect()))
    }
}

fn range(part: &str) -> Result<std::ops::RangeInclusive<u32>, Error> {
    let (first, last) = match part.split_once('-') {
        Some((first, last)) => (number(first)?, number(last)?),
        None => (number(part)?, number(part)?),
    };
    if first > last {
        bail!("{part} runs backwards; give {last}-{first}");
    }
    Ok(first..=last)
}

fn number(text: &str) -> Result<u32, Error> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        bail!("{text:?} is not a CPU; give a list such as 0-3,5 or \"all\"");
    }
    match text.parse() {
        Ok(cpu) if cpu <= HIGHEST => Ok(cpu),
        _ => bail!("CPU {text} is beyond {HIGHEST}, the highest that Xen knows"),
    }
}

/// The list in its shortest form: runs of three and more become ranges.
pub(crate) fn display(cpus: &[u32]) -> String {
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for &cpu in cpus {
        match runs.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(cpu) => *last = cpu,
            _ => runs.push((cpu, cpu)),
        }
    }
    let runs = runs.into_iter().map(|(first, last)| match last - first {
        0 => first.to_string(),
        1 => format!("{first},{last}"),
        _ => format!("{first}-{last}"),
    });
    runs.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn these(text: &str) -> Vec<u32> {
        match text.parse() {
            Ok(CpuList::These(cpus)) => cpus,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn lists() {
        assert_eq!(these("3"), [3]);
        assert_eq!(these("5,0-3"), [0, 1, 2, 3, 5]);
        assert_eq!(these("0-3,2,^1-2"), [0, 3]);
        assert_eq!("all".parse::<CpuList>().ok(), Some(CpuList::All));
    }

    #[test]
    fn wrong_lists() {
        let wrong = [
            ("", "\"\" is not a CPU; give a list such as 0-3,5 or \"all\""),
            ("1,", "\"\" is not a CPU; give a list such as 0-3,5 or \"all\""),
            ("+1", "\"+1\" is not a CPU; give a list such as 0-3,5 or \"all\""),
            ("3-1", "3-1 runs backwards; give 1-3"),
            ("4096", "CPU 4096 is beyond 4095, the highest that Xen knows"),
            ("99999999999", "CPU 99999999999 is beyond 4095, the highest that Xen knows"),
            ("1,^0-4", "the list names no CPU"),
        ];
        for (text, message) in wrong {
            assert_eq!(
                text.parse::<CpuList>().map_err(|error| error.to_string()),
                Err(message.to_owned()),
                "{text}"
            );
        }
    }

    #[test]
    fn resolved_against_the_host() {
        assert_eq!(CpuList::All.resolve(2).ok(), Some(vec![0, 1, 2]));
        assert_eq!(CpuList::These(vec![1]).resolve(1).ok(), Some(vec![1]));
        let error = CpuList::These(vec![0, 8]).resolve(3).map_err(|error| error.to_string());
        assert_eq!(error, Err("this host has no CPU 8; its CPUs are 0 to 3".to_owned()));
    }

    #[test]
    fn shortest_form() {
        assert_eq!(display(&[0, 1, 2, 3, 5, 7, 8]), "0-3,5,7,8");
        assert_eq!(display(&[]), "");
    }
}
