//! Mutual TLS, version 1.3 only.
//!
//! A dialer may not know the name of the server that it will find, so rustls checks the chain of certificates alone,
//! and the handshake above compares a server's certificate with the name in its hello. A client's certificate is good
//! for any client.

use std::io;
use std::path::Path;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::client::{Resumption, verify_server_cert_signed_by_trust_anchor};
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::{NoServerSessionStorage, ParsedCertificate, WebPkiClientVerifier};
use tokio_rustls::rustls::version::TLS13;
use tokio_rustls::rustls::{self, ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme};
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};
use x509_parser::extensions::GeneralName;

use super::config::TlsConfig;
use super::failure::Failure;
use super::refusal::{RefusalNotice, RefusalReason, tls_mismatch};

/// Stands in the place of a name that a dialer need not know; never sent.
const ANY_NAME: &str = "baton.invalid";

/// A certificate file that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot use the {what} {path}: {why}")]
pub struct TlsError {
    what: &'static str,
    path: String,
    why: String,
}

/// A connection over TLS.
pub(super) type Connection = TlsStream<TcpStream>;

/// Both ends of TLS, ready to use.
#[derive(Clone)]
pub(super) struct Tls {
    acceptor: TlsAcceptor,
    connector: TlsConnector,
}

impl Tls {
    /// Reads the files.
    pub(super) fn load(config: &TlsConfig) -> Result<Self, TlsError> {
        let error = |what, path: &Path, why: String| TlsError { what, path: path.display().to_string(), why };
        let ca = |why| error("CA file", &config.ca, why);
        let certificate = |why| error("certificate", &config.certificate, why);
        let key = |why| error("private key", &config.key, why);

        let mut roots = RootCertStore::empty();
        for root in certificates(&config.ca).map_err(ca)? {
            roots.add(root).map_err(|why| ca(why.to_string()))?;
        }
        let roots = Arc::new(roots);
        let chain = certificates(&config.certificate).map_err(certificate)?;
        let secret = PrivateKeyDer::from_pem_file(&config.key).map_err(|why| key(why.to_string()))?;

        let provider = Arc::new(aws_lc_rs::default_provider());
        let clients = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone())
            .build()
            .map_err(|why| ca(why.to_string()))?;
        let mut server = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&TLS13])
            .map_err(|why| ca(why.to_string()))?
            .with_client_cert_verifier(clients)
            .with_single_cert(chain.clone(), secret.clone_key())
            .map_err(|why| key(format!("with {}: {why}", config.certificate.display())))?;
        // Links last for days: resumption saves nothing, and every link is to show its certificate.
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;

        let mut client = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&TLS13])
            .map_err(|why| ca(why.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Chain { roots, provider }))
            .with_client_auth_cert(chain, secret)
            .map_err(|why| key(format!("with {}: {why}", config.certificate.display())))?;
        client.resumption = Resumption::disabled();
        client.enable_sni = false;

        Ok(Self { acceptor: Arc::new(server).into(), connector: Arc::new(client).into() })
    }

    pub(super) async fn accept(&self, stream: TcpStream) -> io::Result<Box<Connection>> {
        Ok(Box::new(self.acceptor.accept(stream).await?.into()))
    }

    pub(super) async fn connect(&self, stream: TcpStream) -> io::Result<Box<Connection>> {
        let name = ServerName::try_from(ANY_NAME).map_err(io::Error::other)?;
        Ok(Box::new(self.connector.connect(name, stream).await?.into()))
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let found = CertificateDer::pem_file_iter(path)
        .and_then(|found| found.collect::<Result<Vec<_>, _>>())
        .map_err(|error| error.to_string())?;
    if found.is_empty() { Err("it contains no certificate".to_owned()) } else { Ok(found) }
}

/// The names that the peer's certificate is for.
pub(super) fn peer_names(stream: &Connection) -> Vec<String> {
    let certificate = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
    let Some(certificate) = certificate else { return Vec::new() };
    let Ok((_, certificate)) = x509_parser::parse_x509_certificate(certificate) else { return Vec::new() };
    let Ok(Some(names)) = certificate.subject_alternative_name() else { return Vec::new() };
    let dns = names.value.general_names.iter().filter_map(|name| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        // A foreign enum; the other kinds name no server.
        _ => None,
    });
    dns.collect()
}

/// The refusal in an error of a connection, if there is one: ours, or the other side's.
pub(super) fn refusal_in(error: &io::Error) -> Option<Failure> {
    let error = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    let refused = |text: String| RefusalNotice::new(RefusalReason::Certificate, text);
    match error {
        rustls::Error::AlertReceived(alert) => Some(Failure::RefusedByPeer(refused(format!(
            "certificate: the other side does not accept this process's certificate ({alert:?}); check [tls]"
        )))),
        rustls::Error::InvalidCertificate(why) => Some(Failure::RefusedByUs(refused(format!(
            "certificate: the other side's certificate is not from this cluster's CA ({why}); check [tls]"
        )))),
        rustls::Error::NoCertificatesPresented => {
            Some(Failure::RefusedByUs(refused("certificate: the other side sent none; check its [tls]".to_owned())))
        }
        rustls::Error::InvalidMessage(_) => Some(Failure::RefusedByUs(tls_mismatch())),
        // A foreign enum that grows.
        _ => None,
    }
}

/// Checks that a server's certificate is from the CA. The handshake above checks the name in it.
#[derive(Debug)]
struct Chain {
    roots: Arc<RootCertStore>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Chain {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let certificate = ParsedCertificate::try_from(end_entity)?;
        let algorithms = self.provider.signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&certificate, &self.roots, intermediates, now, algorithms)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
