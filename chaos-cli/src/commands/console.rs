//! `chaos console`.

use anyhow::{Context, Result};

use crate::args::ConsoleArgs;
use crate::console;
use crate::host;

pub(crate) fn run(args: &ConsoleArgs) -> Result<()> {
    let domain = host::find(&host::open()?, &args.guest)?;
    console::attach(&domain, !args.no_history)
        .with_context(|| format!("the console of {}", args.guest))
}
