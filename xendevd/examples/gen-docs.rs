//! Writes what a package of `xendevd` ships beside the binary: its manual page and shell
//! completions.
//!
//! `cargo run --package xendevd --example gen-docs -- OUTDIR` writes OUTDIR/man8/xendevd.8 and
//! OUTDIR/completions/{xendevd.bash,_xendevd,xendevd.fish}. Needs no Xen host.

#![forbid(unsafe_code)]

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap_complete::Shell;
use clap_mangen::Man;

fn main() -> Result<()> {
    let out = std::env::args_os().nth(1).map(PathBuf::from).context("usage: gen-docs OUTDIR")?;
    let (pages, completions) = (out.join("man8"), out.join("completions"));
    for folder in [&pages, &completions] {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    let mut page = Vec::new();
    render(&mut page).context("cannot render the page")?;
    fs::write(pages.join("xendevd.8"), page).context("cannot write the page")?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut xendevd::command(), "xendevd", &completions)
            .with_context(|| format!("cannot write the completions for {shell}"))?;
    }
    Ok(())
}

/// The sections in the order of man-pages(7).
fn render(page: &mut Vec<u8>) -> Result<()> {
    let command = xendevd::command().disable_help_subcommand(true);
    let man = Man::new(command.clone())
        .section("8")
        .manual("LightVM")
        .source(format!("LightVM {}", env!("CARGO_PKG_VERSION")));
    man.render_title(page)?;
    man.render_name_section(page)?;
    man.render_synopsis_section(page)?;
    man.render_description_section(page)?;
    man.render_options_section(page)?;
    writeln!(page, ".SH COMMANDS")?;
    for subcommand in command.get_subcommands() {
        let about = subcommand.get_about().map(ToString::to_string).unwrap_or_default();
        writeln!(page, ".TP\n.B xendevd {}\n{}", escape(subcommand.get_name()), escape(&about))?;
    }
    writeln!(
        page,
        ".SH SIGNALS\n.TP\n.B SIGHUP\nReads the configuration again, looks at all devices, and \
         tries again what has failed."
    )?;
    writeln!(page, ".TP\n.B SIGTERM\nStops; guests keep their devices.\n.SH EXIT STATUS")?;
    for (code, meaning) in xendevd::EXIT_CODES {
        writeln!(page, ".TP\n.B {}\n{}", escape(code), escape(meaning))?;
    }
    writeln!(
        page,
        ".SH FILES\n.TP\n.I /etc/lightvm/xendevd.json\nThe configuration; it need not be there."
    )?;
    writeln!(page, ".TP\n.I /run/lightvm/xendevd.sock\nWhere requests come in.")?;
    writeln!(
        page,
        ".TP\n.I /run/lightvm/console/DOMID\nThe console of a guest without Xenstore: plain bytes \
         both ways."
    )?;
    writeln!(
        page,
        ".TP\n.I /var/log/lightvm/console/NAME.log\nWhat it has printed; before that, NAME.log.1."
    )?;
    writeln!(
        page,
        ".TP\n.I /etc/xen/scripts/xendevd\\-hook\nWhat libxl runs in place of its own scripts."
    )?;
    writeln!(page, ".SH SEE ALSO\n.BR chaos (1),\n.BR xl (1),\n.BR losetup (8)")?;
    Ok(())
}

/// Text that roff prints as it is.
fn escape(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-").replace('\'', "\\(aq");
    if text.starts_with('.') { format!("\\&{text}") } else { text }
}
