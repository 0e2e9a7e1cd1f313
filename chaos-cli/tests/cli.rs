//! The built binary on a machine that is not a Xen host: everything that it must say and do before
//! Xen is asked, and what it says when there is no Xen. (What it does on Xen is tested in the lab.)

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

#[path = "../examples/gen-docs.rs"]
#[allow(dead_code)] // its main
mod gen_docs;

struct Answer {
    code: i32,
    stdout: String,
    stderr: String,
}

fn chaos(arguments: &[&str]) -> Answer {
    answer(command(arguments).output().unwrap())
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_chaos"));
    command.args(arguments).env_remove("RUST_LOG").env_remove("CHAOS_LOG").stdin(Stdio::null());
    command
}

fn answer(output: Output) -> Answer {
    let code = output.status.code().unwrap();
    Answer {
        code,
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A failure is one line on standard error and nothing on standard output.
#[track_caller]
fn refused(arguments: &[&str], code: i32, parts: &[&str]) {
    let answer = chaos(arguments);
    assert_eq!(
        (answer.code, answer.stdout.as_str()),
        (code, ""),
        "{arguments:?}: {}",
        answer.stderr
    );
    assert!(
        answer.stderr.starts_with("chaos: ") && answer.stderr.lines().count() == 1,
        "{}",
        answer.stderr
    );
    for part in parts {
        assert!(answer.stderr.contains(part), "{part:?} is not in {:?}", answer.stderr);
    }
}

fn has_xen() -> bool {
    Path::new("/dev/xen/privcmd").exists()
}

fn write(folder: &TempDir, name: &str, text: &str) -> PathBuf {
    let path = folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    path
}

#[test]
fn help_of_every_command() {
    let top = chaos(&["--help"]);
    assert_eq!((top.code, top.stderr.as_str()), (0, ""));
    for part in ["Exit status:", "128+N", "CHAOS_LOG", "vcpu-pin", "chaos create web0.json"] {
        assert!(top.stdout.contains(part), "{part}");
    }
    for name in chaos_cli::command().get_subcommands().map(|command| command.get_name().to_owned())
    {
        let help = chaos(&[&name, "--help"]);
        assert_eq!((help.code, help.stderr.as_str()), (0, ""), "{name}");
        assert!(
            help.stdout.contains("Usage: chaos") && help.stdout.contains("Example"),
            "{name}: {}",
            help.stdout
        );
        assert!(help.stdout.contains("--format <FORMAT>"), "{name}");
    }
}

#[test]
fn version() {
    let version = chaos(&["--version"]);
    assert_eq!(
        (version.code, version.stdout),
        (0, format!("chaos {}\n", env!("CARGO_PKG_VERSION")))
    );
}

#[test]
fn wrong_lines_end_with_2() {
    for line in [
        &["frobnicate"][..],
        &["create"],
        &["list", "--format", "xml"],
        &["vcpu-pin", "web0", "0", "x"],
        &[],
    ] {
        let answer = chaos(line);
        assert_eq!((answer.code, answer.stdout.as_str()), (2, ""), "{line:?}");
        assert!(!answer.stderr.is_empty(), "{line:?}");
    }
}

#[test]
fn configuration_is_checked_before_xen() {
    let folder = TempDir::new().unwrap();
    let config = write(
        &folder,
        "web.json",
        "{\n  \"name\": \"web0\",\n  \"kernle\": \"/k\",\n  \"memory\": 16,\n  \"vcpus\": 1\n}\n",
    );
    let place = format!("{}:3: ", config.display());
    refused(&["create", config.to_str().unwrap()], 2, &[&place, "`kernle`", "kernel"]);
    refused(&["create", "--dry-run", config.to_str().unwrap()], 2, &[&place]);
}

#[test]
fn missing_configuration() {
    refused(
        &["create", "/nonexistent/web.json"],
        2,
        &["/nonexistent/web.json", "No such file or directory"],
    );
}

#[test]
fn images_are_checked_before_xen() {
    let folder = TempDir::new().unwrap();
    let config = write(
        &folder,
        "web.json",
        "{\"name\": \"web0\", \"kernel\": \"none\", \"memory\": 16, \"vcpus\": 1}",
    );
    let kernel = folder.path().join("none");
    refused(&["create", config.to_str().unwrap()], 2, &[kernel.to_str().unwrap()]);
    write(&folder, "none", "this is no kernel");
    refused(&["create", config.to_str().unwrap()], 2, &[kernel.to_str().unwrap()]);
}

#[test]
fn what_cannot_be_copied() {
    let folder = TempDir::new().unwrap();
    let text = "{\"name\": \"web\", \"kernel\": \"/k\", \"memory\": 16, \"vcpus\": 1, \"uuid\": \
                \"6f9c1d1e-30a0-4e5c-8d0e-000000000001\"}";
    let config = write(&folder, "web.json", text);
    refused(&["create", "-n", "2", config.to_str().unwrap()], 2, &["`uuid`"]);
    refused(&["create", "-n", "2", "-c", config.to_str().unwrap()], 2, &["-c", "-n"]);
}

#[test]
fn without_xen() {
    // There they would act on real guests.
    assert!(!has_xen(), "this is a Xen host, where `--skip without_xen` is needed");
    for arguments in [
        &["list"][..],
        &["info"],
        &["destroy", "web0"],
        &["list", "--format", "json"],
        &["console", "web0"],
        &["pause", "1", "2"],
    ] {
        refused(arguments, 7, &["not running under Xen"]);
    }
}

#[test]
fn standard_output_that_cannot_be_written() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = command(&["--version"]).stdout(full).output().unwrap();
    // Help and version are clap's to print; what matters is that nothing panics.
    assert!(!String::from_utf8_lossy(&output.stderr).contains("panicked"));
}

#[test]
fn documentation_is_generated() {
    let folder = TempDir::new().unwrap();
    gen_docs::generate(folder.path()).unwrap();
    for file in [
        "man1/chaos.1",
        "man1/chaos-create.1",
        "man1/chaos-vcpu-pin.1",
        "completions/chaos.bash",
        "completions/_chaos",
        "completions/chaos.fish",
    ] {
        assert!(folder.path().join(file).is_file(), "{file}");
    }
    let page = std::fs::read_to_string(folder.path().join("man1/chaos.1")).unwrap();
    for part in
        [".SH EXIT STATUS", ".B 128+N", ".SH EXAMPLES", ".SH SEE ALSO", ".BR chaos\\-create (1)"]
    {
        assert!(page.contains(part), "{part}");
    }
}
