//! What looks at NoXS from outside of our software: `nx`, the program in C that tries the kernel's
//! series.

use std::path::Path;

use anyhow::Result;

use crate::run::Tool;
use crate::{deps, files};

/// Where dom0 has it.
const PLACE: &str = "usr/lib/lightvm-lab/nx";

/// Builds it below `root`, the root of dom0. It is linked with Xen's libraries, which dom0 has for
/// xl.
pub(super) fn install(root: &Path) -> Result<()> {
    deps::ensure(deps::BUILD)?;
    let workspace = files::workspace()?;
    let to = root.join(PLACE);
    if let Some(parent) = to.parent() {
        std::fs::create_dir_all(parent)?;
    }
    Tool::new("gcc")
        .args(["-O1", "-Wall", "-Inoxs/include", "-Inoxs/tests/c", "linux-patches/test/nx.c", "-o"])
        .arg(&to)
        .args(["-lxenguest", "-lxenctrl", "-lxenforeignmemory", "-lxenevtchn", "-lxenstore"])
        .dir(&workspace)
        .log_on_failure()
}
