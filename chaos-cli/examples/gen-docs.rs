//! Writes what a package of `chaos` ships beside the binary: manual pages and shell completions.
//!
//! `cargo run --package chaos-cli --example gen-docs -- OUTDIR` writes OUTDIR/man1/chaos.1,
//! OUTDIR/man1/chaos-COMMAND.1 and OUTDIR/completions/{chaos.bash,_chaos,chaos.fish}. Needs no Xen
//! host.

#![forbid(unsafe_code)]

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Command;
use clap_complete::Shell;
use clap_mangen::Man;

fn main() -> Result<()> {
    let out = std::env::args_os().nth(1).map(PathBuf::from).context("usage: gen-docs OUTDIR")?;
    generate(&out)
}

/// Writes everything below this folder.
pub(crate) fn generate(out: &Path) -> Result<()> {
    let pages = out.join("man1");
    fs::create_dir_all(&pages).with_context(|| format!("cannot make {}", pages.display()))?;
    let mut command = chaos_cli::command().disable_help_subcommand(true);
    command.build();
    write_pages(&command, None, &pages)?;

    let completions = out.join("completions");
    fs::create_dir_all(&completions)
        .with_context(|| format!("cannot make {}", completions.display()))?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        let mut command = chaos_cli::command();
        clap_complete::generate_to(shell, &mut command, "chaos", &completions)
            .with_context(|| format!("cannot write the completions for {shell}"))?;
    }
    Ok(())
}

/// A command's page, and those of its subcommands; each refers to those next to it.
fn write_pages(command: &Command, above: Option<&Command>, folder: &Path) -> Result<()> {
    let see_also: Vec<String> =
        above.into_iter().chain(command.get_subcommands()).map(page_name).collect();
    write_page(command, folder, &see_also)?;
    command
        .get_subcommands()
        .try_for_each(|subcommand| write_pages(subcommand, Some(command), folder))
}

fn page_name(command: &Command) -> String {
    command.get_display_name().unwrap_or(command.get_name()).to_owned()
}

fn write_page(command: &Command, folder: &Path, see_also: &[String]) -> Result<()> {
    let name = page_name(command);
    let path = folder.join(format!("{name}.1"));
    let mut page = Vec::new();
    render(command, see_also, &mut page)
        .with_context(|| format!("cannot render the page of {name}"))?;
    File::create(&path)
        .and_then(|mut file| file.write_all(&page))
        .with_context(|| format!("cannot write {}", path.display()))
}

/// The sections in the order of man-pages(7). Examples and exit status stand in the help text, too,
/// and become sections here.
fn render(command: &Command, see_also: &[String], page: &mut Vec<u8>) -> Result<()> {
    let man = Man::new(command.clone())
        .title(page_name(command).to_uppercase())
        .manual("LightVM")
        .source(format!("LightVM {}", env!("CARGO_PKG_VERSION")));
    man.render_title(page)?;
    man.render_name_section(page)?;
    man.render_synopsis_section(page)?;
    man.render_description_section(page)?;
    man.render_options_section(page)?;
    if command.has_subcommands() {
        man.render_subcommands_section(page)?;
    }
    // The whole program's page; the others refer to it.
    if command.get_name() == "chaos" {
        exit_status(page)?;
        files(page)?;
    } else {
        writeln!(page, ".SH EXIT STATUS\nSee\n.BR chaos (1).")?;
    }
    let examples = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    writeln!(page, ".SH EXAMPLES\n.nf\n.RS 4")?;
    for line in examples.lines().filter(|line| line.starts_with(' ')) {
        writeln!(page, "{}", escape(line.trim_start()))?;
    }
    writeln!(page, ".RE\n.fi\n.SH SEE ALSO")?;
    let mut references: Vec<String> =
        see_also.iter().map(|name| format!(".BR {} (1)", escape(name))).collect();
    references.push(".BR xl (1)".to_owned());
    writeln!(page, "{}", references.join(",\n"))?;
    Ok(())
}

fn exit_status(page: &mut Vec<u8>) -> Result<()> {
    writeln!(page, ".SH EXIT STATUS")?;
    for (code, meaning) in chaos_cli::EXIT_CODES {
        writeln!(page, ".TP\n.B {}\n{}", escape(code), escape(meaning))?;
    }
    Ok(())
}

fn files(page: &mut Vec<u8>) -> Result<()> {
    writeln!(page, ".SH ENVIRONMENT\n.TP\n.BR CHAOS_LOG ,\\  RUST_LOG")?;
    writeln!(
        page,
        "What is logged to standard error unless \\-q or \\-v is given: off, error, warn, info, \
         debug, trace, or h2=debug."
    )?;
    writeln!(
        page,
        ".SH FILES\n.TP\n.I /run/lightvm\nWhat chaos records of the guests that it made."
    )?;
    Ok(())
}

/// Text that roff prints as it is.
fn escape(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-").replace('\'', "\\(aq");
    if text.starts_with('.') { format!("\\&{text}") } else { text }
}
