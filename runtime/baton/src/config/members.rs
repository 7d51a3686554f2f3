//! The list of members, `[[member]]`, in cluster and server files.

use baton_domain::address::{check_address, is_wildcard};
use baton_domain::{Role, ServerName};
use serde::Deserialize;
use toml::Spanned;

use super::ConfigError;
use super::source::Source;

/// A server or witness in a file. Once the cluster runs, the store is authoritative; the list only serves to find the
/// others at first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberConfig {
    /// Its name.
    pub name: ServerName,
    /// Its role.
    pub role: Role,
    /// Address for the others to dial, `host:port`.
    pub address: String,
    /// HTTP address, `host:port`, if the file has one.
    pub http: Option<String>,
}

/// A member as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawMember {
    name: Spanned<String>,
    role: Role,
    address: Spanned<String>,
    http: Option<Spanned<String>>,
}

/// A server's name, checked.
pub(super) fn server_name(source: &Source, name: &Spanned<String>) -> Result<ServerName, ConfigError> {
    ServerName::new(name.get_ref()).map_err(|error| source.error(&name.span(), error.to_string()))
}

/// A checked address.
pub(super) fn address(source: &Source, address: &Spanned<String>) -> Result<String, ConfigError> {
    check_address(address.get_ref()).map_err(|why| source.error(&address.span(), why))?;
    Ok(address.get_ref().clone())
}

/// A checked address that others can dial.
pub(super) fn dialed(source: &Source, written: &Spanned<String>) -> Result<String, ConfigError> {
    let checked = address(source, written)?;
    if is_wildcard(&checked) {
        return Err(source.error(
            &written.span(),
            format!("{checked:?} is not an address that others can dial: use the host's name or one of its addresses"),
        ));
    }
    Ok(checked)
}

/// The checked members: names and addresses are unique, and at least one can host the engine.
pub(super) fn members(source: &Source, written: &[RawMember]) -> Result<Vec<MemberConfig>, ConfigError> {
    let mut members: Vec<MemberConfig> = Vec::with_capacity(written.len());
    for raw in written {
        let name = server_name(source, &raw.name)?;
        let address = dialed(source, &raw.address)?;
        let http = raw.http.as_ref().map(|http| self::address(source, http)).transpose()?;
        if members.iter().any(|other| other.name == name) {
            return Err(source.error(&raw.name.span(), format!("two members are named {name}: names must differ")));
        }
        if let Some(other) = members.iter().find(|other| other.address == address) {
            return Err(source.error(
                &raw.address.span(),
                format!("{} and {name} have the same address {address}: addresses must differ", other.name),
            ));
        }
        members.push(MemberConfig { name, role: raw.role, address, http });
    }
    if !members.iter().any(|member| member.role == Role::Server) {
        let why = "no member has role = \"server\": at least one [[member]] must be able to host the engine";
        return Err(source.error(&(0..0), why));
    }
    Ok(members)
}
