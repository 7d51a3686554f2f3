//! How a destination behaves: set when it is created, changed while it serves.

use serde::{Deserialize, Serialize};

use super::{QueueId, QueueName, Reliability};

/// The name of the queue that takes what others could not deliver, unless a destination names its own.
pub const SYSTEM_EXCEPTION_QUEUE: &str = "system.exception";

/// To so many destinations one forwards at most: each has a copy of every message.
pub const FORWARDS_MAX: usize = 16;

/// The headers that a message carries in an exception destination.
pub mod exception_header {
    /// A longer reason is cut, in bytes: it comes from clients, and has to fit beside the message.
    pub const REASON_MAX: usize = 4 * 1024;
    /// So many bytes of these headers do not count against the limit of a message's size: what was taken can be moved.
    pub const UNCOUNTED_MAX: usize = 8 * 1024;
    /// Why it is there, in words.
    pub const REASON: &str = "baton-exception-reason";
    /// The destination that it was in.
    pub const FROM: &str = "baton-exception-from";
    /// When it was moved, in Unix milliseconds.
    pub const AT_MS: &str = "baton-exception-at-ms";

    /// The reason of a message whose time to live is over.
    pub const EXPIRED: &str = "its time to live was over";

    /// The reason of a message that was delivered in vain so often.
    #[must_use]
    pub fn deliveries_failed(count: u32) -> String {
        format!("{count} deliveries failed")
    }

    /// Whether an exception destination writes the header of that name.
    #[must_use]
    pub fn is_one(name: &str) -> bool {
        [REASON, FROM, AT_MS].contains(&name)
    }

    /// A reason, no longer than [`REASON_MAX`].
    #[must_use]
    pub fn cut_reason(reason: &str) -> &str {
        &reason[..reason.floor_char_boundary(REASON_MAX)]
    }
}

/// Where messages go that a destination cannot deliver.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExceptionDestination {
    /// To [`SYSTEM_EXCEPTION_QUEUE`], which is created when it is first needed.
    #[default]
    System,
    /// To that queue; while there is no queue of that name, to the system's.
    Queue(QueueName),
    /// Nowhere: they stay, and are delivered again until a consumer takes them. One that a consumer rejected waits a
    /// while before that.
    None,
}

/// What becomes of a message whose time to live is over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Expired {
    /// It is dropped.
    #[default]
    Drop,
    /// It goes to the exception destination; dropped if the destination has none.
    Exception,
}

/// What becomes of dead letters for which an exception destination has no room.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeadLetterOverflow {
    /// They wait in the queues that they come from, and are tried again later.
    #[default]
    Wait,
    /// The oldest messages of the exception destination are dropped for them.
    DropOldest,
}

/// What kind of destination it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum DestinationKind {
    /// Each message goes to one consumer.
    #[default]
    Queue,
    /// Each message goes to all subscriptions that want its topic, and is stored once.
    TopicSpace,
    /// What of a topic space somebody wants, for its consumers like a queue.
    Subscription(Subscription),
}

/// What a subscription wants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscription {
    /// The topic space.
    pub space: QueueId,
    /// The topics; see [`super::topic::check_pattern`].
    pub topic: String,
    /// Of these, the messages that a [`super::Selector`] selects; empty: all.
    pub selector: String,
}

/// How a destination behaves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// Where messages go that cannot be delivered.
    pub exception: ExceptionDestination,
    /// After so many failed deliveries a message goes there; 0: never. One counts when a consumer refuses the message, or
    /// goes away while it has it.
    pub max_failed_deliveries: u32,
    /// So long after a failed delivery a message is delivered again, in milliseconds; twice as long after each further
    /// one. 0: at once, in its old place.
    pub redelivery_delay_ms: u64,
    /// The delay does not grow beyond this, in milliseconds.
    pub redelivery_delay_max_ms: u64,
    /// The time to live of messages that name none, in milliseconds; 0: for ever, and for a subscription, its topic space's.
    pub time_to_live_ms: u64,
    /// What becomes of messages whose time to live is over.
    pub expired: Expired,
    /// With so many messages it is full: more are refused until some are taken off; 0: no such bound. Dead letters that
    /// find no room do as `dead_letter_overflow` says.
    pub max_messages: u64,
    /// One consumer at a time is served, the one that attached first; the others stand in for it in their order.
    pub exclusive: bool,
    /// What may become of messages that do not say it themselves.
    pub reliability: Reliability,
    /// Nothing is taken from producers.
    pub send_paused: bool,
    /// Nothing is delivered to consumers.
    pub receive_paused: bool,
    /// What is sent to it is stored in each of these instead, those that there are; it keeps a copy if it is one of them.
    /// If there is none of them, it is stored here. At most [`FORWARDS_MAX`]; subscriptions do not count, what they have
    /// comes from their topic spaces.
    pub forward_to: Vec<QueueName>,
    /// What becomes of dead letters that come here when it is full.
    pub dead_letter_overflow: DeadLetterOverflow,
    /// With so many bytes of messages it is full for dead letters; 0: no such bound.
    pub max_dead_letter_bytes: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            exception: ExceptionDestination::System,
            max_failed_deliveries: 10,
            redelivery_delay_ms: 0,
            redelivery_delay_max_ms: 60_000,
            time_to_live_ms: 0,
            expired: Expired::Drop,
            max_messages: 0,
            exclusive: false,
            reliability: Reliability::AssuredPersistent,
            send_paused: false,
            receive_paused: false,
            forward_to: Vec::new(),
            dead_letter_overflow: DeadLetterOverflow::Wait,
            max_dead_letter_bytes: 0,
        }
    }
}

/// The bounds that [`SYSTEM_EXCEPTION_QUEUE`] has unless somebody sets others: it must not fill the disk for everybody.
const SYSTEM_EXCEPTION_MESSAGES: u64 = 100_000;
const SYSTEM_EXCEPTION_BYTES: u64 = 1 << 30;
/// A message that stays because no exception destination takes it is not delivered again before this, in milliseconds;
/// twice as long after each further failed delivery.
const KEPT_MS: u64 = 1_000;
/// That time does not grow beyond this, in milliseconds.
const KEPT_MAX_MS: u64 = 60_000;

impl Settings {
    /// Those of [`SYSTEM_EXCEPTION_QUEUE`]: nothing leaves it by itself.
    #[must_use]
    pub fn of_system_exception_queue() -> Self {
        Self {
            exception: ExceptionDestination::None,
            max_failed_deliveries: 0,
            max_messages: SYSTEM_EXCEPTION_MESSAGES,
            max_dead_letter_bytes: SYSTEM_EXCEPTION_BYTES,
            ..Self::default()
        }
    }

    /// How long a message waits that failed so often and that no exception destination takes, in milliseconds.
    #[must_use]
    pub fn kept_ms(&self, failed: u32) -> u64 {
        let beyond = failed.saturating_sub(self.max_failed_deliveries.max(1)).min(16);
        (KEPT_MS << beyond).min(KEPT_MAX_MS).max(self.redelivery_delay_ms(failed))
    }

    /// How long a message waits after its `failed`-th failed delivery, in milliseconds.
    #[must_use]
    pub fn redelivery_delay_ms(&self, failed: u32) -> u64 {
        let doublings = failed.saturating_sub(1).min(63);
        self.redelivery_delay_ms
            .saturating_mul(1 << doublings)
            .min(self.redelivery_delay_max_ms.max(self.redelivery_delay_ms))
    }
}

/// Declares [`SettingsPatch`] beside the names of [`Settings`], so that none can be forgotten.
macro_rules! patch {
    ($($setting:ident: $value:ty,)*) => {
        /// A change of some settings: those that it does not name stay as they are. So changes that two people make at
        /// once do not undo one another.
        #[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(default)]
        pub struct SettingsPatch {
            $(
                #[doc = concat!("See [`Settings::", stringify!($setting), "`]; `None`: it stays.")]
                pub $setting: Option<$value>,
            )*
        }

        impl SettingsPatch {
            /// The settings with this change made.
            #[must_use]
            pub fn applied_to(&self, settings: &Settings) -> Settings {
                Settings {
                    $($setting: self.$setting.clone().unwrap_or_else(|| settings.$setting.clone()),)*
                }
            }

            /// The names of what it would change.
            #[must_use]
            pub fn differences(&self, settings: &Settings) -> Vec<&'static str> {
                let mut names = Vec::new();
                $(if self.$setting.as_ref().is_some_and(|asked| *asked != settings.$setting) {
                    names.push(stringify!($setting));
                })*
                names
            }
        }

        /// All of them.
        impl From<Settings> for SettingsPatch {
            fn from(settings: Settings) -> Self {
                Self { $($setting: Some(settings.$setting),)* }
            }
        }
    };
}

patch! {
    exception: ExceptionDestination,
    max_failed_deliveries: u32,
    redelivery_delay_ms: u64,
    redelivery_delay_max_ms: u64,
    time_to_live_ms: u64,
    expired: Expired,
    max_messages: u64,
    exclusive: bool,
    reliability: Reliability,
    send_paused: bool,
    receive_paused: bool,
    forward_to: Vec<QueueName>,
    dead_letter_overflow: DeadLetterOverflow,
    max_dead_letter_bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_changes_what_it_names_and_nothing_else() {
        let before = Settings { max_messages: 7, ..Settings::default() };
        let patch = SettingsPatch { time_to_live_ms: Some(9), exclusive: Some(false), ..SettingsPatch::default() };
        assert_eq!(patch.applied_to(&before), Settings { time_to_live_ms: 9, ..before.clone() });
        assert_eq!(patch.differences(&before), ["time_to_live_ms"]);
        assert_eq!(SettingsPatch::from(before.clone()).applied_to(&Settings::default()), before);
        assert_eq!(SettingsPatch::default().differences(&before), [""; 0]);
    }

    #[test]
    fn what_no_exception_destination_takes_waits_longer_each_time() {
        let settings = Settings { max_failed_deliveries: 3, ..Settings::default() };
        let waits = [1, 3, 4, 5, 40].map(|failed| settings.kept_ms(failed));
        assert_eq!(waits, [1_000, 1_000, 2_000, 4_000, 60_000]);
        let slow = Settings { redelivery_delay_ms: 70_000, redelivery_delay_max_ms: 90_000, ..settings };
        assert_eq!(slow.kept_ms(3), 90_000);
    }

    #[test]
    fn the_delay_doubles_up_to_its_bound() {
        let settings = Settings { redelivery_delay_ms: 100, redelivery_delay_max_ms: 350, ..Settings::default() };
        let delays = [1, 2, 3, 4, 200].map(|failed| settings.redelivery_delay_ms(failed));
        assert_eq!(delays, [100, 200, 350, 350, 350]);
        assert_eq!(Settings::default().redelivery_delay_ms(9), 0);
        let long = Settings { redelivery_delay_ms: 100, redelivery_delay_max_ms: 0, ..Settings::default() };
        assert_eq!(long.redelivery_delay_ms(9), 100);
    }
}
