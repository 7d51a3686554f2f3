//! The systems that are compared.

use std::str::FromStr;

use serde::Serialize;

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum System {
    /// Ours.
    Baton,
    /// NATS with JetStream.
    Nats,
    /// RabbitMQ with quorum queues.
    RabbitMq,
}

impl System {
    /// All of them, ours first.
    pub const ALL: [Self; 3] = [Self::Baton, Self::Nats, Self::RabbitMq];

    /// As in the table.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Baton => "Baton",
            Self::Nats => "NATS",
            Self::RabbitMq => "RabbitMQ",
        }
    }

    /// As on the command line.
    #[must_use]
    pub fn key(self) -> &'static str {
        match self {
            Self::Baton => "baton",
            Self::Nats => "nats",
            Self::RabbitMq => "rabbitmq",
        }
    }

    /// The state of a message when its producer gets the confirm, with the settings used here.
    #[must_use]
    pub fn confirm(self) -> &'static str {
        match self {
            Self::Baton => "a majority of three has fsynced it",
            Self::Nats => "a majority of three has written it; **no fsync** (sync_interval, 2 minutes)",
            Self::RabbitMq => "a majority of three has fsynced it",
        }
    }
}

impl FromStr for System {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|system| system.key() == text);
        found.ok_or_else(|| format!("{text} is none of baton, nats and rabbitmq"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_is_named_on_the_command_line_by_its_key_alone() {
        for system in System::ALL {
            assert_eq!(system.key().parse(), Ok(system));
        }
        assert!("kafka".parse::<System>().is_err() && "".parse::<System>().is_err());
    }
}
