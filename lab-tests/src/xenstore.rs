//! Xenstore through Xen's own small tools.

use crate::command::run;

/// The value of a node, if there is one.
#[track_caller]
pub fn read(path: &str) -> Option<String> {
    let output = run(&["xenstore-read", path]);
    output.status.success().then(|| output.stdout.trim_end_matches('\n').to_owned())
}

/// Everything below a node, one line a node: path, value, permissions.
#[track_caller]
pub fn tree(path: &str) -> Vec<String> {
    run(&["xenstore-ls", "-fp", path]).ok().lines().map(|line| line.trim_end().to_owned()).collect()
}
