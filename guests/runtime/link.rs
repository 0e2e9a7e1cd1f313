// How a guest is linked, shared by the build scripts of the applications (`#[path]`).

/// Tells Cargo to link the package's binaries as one static image at its physical address, with
/// `stack` bytes of stack (whole pages) and the Xen notes of `guest-runtime`.
pub(crate) fn link(stack: usize, symbols: bool) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../runtime/guest.ld");
    println!("cargo:rerun-if-changed={script}");
    println!(
        "cargo:rerun-if-changed={}",
        concat!(env!("CARGO_MANIFEST_DIR"), "/../runtime/link.rs")
    );
    let defsym = format!("-Wl,--defsym=STACK_SIZE={stack}");
    let mut args = vec![
        "-nostartfiles",
        "-nostdlib",
        "-static",
        "-no-pie",
        "-T",
        script,
        &defsym,
        "-Wl,--build-id=none",
        "-Wl,--no-eh-frame-hdr",
        "-Wl,-z,norelro",
        // No page alignment in the file: it holds a few KiB, the loader copies them.
        "-Wl,--nmagic",
    ];
    if !symbols {
        args.push("-Wl,--strip-all");
    }
    for arg in args {
        println!("cargo:rustc-link-arg-bins={arg}");
    }
}
