//! `baton init --tls`: a certificate authority for the cluster, and certificates for each member and for clients.

use std::path::Path;

use baton::config::MemberConfig;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};

use super::{Failure, file, io};

/// The directory of the certificates, next to the files that name them.
pub(crate) const DIRECTORY: &str = "tls";
/// The name in the clients' certificate.
const CLIENT: &str = "client";

fn failed(error: &rcgen::Error) -> Failure {
    Failure::new(format!("cannot create a certificate: {error}"))
}

/// Writes `ca.pem`, `ca.key`, and for each member and for clients `NAME.pem` and `NAME.key`.
pub(super) fn write(dir: &Path, members: &[MemberConfig]) -> Result<(), Failure> {
    let dir = dir.join(DIRECTORY);
    std::fs::create_dir(&dir).map_err(io(&dir))?;
    let ca_key = KeyPair::generate().map_err(|error| failed(&error))?;
    let ca_params = authority();
    let ca = ca_params.self_signed(&ca_key).map_err(|error| failed(&error))?;
    file(&dir.join("ca.pem"), 0o644, &ca.pem())?;
    // Kept so that a certificate can be issued to a member that is added later.
    file(&dir.join("ca.key"), 0o600, &ca_key.serialize_pem())?;
    let issuer = Issuer::new(ca_params, ca_key);
    for name in members.iter().map(|member| member.name.as_str()).chain([CLIENT]) {
        write_leaf(&dir, name, &issuer)?;
    }
    Ok(())
}

/// Writes `NAME.pem` and `NAME.key` for a member that is added later, issued by the authority that [`write`] created.
pub(crate) fn issue(dir: &Path, name: &str) -> Result<(), Failure> {
    let dir = dir.join(DIRECTORY);
    let kept = dir.join("ca.key");
    let pem = std::fs::read_to_string(&kept).map_err(io(&kept))?;
    let ca_key = KeyPair::from_pem(&pem).map_err(|error| failed(&error))?;
    write_leaf(&dir, name, &Issuer::new(authority(), ca_key))
}

fn write_leaf(dir: &Path, name: &str, issuer: &Issuer<'_, KeyPair>) -> Result<(), Failure> {
    let key = KeyPair::generate().map_err(|error| failed(&error))?;
    let certificate = leaf(name)?.signed_by(&key, issuer).map_err(|error| failed(&error))?;
    file(&dir.join(format!("{name}.pem")), 0o644, &certificate.pem())?;
    file(&dir.join(format!("{name}.key")), 0o600, &key.serialize_pem())
}

fn authority() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "Baton cluster");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// A certificate whose SAN is the process's name: links compare it with the name that the peer gives.
fn leaf(name: &str) -> Result<CertificateParams, Failure> {
    let mut params = CertificateParams::new(vec![name.to_owned()]).map_err(|error| failed(&error))?;
    params.distinguished_name.push(DnType::CommonName, name);
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    // Servers dial each other, so a server is also a client; a client is never a server.
    params.extended_key_usages = if name == CLIENT {
        vec![ExtendedKeyUsagePurpose::ClientAuth]
    } else {
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth]
    };
    Ok(params)
}
