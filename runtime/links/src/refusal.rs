//! Refusals of links, in words that the refused side can print.

use baton_domain::clock::BootTime;

/// The longest text of a refusal, in bytes.
pub(super) const REFUSAL_TEXT_MAX: usize = 512;

/// The kind of a refusal. Numbers cross links: never renumber.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RefusalReason {
    /// The two sides do not hold the same cookie.
    WrongCookie,
    /// A process that claims to be a server does not hold the servers' key.
    WrongServerKey,
    /// The two sides belong to different clusters.
    OtherCluster,
    /// The two sides speak different versions of the handshake.
    UnknownVersion,
    /// A store from before the cluster was recovered by force.
    OlderGeneration,
    /// Another live process has that name.
    NameInUse,
    /// A client has the name of a server.
    NameOfServer,
    /// Another server answers at that address.
    UnexpectedName,
    /// As many clients as allowed are linked.
    TooManyConnections,
    /// A certificate was not accepted, or does not name its server.
    Certificate,
    /// One side speaks TLS and the other does not.
    TlsMismatch,
    /// A hello that breaks the rules.
    Malformed,
    /// The dialing process and the dialed one are the same. Not reported.
    Yourself,
    /// The link exists already. Not reported.
    AlreadyLinked,
    /// The other server is the one of the pair that dials. Not reported.
    WrongDirection,
    /// A link of that name is just being opened or closed: try again. Not reported.
    Busy,
    /// A client answered where a server was dialed: only servers accept links.
    NotAServer,
    /// A reason of a newer program; the text describes it.
    Other,
}

impl RefusalReason {
    const ALL: [(u8, Self); 18] = [
        (0, Self::Other),
        (1, Self::WrongCookie),
        (2, Self::WrongServerKey),
        (3, Self::OtherCluster),
        (4, Self::UnknownVersion),
        (5, Self::OlderGeneration),
        (6, Self::NameInUse),
        (7, Self::NameOfServer),
        (8, Self::UnexpectedName),
        (9, Self::TooManyConnections),
        (10, Self::Certificate),
        (11, Self::TlsMismatch),
        (12, Self::Malformed),
        (13, Self::Yourself),
        (14, Self::AlreadyLinked),
        (15, Self::WrongDirection),
        (16, Self::Busy),
        (17, Self::NotAServer),
    ];

    /// True if the two sides do not hold the same secrets.
    pub(super) fn is_of_secrets(self) -> bool {
        matches!(self, Self::WrongCookie | Self::WrongServerKey)
    }

    fn code(self) -> u8 {
        Self::ALL.iter().find(|(_, reason)| *reason == self).map_or(0, |(code, _)| *code)
    }

    fn from_code(code: u8) -> Self {
        Self::ALL.iter().find(|(known, _)| *known == code).map_or(Self::Other, |(_, reason)| *reason)
    }

    /// True if an operator has to act.
    #[must_use]
    pub fn needs_attention(self) -> bool {
        match self {
            Self::Yourself | Self::AlreadyLinked | Self::WrongDirection | Self::Busy => false,
            Self::WrongCookie
            | Self::WrongServerKey
            | Self::OtherCluster
            | Self::UnknownVersion
            | Self::OlderGeneration
            | Self::NameInUse
            | Self::NameOfServer
            | Self::UnexpectedName
            | Self::TooManyConnections
            | Self::Certificate
            | Self::TlsMismatch
            | Self::Malformed
            | Self::NotAServer
            | Self::Other => true,
        }
    }
}

/// A refusal as it crosses a link: a reason, and a text for the refused side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RefusalNotice {
    pub(super) reason: RefusalReason,
    pub(super) text: String,
}

impl RefusalNotice {
    /// A text that is too long is cut.
    pub(super) fn new(reason: RefusalReason, text: impl Into<String>) -> Self {
        let mut text: String = text.into();
        text.truncate(text.floor_char_boundary(REFUSAL_TEXT_MAX));
        Self { reason, text }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![self.reason.code()];
        bytes.extend_from_slice(self.text.as_bytes());
        bytes
    }

    /// Reads the other side's refusal. It has not proved who it is, so control characters, which could steer a
    /// terminal, are taken out.
    pub(super) fn decode(bytes: &[u8]) -> Self {
        let (code, text) = bytes.split_first().map_or((0, &[][..]), |(code, text)| (*code, text));
        let text = String::from_utf8_lossy(&text[..text.len().min(REFUSAL_TEXT_MAX)]);
        let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        Self::new(RefusalReason::from_code(code), text)
    }
}

/// The last refusal of one target. Prints as one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The process at the other end, if it is known.
    pub name: Option<String>,
    /// The dialed address, or the peer's address if it dialed us.
    pub address: String,
    /// The kind of the refusal.
    pub reason: RefusalReason,
    /// Cause and remedy, in one line.
    pub text: String,
    /// Time of the last occurrence.
    pub at: BootTime,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.name {
            Some(name) => write!(f, "no link with {name} at {}: {}", self.address, self.text),
            None => write!(f, "no link with {}: {}", self.address, self.text),
        }
    }
}

/// The refusal for both sides of a connection on which only one speaks TLS.
pub(super) fn tls_mismatch() -> RefusalNotice {
    let text = "one side speaks TLS and the other does not: configure [tls] on all processes or on none";
    RefusalNotice::new(RefusalReason::TlsMismatch, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_comes_back_in_its_own_words_and_steers_no_terminal() {
        for (_, reason) in RefusalReason::ALL {
            let refused = RefusalNotice::new(reason, "the cookie is wrong");
            assert_eq!(RefusalNotice::decode(&refused.encode()), refused);
        }
        let newer = RefusalNotice::decode(b"\xffnot \x1b[31mon\nTuesdays");
        assert_eq!((newer.reason, newer.text.as_str()), (RefusalReason::Other, "not  [31mon Tuesdays"));
        assert_eq!(RefusalNotice::decode(b"").text, "");
        let long = RefusalNotice::new(RefusalReason::Malformed, "ä".repeat(REFUSAL_TEXT_MAX));
        assert_eq!((long.text.len(), long.encode().len()), (REFUSAL_TEXT_MAX, 1 + REFUSAL_TEXT_MAX));
    }
}
