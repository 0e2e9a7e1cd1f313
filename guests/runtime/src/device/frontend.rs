//! A device's connection with its backend: the sequence that all devices have in common.

use super::DeviceError;
use super::link::{self, Link};
use super::nodes::{Nodes, Offer, Own, Told};
use crate::foreign::ForeignWindow;
use crate::plane::{DeviceId, Plane};
use crate::store::Token;
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
    token: Token,
    nodes: Nodes,
    link: Link,
}

impl Frontend {
    /// Takes what is offered. `watch` is to follow when all else is there. `window` is the place of
    /// the control page.
    pub(crate) fn open(
        plane: &Plane,
        offer: Offer,
        window: ForeignWindow,
        id: DeviceId,
        token: Token,
    ) -> Result<Frontend, DeviceError> {
        Ok(Frontend { id, token, nodes: Nodes::open(plane, offer, window)?, link: Link::Offered })
    }

    /// Watches the backend. The watch ends when the device is `Gone`.
    pub(crate) fn watch(&mut self, plane: &mut Plane) -> Result<(), DeviceError> {
        self.nodes.watch(plane, self.token)
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
        if !plane.take_fired(self.token) {
            return Ok(());
        }
        let backend = self.nodes.backend_state(plane)?;
        while let Some(link) = link::next(self.link, backend) {
            let done = self.enter(link, plane, driver);
            if done.is_err() {
                self.close(plane);
                return done;
            }
        }
        Ok(())
    }

    /// Begins to end the connection. `advance` goes on with it.
    pub(crate) fn close(&mut self, plane: &mut Plane) {
        if self.link < Link::Closing {
            self.link = Link::Closing;
            // If the toolstack has removed our nodes there is nobody to be told.
            let _ = self.nodes.set_state(plane, State::Closing);
        }
    }

    /// Ends the watch of a device that is dropped before it is gone.
    pub(crate) fn abandon(&mut self, plane: &mut Plane) {
        self.link = Link::Gone;
        self.nodes.unwatch(plane, self.token);
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
            Link::Closed => _ = self.nodes.set_state(plane, State::Closed),
            Link::Gone => self.abandon(plane),
        }
        self.link = link;
        Ok(())
    }
}

#[cfg(test)]
#[path = "frontend_tests.rs"]
mod tests;
