//! Whether this machine is a Xen control domain, told from files alone, so that each way in which
//! it is not gets its own message.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use crate::error::OpenError;

const PRIVCMD: &str = "/dev/xen/privcmd";
const CAPABILITIES: &str = "/proc/xen/capabilities";
const HYPERVISOR_TYPE: &str = "/sys/hypervisor/type";

/// Checks what the kernel says before any library is asked.
pub(crate) fn control_domain() -> Result<(), OpenError> {
    match OpenOptions::new().read(true).write(true).open(PRIVCMD) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            return Err(OpenError::Permission { path: PathBuf::from(PRIVCMD) });
        }
        Err(_) if under_xen() => return Err(OpenError::NotControlDomain),
        Err(_) => return Err(OpenError::NotXen),
    }
    // xenfs may not be mounted; then the hypervisor itself answers soon enough.
    match fs::read_to_string(CAPABILITIES) {
        Ok(text) if !text.contains("control_d") => Err(OpenError::NotControlDomain),
        _ => Ok(()),
    }
}

fn under_xen() -> bool {
    fs::read_to_string(HYPERVISOR_TYPE).is_ok_and(|text| text.trim() == "xen")
        || Path::new(CAPABILITIES).exists()
}
