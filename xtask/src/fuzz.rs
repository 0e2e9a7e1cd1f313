//! `cargo xtask fuzz`: runs the fuzz targets of every crate for a while, with the stable compiler.
//!
//! It is what cargo-fuzz does, but for the address sanitizer, which needs a nightly compiler: the
//! parsers have no unsafe code, so what there is to find is a panic, an overflow, or an input that
//! takes forever. What has been found stays in target/fuzz, and each run goes on from there.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::install::{cargo, executables};
use crate::run::Tool;
use crate::{deps, files};

/// The crates that have a folder fuzz/.
const CRATES: &[&str] = &["h2", "noxs", "xendevd"];

/// Coverage as libFuzzer wants it, and checks that release builds leave out.
const FLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
                     -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
                     -Cllvm-args=-sanitizer-coverage-pc-table \
                     -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 \
                     -Cdebug-assertions -Coverflow-checks";

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Only the targets of this crate
    #[arg(value_name = "CRATE", value_parser = CRATES.to_vec())]
    only: Option<String>,

    /// How long each target runs
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
}

/// Builds and runs them, one after the other; the first that finds something ends it.
pub(crate) fn run(options: &Options) -> Result<()> {
    // libFuzzer itself is C++.
    deps::ensure(&[deps::BUILD, &["g++"]].concat())?;
    let root = files::workspace()?;
    let place = files::target()?.join("fuzz");
    let mut ran = 0;
    for krate in
        CRATES.iter().filter(|krate| options.only.as_deref().is_none_or(|only| only == **krate))
    {
        for (name, program) in executables(build(&root.join(krate).join("fuzz"), &place), "bin")? {
            println!("== {krate}-{name}, for {} s", options.seconds);
            fuzz(&format!("{krate}-{name}"), &program, &place, options.seconds)?;
            ran += 1;
        }
    }
    println!("{ran} fuzz targets ran and found nothing");
    Ok(())
}

/// The command that builds the targets of a crate.
fn build(folder: &Path, place: &Path) -> Tool {
    // With a target named, build scripts are built without the flags.
    cargo(folder)
        .args(["build", "--release", "--bins", "--target", "host-tuple", "--target-dir"])
        .arg(place)
        .env("RUSTFLAGS", FLAGS)
}

fn fuzz(target: &str, program: &Path, place: &Path, seconds: u32) -> Result<()> {
    let corpus = place.join("corpus").join(target);
    fs::create_dir_all(&corpus).with_context(|| format!("cannot make {}", corpus.display()))?;
    let found = place.join(format!("{target}-"));
    Tool::new(program)
        .arg(format!("-max_total_time={seconds}"))
        // An input that takes ten seconds is a finding, too.
        .args(["-timeout=10", "-print_final_stats=1", "-verbosity=0"])
        .arg(format!("-artifact_prefix={}", found.display()))
        .arg(&corpus)
        .run()
        .with_context(|| {
            format!("{target} has found something: the input is at {}*", found.display())
        })
}
