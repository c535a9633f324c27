//! Certificates and doubles for tests of `auth` and `server`.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
};
use rustls_pki_types::CertificateDer;

use super::{
    AccessReviewer, Attributes, Decision, RequestHeaderConfig, TokenReviewer, Trust, TrustAnchors,
    TrustConfig, User,
};
use crate::status::ApiError;

/// A throw-away certificate authority.
pub(crate) struct FakeCa {
    pub(crate) pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate with its key.
pub(crate) struct FakeCertificate {
    pub(crate) der: CertificateDer<'static>,
    pub(crate) pem: String,
    pub(crate) key: KeyPair,
}

impl FakeCa {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    pub(crate) fn anchors(&self) -> TrustAnchors {
        TrustAnchors::from_pem(self.pem.as_bytes()).unwrap()
    }

    pub(crate) fn client(&self, name: &str, organization: Option<&str>) -> FakeCertificate {
        let mut params = CertificateParams::default();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.distinguished_name.push(DnType::CommonName, name);
        if let Some(organization) = organization {
            params.distinguished_name.push(DnType::OrganizationName, organization);
        }
        self.sign(params)
    }

    pub(crate) fn server(&self, name: &str) -> FakeCertificate {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.distinguished_name.push(DnType::CommonName, name);
        self.sign(params)
    }

    pub(crate) fn sign(&self, mut params: CertificateParams) -> FakeCertificate {
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        FakeCertificate { der: certificate.der().clone(), pem: certificate.pem(), key }
    }
}

/// Trust as a kubeadm cluster publishes it.
pub(crate) fn trust_config(front: &FakeCa, clients: &FakeCa) -> TrustConfig {
    TrustConfig {
        client_ca: clients.anchors(),
        request_header: Some(RequestHeaderConfig {
            ca: front.anchors(),
            allowed_names: vec!["front-proxy-client".into()],
            username_headers: vec!["X-Remote-User".into()],
            uid_headers: vec!["X-Remote-Uid".into()],
            group_headers: vec!["X-Remote-Group".into()],
            extra_prefixes: vec!["X-Remote-Extra-".into()],
        }),
    }
}

pub(crate) fn trust(front: &FakeCa, clients: &FakeCa) -> Trust {
    Trust::new(trust_config(front, clients))
}

/// Knows one token: `good`, of `token-user`. `broken` can't be reviewed.
#[derive(Debug, Default)]
pub(crate) struct FakeTokens;

#[async_trait]
impl TokenReviewer for FakeTokens {
    async fn review(&self, token: &str) -> Result<Option<User>, ApiError> {
        match token {
            "good" => Ok(Some(User { name: "token-user".into(), ..User::default() })),
            "broken" => Err(ApiError::internal("no connection")),
            _ => Ok(None),
        }
    }
}

/// Allows the users named in it, and counts the questions.
#[derive(Debug, Default)]
pub(crate) struct FakeAccess {
    pub(crate) allowed: Vec<String>,
    pub(crate) reason: String,
    pub(crate) is_broken: bool,
    pub(crate) asked: AtomicUsize,
    pub(crate) last: Mutex<Option<Attributes>>,
}

#[async_trait]
impl AccessReviewer for FakeAccess {
    async fn review(&self, user: &User, attributes: &Attributes) -> Result<Decision, ApiError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        *self.last.lock().unwrap() = Some(attributes.clone());
        if self.is_broken {
            return Err(ApiError::service_unavailable("the host cluster is away"));
        }
        let allowed = self.allowed.contains(&user.name);
        Ok(Decision { allowed, reason: self.reason.clone() })
    }
}
