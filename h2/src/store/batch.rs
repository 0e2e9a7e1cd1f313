//! Changes that are sent together.

use std::io;

use crate::error::StoreError;
use crate::seam::{NodePermission, StoreChange};

/// Changes to Xenstore in their order, for [`Store::apply`](super::Store::apply).
#[derive(Debug, Default)]
pub struct Batch {
    changes: Vec<StoreChange>,
}

impl Batch {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a node's value, makes it and its parents where missing.
    pub fn write(&mut self, path: impl Into<String>, value: impl Into<String>) -> &mut Self {
        self.add(StoreChange::Write { path: path.into(), value: value.into() })
    }

    /// Makes an empty node unless it is there.
    pub fn mkdir(&mut self, path: impl Into<String>) -> &mut Self {
        self.add(StoreChange::Mkdir { path: path.into() })
    }

    /// Removes a node and all below it; one that is not there is no failure.
    pub fn remove(&mut self, path: impl Into<String>) -> &mut Self {
        self.add(StoreChange::Remove { path: path.into() })
    }

    /// Replaces a node's permissions; the first entry names the owner.
    pub fn set_permissions(
        &mut self,
        path: impl Into<String>,
        permissions: &[NodePermission],
    ) -> &mut Self {
        self.add(StoreChange::SetPermissions {
            path: path.into(),
            permissions: permissions.to_vec(),
        })
    }

    fn add(&mut self, change: StoreChange) -> &mut Self {
        self.changes.push(change);
        self
    }

    pub(crate) fn changes(&self) -> &[StoreChange] {
        &self.changes
    }

    /// The failure of the change at `index`.
    pub(super) fn error(&self, index: usize, source: io::Error) -> StoreError {
        let (operation, path) = match self.changes.get(index) {
            Some(StoreChange::Write { path, .. }) => ("write", path.as_str()),
            Some(StoreChange::Mkdir { path }) => ("make", path.as_str()),
            Some(StoreChange::Remove { path }) => ("remove", path.as_str()),
            Some(StoreChange::SetPermissions { path, .. }) => {
                ("set the permissions of", path.as_str())
            }
            None => ("change", "(none)"),
        };
        StoreError { operation, path: path.to_owned(), source }
    }
}
