//! `cargo xtask fuzz`: runs the fuzz targets of every crate for a while, with the stable compiler.
//!
//! It is what cargo-fuzz does, but for the address sanitizer, which needs a nightly compiler: the parsers have no unsafe code, so what there is to find
//! is a panic, an overflow, or an input that takes forever. What has been found stays in target/fuzz, and each run goes on from there.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::install::cargo;
use crate::run::Tool;
use crate::{deps, files};

/// The crates that have a folder fuzz/.
const CRATES: &[&str] = &["h2", "noxs", "xendevd"];

/// Coverage as libFuzzer wants it, and checks that release builds leave out.
const FLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
                     -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
                     -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 -Cdebug-assertions -Coverflow-checks";

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Only targets with this in their name, such as xendevd-frames or noxs
    #[arg(value_name = "TARGET", default_value = "")]
    filter: String,

    /// How long each target runs
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
}

/// Builds and runs them, one after the other; the first that finds something ends it.
pub(crate) fn run(options: &Options) -> Result<()> {
    deps::ensure(deps::BUILD)?;
    // libFuzzer itself is C++.
    deps::ensure(&["g++"])?;
    let root = files::workspace()?;
    let place = files::target()?.join("fuzz");
    let mut ran = 0;
    for krate in CRATES {
        for (name, program) in build(&root.join(krate).join("fuzz"), &place)? {
            let target = format!("{krate}-{name}");
            if target.contains(&options.filter) {
                println!("== {target}, for {} s", options.seconds);
                fuzz(&target, &program, &place, options.seconds)?;
                ran += 1;
            }
        }
    }
    if ran == 0 {
        bail!("no fuzz target has {:?} in its name", options.filter);
    }
    println!("{ran} fuzz targets ran and found nothing");
    Ok(())
}

/// The targets of a crate: names and programs.
fn build(folder: &Path, place: &Path) -> Result<Vec<(String, String)>> {
    let messages = cargo(folder)
        .args(["build", "--quiet", "--release", "--bins", "--message-format", "json-render-diagnostics"])
        // With a target named, build scripts are built without the flags.
        .args(["--target", "host-tuple"])
        .arg("--target-dir")
        .arg(place)
        .env("RUSTFLAGS", FLAGS)
        .output()?;
    let mut programs = Vec::new();
    for line in messages.lines() {
        let message: Value = serde_json::from_str(line).context("cargo printed something that is not JSON")?;
        if let (Some(name), Some(path)) = (message["target"]["name"].as_str(), message["executable"].as_str()) {
            programs.push((name.to_owned(), path.to_owned()));
        }
    }
    Ok(programs)
}

fn fuzz(target: &str, program: &str, place: &Path, seconds: u32) -> Result<()> {
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
        .with_context(|| format!("{target} has found something: the input is at {}*", found.display()))
}
