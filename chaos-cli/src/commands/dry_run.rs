//! `chaos create --dry-run`: everything that can be known before something is made.

use anyhow::{Context, Result};
use h2::id::MiB;
use h2::{BootImage, CreateError, Hypervisor};

use super::create::configuration;
use crate::args::CreateArgs;
use crate::output::Output;
use crate::views::Checked;

pub(crate) fn run(args: &CreateArgs, output: Output) -> Result<()> {
    let config = configuration(args)?;
    let file = || args.config.display().to_string();
    let guests = config.instances(args.count).with_context(file)?;
    BootImage::open(&config).with_context(file)?;
    // Not through host::open, which reaps: a dry run touches nothing.
    let hypervisor = Hypervisor::open()?;
    let mut free = hypervisor.host_info()?.free_memory.get();
    for guest in guests {
        let cannot = || format!("{}: cannot create {}", args.config.display(), guest.name);
        hypervisor.check(&guest).with_context(cannot)?;
        // Each by itself fits; all of them must.
        let needed = guest.memory_kib().get();
        if needed > free {
            let short = CreateError::NoMemory {
                needed: guest.memory,
                free: MiB::new(free / 1024),
                source: None,
            };
            return Err(short).with_context(cannot);
        }
        let checked = Checked {
            name: guest.name.to_string(),
            dry_run: true,
            memory_kib: needed,
            free_memory_kib: free,
        };
        output.print(&checked, Checked::text)?;
        free -= needed;
    }
    Ok(())
}
