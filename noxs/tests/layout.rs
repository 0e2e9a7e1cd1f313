//! The C headers and the Rust types have the same sizes, offsets and numbers, for 64-bit and 32-bit
//! programs.
//!
//! The compiler checks a list of assertions that is made here from the Rust side. Needs gcc. The
//! headers are those in include/, or those in the folder that NOXS_INCLUDE names: `cargo xtask
//! patches check` has it look at those of the patched sources.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fmt::Write as _;
use std::mem::{offset_of, size_of};
use std::path::{Path, PathBuf};
use std::process::Command;

use noxs::{control_page, device_page, hypercall, ioctl, keys, state::Side};

/// Assertions about one C structure: its size, and the offset of each field.
macro_rules! same {
    ($out:ident, $c:literal, $rust:ty { $($field:ident $(= $name:literal)?),* }) => {
        assert_c(&mut $out, concat!("sizeof(struct ", $c, ")"), size_of::<$rust>());
        $(
            let name = [$($name,)? stringify!($field)][0];
            let what = format!("offsetof(struct {}, {name})", $c);
            assert_c(&mut $out, &what, offset_of!($rust, $field));
        )*
    };
}

fn assert_c(out: &mut String, expression: &str, value: impl std::fmt::Display) {
    writeln!(out, "_Static_assert({expression} == {value}, \"{expression} is not {value}\");")
        .unwrap();
}

/// Compiles `body` behind the headers, for 64 and 32 bits, and gives what the compiler says.
fn compile(headers: &[&str], body: &str) -> Result<(), String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("layout.c");
    let includes: String =
        headers.iter().map(|header| format!("#include \"{header}\"\n")).collect();
    std::fs::write(&source, format!("#include <stddef.h>\n#include <stdint.h>\n{includes}{body}"))
        .unwrap();
    for bits in ["-m64", "-m32"] {
        let output = Command::new("gcc")
            .args([
                "-std=gnu11",
                "-Wall",
                "-Wextra",
                "-Werror",
                "-Wpadded",
                "-ffreestanding",
                "-fsyntax-only",
                bits,
            ])
            .args(["-isystem", "/usr/include/x86_64-linux-gnu"])
            .arg("-I")
            .arg(
                std::env::var_os("NOXS_INCLUDE")
                    .map_or_else(|| root.join("include"), PathBuf::from),
            )
            .arg("-I")
            .arg(root.join("tests/c"))
            .arg(&source)
            .output()
            .expect("gcc is installed");
        if !output.status.success() {
            return Err(format!("{bits}: {}", String::from_utf8_lossy(&output.stderr)));
        }
    }
    Ok(())
}

#[test]
fn xen_header() {
    let mut c = String::new();
    same!(c, "xen_noxs_slot", hypercall::RawSlot {
        class = "class_name", id, grant, port, backend, reserved0 = "reserved", slot, sequence
    });
    same!(c, "xen_noxs_op", hypercall::NoxsOp { op, abi, frame, virq, slots, flags, reserved });
    same!(
        c,
        "xen_domctl_noxs_op",
        hypercall::NoxsControl { op, abi, count, generation, device, buffer }
    );

    for (expression, value) in [
        ("sizeof(struct xen_noxs_device_page)", noxs::page::PAGE_SIZE),
        ("offsetof(struct xen_noxs_device_page, abi)", 8),
        ("offsetof(struct xen_noxs_device_page, header_size)", 12),
        ("offsetof(struct xen_noxs_device_page, slot_size)", 14),
        ("offsetof(struct xen_noxs_device_page, slots)", 16),
        ("offsetof(struct xen_noxs_device_page, generation)", 20),
        ("offsetof(struct xen_noxs_device_page, slot)", device_page::HEADER_SIZE),
        ("sizeof(struct xen_noxs_control_page)", noxs::page::PAGE_SIZE),
        ("offsetof(struct xen_noxs_control_page, abi)", 8),
        ("offsetof(struct xen_noxs_control_page, be_state)", 16),
        ("offsetof(struct xen_noxs_control_page, be_generation)", 20),
        ("offsetof(struct xen_noxs_control_page, fe_state)", 24),
        ("offsetof(struct xen_noxs_control_page, fe_generation)", 28),
        ("offsetof(struct xen_noxs_control_page, be_sequence)", control_page::HEADER_SIZE),
        (
            "offsetof(struct xen_noxs_control_page, be_keys)",
            control_page::HEADER_SIZE + control_page::REGION_HEADER,
        ),
        ("offsetof(struct xen_noxs_control_page, fe_sequence)", control_page::FRONTEND_REGION),
        ("offsetof(struct xen_noxs_control_page, fe_length)", control_page::FRONTEND_REGION + 4),
        ("offsetof(struct xen_noxs_control_page, fe_keys)", control_page::FRONTEND_REGION + 8),
        ("sizeof(struct xen_noxs_entry)", keys::ENTRY_HEADER),
        ("offsetof(struct xen_noxs_entry, value_len)", 2),
        ("XEN_NOXS_ABI", 1),
        ("XEN_NOXS_DEVICE_SLOTS", device_page::SLOTS),
        ("XEN_NOXS_CLASS_LEN", noxs::device::CLASS_SIZE),
        ("XEN_NOXS_BACKEND_KEYS", Side::Backend.capacity()),
        ("XEN_NOXS_FRONTEND_KEYS", Side::Frontend.capacity()),
        ("XEN_NOXS_ATTEMPTS", control_page::ATTEMPTS),
        ("XEN_NOXS_KEY_MAX", keys::KEY_MAX),
        ("XEN_NOXS_VALUE_MAX", keys::VALUE_MAX),
        ("sizeof(XEN_NOXS_DEVICE_MAGIC) - 1", device_page::MAGIC.len()),
        ("sizeof(XEN_NOXS_CONTROL_MAGIC) - 1", control_page::MAGIC.len()),
    ] {
        assert_c(&mut c, expression, value);
    }
    for (name, value) in [
        ("XEN_NOXS_query", hypercall::OP_QUERY),
        ("XEN_NOXS_map", hypercall::OP_MAP),
        ("XEN_NOXSF_has_page", hypercall::HAS_PAGE),
    ] {
        assert_c(&mut c, name, value);
    }
    compile(&["noxs.h", "domctl.h"], &c).unwrap();
    let header =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("include/noxs.h"))
            .unwrap();
    for magic in [device_page::MAGIC, control_page::MAGIC] {
        assert!(header.contains(&format!("\"{}\"", magic.escape_ascii())));
    }
}

#[test]
fn kernel_header() {
    let mut c = String::new();
    same!(c, "noxs_device", ioctl::DeviceName { class = "class_name", id, domain, reserved });
    same!(c, "noxs_version", ioctl::Version { ioctls, abi, reserved });
    same!(
        c,
        "noxs_create",
        ioctl::Create { device, keys, private_keys, keys_length, private_length, grant, port }
    );
    same!(c, "noxs_destroy", ioctl::Destroy { device, flags, timeout });
    same!(c, "noxs_set_keys", ioctl::SetKeys { device, keys, keys_length, flags });
    same!(
        c,
        "noxs_read",
        ioctl::Read {
            device,
            keys,
            keys_length,
            what,
            backend_state,
            frontend_state,
            backend_generation,
            frontend_generation,
            grant,
            port
        }
    );
    same!(c, "noxs_list", ioctl::List { buffer, count, domain });
    same!(c, "noxs_info", ioctl::Info { device, backend_state, frontend_state, grant, port });
    same!(c, "noxs_watch", ioctl::Watch { device, flags, reserved });
    same!(c, "noxs_event", ioctl::Event { device, backend_state, frontend_state, what, reserved });
    for (name, value) in [
        ("NOXS_IOC_VERSION", ioctl::VERSION),
        ("NOXS_IOC_CREATE", ioctl::CREATE),
        ("NOXS_IOC_DESTROY", ioctl::DESTROY),
        ("NOXS_IOC_SET_KEYS", ioctl::SET_KEYS),
        ("NOXS_IOC_READ", ioctl::READ),
        ("NOXS_IOC_LIST", ioctl::LIST),
        ("NOXS_IOC_WATCH", ioctl::WATCH),
        ("NOXS_IOCTL_VERSION", ioctl::IOCTL_VERSION),
        ("NOXS_DESTROY_FORCE", ioctl::DESTROY_FORCE),
        ("NOXS_DESTROY_TIMEOUT_MAX", ioctl::DESTROY_TIMEOUT_MAX),
        ("NOXS_KEYS_PRIVATE", ioctl::KEYS_PRIVATE),
        ("NOXS_KEYS_REMOVE", ioctl::KEYS_REMOVE),
        ("NOXS_READ_BACKEND", ioctl::READ_BACKEND),
        ("NOXS_READ_FRONTEND", ioctl::READ_FRONTEND),
        ("NOXS_READ_PRIVATE", ioctl::READ_PRIVATE),
        ("NOXS_ANY_DOMAIN", ioctl::ANY_DOMAIN),
        ("NOXS_WATCH_DOMAIN", ioctl::WATCH_DOMAIN),
        ("NOXS_WATCH_ALL", ioctl::WATCH_ALL),
        ("NOXS_WATCH_DOMAINS", ioctl::WATCH_DOMAINS),
        ("NOXS_EVENT_GONE", ioctl::EVENT_GONE),
        ("NOXS_EVENT_FRONTEND", ioctl::EVENT_FRONTEND),
        ("NOXS_EVENT_BACKEND", ioctl::EVENT_BACKEND),
        ("NOXS_EVENT_DOMAINS", ioctl::EVENT_DOMAINS),
    ] {
        assert_c(&mut c, name, format_args!("{value}U"));
    }
    compile(&["noxs_backend.h"], &c).unwrap();
}

/// The header that the Xen series adds is the one that was compared.
#[test]
fn the_series_has_this_header() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let header = std::fs::read_to_string(root.join("include/noxs.h")).unwrap();
    let series = root.join("../xen-patches/4.17");
    let names = std::fs::read_to_string(series.join("series")).unwrap();
    let patches = names.lines().map(|name| std::fs::read_to_string(series.join(name)).unwrap());
    let file = "+++ b/xen/include/public/io/noxs.h\n";
    let added: Vec<String> = patches
        .filter_map(|patch| Some(patch.split_once(file)?.1.to_owned()))
        .map(|rest| {
            let hunk = rest.lines().skip(1).take_while(|line| line.starts_with('+'));
            hunk.map(|line| format!("{}\n", &line[1..])).collect()
        })
        .collect();
    assert_eq!(added, [header]);
}

#[test]
fn a_wrong_offset_is_found() {
    let mut c = String::new();
    assert_c(&mut c, "offsetof(struct xen_noxs_slot, id)", 4);
    assert!(compile(&["noxs.h"], &c).unwrap_err().contains("is not 4"));
}
