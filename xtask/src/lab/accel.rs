//! What executes the host's instructions: QEMU's software emulation, or this machine's own
//! processor.

use std::fs::File;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::options::Options;

const DEVICE: &str = "/dev/kvm";

/// Under TCG: without SMAP, since a PV dom0 dies of it in QEMU 7.2; without RDTSCP, which breaks
/// PVH guests there; without XSAVE, and so without AVX, since registers are known to leak between
/// domains in its emulation; the others are merely dear.
const EMULATED: &str = "max,-smap,-pku,-la57,-rdtscp,-xsave";

/// The choice of a user.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Accel {
    /// Software emulation: works everywhere, and is what the tests are made for
    #[default]
    Tcg,
    /// This machine's processor, with virtualization that can be nested
    Kvm,
    /// KVM where it can be used, else software emulation
    Auto,
}

/// QEMU's arguments for the processor of a host.
pub(crate) fn arguments(options: &Options) -> Result<String> {
    let kvm = chosen(options.accel, options.icount, Path::new(DEVICE))?;
    Ok(match (kvm, options.icount) {
        (true, _) => "-accel kvm -cpu host".to_owned(),
        (false, true) => format!(
            "-accel tcg,thread=single -icount shift=0,sleep=off -rtc clock=vm -cpu {EMULATED}"
        ),
        (false, false) => format!("-accel tcg,thread=multi -cpu {EMULATED}"),
    })
}

/// True for KVM.
fn chosen(accel: Accel, icount: bool, device: &Path) -> Result<bool> {
    match accel {
        Accel::Tcg => Ok(false),
        Accel::Auto => Ok(!icount && usable(device).is_ok()),
        Accel::Kvm => {
            ensure!(!icount, "--icount counts emulated instructions: not with --accel kvm");
            usable(device).context("--accel kvm: this machine has no KVM that we may use")?;
            Ok(true)
        }
    }
}

fn usable(device: &Path) -> Result<()> {
    File::options()
        .read(true)
        .write(true)
        .open(device)
        .map(drop)
        .with_context(|| format!("cannot open {}", device.display()))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Accel, chosen};

    #[test]
    fn kvm_is_used_where_it_is_and_its_absence_is_named() {
        let (there, missing) = (Path::new("/dev/null"), Path::new("/nonexistent/kvm"));
        assert!(!chosen(Accel::Tcg, false, there).unwrap());
        assert!(chosen(Accel::Kvm, false, there).unwrap());
        assert!(chosen(Accel::Auto, false, there).unwrap());
        assert!(!chosen(Accel::Auto, false, missing).unwrap());
        let error = format!("{:#}", chosen(Accel::Kvm, false, missing).unwrap_err());
        assert!(error.contains("/nonexistent/kvm: No such file"), "{error}");
    }

    #[test]
    fn instructions_are_counted_under_emulation_alone() {
        let there = Path::new("/dev/null");
        assert!(chosen(Accel::Kvm, true, there).unwrap_err().to_string().contains("--icount"));
        assert!(!chosen(Accel::Auto, true, there).unwrap());
    }
}
