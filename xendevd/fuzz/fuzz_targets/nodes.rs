//! Any values of a backend directory's nodes: no panic, and what is accepted is what may be opened.

#![no_main]

use std::convert::Infallible;

use libfuzzer_sys::fuzz_target;
use xendevd::device::DeviceId;
use xendevd::nodes::{VbdNodes, VifNodes, is_interface};

fuzz_target!(|input: (&str, Vec<Option<String>>)| {
    let (name, values) = input;
    let _ = DeviceId::from_path(name);
    let device =
        DeviceId::from_sysname(name).or(DeviceId::from_sysname("vbd-1-51712")).expect("a name");
    let reader = || {
        let mut values = values.iter().cloned().chain(std::iter::repeat(None));
        move |_: &str| Ok::<_, Infallible>(values.next().flatten())
    };
    if let Ok(Ok(nodes)) = VbdNodes::read(device, reader()) {
        assert!(nodes.script.is_some() || nodes.target.is_absolute());
    }
    if let Ok(Ok(nodes)) = VifNodes::read(device, reader()) {
        assert!(nodes.bridge.iter().chain(&nodes.name).all(|name| is_interface(name)));
    }
});
