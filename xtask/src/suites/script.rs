//! What dom0 runs: its suites one after the other, with marks by which [`super::record`] tells what
//! has run.

use std::fmt::Write;

use super::programs::UNIT_TESTS;
use crate::lab::payload::quote;

/// Where the test programs are in dom0.
pub(super) const PLACE: &str = "/usr/lib/lightvm-lab/tests";

/// A suite as the script has it.
#[derive(Debug)]
pub(super) struct Line<'a> {
    pub(super) name: &'a str,
    /// In seconds.
    pub(super) limit: u64,
    /// Its tests that are to run; none for all.
    pub(super) tests: Vec<&'a str>,
}

/// The mark before a suite's output, and the one behind it, which a status follows.
pub(super) const BEGINS: &str = "-- ";
pub(super) const ENDED: &str = " ended ";

/// Runs each suite with its time limit, and exits with the number of those that failed.
pub(super) fn script(lines: &[Line<'_>], full: bool) -> String {
    let mut script = String::new();
    if full {
        script.push_str("export LIGHTVM_LAB_FULL=1\n");
    }
    // libtest ends with 101 if a test failed. A suite that ended in any other way has no closing
    // line, so one is made for the count. The kernel's log gets the name of each suite (5: a
    // notice, which is not shown on the console): it tells who made it complain. Behind a failure
    // comes what the daemon has to say of it; a suite that was ended may have left it stopped.
    let _ = write!(
        script,
        r#"failed=0
suite() {{
	name=$1 limit=$2
	shift 2
	echo "<5>lightvm-lab: suite $name" >/dev/kmsg
	echo "{BEGINS}$name"
	timeout --kill-after=10 "$limit" "{PLACE}/$name" --test-threads=1 "$@"
	status=$?
	if [ $status -ne 0 ]; then
		failed=$((failed + 1))
		journalctl --no-pager --lines=60 --unit=xendevd
		systemctl start xendevd
	fi
	case $status in
	0 | 101) what= ;;
	124 | 137) what="took more than $limit s" ;;
	*) what="died with status $status" ;;
	esac
	[ -z "$what" ] || printf '\ntest result: FAILED. 0 passed; 1 failed; %s %s\n' "$name" "$what"
	echo "{BEGINS}$name{ENDED}$status"
}}
"#
    );
    for Line { name, limit, tests } in lines {
        let _ = write!(script, "suite {name} {limit}");
        if UNIT_TESTS.contains(name) {
            script.push_str(" --ignored");
        }
        if !tests.is_empty() {
            script.push_str(" --exact");
        }
        for test in tests {
            let _ = write!(script, " {}", quote(test));
        }
        script.push('\n');
    }
    script.push_str("exit $failed");
    script
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::{Line, script};

    fn line<'a>(name: &'a str, tests: &[&'a str]) -> Line<'a> {
        Line { name, limit: 60, tests: tests.to_vec() }
    }

    /// Runs the script with `timeout` replaced by a function.
    fn run(timeout: &str, lines: &[Line<'_>]) -> (Option<i32>, String) {
        let script = script(lines, false).replace("/dev/kmsg", "/dev/null");
        let script = script.replace("journalctl", "true").replace("systemctl", "true");
        let script = format!("timeout() {{ {timeout}; }}\n{script}");
        let output = Command::new("sh").args(["-c", &script]).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    }

    #[test]
    fn each_suite_has_its_limit_and_its_tests() {
        let (status, said) =
            run(r#"echo "$@""#, &[line("life", &[]), line("list", &["a::b", "c"])]);
        assert_eq!(status, Some(0));
        assert_eq!(
            said,
            "-- life\n\
             --kill-after=10 60 /usr/lib/lightvm-lab/tests/life --test-threads=1\n\
             -- life ended 0\n\
             -- list\n\
             --kill-after=10 60 /usr/lib/lightvm-lab/tests/list --test-threads=1 --exact a::b c\n\
             -- list ended 0\n"
        );
    }

    #[test]
    fn of_unit_tests_the_ignored_ones_are_run() {
        let (_, said) = run(r#"echo "$@""#, &[line("loopctl", &[]), line("life", &[])]);
        assert!(said.contains("tests/loopctl --test-threads=1 --ignored\n"), "{said}");
        assert!(said.contains("tests/life --test-threads=1\n"), "{said}");
    }

    #[test]
    fn a_suite_that_does_not_end_by_itself_counts_as_failed() {
        let (status, said) = run("return 139", &[line("life", &[])]);
        assert_eq!(status, Some(1));
        assert_eq!(
            said,
            "-- life\n\ntest result: FAILED. 0 passed; 1 failed; life died with status 139\n\
             -- life ended 139\n"
        );
        let (_, said) = run("return 124", &[line("life", &[])]);
        assert!(said.contains("1 failed; life took more than 60 s\n"));
    }

    #[test]
    fn a_failed_test_is_counted_by_libtest() {
        let (status, said) = run("return 101", &[line("life", &[]), line("list", &[])]);
        assert_eq!(status, Some(2));
        assert!(!said.contains("test result"));
    }

    #[test]
    fn with_full_all_suites_hear_of_it() {
        assert!(script(&[], true).starts_with("export LIGHTVM_LAB_FULL=1\n"));
    }
}
