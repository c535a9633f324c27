//! Identity from a client certificate, judged per request by the CAs in force.
//!
//! Rules: `k8s.io/apiserver/pkg/authentication/request/x509/x509.go`; the usage rule is the one of
//! Go's verifier: a certificate that lists usages must list clientAuth.

use std::time::Duration;

use jiff::Timestamp;
use rustls_pki_types::{CertificateDer, UnixTime};
use thiserror::Error;
use webpki::{EndEntityCert, KeyUsage};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::User;
use super::trust::TrustAnchors;

/// Why a certificate gives no identity.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CertificateError {
    /// It was issued by somebody else: not a credential of ours at all.
    #[error("the certificate does not chain to the CA")]
    Stranger,
    /// It is ours and can't be used: expired, wrong usage, malformed.
    #[error("the certificate is not valid: {0}")]
    Invalid(String),
    #[error("the certificate has no common name")]
    NoCommonName,
}

/// The parts of a subject that Kubernetes reads.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Subject {
    pub(super) common_name: String,
    pub(super) organizations: Vec<String>,
}

/// CN becomes the user, each O a group.
pub(super) fn user(
    chain: &[CertificateDer<'_>],
    anchors: &TrustAnchors,
    now: Timestamp,
) -> Result<User, CertificateError> {
    let subject = verify(chain, anchors, now)?;
    if subject.common_name.is_empty() {
        return Err(CertificateError::NoCommonName);
    }
    Ok(User { name: subject.common_name, groups: subject.organizations, ..User::default() })
}

/// Verifies the chain (end entity first) for client authentication at the time `now`.
pub(super) fn verify(
    chain: &[CertificateDer<'_>],
    anchors: &TrustAnchors,
    now: Timestamp,
) -> Result<Subject, CertificateError> {
    let (end_entity, intermediates) = chain.split_first().ok_or(CertificateError::Stranger)?;
    if anchors.as_slice().is_empty() {
        return Err(CertificateError::Stranger);
    }
    if let Some(subject) = anchors.verified().get(chain, now.as_second()) {
        return Ok(subject);
    }
    let invalid = |error: webpki::Error| CertificateError::Invalid(error.to_string());
    let seconds = u64::try_from(now.as_second()).unwrap_or_default();
    EndEntityCert::try_from(end_entity)
        .map_err(invalid)?
        .verify_for_usage(
            webpki::ALL_VERIFICATION_ALGS,
            anchors.as_slice(),
            intermediates,
            UnixTime::since_unix_epoch(Duration::from_secs(seconds)),
            KeyUsage::client_auth(),
            None,
            None,
        )
        .map_err(|error| match error {
            // The second: a CA of the same name and another key, as after a rotation.
            webpki::Error::UnknownIssuer | webpki::Error::InvalidSignatureForPublicKey => {
                CertificateError::Stranger
            }
            other => invalid(other),
        })?;
    let subject = subject(end_entity)?;
    anchors.verified().remember(chain, &subject);
    Ok(subject)
}

fn subject(certificate: &CertificateDer<'_>) -> Result<Subject, CertificateError> {
    let (_, parsed) = X509Certificate::from_der(certificate)
        .map_err(|error| CertificateError::Invalid(error.to_string()))?;
    let name = parsed.subject();
    let text = |value: &x509_parser::x509::AttributeTypeAndValue<'_>| {
        value
            .as_str()
            .map(str::to_owned)
            .map_err(|error| CertificateError::Invalid(error.to_string()))
    };
    // Of several common names the last counts, as in Go's crypto/x509/pkix.
    let common_name = match name.iter_common_name().last() {
        Some(value) => text(value)?,
        None => String::new(),
    };
    let organizations = name.iter_organization().map(text).collect::<Result<_, _>>()?;
    Ok(Subject { common_name, organizations })
}
