//! The list of members, `[[member]]`, as it stands in cluster and server files.

use baton_domain::address::{check_address, is_wildcard};
use baton_domain::{Role, ServerName};
use serde::Deserialize;
use toml::Spanned;

use super::ConfigError;
use super::source::Source;

/// A server or a witness, as a file lists it. The store holds the truth once the cluster runs; the list is how to
/// find the others at first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberConfig {
    /// Its name.
    pub name: ServerName,
    /// What it does.
    pub role: Role,
    /// Where it is dialed, `host:port`.
    pub address: String,
    /// Where it answers HTTP, `host:port`, if the file says so.
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

/// An address, checked.
pub(super) fn address(source: &Source, address: &Spanned<String>) -> Result<String, ConfigError> {
    check_address(address.get_ref()).map_err(|why| source.error(&address.span(), why))?;
    Ok(address.get_ref().clone())
}

/// An address that others can dial, checked.
pub(super) fn dialed(source: &Source, written: &Spanned<String>) -> Result<String, ConfigError> {
    let checked = address(source, written)?;
    if is_wildcard(&checked) {
        return Err(source.error(
            &written.span(),
            format!("{checked:?} cannot be dialed by others: name the host or an address of it"),
        ));
    }
    Ok(checked)
}

/// The members, checked: names and addresses differ, and one at least can host the engine.
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
