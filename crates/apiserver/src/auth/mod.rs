//! Who asks, and may they: users, attributes and the [`Permit`] that a passed check leaves behind.
//!
//! [`Authenticator`] turns peer certificates and headers into a [`User`]; [`Authorizer`] turns a
//! user and [`Attributes`] into a [`Permit`]. What only the host cluster knows comes through the
//! ports [`TokenReviewer`] and [`AccessReviewer`]; what it publishes as CAs through [`Trust`].

mod authenticator;
mod authorizer;
mod bearer;
mod front_proxy;
mod permit;
mod trust;
mod verified;
mod x509;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use async_trait::async_trait;

pub use self::authenticator::{Authentication, Authenticator, Method};
pub use self::authorizer::{Authorizer, AuthorizerConfig};
pub use self::front_proxy::{FrontProxyError, RequestHeaderConfig};
pub use self::permit::Permit;
pub use self::trust::{Trust, TrustAnchors, TrustConfig, TrustError};
pub use self::x509::CertificateError;
use crate::status::ApiError;

/// An authenticated (or anonymous) user.
#[derive(Debug, Clone, PartialEq, Eq, Default, Hash)]
pub struct User {
    pub name: String,
    pub uid: String,
    pub groups: Vec<String>,
    pub extra: BTreeMap<String, Vec<String>>,
}

impl User {
    pub fn is_in(&self, group: &str) -> bool {
        self.groups.iter().any(|one| one == group)
    }
}

/// What is asked, in authorization's terms (`authorization.k8s.io/v1`).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Attributes {
    Resource {
        verb: String,
        group: String,
        version: String,
        resource: String,
        /// Empty = the resource itself.
        subresource: String,
        namespace: String,
        name: String,
    },
    NonResource {
        verb: String,
        path: String,
    },
}

/// Port to the host cluster's `TokenReview`.
#[async_trait]
pub trait TokenReviewer: Send + Sync {
    /// The token's user, `None` if the cluster refuses the token, an error if it can't tell.
    async fn review(&self, token: &str) -> Result<Option<User>, ApiError>;
}

/// The answer of an access review.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Decision {
    pub allowed: bool,
    /// Why, in the cluster's words; may be empty.
    pub reason: String,
}

/// Port to the host cluster's `SubjectAccessReview`.
#[async_trait]
pub trait AccessReviewer: Send + Sync {
    async fn review(&self, user: &User, attributes: &Attributes) -> Result<Decision, ApiError>;
}
