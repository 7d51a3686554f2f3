//! Where the engine may run, and where it would rather.

use serde::{Deserialize, Serialize};

use super::ServerName;

/// Who keeps the list of preferred servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Assistance {
    /// The list is all eligible servers in the order they joined, kept up to date; the engine does not fail back.
    #[default]
    HighAvailability,
    /// The list is the operator's.
    None,
}

/// The placement policy. Source: the seed's high availability messaging engine policy and its HAManager.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Policy {
    /// Who keeps the list.
    pub assistance: Assistance,
    /// The operator's ordered list; used with [`Assistance::None`]. Empty: any available server.
    pub preferred: Vec<ServerName>,
    /// Whether the engine moves back when a more preferred server becomes available again.
    pub fail_back: bool,
    /// Whether the engine stays stopped when no preferred server is available.
    pub preferred_only: bool,
    /// Whether the engine moves only when an operator says so.
    pub manual: bool,
}

/// A policy that contradicts itself or the cluster.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// A name stands in the list twice.
    #[error("server {0} stands in the preferred list twice: name each server once")]
    Twice(ServerName),
    /// A name in the list is no server that can host the engine.
    #[error("{name} is not a server that can host the engine; those are: {allowed}")]
    Unknown {
        /// The name.
        name: ServerName,
        /// The names that are allowed.
        allowed: String,
    },
    /// With policy assistance the list, fail back and preferred-only are not the operator's to set.
    #[error(
        "assistance \"high-availability\" keeps the list by itself and does not fail back: {0} needs assistance \"none\""
    )]
    Assisted(&'static str),
    /// Preferred servers only, and none is named.
    #[error("preferred-only with an empty preferred list would never run the engine: name at least one server")]
    Nowhere,
}

impl Policy {
    /// Checks the policy against the servers that can host the engine, in the order they joined.
    ///
    /// # Errors
    /// [`PolicyError`] says what contradicts what.
    pub fn check(&self, hosts: &[ServerName]) -> Result<(), PolicyError> {
        if self.assistance == Assistance::HighAvailability {
            for (set, what) in [
                (!self.preferred.is_empty(), "a preferred list"),
                (self.fail_back, "fail-back"),
                (self.preferred_only, "preferred-only"),
            ] {
                if set {
                    return Err(PolicyError::Assisted(what));
                }
            }
        }
        if self.preferred_only && self.preferred.is_empty() {
            return Err(PolicyError::Nowhere);
        }
        for (position, name) in self.preferred.iter().enumerate() {
            if self.preferred[..position].contains(name) {
                return Err(PolicyError::Twice(name.clone()));
            }
            if !hosts.contains(name) {
                let allowed = hosts.iter().map(ServerName::as_str).collect::<Vec<_>>().join(", ");
                return Err(PolicyError::Unknown { name: name.clone(), allowed });
            }
        }
        Ok(())
    }

    /// The list in force: the operator's, or with policy assistance `hosts` (the servers in the order they joined).
    #[must_use]
    pub fn preference<'a>(&'a self, hosts: &'a [ServerName]) -> &'a [ServerName] {
        match self.assistance {
            Assistance::HighAvailability => hosts,
            Assistance::None => &self.preferred,
        }
    }
}
