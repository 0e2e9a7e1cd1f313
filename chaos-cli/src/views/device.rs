//! A guest's network interfaces and disks.

use h2::{DeviceClass, DeviceInfo};
use serde::Serialize;

use super::guest::printable;
use crate::table::{Align, layout};

/// A device as `chaos device list` shows it. The states are words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct DeviceRow {
    pub(crate) class: DeviceClass,
    pub(crate) id: u32,
    pub(crate) name: Option<String>,
    pub(crate) backend_domid: u16,
    pub(crate) frontend_state: Option<&'static str>,
    pub(crate) backend_state: Option<&'static str>,
    pub(crate) hotplug_status: Option<String>,
    pub(crate) mac: Option<String>,
    pub(crate) bridge: Option<String>,
    pub(crate) ip: Option<String>,
    pub(crate) target: Option<String>,
    pub(crate) access: Option<String>,
}

impl From<DeviceInfo> for DeviceRow {
    fn from(device: DeviceInfo) -> Self {
        Self {
            class: device.class,
            id: device.number,
            name: device.name,
            backend_domid: device.backend.get(),
            frontend_state: device.frontend_state.map(|state| state.as_str()),
            backend_state: device.backend_state.map(|state| state.as_str()),
            hotplug_status: device.hotplug_status,
            mac: device.mac,
            bridge: device.bridge,
            ip: device.ip,
            target: device.target,
            access: device.access,
        }
    }
}

impl DeviceRow {
    /// The line about a device that was attached.
    pub(crate) fn attached(&self, guest: &str) -> String {
        format!(
            "attached {} {} ({}) to {}\n",
            self.class,
            self.id,
            shown(self.name.as_deref()),
            printable(guest)
        )
    }

    /// The device in one line, behind its class and name.
    pub(super) fn line(&self) -> String {
        let states = format!(
            "guest {}, host {}",
            self.frontend_state.unwrap_or("-"),
            self.backend_state.unwrap_or("-")
        );
        format!("{}: {} ({states})", shown(self.name.as_deref()), self.details())
    }

    /// What is particular to its class.
    fn details(&self) -> String {
        let access = self
            .access
            .as_deref()
            .map(|access| if access == "w" { "read and write" } else { "read only" });
        let bridge = self.bridge.as_ref().map(|bridge| format!("on {bridge}"));
        let parts = [
            self.mac.as_deref(),
            self.ip.as_deref(),
            bridge.as_deref(),
            self.target.as_deref(),
            access,
        ];
        printable(&parts.into_iter().flatten().collect::<Vec<_>>().join(", "))
    }
}

/// The table of `chaos device list`.
pub(crate) fn devices_table(devices: &[DeviceRow]) -> String {
    let columns = [
        ("Class", Align::Left),
        ("ID", Align::Right),
        ("Name", Align::Left),
        ("Backend", Align::Right),
        ("Guest", Align::Left),
        ("Host", Align::Left),
        ("Hotplug", Align::Left),
        ("Details", Align::Left),
    ];
    let rows: Vec<Vec<String>> = devices
        .iter()
        .map(|device| {
            vec![
                device.class.to_string(),
                device.id.to_string(),
                shown(device.name.as_deref()),
                device.backend_domid.to_string(),
                shown(device.frontend_state),
                shown(device.backend_state),
                shown(device.hotplug_status.as_deref()),
                device.details(),
            ]
        })
        .collect();
    layout(&columns, &rows)
}

fn shown(text: Option<&str>) -> String {
    text.map_or_else(|| "-".to_owned(), printable)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::views) fn vif() -> DeviceRow {
        DeviceRow {
            class: DeviceClass::Vif,
            id: 0,
            name: Some("vif5.0".into()),
            backend_domid: 0,
            frontend_state: Some("connected"),
            backend_state: Some("connected"),
            hotplug_status: Some("connected".into()),
            mac: Some("00:16:3e:00:00:01".into()),
            bridge: Some("xenbr0".into()),
            ip: None,
            target: None,
            access: None,
        }
    }

    fn vbd() -> DeviceRow {
        DeviceRow {
            class: DeviceClass::Vbd,
            id: 51712,
            name: Some("xvda".into()),
            frontend_state: None,
            hotplug_status: None,
            mac: None,
            bridge: None,
            target: Some("/srv/a.img".into()),
            access: Some("r".into()),
            ..vif()
        }
    }

    #[test]
    fn schema() {
        assert_eq!(
            serde_json::to_string(&[vif(), vbd()]).unwrap(),
            "[{\"class\":\"vif\",\"id\":0,\"name\":\"vif5.0\",\"backend_domid\":0,\
             \"frontend_state\":\"connected\",\
             \"backend_state\":\"connected\",\"hotplug_status\":\"connected\",\
             \"mac\":\"00:16:3e:00:00:01\",\"bridge\":\"xenbr0\",\
             \"ip\":null,\"target\":null,\"access\":null},\
             {\"class\":\"vbd\",\"id\":51712,\"name\":\"xvda\",\"backend_domid\":0,\
             \"frontend_state\":null,\
             \"backend_state\":\"connected\",\"hotplug_status\":null,\"mac\":null,\"bridge\":null,\
             \"ip\":null,\"target\":\"/srv/a.img\",\"access\":\"r\"}]"
        );
    }

    #[test]
    fn text() {
        assert_eq!(
            devices_table(&[vif(), vbd()]),
            "Class     ID  Name    Backend  Guest      Host       Hotplug    Details\n\
             vif        0  vif5.0        0  connected  connected  connected  00:16:3e:00:00:01, \
             on xenbr0\n\
             vbd    51712  xvda          0  -          connected  -          /srv/a.img, read \
             only\n"
        );
        assert_eq!(vif().attached("web0"), "attached vif 0 (vif5.0) to web0\n");
        assert_eq!(vbd().line(), "xvda: /srv/a.img, read only (guest -, host connected)");
    }
}
