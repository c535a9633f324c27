//! Identity asserted by the aggregation layer in request headers.
//!
//! Rules: `k8s.io/apiserver/pkg/authentication/request/headerrequest/requestheader.go`.

use http::HeaderMap;
use http::header::{AUTHORIZATION, HeaderName};
use jiff::Timestamp;
use percent_encoding::percent_decode_str;
use rustls_pki_types::CertificateDer;
use thiserror::Error;

use super::User;
use super::trust::TrustAnchors;
use super::x509::{self, CertificateError};

/// Whom to believe, and in which headers. Header names and prefixes compare without case.
#[derive(Debug, Clone, Default)]
pub struct RequestHeaderConfig {
    pub ca: TrustAnchors,
    /// Common names of trusted proxies; empty = any certificate of the CA.
    pub allowed_names: Vec<String>,
    pub username_headers: Vec<String>,
    pub uid_headers: Vec<String>,
    pub group_headers: Vec<String>,
    pub extra_prefixes: Vec<String>,
}

/// A peer that claims to be the front proxy and isn't.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FrontProxyError {
    #[error("front proxy: {0}")]
    Certificate(#[from] CertificateError),
    #[error("front proxy: the common name {0:?} is not in the allowed list")]
    Name(String),
}

impl RequestHeaderConfig {
    /// The user whom a trusted proxy names. `None` if no identity headers or no certificate came.
    pub(super) fn user(
        &self,
        chain: &[CertificateDer<'_>],
        headers: &HeaderMap,
        now: Timestamp,
    ) -> Result<Option<User>, FrontProxyError> {
        if chain.is_empty() {
            return Ok(None);
        }
        let Some(name) = self.username(headers) else { return Ok(None) };
        let subject = x509::verify(chain, &self.ca, now)?;
        if !self.allowed_names.is_empty() && !self.allowed_names.contains(&subject.common_name) {
            return Err(FrontProxyError::Name(subject.common_name));
        }
        Ok(Some(User {
            name,
            uid: first(headers, &self.uid_headers).unwrap_or_default(),
            groups: self.group_headers.iter().flat_map(|header| all(headers, header)).collect(),
            extra: self.extra(headers),
        }))
    }

    /// Takes every identity header and the credentials away, so that nothing behind can believe
    /// or forward them.
    pub(super) fn strip(&self, headers: &mut HeaderMap) {
        let named = [&self.username_headers, &self.uid_headers, &self.group_headers];
        for name in named.into_iter().flatten() {
            headers.remove(name.as_str());
        }
        let extra: Vec<HeaderName> = headers
            .keys()
            .filter(|name| self.extra_key(name.as_str()).is_some())
            .cloned()
            .collect();
        for name in extra {
            headers.remove(name);
        }
        headers.remove(AUTHORIZATION);
    }

    fn username(&self, headers: &HeaderMap) -> Option<String> {
        first(headers, &self.username_headers)
    }

    fn extra(&self, headers: &HeaderMap) -> std::collections::BTreeMap<String, Vec<String>> {
        let mut extra = std::collections::BTreeMap::<String, Vec<String>>::new();
        for (name, value) in headers {
            let Some(key) = self.extra_key(name.as_str()) else { continue };
            let key = percent_decode_str(key).decode_utf8_lossy().into_owned();
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            extra.entry(key).or_default().push(value);
        }
        extra
    }

    /// The part of an (always lower-case) header name behind an extra prefix.
    fn extra_key<'a>(&self, header: &'a str) -> Option<&'a str> {
        self.extra_prefixes
            .iter()
            .filter(|prefix| !prefix.is_empty())
            .find_map(|prefix| header.strip_prefix(prefix.to_ascii_lowercase().as_str()))
    }
}

/// The first non-empty value of the first header that has one.
fn first(headers: &HeaderMap, names: &[String]) -> Option<String> {
    names.iter().find_map(|name| {
        let value = headers.get(name.as_str())?;
        let text = String::from_utf8_lossy(value.as_bytes()).into_owned();
        (!text.is_empty()).then_some(text)
    })
}

fn all(headers: &HeaderMap, name: &str) -> Vec<String> {
    headers
        .get_all(name)
        .iter()
        .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
        .collect()
}
