//! The nodes of devices, against those that libxl 4.17 wrote for the same devices (`xenstore-ls
//! -fp` after an `xl create`); `toolstack` is ours.

use super::*;
use crate::config::DiskType;
use crate::device::DeviceId;
use crate::seam::StoreChange;

const VIF: &str = r#"
/libxl/1/device/vif/0/backend = "/local/domain/0/backend/vif/1/0"
/libxl/1/device/vif/0/frontend = "/local/domain/1/device/vif/0"
/libxl/1/device/vif/0/frontend-id = "1"
/libxl/1/device/vif/0/online = "1"
/libxl/1/device/vif/0/script = "/etc/xen/scripts/vif-bridge"
/libxl/1/device/vif/0/mac = "00:16:3e:00:00:07"
/libxl/1/device/vif/0/ip = "10.77.0.9"
/libxl/1/device/vif/0/rate = "62500,50000"
/libxl/1/device/vif/0/bridge = "xenbr0"
/libxl/1/device/vif/0/handle = "0"
/libxl/1/device/vif/0/type = "vif"
/libxl/1/device/vif/0/hotplug-status = ""
/libxl/1/device/vif/0/state = "1"
/local/domain/1/device/vif/0 (n1,r0)
/local/domain/1/device/vif/0/backend = "/local/domain/0/backend/vif/1/0"
/local/domain/1/device/vif/0/backend-id = "0"
/local/domain/1/device/vif/0/handle = "0"
/local/domain/1/device/vif/0/mac = "00:16:3e:00:00:07"
/local/domain/1/device/vif/0/trusted = "1"
/local/domain/1/device/vif/0/mtu = "1500"
/local/domain/1/device/vif/0/mtu (n0,r1)
/local/domain/0/backend/vif/1/0 (n0,r1)
/local/domain/0/backend/vif/1/0/frontend = "/local/domain/1/device/vif/0"
/local/domain/0/backend/vif/1/0/toolstack = "chaos"
/local/domain/0/backend/vif/1/0/frontend-id = "1"
/local/domain/0/backend/vif/1/0/online = "1"
/local/domain/0/backend/vif/1/0/script = "/etc/xen/scripts/vif-bridge"
/local/domain/0/backend/vif/1/0/mac = "00:16:3e:00:00:07"
/local/domain/0/backend/vif/1/0/ip = "10.77.0.9"
/local/domain/0/backend/vif/1/0/rate = "62500,50000"
/local/domain/0/backend/vif/1/0/bridge = "xenbr0"
/local/domain/0/backend/vif/1/0/handle = "0"
/local/domain/0/backend/vif/1/0/type = "vif"
/local/domain/0/backend/vif/1/0/hotplug-status = ""
/local/domain/1/device/vif/0/state = "1"
/local/domain/0/backend/vif/1/0/state = "1"
"#;

const VBD: &str = r#"
/libxl/1/device/vbd/51712/backend = "/local/domain/0/backend/vbd/1/51712"
/libxl/1/device/vbd/51712/frontend = "/local/domain/1/device/vbd/51712"
/libxl/1/device/vbd/51712/frontend-id = "1"
/libxl/1/device/vbd/51712/online = "1"
/libxl/1/device/vbd/51712/params = "/tmp/disk.img"
/libxl/1/device/vbd/51712/script = "/etc/xen/scripts/block"
/libxl/1/device/vbd/51712/removable = "0"
/libxl/1/device/vbd/51712/bootable = "1"
/libxl/1/device/vbd/51712/dev = "xvda"
/libxl/1/device/vbd/51712/type = "phy"
/libxl/1/device/vbd/51712/mode = "w"
/libxl/1/device/vbd/51712/device-type = "disk"
/libxl/1/device/vbd/51712/discard-enable = "1"
/libxl/1/device/vbd/51712/specification = "xen"
/libxl/1/device/vbd/51712/state = "1"
/local/domain/1/device/vbd/51712 (n1,r0)
/local/domain/1/device/vbd/51712/backend = "/local/domain/0/backend/vbd/1/51712"
/local/domain/1/device/vbd/51712/backend-id = "0"
/local/domain/1/device/vbd/51712/virtual-device = "51712"
/local/domain/1/device/vbd/51712/device-type = "disk"
/local/domain/1/device/vbd/51712/trusted = "1"
/local/domain/1/device/vbd/51712/protocol = "x86_64-abi"
/local/domain/0/backend/vbd/1/51712 (n0,r1)
/local/domain/0/backend/vbd/1/51712/frontend = "/local/domain/1/device/vbd/51712"
/local/domain/0/backend/vbd/1/51712/toolstack = "chaos"
/local/domain/0/backend/vbd/1/51712/frontend-id = "1"
/local/domain/0/backend/vbd/1/51712/online = "1"
/local/domain/0/backend/vbd/1/51712/params = "/tmp/disk.img"
/local/domain/0/backend/vbd/1/51712/script = "/etc/xen/scripts/block"
/local/domain/0/backend/vbd/1/51712/removable = "0"
/local/domain/0/backend/vbd/1/51712/bootable = "1"
/local/domain/0/backend/vbd/1/51712/dev = "xvda"
/local/domain/0/backend/vbd/1/51712/type = "phy"
/local/domain/0/backend/vbd/1/51712/mode = "w"
/local/domain/0/backend/vbd/1/51712/device-type = "disk"
/local/domain/0/backend/vbd/1/51712/discard-enable = "1"
/local/domain/0/backend/vbd/1/51712/specification = "xen"
/local/domain/1/device/vbd/51712/state = "1"
/local/domain/0/backend/vbd/1/51712/state = "1"
"#;

fn written(id: DeviceId, config: DeviceConfig, kind: DomainKind) -> Vec<String> {
    let mut batch = Batch::new();
    add(&mut batch, kind, &NewDevice::new(DomId::new(1).unwrap(), id, config));
    let line = |change: &StoreChange| match change {
        StoreChange::Write { path, value } => Some(format!("{path} = \"{value}\"")),
        StoreChange::SetPermissions { path, permissions } => {
            let letters: Vec<String> = permissions
                .iter()
                .map(|entry| format!("{}{}", if entry.read { 'r' } else { 'n' }, entry.domain))
                .collect();
            Some(format!("{path} ({})", letters.join(",")))
        }
        // Always with permissions behind it.
        StoreChange::Mkdir { .. } => None,
        StoreChange::Remove { path } => Some(format!("{path} removed")),
    };
    batch.changes().iter().filter_map(line).collect()
}

fn vif() -> Vif {
    Vif {
        mac: Some("00:16:3e:00:00:07".parse().unwrap()),
        bridge: Some("xenbr0".parse().unwrap()),
        ip: Some("10.77.0.9".parse().unwrap()),
        rate: Some("10Mb/s".parse().unwrap()),
        ..Vif::default()
    }
}

fn vbd() -> Vbd {
    Vbd::new("/tmp/disk.img", DiskType::File, "xvda".parse().unwrap(), Access::Write)
}

#[test]
fn an_interface() {
    let lines = written(DeviceId::vif(0), DeviceConfig::Vif(vif()), DomainKind::Pv);
    assert_eq!(lines, VIF.trim().lines().collect::<Vec<_>>());
}

#[test]
fn a_disk() {
    let disk = vbd();
    let lines = written(DeviceId::vbd(&disk.vdev), DeviceConfig::Vbd(disk), DomainKind::Pv);
    assert_eq!(lines, VBD.trim().lines().collect::<Vec<_>>());
}

#[test]
fn what_depends_on_the_configuration() {
    let vif = Vif {
        script: Some("/srv/vif-own".into()),
        bridge: None,
        backend: DomId::new(7).unwrap(),
        ..vif()
    };
    let lines = written(DeviceId::vif(3), DeviceConfig::Vif(vif), DomainKind::Pvh);
    assert!(
        lines.contains(&"/local/domain/7/backend/vif/1/3/script = \"/srv/vif-own\"".to_owned()),
        "{lines:#?}"
    );
    assert!(lines.contains(&"/local/domain/1/device/vif/3 (n1,r7)".to_owned()), "{lines:#?}");
    assert!(!lines.iter().any(|line| line.contains("bridge =")), "{lines:#?}");

    let disk = Vbd { access: Access::Read, ..vbd() };
    let lines = written(DeviceId::vbd(&disk.vdev), DeviceConfig::Vbd(disk), DomainKind::Pvh);
    assert!(!lines.iter().any(|line| line.contains("protocol")), "{lines:#?}");
    for node in ["mode = \"r\"", "discard-enable = \"0\""] {
        assert!(
            lines.contains(&format!("/local/domain/0/backend/vbd/1/51712/{node}")),
            "{lines:#?}"
        );
    }
}
