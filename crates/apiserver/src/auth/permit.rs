//! Proof of authorization.

use super::{Attributes, User};

/// A passed authorization. Only `auth` can make one; every registry call takes one.
#[derive(Debug, Clone)]
pub struct Permit {
    user: User,
    attributes: Option<Attributes>,
}

impl Permit {
    /// Made by the authorizer when a check has passed.
    pub(super) fn granted(user: User, attributes: Attributes) -> Self {
        Self { user, attributes: Some(attributes) }
    }

    /// The server's own right to its own objects, for its internal loop. Made once, where the
    /// server is wired.
    pub fn internal(name: &str) -> Self {
        let user =
            User { name: name.into(), groups: vec!["system:masters".into()], ..User::default() };
        Self { user, attributes: None }
    }

    pub fn user(&self) -> &User {
        &self.user
    }

    /// What was asked; `None` for the internal permit.
    pub fn attributes(&self) -> Option<&Attributes> {
        self.attributes.as_ref()
    }
}
