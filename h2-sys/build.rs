//! Binds the installed Xen toolstack libraries: finds them with pkg-config, and runs bindgen over
//! their headers.

use std::env;
use std::path::PathBuf;
use std::process::exit;

/// pkg-config names of the libraries, all of them in Debian's package libxen-dev.
const LIBRARIES: &[&str] = &[
    "xencontrol",
    "xenguest",
    "xencall",
    "xenevtchn",
    "xenforeignmemory",
    "xengnttab",
    "xenstore",
    "xentoollog",
];

const FUNCTIONS: &[&str] = &[
    "xc_interface_(open|close)",
    "xc_clear_last_error",
    "xc_get_last_error",
    "xc_error_code_to_desc",
    "xc_version",
    "xc_physinfo",
    "xc_get_(max_cpus|cpumap_size)",
    "xc_domain_(create|destroy|pause|unpause|shutdown|max_vcpus|setmaxmem|sethandle|getinfolist)",
    "xc_domain_set_(tsc_info|memory_map|memmap_limit)",
    "xc_set_paging_mempool_size",
    "xc_vcpu_(setaffinity|getaffinity|getinfo)",
    "xc_cpuid_apply_policy",
    "xc_evtchn_alloc_unbound",
    "xc_hvm_param_(get|set)",
    "xc_sched_(id|credit_domain_(get|set)|credit2_domain_(get|set))",
    "xenforeignmemory_(open|close|map|unmap)",
    "xenevtchn_(open|close|fd|notify|bind_interdomain|pending|unmask)",
    "xc_interface_xcall_handle",
    "xencall_(alloc_buffer|free_buffer)",
    "xencall[12]",
    "xc_dom_(allocate|release|strdup|set_arch_hooks|kernel_mem|module_mem|boot_xen_init)",
    "xc_dom_(parse_image|mem_init|boot_mem_init|build_image|boot_image|gnttab_init)",
    "xc_dom_(translated|feature_get|guest_os)",
    "vsnprintf",
];

const TYPES: &[&str] = &[
    "xc_(interface|physinfo_t|domaininfo_t|dom_image|error|vcpuinfo_t|cpumap_t)",
    "xen_domctl_(createdomain|getdomaininfo|sched_.*|scheduler_op)",
    "xentoollog_.*",
    "e820entry",
    "xencons_interface",
    "xen_(capabilities_info|extraversion|changeset_info|commandline|compile_info)_t",
    "xen_compile_info",
];

const CONSTANTS: &[&str] = &[
    "XEN_DOMCTL_.*",
    "XEN_SYSCTL_.*",
    "XEN_DOMINF_.*",
    "XEN_X86_.*",
    "XENVER_.*",
    "XENFEAT_.*",
    "XEN_SCHEDULER_.*",
    "XEN_VCPUAFFINITY_.*",
    "XC_ERROR_.*",
    "XTL_.*",
    "SHUTDOWN_.*",
    "HVM_PARAM_.*",
    "E820_.*",
    "PROT_(READ|WRITE)",
    "__HYPERVISOR_(domctl|memory_op)",
];

fn main() {
    println!("cargo::rerun-if-changed=wrapper.h");
    let mut includes = Vec::new();
    for library in LIBRARIES {
        match pkg_config::Config::new().cargo_metadata(true).probe(library) {
            Ok(found) => {
                if *library == "xencontrol" {
                    println!("cargo::rustc-env=XENCTRL_VERSION={}", found.version);
                }
                includes.extend(found.include_paths);
            }
            Err(error) => {
                eprintln!("{error}");
                eprintln!(
                    "h2-sys needs the Xen library `{library}` and its headers: install Debian's \
                     package libxen-dev"
                );
                exit(1);
            }
        }
    }

    let mut builder = bindgen::builder()
        .header("wrapper.h")
        .clang_args(includes.iter().map(|path| format!("-I{}", path.display())))
        .default_macro_constant_type(bindgen::MacroTypeVariation::Unsigned)
        .default_enum_style(bindgen::EnumVariation::Consts)
        .prepend_enum_name(false)
        .derive_default(true)
        .derive_debug(true)
        .generate_comments(false)
        .layout_tests(true)
        .parse_callbacks(Box::new(bindgen::CargoCallbacks::new()));
    for item in FUNCTIONS {
        builder = builder.allowlist_function(item);
    }
    for item in TYPES {
        builder = builder.allowlist_type(item);
    }
    for item in CONSTANTS {
        builder = builder.allowlist_var(item);
    }
    let bindings = match builder.generate() {
        Ok(bindings) => bindings,
        Err(error) => {
            eprintln!("{error}");
            eprintln!(
                "bindgen could not read the Xen headers: are Debian's packages libxen-dev and \
                 libclang-dev installed?"
            );
            exit(1);
        }
    };
    let Some(out) = env::var_os("OUT_DIR") else {
        eprintln!("OUT_DIR is not set: build.rs is run by cargo");
        exit(1);
    };
    if let Err(error) = bindings.write_to_file(PathBuf::from(out).join("bindings.rs")) {
        eprintln!("cannot write the bindings: {error}");
        exit(1);
    }
}
