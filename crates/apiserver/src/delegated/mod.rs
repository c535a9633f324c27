//! What only the host cluster knows: the machinery's one user of a Kubernetes client.
//!
//! Token and access reviews implement the ports of [`crate::auth`], [`NamespaceCache`] the port
//! of [`crate::admission`], and [`CaBundle`] keeps [`crate::auth::Trust`] up to date. All of them
//! survive a host API server that is away: they retry, bounded, and then say so.

mod access_review;
mod ca_bundle;
mod namespaces;
mod retry;
mod token_review;

#[cfg(test)]
mod tests;

pub use self::access_review::KubeAccessReviewer;
pub use self::ca_bundle::{CaBundle, CaBundleError, parse};
pub use self::namespaces::NamespaceCache;
pub use self::retry::ReviewConfig;
pub use self::token_review::{KubeTokenReviewer, TokenReviewConfig};
