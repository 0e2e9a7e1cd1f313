//! A device's connection with its backend: the sequence that all devices have in common.

use super::DeviceError;
use super::link::{self, Link};
use super::nodes::{Nodes, Offer, Own, Told};
use crate::foreign::ForeignWindow;
use crate::plane::{DeviceId, Plane};
use crate::store::Claim;
use noxs::state::State;

/// What a kind of device adds to the sequence that all have in common.
pub(crate) trait Driver {
    /// What the frontend says after it has published where its rings are.
    const PUBLISHED: State;

    /// Tells the backend where the rings are.
    fn publish(&mut self, own: &mut Own<'_>) -> Result<(), DeviceError>;

    /// The backend works: takes what it told.
    fn connect(&mut self, told: &mut Told<'_>) -> Result<(), DeviceError>;
}

/// A device's connection.
#[derive(Debug)]
pub(crate) struct Frontend {
    id: DeviceId,
    nodes: Nodes,
    link: Link,
    /// The token of the watch for the backend, as long as there is one.
    claim: Option<Claim>,
    /// Our state that the backend could not be told.
    untold: Option<State>,
}

impl Frontend {
    /// Takes what is offered. `watch` is to follow when all else is there. `window` is the place of
    /// the control page.
    pub(crate) fn open(
        plane: &Plane,
        offer: Offer,
        window: ForeignWindow,
        id: DeviceId,
    ) -> Result<Frontend, DeviceError> {
        let nodes = Nodes::open(plane, offer, window)?;
        Ok(Frontend { id, nodes, link: Link::Offered, claim: None, untold: None })
    }

    /// Watches the backend. The watch ends when the device is `Gone`.
    pub(crate) fn watch(&mut self, plane: &mut Plane) -> Result<(), DeviceError> {
        let claim = plane.claim()?;
        self.nodes.watch(plane, claim.token())?;
        self.claim = Some(claim);
        Ok(())
    }

    pub(crate) fn id(&self) -> DeviceId {
        self.id
    }

    pub(crate) fn link(&self) -> Link {
        self.link
    }

    /// What the toolstack told of the device when it offered it. None if there is no such key, or
    /// its value is longer than `buffer`.
    pub(crate) fn offered<'b>(
        &self,
        plane: &mut Plane,
        key: &'static str,
        buffer: &'b mut [u8],
    ) -> Result<Option<&'b [u8]>, DeviceError> {
        self.nodes.offered(plane, key, buffer)
    }

    /// Goes on with the sequence if the backend's state changed since this was called last.
    pub(crate) fn advance<D: Driver>(
        &mut self,
        plane: &mut Plane,
        driver: &mut D,
    ) -> Result<(), DeviceError> {
        let Some(claim) = &self.claim else { return Ok(()) };
        if !self.nodes.take_fired(plane, claim.token()) {
            return Ok(());
        }
        if let Some(state) = self.untold.take() {
            self.tell(plane, state)?;
        }
        let backend = self.nodes.backend_state(plane)?;
        while let Some(link) = link::next(self.link, backend) {
            if let Err(error) = self.enter(link, plane, driver) {
                // What the plane cannot do at present is done when the watch fires again.
                if !error.is_temporary() {
                    self.close(plane);
                }
                return Err(error);
            }
        }
        Ok(())
    }

    /// Begins to end the connection. `advance` goes on with it.
    pub(crate) fn close(&mut self, plane: &mut Plane) {
        if self.link < Link::Closing {
            self.link = Link::Closing;
            // What cannot be told now is told by `advance`.
            let _ = self.tell(plane, State::Closing);
        }
    }

    /// Ends the watch of a device that is dropped before it is gone.
    pub(crate) fn abandon(&mut self, plane: &mut Plane) {
        self.link = Link::Gone;
        if let Some(claim) = self.claim.take() {
            self.nodes.unwatch(plane, claim.token());
        }
    }

    /// Tells the backend that the connection ends.
    fn tell(&mut self, plane: &mut Plane, state: State) -> Result<(), DeviceError> {
        match self.nodes.set_state(plane, state) {
            Err(error) if error.is_temporary() => {
                self.untold = Some(state);
                Err(error)
            }
            // If the toolstack has removed our nodes there is nobody to be told.
            _ => Ok(()),
        }
    }

    fn enter<D: Driver>(
        &mut self,
        link: Link,
        plane: &mut Plane,
        driver: &mut D,
    ) -> Result<(), DeviceError> {
        match link {
            Link::Offered => {}
            Link::Published => {
                self.nodes.publish(plane, D::PUBLISHED, |own| driver.publish(own))?
            }
            Link::Connected => {
                self.nodes.told(plane, |told| driver.connect(told))?;
                if D::PUBLISHED != State::Connected {
                    self.nodes.set_state(plane, State::Connected)?;
                }
            }
            Link::Closing => self.close(plane),
            Link::Closed => self.tell(plane, State::Closed)?,
            Link::Gone => self.abandon(plane),
        }
        self.link = link;
        Ok(())
    }
}

#[cfg(test)]
#[path = "frontend_tests.rs"]
mod tests;
