//! One-line answers.

use serde::Serialize;

use super::Share;

/// A guest that was asked to shut down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Ended {
    pub(crate) domid: u16,
    pub(crate) name: Option<String>,
    /// Why it ended; null when it was not waited for, "forced" when it did not react and was
    /// destroyed.
    pub(crate) reason: Option<String>,
    /// Whether the domain is gone, or will be by xl's doing.
    pub(crate) destroyed: bool,
}

impl Ended {
    pub(crate) fn text(&self) -> String {
        let guest = guest(self.name.as_deref(), self.domid);
        match (self.reason.as_deref(), self.destroyed) {
            (None, _) => format!("asked {guest} to shut down\n"),
            (Some("forced"), _) => format!("destroyed {guest}, which did not react\n"),
            (Some("poweroff"), true) => format!("shut down {guest}\n"),
            (Some("poweroff"), false) => format!("shut down {guest}; the domain is kept\n"),
            (Some(reason), true) => format!("{guest} ended: {reason}\n"),
            (Some(reason), false) => format!("{guest} ended: {reason}; the domain is kept\n"),
        }
    }
}

/// A guest that runs again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Rebooted {
    pub(crate) domid: u16,
    pub(crate) name: Option<String>,
    pub(crate) old_domid: u16,
}

impl Rebooted {
    pub(crate) fn text(&self) -> String {
        let name = self
            .name
            .as_deref()
            .map(super::guest::printable)
            .unwrap_or_else(|| format!("domain {}", self.old_domid));
        format!("rebooted {name}, domain {}\n", self.domid)
    }
}

/// A guest's share of the CPUs, as `chaos sched` answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Sched {
    pub(crate) domid: u16,
    pub(crate) name: Option<String>,
    #[serde(flatten)]
    pub(crate) share: Share,
}

impl Sched {
    pub(crate) fn text(&self) -> String {
        format!("{}: {}\n", guest(self.name.as_deref(), self.domid), self.share.text())
    }
}

fn guest(name: Option<&str>, domid: u16) -> String {
    match name {
        Some(name) => format!("{}, domain {domid}", super::guest::printable(name)),
        None => format!("domain {domid}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(reason: Option<&str>, destroyed: bool) -> Ended {
        Ended { domid: 5, name: Some("web0".into()), reason: reason.map(Into::into), destroyed }
    }

    #[test]
    fn schema() {
        assert_eq!(
            serde_json::to_string(&ended(Some("poweroff"), true)).unwrap(),
            "{\"domid\":5,\"name\":\"web0\",\"reason\":\"poweroff\",\"destroyed\":true}"
        );
        let rebooted = Rebooted { domid: 6, name: Some("web0".into()), old_domid: 5 };
        assert_eq!(
            serde_json::to_string(&rebooted).unwrap(),
            "{\"domid\":6,\"name\":\"web0\",\"old_domid\":5}"
        );
        let sched = Sched { domid: 5, name: None, share: Share { weight: 256, cap_percent: 0 } };
        assert_eq!(
            serde_json::to_string(&sched).unwrap(),
            "{\"domid\":5,\"name\":null,\"weight\":256,\"cap_percent\":0}"
        );
    }

    #[test]
    fn text() {
        assert_eq!(ended(None, false).text(), "asked web0, domain 5 to shut down\n");
        assert_eq!(ended(Some("poweroff"), true).text(), "shut down web0, domain 5\n");
        assert_eq!(
            ended(Some("crash"), false).text(),
            "web0, domain 5 ended: crash; the domain is kept\n"
        );
        assert_eq!(
            ended(Some("forced"), true).text(),
            "destroyed web0, domain 5, which did not react\n"
        );
        let sched = Sched { domid: 5, name: None, share: Share { weight: 256, cap_percent: 0 } };
        assert_eq!(sched.text(), "domain 5: weight 256, no cap\n");
    }
}
