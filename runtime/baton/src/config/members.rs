//! The list of members, `[[member]]`, in cluster and server files.

use std::ops::Range;

use baton_domain::address::{check_address, check_dialed};
use baton_domain::{Role, ServerName};
use serde::Deserialize;
use toml::Spanned;

use super::ConfigError;
use super::error::ValueError;
use super::source::Source;

/// A server or witness in a file. Once the cluster runs, the store is authoritative; the list only serves to find the
/// others at first.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
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
    ServerName::new(name.get_ref()).map_err(|error| source.error(&name.span(), error))
}

impl RawMember {
    /// The place of a value.
    fn place(&self, key: &str) -> Option<Range<usize>> {
        match key {
            "name" => Some(self.name.span()),
            "address" => Some(self.address.span()),
            "http" => self.http.as_ref().map(Spanned::span),
            _ => None,
        }
    }
}

impl MemberConfig {
    /// A member without an HTTP address.
    #[must_use]
    pub fn new(name: ServerName, role: Role, address: impl Into<String>) -> Self {
        Self { name, role, address: address.into(), http: None }
    }

    /// Sets the HTTP address.
    #[must_use]
    pub fn http(self, http: impl Into<String>) -> Self {
        Self { http: Some(http.into()), ..self }
    }
}

/// Checks a member by itself and against those before it: names and addresses are unique.
fn check_member(before: &[MemberConfig], member: &MemberConfig) -> Result<(), ValueError> {
    let MemberConfig { name, address, http, role: _ } = member;
    check_dialed(address).map_err(|why| ValueError::new(&["address"], why))?;
    if let Some(http) = http {
        check_address(http).map_err(|why| ValueError::new(&["http"], why))?;
    }
    if before.iter().any(|other| other.name == *name) {
        return Err(ValueError::new(&["name"], format!("two members are named {name}: names must differ")));
    }
    if let Some(other) = before.iter().find(|other| other.address == *address) {
        let why = format!("{} and {name} have the same address {address}: addresses must differ", other.name);
        return Err(ValueError::new(&["address"], why));
    }
    Ok(())
}

/// Checks that a member can host the engine.
fn check_host(members: &[MemberConfig]) -> Result<(), ValueError> {
    if members.iter().any(|member| member.role == Role::Server) {
        return Ok(());
    }
    let why = "no member has role = \"server\": at least one [[member]] must be able to host the engine";
    Err(ValueError::new(&[], why))
}

/// Checks a list of members.
pub(super) fn check_members(members: &[MemberConfig]) -> Result<(), ValueError> {
    for (at, member) in members.iter().enumerate() {
        check_member(&members[..at], member)?;
    }
    check_host(members)
}

/// The checked members of a file.
pub(super) fn members(source: &Source, written: &[RawMember]) -> Result<Vec<MemberConfig>, ConfigError> {
    let mut members: Vec<MemberConfig> = Vec::with_capacity(written.len());
    for raw in written {
        let name = server_name(source, &raw.name)?;
        let http = raw.http.as_ref().map(|http| http.get_ref().clone());
        let member = MemberConfig { name, role: raw.role, address: raw.address.get_ref().clone(), http };
        check_member(&members, &member).map_err(|error| source.reject(error, |key| raw.place(key)))?;
        members.push(member);
    }
    check_host(&members).map_err(|error| source.reject(error, |_| None))?;
    Ok(members)
}
