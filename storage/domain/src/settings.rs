//! Settings of a destination: set on creation, changed while it serves.

use serde::{Deserialize, Serialize};

use super::{QueueId, QueueName, Reliability};

/// The system's exception queue: it receives dead letters, unless a destination names its own.
pub const SYSTEM_EXCEPTION_QUEUE: &str = "system.exception";

/// Maximum number of forward targets: each gets a copy of every message.
pub const FORWARDS_MAX: usize = 16;

/// The headers of a message in an exception destination.
pub mod exception_header {
    /// Maximum length of a reason in bytes; longer ones are cut: it comes from clients, and has to fit next to the message.
    pub const REASON_MAX: usize = 4 * 1024;
    /// Bytes of these headers that do not count against the message size limit: every accepted message can be moved.
    pub const UNCOUNTED_MAX: usize = 8 * 1024;
    /// The reason, as text.
    pub const REASON: &str = "baton-exception-reason";
    /// The source destination.
    pub const FROM: &str = "baton-exception-from";
    /// Time of the move, in Unix milliseconds.
    pub const AT_MS: &str = "baton-exception-at-ms";

    /// The reason of an expired message.
    pub const EXPIRED: &str = "its time to live was over";

    /// The reason after too many failed deliveries.
    #[must_use]
    pub fn deliveries_failed(count: u32) -> String {
        format!("{count} deliveries failed")
    }

    /// True if an exception destination writes the header of that name.
    #[must_use]
    pub fn is_one(name: &str) -> bool {
        [REASON, FROM, AT_MS].contains(&name)
    }

    /// A reason, cut to [`REASON_MAX`].
    #[must_use]
    pub fn cut_reason(reason: &str) -> &str {
        &reason[..reason.floor_char_boundary(REASON_MAX)]
    }
}

/// The exception destination, which receives dead letters.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExceptionDestination {
    /// [`SYSTEM_EXCEPTION_QUEUE`], created on first use.
    #[default]
    System,
    /// This queue; the system's while no queue of that name exists.
    Queue(QueueName),
    /// None: dead letters stay, and are redelivered until a consumer takes them. After a rejection a message waits
    /// before it is redelivered.
    None,
}

/// Treatment of expired messages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Expired {
    /// Drop them.
    #[default]
    Drop,
    /// Move them to the exception destination; drop them if there is none.
    Exception,
}

/// Treatment of dead letters for which an exception destination has no room.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeadLetterOverflow {
    /// They wait in their source queues, and are retried later.
    #[default]
    Wait,
    /// The oldest messages of the exception destination are dropped for them.
    DropOldest,
}

/// The kind of a destination.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum DestinationKind {
    /// A queue: each message goes to one consumer.
    #[default]
    Queue,
    /// A topic space: each message goes to all subscriptions that match its topic, and is stored once.
    TopicSpace,
    /// A subscription to a topic space; for its consumers like a queue.
    Subscription(Subscription),
}

/// The filter of a subscription.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscription {
    /// The topic space.
    pub space: QueueId,
    /// The topic pattern; see [`super::topic::check_pattern`].
    pub topic: String,
    /// A [`super::Selector`] on these messages; empty: all.
    pub selector: String,
}

/// The settings of a destination.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// The exception destination, which receives dead letters.
    pub exception: ExceptionDestination,
    /// Failed deliveries after which a message becomes a dead letter; 0 = unlimited. A delivery fails when a consumer
    /// refuses the message, or goes away while it holds it.
    pub max_failed_deliveries: u32,
    /// Redelivery backoff after a failed delivery, in milliseconds; doubled after each further one. 0: redelivered at once,
    /// in its old place.
    pub redelivery_delay_ms: u64,
    /// Maximum redelivery backoff, in milliseconds.
    pub redelivery_delay_max_ms: u64,
    /// Default time to live, in milliseconds; 0 = unlimited; for a subscription, its topic space's.
    pub time_to_live_ms: u64,
    /// Treatment of expired messages.
    pub expired: Expired,
    /// Maximum number of messages: a full queue refuses more; 0 = unlimited. Dead letters for a full queue follow
    /// `dead_letter_overflow`.
    pub max_messages: u64,
    /// Serves one consumer at a time, the first attached; the others are on standby, in order.
    pub exclusive: bool,
    /// Default reliability level.
    pub reliability: Reliability,
    /// Paused for producers.
    pub send_paused: bool,
    /// Paused for consumers.
    pub receive_paused: bool,
    /// Forward targets: messages sent here are stored in each existing one instead, and here only if the destination lists
    /// itself or no target exists. At most [`FORWARDS_MAX`]; subscriptions do not count, because they get their messages
    /// from their topic spaces.
    pub forward_to: Vec<QueueName>,
    /// Treatment of dead letters that arrive here when it is full.
    pub dead_letter_overflow: DeadLetterOverflow,
    /// Bytes of messages at which it is full for dead letters; 0 = unlimited.
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

/// Default limits of [`SYSTEM_EXCEPTION_QUEUE`]: it must not fill the disk for everybody.
const SYSTEM_EXCEPTION_MESSAGES: u64 = 100_000;
const SYSTEM_EXCEPTION_BYTES: u64 = 1 << 30;
/// Minimum redelivery backoff of a message that stays because no exception destination accepts it, in milliseconds;
/// doubled after each further failed delivery.
const KEPT_MS: u64 = 1_000;
/// Maximum of that backoff, in milliseconds.
const KEPT_MAX_MS: u64 = 60_000;

impl Settings {
    /// The defaults of [`SYSTEM_EXCEPTION_QUEUE`]: no message leaves it automatically.
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

    /// Backoff of a message with this many failed deliveries that no exception destination accepts, in milliseconds.
    #[must_use]
    pub fn kept_ms(&self, failed: u32) -> u64 {
        let beyond = failed.saturating_sub(self.max_failed_deliveries.max(1)).min(16);
        (KEPT_MS << beyond).min(KEPT_MAX_MS).max(self.redelivery_delay_ms(failed))
    }

    /// Redelivery backoff after the `failed`-th failed delivery, in milliseconds.
    #[must_use]
    pub fn redelivery_delay_ms(&self, failed: u32) -> u64 {
        let doublings = failed.saturating_sub(1).min(63);
        self.redelivery_delay_ms
            .saturating_mul(1 << doublings)
            .min(self.redelivery_delay_max_ms.max(self.redelivery_delay_ms))
    }
}

/// Declares [`SettingsPatch`] along with the names of [`Settings`], so that none can be forgotten.
macro_rules! patch {
    ($($setting:ident: $value:ty,)*) => {
        /// A change of some settings: those not named stay. So concurrent changes do not undo one another (no lost
        /// updates).
        ///
        /// ```
        /// use baton_domain::SettingsPatch;
        ///
        /// let patch = SettingsPatch::default().max_messages(7).exclusive(true);
        /// assert_eq!((patch.max_messages, patch.expired), (Some(7), None));
        /// ```
        #[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(default)]
        #[non_exhaustive]
        pub struct SettingsPatch {
            $(
                #[doc = concat!("See [`Settings::", stringify!($setting), "`]; `None`: it stays.")]
                pub $setting: Option<$value>,
            )*
        }

        impl SettingsPatch {
            $(
                #[doc = concat!("Names [`Settings::", stringify!($setting), "`].")]
                #[must_use]
                pub fn $setting(self, $setting: $value) -> Self {
                    Self { $setting: Some($setting), ..self }
                }
            )*

            /// The settings with this change applied.
            #[must_use]
            pub fn applied_to(&self, settings: &Settings) -> Settings {
                Settings {
                    $($setting: self.$setting.clone().unwrap_or_else(|| settings.$setting.clone()),)*
                }
            }

            /// The names of the settings it changes.
            #[must_use]
            pub fn differences(&self, settings: &Settings) -> Vec<&'static str> {
                let mut names = Vec::new();
                $(if self.$setting.as_ref().is_some_and(|asked| *asked != settings.$setting) {
                    names.push(stringify!($setting));
                })*
                names
            }
        }

        /// All names.
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
