//! The placement policy: allowed and preferred servers of the engine.

use serde::{Deserialize, Serialize};

use super::ServerName;

/// Maintenance of the list of preferred servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Assistance {
    /// The list is maintained automatically: all eligible servers in the order they joined; the engine does not fail back.
    #[default]
    HighAvailability,
    /// The operator maintains the list.
    None,
}

/// The placement policy. Source: the seed's high availability messaging engine policy and its HAManager.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Policy {
    /// Maintenance of the list.
    pub assistance: Assistance,
    /// The operator's ordered list; used with [`Assistance::None`]. Empty: any available server.
    pub preferred: Vec<ServerName>,
    /// Fails back when a more preferred server becomes available again.
    pub fail_back: bool,
    /// Keeps the engine stopped when no preferred server is available.
    pub preferred_only: bool,
    /// Moves the engine only on an operator's request.
    pub manual: bool,
}

/// A policy that contradicts itself or the cluster.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// A server is in the list twice.
    #[error("server {0} is in the preferred list twice: name each server once")]
    Twice(ServerName),
    /// A name in the list does not belong to a server that can host the engine.
    #[error("{name} is not a server that can host the engine: use some of {allowed}")]
    Unknown {
        /// The name.
        name: ServerName,
        /// The allowed names.
        allowed: String,
    },
    /// With policy assistance the operator cannot set the list, failback and preferred-only.
    #[error(
        "assistance \"high-availability\" maintains the list itself and does not fail back: {0} needs assistance \"none\""
    )]
    Assisted(&'static str),
    /// Preferred servers only, but none is named.
    #[error("preferred-only with an empty preferred list would never start the engine: name at least one server")]
    Nowhere,
}

/// A change of the policy; fields that are `None` stay.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PolicyChange {
    /// Maintenance of the list.
    pub assistance: Option<Assistance>,
    /// The operator's ordered list.
    pub preferred: Option<Vec<ServerName>>,
    /// Failback.
    pub fail_back: Option<bool>,
    /// Preferred servers only.
    pub preferred_only: Option<bool>,
    /// Moves only on request.
    pub manual: Option<bool>,
}

impl PolicyChange {
    /// The policy after the change; not checked.
    #[must_use]
    pub fn apply(self, before: &Policy) -> Policy {
        let base = match self.assistance {
            None => before.clone(),
            Some(Assistance::None) => Policy { assistance: Assistance::None, ..before.clone() },
            // Assistance maintains the list itself: manual settings are dropped.
            Some(Assistance::HighAvailability) => Policy { manual: before.manual, ..Policy::default() },
        };
        Policy {
            assistance: base.assistance,
            preferred: self.preferred.unwrap_or(base.preferred),
            fail_back: self.fail_back.unwrap_or(base.fail_back),
            preferred_only: self.preferred_only.unwrap_or(base.preferred_only),
            manual: self.manual.unwrap_or(base.manual),
        }
    }
}

impl Policy {
    /// Checks the policy against the servers that can host the engine, in the order they joined.
    ///
    /// # Errors
    /// [`PolicyError`] with the contradiction.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<ServerName> {
        names.iter().map(|name| ServerName::new(*name).unwrap()).collect()
    }

    #[test]
    fn what_is_not_named_stays_as_it_is() {
        let before = Policy {
            assistance: Assistance::None,
            preferred: names(&["server2"]),
            fail_back: true,
            ..Policy::default()
        };
        let change = PolicyChange { preferred_only: Some(true), ..PolicyChange::default() };
        assert_eq!(change.apply(&before), Policy { preferred_only: true, ..before.clone() });
        for list in [&["server1", "server2"][..], &[]] {
            let change = PolicyChange { preferred: Some(names(list)), ..PolicyChange::default() };
            assert_eq!(change.apply(&before), Policy { preferred: names(list), ..before.clone() });
        }
    }

    #[test]
    fn switching_assistance_on_takes_the_operators_list_away() {
        let before = Policy {
            assistance: Assistance::None,
            preferred: names(&["server2"]),
            fail_back: true,
            preferred_only: true,
            manual: true,
        };
        let change = PolicyChange { assistance: Some(Assistance::HighAvailability), ..PolicyChange::default() };
        assert_eq!(change.apply(&before), Policy { manual: true, ..Policy::default() });
    }

    #[test]
    fn a_policy_that_contradicts_itself_or_the_cluster_is_refused() {
        let none = Some(Assistance::None);
        let preferred = |list: &[&str]| Some(names(list));
        for (change, expected) in [
            (PolicyChange { fail_back: Some(true), ..Default::default() }, "fail-back needs assistance \"none\""),
            (PolicyChange { preferred: preferred(&["server1"]), ..Default::default() }, "needs assistance \"none\""),
            (
                PolicyChange { assistance: none, preferred: preferred(&["server9"]), ..Default::default() },
                "server9 is not a server that can host the engine: use some of server1, server2",
            ),
            (
                PolicyChange { assistance: none, preferred: preferred(&["server1", "server1"]), ..Default::default() },
                "twice",
            ),
            (
                PolicyChange { assistance: none, preferred_only: Some(true), ..Default::default() },
                "name at least one server",
            ),
        ] {
            let policy = change.apply(&Policy::default());
            let why = policy.check(&names(&["server1", "server2"])).unwrap_err().to_string();
            assert!(why.contains(expected), "{why}");
        }
    }
}
