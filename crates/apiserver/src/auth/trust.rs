//! The certificate authorities that the host cluster publishes, hot-swappable.

use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, TrustAnchor};
use thiserror::Error;

use super::front_proxy::RequestHeaderConfig;
use super::verified::Verified;

/// The trust in force. Cloned handles see every swap; requests load it once each.
#[derive(Debug, Clone, Default)]
pub struct Trust(Arc<ArcSwap<TrustConfig>>);

impl Trust {
    pub fn new(config: TrustConfig) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(config)))
    }

    pub fn load(&self) -> Arc<TrustConfig> {
        self.0.load_full()
    }

    pub fn store(&self, config: TrustConfig) {
        self.0.store(Arc::new(config));
    }
}

/// What `kube-system/extension-apiserver-authentication` says.
#[derive(Debug, Clone, Default)]
pub struct TrustConfig {
    /// CAs of users' own certificates; empty = no user can log in with one.
    pub client_ca: TrustAnchors,
    /// `None` = no front proxy is trusted.
    pub request_header: Option<RequestHeaderConfig>,
}

impl TrustConfig {
    /// Whether nobody's certificate is trusted.
    pub fn is_empty(&self) -> bool {
        self.client_ca.as_slice().is_empty() && self.request_header.is_none()
    }
}

/// A parsed CA bundle, and what was verified with it.
#[derive(Debug, Clone, Default)]
pub struct TrustAnchors {
    anchors: Vec<TrustAnchor<'static>>,
    verified: Verified,
}

/// Why a CA bundle was refused.
#[derive(Debug, Error)]
pub enum TrustError {
    #[error("can't read the CA bundle as PEM: {0}")]
    Pem(#[source] rustls_pki_types::pem::Error),
    #[error("can't use a certificate of the CA bundle: {0}")]
    Certificate(#[source] webpki::Error),
    #[error("the CA bundle has no certificate")]
    Empty,
}

impl TrustAnchors {
    pub fn from_pem(pem: &[u8]) -> Result<Self, TrustError> {
        let mut anchors = Vec::new();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(TrustError::Pem)?;
            let anchor =
                webpki::anchor_from_trusted_cert(&certificate).map_err(TrustError::Certificate)?;
            anchors.push(anchor.to_owned());
        }
        if anchors.is_empty() {
            return Err(TrustError::Empty);
        }
        Ok(Self { anchors, verified: Verified::default() })
    }

    pub fn as_slice(&self) -> &[TrustAnchor<'static>] {
        &self.anchors
    }

    pub(super) fn verified(&self) -> &Verified {
        &self.verified
    }
}
