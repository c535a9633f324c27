//! TLS: the serving certificate, hot-swapped, and client certificates, requested and not judged.
//!
//! A handshake must not fail for a certificate that some CA of ours doesn't know (kubelet's probes
//! have one), and a rotated CA must apply to live connections: so the handshake proves only that
//! the peer holds the key, and [`crate::auth`] judges the chain of each request.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use thiserror::Error;
use tracing::{info, warn};

use crate::tasks::{OnExit, Tasks};

/// Where the serving certificate is.
#[derive(Debug, Clone)]
pub struct TlsConfig {
    /// PEM, end entity first.
    pub certificate: PathBuf,
    /// PEM.
    pub key: PathBuf,
    /// Between two looks at the files.
    pub poll_interval: Duration,
}

/// Why the certificate can't be served.
#[derive(Debug, Error)]
pub enum TlsError {
    #[error("can't read {path}: {source}")]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("can't read the serving certificate or its key as PEM: {0}")]
    Pem(#[source] rustls_pki_types::pem::Error),
    #[error("can't use the serving certificate with its key: {0}")]
    Rustls(#[from] rustls::Error),
}

/// The serving side of TLS.
#[derive(Debug, Clone)]
pub struct Tls {
    provider: Arc<CryptoProvider>,
    current: Arc<Current>,
}

struct Current(ArcSwap<CertifiedKey>);

/// Accepts whatever chain, if the peer holds its key.
#[derive(Debug)]
struct AnyClient(Arc<CryptoProvider>);

/// The two files' contents.
#[derive(PartialEq, Eq)]
struct Files {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl Tls {
    /// Loads the files and starts to follow them.
    pub async fn follow(config: TlsConfig, tasks: &Tasks) -> Result<Self, TlsError> {
        let files = Files::read(&config).await?;
        let tls = Self::from_pem(&files.certificate, &files.key)?;
        let stop = tasks.stopping().clone();
        let polled = poll(tls.clone(), config, files);
        tasks.spawn("serving-certificate", OnExit::Shutdown, async move {
            stop.run_until_cancelled(polled).await;
        });
        Ok(tls)
    }

    /// A certificate that nobody follows.
    pub fn from_pem(certificate: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let key = certified(certificate, key, &provider)?;
        Ok(Self { provider, current: Arc::new(Current(ArcSwap::from_pointee(key))) })
    }

    /// Serves this certificate from the next handshake on.
    pub fn replace(&self, certificate: &[u8], key: &[u8]) -> Result<(), TlsError> {
        let key = certified(certificate, key, &self.provider)?;
        self.current.0.store(Arc::new(key));
        Ok(())
    }

    /// The certificate now served (end entity).
    pub fn certificate(&self) -> CertificateDer<'static> {
        let key = self.current.0.load();
        key.cert.first().cloned().unwrap_or_else(|| Vec::new().into())
    }

    /// TLS 1.2 and 1.3, HTTP/2 before HTTP/1.1 (the aggregator upgrades over 1.1 only).
    pub(super) fn server_config(&self) -> Result<Arc<ServerConfig>, TlsError> {
        let mut config = ServerConfig::builder_with_provider(self.provider.clone())
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(Arc::new(AnyClient(self.provider.clone())))
            .with_cert_resolver(self.current.clone());
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

impl fmt::Debug for Current {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Current").finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

impl ClientCertVerifier for AnyClient {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    /// Empty: Go's clients send no certificate that doesn't match a hint, and hints would age.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

impl Files {
    async fn read(config: &TlsConfig) -> Result<Self, TlsError> {
        let read = async |path: &PathBuf| {
            tokio::fs::read(path)
                .await
                .map_err(|source| TlsError::Read { path: path.clone(), source })
        };
        Ok(Self { certificate: read(&config.certificate).await?, key: read(&config.key).await? })
    }
}

/// Compares contents: a mounted Secret changes through symlinks, and half a change (a new
/// certificate with the old key) is refused and met again at the next look.
async fn poll(tls: Tls, config: TlsConfig, mut served: Files) {
    loop {
        tokio::time::sleep(config.poll_interval).await;
        let replaced = match Files::read(&config).await {
            Ok(files) if files == served => continue,
            Ok(files) => tls.replace(&files.certificate, &files.key).map(|()| served = files),
            Err(error) => Err(error),
        };
        match replaced {
            Ok(()) => info!(path = %config.certificate.display(), "serving a new certificate"),
            Err(error) => {
                warn!(error = %error, "can't reload the serving certificate; keeping the old")
            }
        }
    }
}

fn certified(
    certificate: &[u8],
    key: &[u8],
    provider: &CryptoProvider,
) -> Result<CertifiedKey, TlsError> {
    let chain = CertificateDer::pem_slice_iter(certificate)
        .collect::<Result<Vec<_>, _>>()
        .map_err(TlsError::Pem)?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(TlsError::Pem)?;
    Ok(CertifiedKey::from_der(chain, key, provider)?)
}
