//! What is to run: which suites, and on how many hosts of each kind.

use anyhow::{Result, bail, ensure};

use super::table::{Host, SUITES, Suite, WATCHED};
use super::{Extent, Request};

/// What a host costs beyond its suites, in the same seconds as they: its boot, and the look at its
/// kernel's log.
const BOOT: u64 = 60;

/// No more hosts of one kind than this.
const MOST: usize = 6;

/// The suites that `request` asks for.
pub(super) fn chosen(request: &Request) -> Result<Vec<&'static Suite>> {
    let known = |suite: &&Suite| {
        !request.debug_kernel || suite.host == Host::Noxs && WATCHED.contains(&suite.name)
    };
    let all: Vec<&'static Suite> = SUITES.iter().filter(known).collect();
    if request.suites.is_empty() {
        return Ok(all.into_iter().filter(|suite| suite.when.is_due(request.extent)).collect());
    }
    let mut found = Vec::new();
    for name in &request.suites {
        let rows: Vec<_> = all.iter().copied().filter(|suite| suite.name == name).collect();
        if rows.is_empty() {
            let mut names: Vec<&str> = all.iter().map(|suite| suite.name).collect();
            names.sort_unstable();
            names.dedup();
            bail!("there is no suite {name}; the suites are {}", names.join(", "));
        }
        // Who asks for a suite by its name gets it, also where it is for --full alone.
        let due = rows.iter().any(|suite| suite.when.is_due(request.extent));
        found.extend(rows.into_iter().filter(|suite| !due || suite.when.is_due(request.extent)));
    }
    // In the order of the table, each once.
    Ok(all.into_iter().filter(|suite| found.iter().any(|row| std::ptr::eq(*row, *suite))).collect())
}

/// Those of `tests` that are in a suite with the tests `names`; `tests` empty: no choice.
pub(super) fn chosen_tests(tests: &[String], names: &[(String, Vec<String>)]) -> Result<()> {
    for test in tests {
        let all: Vec<&str> =
            names.iter().flat_map(|(_, tests)| tests).map(String::as_str).collect();
        ensure!(
            all.contains(&test.as_str()),
            "there is no test {test}; the tests of {} are {}",
            names.iter().map(|(suite, _)| suite.as_str()).collect::<Vec<_>>().join(" and "),
            all.join(", ")
        );
    }
    Ok(())
}

/// How many seconds a suite may take: three times what it is known to take, since the machine may
/// do other things too, and never less than a few minutes.
pub(super) fn limit(seconds: u64, request: &Request) -> u64 {
    const FLOOR: u64 = 240;
    let factor = match (request.debug_kernel, request.extent) {
        // Lockdep and kmemleak make everything many times slower.
        (true, _) => 12,
        // As many guests as we promise: up to five times as many.
        (false, Extent::Full) => 5,
        (false, _) => 1,
    };
    (3 * factor * seconds).max(FLOOR)
}

/// Shares `work`, the seconds of the suites of each kind of host, among hosts of which `slots` can
/// run at a time: for each kind its hosts, each a list of indices, in order.
///
/// A host more costs a boot, and one less may leave processors idle at the end, so what ends first
/// is taken.
pub(super) fn share(work: &[Vec<u64>], slots: usize) -> Vec<Vec<Vec<usize>>> {
    let mut best = vec![1; work.len()];
    let mut least = (u64::MAX, usize::MAX);
    let mut counts = best.clone();
    loop {
        let loads = work.iter().zip(&counts).flat_map(|(suites, count)| {
            let sums = deal(suites, *count).into_iter();
            sums.map(|host| BOOT + host.iter().map(|at| suites[*at]).sum::<u64>())
        });
        let cost = (ends(loads.collect(), slots), counts.iter().sum());
        if cost < least {
            least = cost;
            best.clone_from(&counts);
        }
        // The next of all combinations.
        let most = |at: usize| work[at].len().min(slots).clamp(1, MOST);
        match (0..counts.len()).find(|at| counts[*at] < most(*at)) {
            Some(at) => {
                counts[at] += 1;
                counts[..at].fill(1);
            }
            None => break,
        }
    }
    work.iter().zip(&best).map(|(suites, count)| deal(suites, *count)).collect()
}

/// Deals suites out to `count` hosts: the longest first, each to the host with the least to do.
fn deal(suites: &[u64], count: usize) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..suites.len()).collect();
    order.sort_by_key(|at| std::cmp::Reverse(suites[*at]));
    let mut hosts = vec![(0, Vec::new()); count];
    for at in order {
        if let Some((load, host)) = hosts.iter_mut().min_by_key(|(load, _)| *load) {
            *load += suites[at];
            host.push(at);
        }
    }
    let mut hosts: Vec<Vec<usize>> = hosts.into_iter().map(|(_, host)| host).collect();
    hosts.iter_mut().for_each(|host| host.sort_unstable());
    hosts
}

/// When the last of hosts that take `loads` ends, of which `slots` run at a time, longest first.
fn ends(mut loads: Vec<u64>, slots: usize) -> u64 {
    loads.sort_unstable_by_key(|load| std::cmp::Reverse(*load));
    let mut busy = vec![0; slots.max(1)];
    for load in loads {
        if let Some(first) = busy.iter_mut().min() {
            *first += load;
        }
    }
    busy.into_iter().max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{Request, chosen, chosen_tests, ends, limit, share};
    use crate::suites::Extent;

    fn names(request: &Request) -> Vec<(&'static str, &'static str)> {
        let suites = chosen(request).unwrap();
        suites.iter().map(|suite| (suite.host.name(), suite.name)).collect()
    }

    fn asking_for(suites: &[&str], extent: Extent) -> Request {
        let suites = suites.iter().map(|name| (*name).to_owned()).collect();
        Request { suites, extent, ..Request::default() }
    }

    #[test]
    fn a_suite_by_name_runs_on_each_host_that_it_is_due_on() {
        assert_eq!(
            names(&asking_for(&["network", "cost", "network"], Extent::Known)),
            [("debian", "cost"), ("debian", "network"), ("noxs", "network")]
        );
        assert_eq!(names(&asking_for(&["create"], Extent::Known)), [("debian", "create")]);
        assert_eq!(
            names(&asking_for(&["create"], Extent::Full)),
            [("debian", "create"), ("patched", "create")]
        );
    }

    #[test]
    fn an_unknown_suite_is_an_error_with_the_names() {
        let error = chosen(&asking_for(&["nets"], Extent::Known)).unwrap_err().to_string();
        assert!(error.starts_with("there is no suite nets; the suites are cost, create, "));
        let debug = Request { debug_kernel: true, ..asking_for(&["cost"], Extent::Known) };
        let error = chosen(&debug).unwrap_err().to_string();
        assert!(error.contains("are noxs_devices, noxs_guests, noxs_hostile, noxs_kernel"));
    }

    #[test]
    fn an_unknown_test_is_an_error_with_the_names() {
        let names = [("cost".to_owned(), vec!["one".to_owned(), "two".to_owned()])];
        assert!(chosen_tests(&["two".to_owned()], &names).is_ok());
        let error = chosen_tests(&["tw".to_owned()], &names).unwrap_err().to_string();
        assert_eq!(error, "there is no test tw; the tests of cost are one, two");
    }

    #[test]
    fn what_is_for_full_alone_is_left_out_otherwise() {
        let of = |extent| names(&asking_for(&[], extent)).len();
        assert_eq!(of(Extent::Known), of(Extent::Again));
        assert!(of(Extent::Full) > of(Extent::Known));
    }

    #[test]
    fn a_suite_has_thrice_its_time() {
        assert_eq!(limit(300, &asking_for(&[], Extent::Known)), 900);
        assert_eq!(limit(5, &asking_for(&[], Extent::Known)), 240);
        assert_eq!(limit(300, &asking_for(&[], Extent::Full)), 4500);
    }

    #[test]
    fn every_suite_gets_one_host_and_all_end_at_about_the_same_time() {
        let work =
            [vec![52, 180, 337, 129, 128, 76, 147, 78, 98, 214], vec![72, 104], vec![118, 28]];
        for slots in 1..20 {
            let hosts = share(&work, slots);
            let mut loads = Vec::new();
            for (suites, hosts) in work.iter().zip(&hosts) {
                let mut all: Vec<usize> = hosts.iter().flatten().copied().collect();
                all.sort_unstable();
                assert_eq!(all, (0..suites.len()).collect::<Vec<_>>());
                for host in hosts {
                    assert!(host.is_sorted());
                    loads.push(60 + host.iter().map(|at| suites[*at]).sum::<u64>());
                }
            }
            let total = loads.iter().sum::<u64>() / slots as u64;
            let longest = 60 + 337;
            assert!(ends(loads, slots) <= total.max(longest) * 5 / 4, "{slots}: {hosts:?}");
        }
        // With one at a time, each further host is a boot more.
        assert_eq!(share(&work, 1).iter().map(Vec::len).sum::<usize>(), 3);
    }
}
