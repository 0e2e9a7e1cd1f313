//! Interfaces come and go.

use std::path::PathBuf;

use super::Hotplug;
use crate::device::DeviceId;
use crate::nodes::{NodeError, VifNodes};
use crate::plane::{Nodes, PlaneError};
use crate::script::Action;
use crate::vif::{self, Plugged, VifError};
use crate::xenstore::chain;

/// An interface of a guest.
#[derive(Debug, Default)]
pub(super) struct Interface {
    pub(super) plugged: Option<Plugged>,
    pub(super) script: Option<PathBuf>,
    /// What a script is told that cannot read Xenstore.
    pub(super) variables: Vec<(&'static str, String)>,
    pub(super) connected: bool,
    /// Why it does not work.
    pub(super) failure: Option<String>,
}

impl Interface {
    /// A word for its state.
    pub(super) fn state(&self) -> &'static str {
        match (&self.failure, self.connected) {
            (Some(_), _) => "error",
            (None, true) => "connected",
            (None, false) => "script",
        }
    }
}

impl Hotplug {
    pub(super) fn interface_online(&mut self, device: DeviceId) {
        let read =
            |this: &mut Self| -> Result<Option<(Result<VifNodes, NodeError>, _)>, PlaneError> {
                let mut nodes = this.planes.nodes(device)?;
                if nodes.is_others()? || !nodes.is_there()? {
                    return Ok(None);
                }
                Ok(Some((VifNodes::read(device, |node| nodes.get(node))?, nodes.variables())))
            };
        let (nodes, variables) = match read(self) {
            Ok(Some((Ok(nodes), variables))) => (nodes, variables),
            Ok(Some((Err(error), _))) => return self.fail(device, &error.to_string()),
            Ok(None) => return,
            Err(error) => return self.abandon(device, &error),
        };
        let interface = Interface {
            script: nodes.script.clone(),
            variables: variables.clone(),
            ..Interface::default()
        };
        self.interfaces.insert(device, interface);
        if let Some(script) = &nodes.script {
            if let Err(error) = self.scripts.start(
                script,
                device,
                Action::Start,
                &variables,
                &self.config.scripts(),
            ) {
                self.fail(device, &format!("{device}: {}", chain(&error)));
            }
            return;
        }
        match vif::plug(&mut self.links, device, &nodes) {
            Ok(plugged) => self.plugged(device, plugged),
            // It went while this was under way; its uevent comes.
            Err(VifError::NoInterface { .. }) if !self.bus.has(device) => {}
            Err(error) => self.fail(device, &chain(&error)),
        }
    }

    fn plugged(&mut self, device: DeviceId, plugged: Plugged) {
        let nodes = [("hotplug-error", None), ("hotplug-status", Some("connected".to_owned()))];
        let told = match self.planes.answer(device, &nodes) {
            Ok(true) => self.planes.tell_mtu(device, plugged.mtu),
            // Gone meanwhile; its interface goes with it.
            Ok(false) => return,
            Err(error) => Err(error),
        };
        log::info!("{device}: {} is in {}", plugged.name, plugged.bridge);
        self.counters.interfaces += 1;
        let interface = self.interfaces.entry(device).or_default();
        (interface.plugged, interface.connected) = (Some(plugged), true);
        if let Err(error) = told {
            self.abandon(device, &error);
        }
    }

    pub(super) fn interface_failed(&mut self, device: DeviceId, text: &str) {
        self.interfaces.entry(device).or_default().failure = Some(text.to_owned());
    }

    /// Undoes what was done for an interface. The kernel undoes as much when the interface goes,
    /// which it mostly does at the same time.
    pub(super) fn interface_offline(&mut self, device: DeviceId) {
        let Some(interface) = self.interfaces.remove(&device) else { return };
        if let Some(script) = &interface.script {
            self.stop_script(device, script, &interface.variables);
        }
        if let Some(plugged) = &interface.plugged
            && let Err(error) = vif::unplug(&mut self.links, device, plugged)
        {
            log::debug!("{}", chain(&error));
        }
    }

    /// An interface that is on the bus, and of which nothing is known.
    pub(super) fn learn_interface(&mut self, device: DeviceId) {
        let mut read = || -> Result<(bool, Option<String>), PlaneError> {
            let mut nodes = self.planes.nodes(device)?;
            Ok((nodes.is_others()?, nodes.hotplug_status()?))
        };
        let status = match read() {
            Ok((false, status)) => status,
            Ok((true, _)) => return,
            Err(error) => return self.abandon(device, &error),
        };
        match status.as_deref() {
            // netback makes the interface a moment after the device, and tells of it then.
            None if !vif::exists(&mut self.links, device) => {}
            None => self.interface_online(device),
            Some("connected") => {
                let read = |mut nodes: Nodes<'_>| {
                    let variables = nodes.variables();
                    Ok((VifNodes::read(device, |node| nodes.get(node))?, variables))
                };
                let nodes = self.planes.nodes(device).and_then(read);
                let mut interface = Interface { connected: true, ..Interface::default() };
                if let Ok((Ok(nodes), variables)) = nodes {
                    interface.variables = variables;
                    // Where somebody has put it since then, it stays.
                    interface.plugged = vif::find(&mut self.links, device, &nodes);
                    interface.script = nodes.script;
                }
                self.interfaces.insert(device, interface);
            }
            Some(_) => {
                let said = self.planes.hotplug_error(device);
                self.interface_failed(device, &said);
            }
        }
    }
}
