//! `chaos list`.

use anyhow::Result;

use crate::host;
use crate::output::Output;
use crate::views::{GuestRow, table};

pub(crate) fn run(output: Output) -> Result<()> {
    let guests = host::open()?.list()?;
    let rows: Vec<GuestRow> =
        guests.into_iter().map(|guest| GuestRow::new(&guest.info, guest.name)).collect();
    output.print(&rows, |rows| table(rows))
}
