//! What the ends of a device are told: the keys that the backends' drivers read, and those of the
//! host alone, which never get into a page.

use crate::config::{Access, Vbd, Vif};
use crate::device::{DeviceConfig, NewDevice};
use crate::noxs_backend::Keys;
use crate::random_seed::RandomSeed;
use crate::store::nodes::GuestNodes;

/// The script of an interface without one. netback wants the key to be there; the agent takes this
/// for its own work.
const NO_SCRIPT: &str = "xendevd";

/// A guest's sysctl: its memory target in KiB, who it is, and its randomness.
pub(super) fn sysctl(guest: &GuestNodes<'_>, seed: &RandomSeed) -> Keys {
    let mut keys = Keys::new();
    keys.set(RandomSeed::NAME, seed.to_hex());
    keys.set("target", guest.memory.get().to_string());
    keys.set("domid", guest.domain.to_string()).set("name", guest.name);
    keys
}

/// The keys of the control page, and those of the host alone.
pub(super) fn of_device(device: &NewDevice) -> (Keys, Keys) {
    match &device.config {
        DeviceConfig::Vif(vif) => of_vif(vif, device.id.number),
        DeviceConfig::Vbd(vbd) => of_vbd(vbd),
    }
}

fn of_vif(vif: &Vif, number: u32) -> (Keys, Keys) {
    let mut page = Keys::new();
    page.set("handle", number.to_string());
    if let Some(mac) = vif.mac {
        page.set("mac", mac.to_string());
    }
    let mut private = Keys::new();
    let script = vif
        .script
        .as_deref()
        .map_or_else(|| NO_SCRIPT.to_owned(), |path| path.display().to_string());
    private.set("script", script).set("type", "vif");
    if let Some(bridge) = &vif.bridge {
        private.set("bridge", bridge.to_string());
    }
    if let Some(ip) = vif.ip {
        private.set("ip", ip.to_string());
    }
    if let Some(rate) = vif.rate {
        private.set("rate", format!("{},{}", rate.bytes_per_interval(), rate.interval_us()));
    }
    (page, private)
}

fn of_vbd(vbd: &Vbd) -> (Keys, Keys) {
    let mut page = Keys::new();
    page.set("mode", vbd.access.to_string()).set("device-type", "disk");
    let mut private = Keys::new();
    private.set("params", vbd.target.display().to_string()).set("type", vbd.disk_type.to_string());
    private.set("dev", vbd.vdev.to_string());
    private.set("discard-enable", if vbd.access == Access::Write { "1" } else { "0" });
    (page, private)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::device::DeviceId;
    use crate::id::DomId;

    fn lines(keys: &Keys) -> Vec<String> {
        keys.iter().map(|(key, value)| format!("{key}={value}")).collect()
    }

    fn keys(config: &str) -> Vec<(Vec<String>, Vec<String>)> {
        let text = format!(r#"{{"name": "web", "kernel": "/k", "memory": 16, {config}}}"#);
        let config = crate::GuestConfig::from_json(&text, "test").unwrap();
        let devices = NewDevice::all(DomId::new(7).unwrap(), &config);
        devices
            .iter()
            .map(of_device)
            .map(|(page, private)| (lines(&page), lines(&private)))
            .collect()
    }

    #[test]
    fn an_interface() {
        let found = keys(
            r#""vifs": [{"mac": "00:16:3e:00:00:01", "bridge": "xenbr0", "ip": "10.0.0.1",
                          "rate": "10Mb/s"},
                        {"mac": "00:16:3e:00:00:02", "script": "/etc/xen/scripts/vif-nat"}]"#,
        );
        assert_eq!(found[0].0, ["handle=0", "mac=00:16:3e:00:00:01"]);
        assert_eq!(
            found[0].1,
            ["bridge=xenbr0", "ip=10.0.0.1", "rate=62500,50000", "script=xendevd", "type=vif"]
        );
        assert_eq!(found[1].0, ["handle=1", "mac=00:16:3e:00:00:02"]);
        assert_eq!(found[1].1, ["script=/etc/xen/scripts/vif-nat", "type=vif"]);
    }

    #[test]
    fn a_disk() {
        let found = keys(
            r#""vbds": [{"target": "/dev/sdb", "type": "phy", "vdev": "xvda", "access": "r"},
                        {"target": "/disk.img", "type": "file", "vdev": "xvdb", "access": "w"}]"#,
        );
        assert_eq!(found[0].0, ["device-type=disk", "mode=r"]);
        assert_eq!(found[0].1, ["dev=xvda", "discard-enable=0", "params=/dev/sdb", "type=phy"]);
        assert_eq!(found[1].0, ["device-type=disk", "mode=w"]);
        assert_eq!(found[1].1, ["dev=xvdb", "discard-enable=1", "params=/disk.img", "type=file"]);
        assert_eq!(DeviceId::parse(crate::DeviceClass::Vbd, "xvdb").unwrap().number, 51728);
    }
}
