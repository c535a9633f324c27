//! HTTP/1.1 to a port of a Pod, one request to a connection.

use std::io;
use std::sync::Arc;

use apiserver::status::ApiError;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio_rustls::TlsConnector;
use tokio_util::io::{InspectReader, InspectWriter};

use super::super::activity::InUse;
use crate::cluster::streams::Io;

/// Counts what passes.
pub(super) fn counted(io: Box<dyn Io>, usage: Arc<InUse>) -> impl Io {
    let received = usage.clone();
    let io = InspectReader::new(io, move |bytes: &[u8]| received.received(bytes.len()));
    InspectWriter::new(io, move |bytes: &[u8]| usage.sent(bytes.len()))
}

/// TLS with whoever listens in the Pod: he is known by where he listens, and what he shows is not
/// looked at, as `[kubernetes] pkg/kubelet/client` has it for Pods.
pub(super) async fn secured(io: Box<dyn Io>) -> io::Result<Box<dyn Io>> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let schemes = provider.signature_verification_algorithms.supported_schemes();
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody { schemes }))
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
    let secured = TlsConnector::from(Arc::new(config)).connect(name, io).await?;
    Ok(Box::new(secured))
}

#[derive(Debug)]
struct Anybody {
    schemes: Vec<SignatureScheme>,
}

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes.clone()
    }
}

/// In the words of Kubernetes: `[apimachinery] pkg/util/proxy/transport.go`.
pub(super) fn unreachable(cause: impl std::fmt::Display) -> ApiError {
    ApiError::service_unavailable(format!("error trying to reach service: {cause}"))
}
