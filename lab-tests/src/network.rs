//! Guests on the network, seen from dom0.

use std::fs;

use crate::{console, run, wait};

/// The bridge that all guests are on.
pub const BRIDGE: &str = "xenbr0";

/// The address of dom0 on it.
pub const DOM0: &str = "10.77.0.1";

/// A network that dom0 has on the bridge beside its own, for more guests than that has addresses;
/// gone when dropped.
#[derive(Debug)]
pub struct Subnet(());

impl Subnet {
    const DOM0: &str = "10.78.0.1/16";

    /// Dom0 learns the guests' addresses from what they announce: to ask, it would have to wake all
    /// of them.
    const ANNOUNCED: &str = "/proc/sys/net/ipv4/conf/xenbr0/arp_accept";

    /// Gives dom0 its address there.
    #[track_caller]
    pub fn join() -> Self {
        fs::write(Self::ANNOUNCED, "1").unwrap();
        run(&["ip", "address", "add", Self::DOM0, "dev", BRIDGE]).ok();
        Self(())
    }

    /// The address of guest number `number`.
    pub fn address(&self, number: usize) -> String {
        format!("10.78.{}.{}", 1 + number / 250, 1 + number % 250)
    }
}

impl Drop for Subnet {
    fn drop(&mut self) {
        let _ = fs::write(Self::ANNOUNCED, "0");
        let _ = std::process::Command::new("ip")
            .args(["address", "del", Self::DOM0, "dev", BRIDGE])
            .status();
    }
}

/// Waits until a guest answers.
#[track_caller]
pub fn ping(address: &str) {
    // One every fifth of a second until one is answered.
    wait::until(&format!("{address} does not answer"), || {
        run(&["ping", "-c", "1", "-i", "0.2", "-w", "20", address]).status.success()
    });
}

/// Waits until daytime has said that its interface is up.
#[track_caller]
pub fn up(name: &str, vif: u32, address: &str) {
    console::wait_for(name, &format!("vif {vif} "));
    let line = console::wait_for(name, address);
    assert!(line.contains(&format!("vif {vif} ")), "{line}");
}
