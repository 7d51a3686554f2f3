//! The output of a client of the torture test: one event per line, in JSON, with the time. An operation is printed
//! before it is requested, so that one whose client is killed is known to have an unknown outcome.

use std::io::Write;

use baton_tests::clock::boot_ns;
use serde::{Deserialize, Serialize};

/// A line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// CLOCK_BOOTTIME.
    pub at_ns: u64,
    /// The event.
    pub event: Event,
}

/// Events at a client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// A consumer is attached to the engine of that epoch.
    Connected {
        /// The epoch.
        epoch: String,
    },
    /// A consumer took a message.
    Got {
        /// Its id.
        id: String,
        /// The epoch of the engine that delivered it.
        epoch: String,
        /// Failed deliveries so far, by the engine's count.
        redeliveries: u32,
        /// The first bytes of its body.
        body: String,
    },
    /// A consumer acknowledges messages.
    Acknowledging {
        /// Their ids.
        ids: Vec<String>,
    },
    /// The engine committed the acknowledgements.
    Settled {
        /// Their ids.
        ids: Vec<String>,
    },
    /// A producer asks which number is next.
    Opening,
    /// The answer.
    Opened {
        /// From 1.
        next: u64,
    },
    /// A producer sends a message.
    Sending {
        /// Its number, from 1.
        number: u64,
    },
    /// It is confirmed.
    Confirmed {
        /// Its number.
        number: u64,
    },
    /// A transaction is about to be ended.
    Ending {
        /// Suffix of all its messages.
        tag: String,
        /// The ids of the messages that it acknowledges.
        ids: Vec<String>,
        /// True to commit; false to roll back.
        commit: bool,
    },
    /// It is ended.
    Ended {
        /// Its tag.
        tag: String,
        /// True if all of it is done.
        committed: bool,
        /// The rest of the answer, in words.
        why: String,
    },
    /// A register is written, or only read.
    Asking {
        /// The register.
        register: String,
        /// The field and its new value.
        write: Option<(usize, String)>,
    },
    /// It is done; the fields as they are after that, if the answer tells them.
    Answered {
        /// The fields.
        saw: Option<Vec<String>>,
    },
    /// Nothing was done.
    Refused {
        /// The reason.
        why: String,
    },
    /// It may be done or not.
    Unanswered {
        /// The reason.
        why: String,
    },
}

impl Event {
    /// Prints it, with the time.
    ///
    /// # Panics
    /// If nobody reads: the torture test is over.
    pub fn print(self) {
        let line = Line { at_ns: boot_ns(), event: self };
        let mut text = serde_json::to_vec(&line).expect("events are JSON");
        text.push(b'\n');
        let mut out = std::io::stdout().lock();
        // In one piece and at once: a client that is killed leaves whole lines.
        out.write_all(&text).and_then(|()| out.flush()).expect("somebody reads");
    }
}
