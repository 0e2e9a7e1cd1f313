//! `chaos noxs`.

use anyhow::Result;

use crate::args::{NoxsArgs, NoxsCommand};
use crate::host;
use crate::output::Output;
use crate::views::noxs_text;

pub(crate) fn run(args: &NoxsArgs, output: Output) -> Result<()> {
    let NoxsCommand::Dump(args) = &args.command;
    let domain = host::find(&host::open()?, &args.guest)?;
    output.print(&domain.noxs_dump()?, noxs_text)
}
