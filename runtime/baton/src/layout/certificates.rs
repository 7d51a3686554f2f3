//! A certificate authority for a cluster, and certificates for each member and for clients.

use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};

use super::LayoutError;
use super::files::{file, io};
use crate::config::MemberConfig;

/// The directory of the certificates, next to the files that name them.
pub const DIRECTORY: &str = "tls";
/// The name in the clients' certificate.
const CLIENT: &str = "client";

/// Writes `ca.pem`, `ca.key`, and for each member and for clients `NAME.pem` and `NAME.key`.
pub(super) fn write(dir: &Path, members: &[MemberConfig]) -> Result<(), LayoutError> {
    let dir = dir.join(DIRECTORY);
    std::fs::create_dir(&dir).map_err(io(&dir))?;
    let ca_key = KeyPair::generate()?;
    let ca_params = authority();
    let ca = ca_params.self_signed(&ca_key)?;
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
///
/// # Errors
/// [`LayoutError`].
pub fn issue(dir: &Path, name: &str) -> Result<(), LayoutError> {
    let dir = dir.join(DIRECTORY);
    let kept = dir.join("ca.key");
    let pem = std::fs::read_to_string(&kept).map_err(io(&kept))?;
    let ca_key = KeyPair::from_pem(&pem)?;
    write_leaf(&dir, name, &Issuer::new(authority(), ca_key))
}

fn write_leaf(dir: &Path, name: &str, issuer: &Issuer<'_, KeyPair>) -> Result<(), LayoutError> {
    let key = KeyPair::generate()?;
    let certificate = leaf(name)?.signed_by(&key, issuer)?;
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
fn leaf(name: &str) -> Result<CertificateParams, LayoutError> {
    let mut params = CertificateParams::new(vec![name.to_owned()])?;
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
