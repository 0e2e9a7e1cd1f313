use std::collections::HashMap;
use std::convert::Infallible;

use proptest::prelude::*;

use super::*;

fn device(name: &str) -> DeviceId {
    DeviceId::from_sysname(name).unwrap()
}

fn vbd(nodes: &[(&str, &str)]) -> Result<VbdNodes, NodeError> {
    let nodes: HashMap<_, _> = nodes.iter().copied().collect();
    let get = |node: &str| Ok::<_, Infallible>(nodes.get(node).map(|value| (*value).to_owned()));
    VbdNodes::read(device("vbd-5-51712"), get).unwrap()
}

fn vif(nodes: &[(&str, &str)]) -> Result<VifNodes, NodeError> {
    let nodes: HashMap<_, _> = nodes.iter().copied().collect();
    let get = |node: &str| Ok::<_, Infallible>(nodes.get(node).map(|value| (*value).to_owned()));
    VifNodes::read(device("vif-5-0"), get).unwrap()
}

#[test]
fn a_disk_as_libxl_writes_it() {
    let nodes = vbd(&[
        ("params", "/srv/web.img"),
        ("script", "/etc/xen/scripts/block"),
        ("mode", "w"),
        ("physical-device", "fe:10"),
        ("node", "/dev/loop12"),
    ]);
    let nodes = nodes.unwrap();
    assert_eq!(nodes.target, Path::new("/srv/web.img"));
    assert_eq!((nodes.mode, nodes.script, nodes.loop_device), (Mode::Write, None, Some(12)));
    assert_eq!(nodes.physical, Some(DeviceNumbers { major: 254, minor: 16 }));
}

#[test]
fn what_is_wrong_with_a_disk_is_named() {
    let error = |nodes: &[(&str, &str)]| vbd(nodes).unwrap_err().to_string();
    assert_eq!(
        error(&[("mode", "w")]),
        "vbd 51712 of domain 5: its node params names no file and no block device"
    );
    assert_eq!(
        error(&[("params", "web.img"), ("mode", "w")]),
        "vbd 51712 of domain 5: its node params is no absolute path: \"web.img\""
    );
    assert_eq!(
        error(&[("params", "/a"), ("mode", "x\n")]),
        "vbd 51712 of domain 5: its node mode is neither r nor w nor w!: \"x\\n\""
    );
    assert!(
        error(&[("params", "/a"), ("mode", "r"), ("script", "../../tmp/x")])
            .contains("no plain path")
    );
}

#[test]
fn an_interface_as_libxl_writes_it() {
    let nodes =
        vif(&[("bridge", "xenbr0"), ("script", "/etc/xen/scripts/vif-bridge"), ("mtu", "9000")])
            .unwrap();
    assert_eq!(
        (nodes.bridge.as_deref(), nodes.mtu, nodes.script),
        (Some("xenbr0"), Some(9000), None)
    );
    assert_eq!(
        vif(&[("mtu", "0")]).unwrap(),
        VifNodes { bridge: None, mtu: None, name: None, script: None }
    );
}

#[test]
fn other_scripts_are_kept() {
    let script = |text| vif(&[("script", text)]).unwrap().script;
    assert_eq!(script("vif-route"), Some(PathBuf::from("/etc/xen/scripts/vif-route")));
    assert_eq!(script("/usr/local/etc/xen/scripts/vif-bridge"), None);
    assert_eq!(script("/tmp/vif-bridge"), Some(PathBuf::from("/tmp/vif-bridge")));
    assert_eq!(
        (script("xendevd"), script("/tmp/xendevd")),
        (None, Some(PathBuf::from("/tmp/xendevd")))
    );
}

#[test]
fn names_of_interfaces() {
    for name in ["", ".", "..", "a/b", "a b", "0123456789abcdef", "a:1", "vif%d"] {
        assert!(!is_interface(name), "{name}");
    }
    assert!(is_interface("xenbr0") && is_interface("vif5.0"));
    assert!(
        vif(&[("bridge", "../eth0")])
            .unwrap_err()
            .to_string()
            .contains("its node bridge is no name")
    );
}

proptest! {
    #[test]
    fn any_nodes_are_read_without_a_panic(values in proptest::collection::vec(".{0,200}", 5)) {
        let names = VBD_NODES.iter().chain(&VIF_NODES);
        let cycled = values.iter().cycle().map(String::as_str);
        let nodes: Vec<(&str, &str)> = names.copied().zip(cycled).collect();
        if let Ok(nodes) = vbd(&nodes) {
            prop_assert!(nodes.script.is_some() || nodes.target.is_absolute());
            prop_assert!(nodes.script.is_none_or(|path| path.is_absolute()));
        }
        if let Ok(nodes) = vif(&nodes) {
            prop_assert!(nodes.bridge.is_none_or(|name| is_interface(&name)));
        }
        for value in &values {
            prop_assert!(!shown(value).contains('\n'));
            let _ = (loop_number(value), DeviceNumbers::parse(value));
        }
    }

    #[test]
    fn device_numbers_are_read_back(major: u32, minor: u32) {
        let numbers = DeviceNumbers { major, minor };
        prop_assert_eq!(DeviceNumbers::parse(&numbers.to_string()), Some(numbers));
    }
}
