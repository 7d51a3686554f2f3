//! How power is lost, and how a server is killed while it takes a snapshot or purges its log.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use super::{Heal, Nemesis};
use crate::clock::Deadline;
use crate::torture::dice::Dice;
use crate::torture::history::Done;

/// How long it may take until a snapshot is begun or a file of the log goes.
const HOUSEKEEPING: Duration = Duration::from_secs(15);
/// Files of which a note says what they lost.
const NAMED: usize = 4;

impl Nemesis<'_> {
    /// Kills members all at once and takes from them what was not synced.
    pub(super) fn power_loss(&mut self, victims: &[String], dice: &mut Dice, done: &mut Done) -> Vec<Heal> {
        // Half of the time the disks are slow before: then more is on its way to them.
        let slow = dice.once_in(2).then(|| dice.within(30..300));
        if let Some(ms) = slow {
            let slowed = victims.iter().try_for_each(|name| self.lab.slow_sync(name, Some(ms)));
            done.notes.push(slowed.map_or_else(|why| why, |()| format!("{ms} ms a sync before")));
            std::thread::sleep(Duration::from_millis(dice.within(200..1_200)));
        }
        self.lab.kill(victims);
        if slow.is_some() {
            for name in victims {
                // It is absent where slow disks are not possible here; said above.
                let _ = self.lab.slow_sync(name, None);
            }
        }
        self.lose_unsynced(victims, dice, done);
        victims.iter().cloned().map(Heal::Start).collect()
    }

    /// Takes from members that do not run what was not synced.
    fn lose_unsynced(&mut self, victims: &[String], dice: &mut Dice, done: &mut Done) {
        for name in victims {
            match self.lab.lose_unsynced(name, dice) {
                Ok(loss) => {
                    done.lost_bytes += loss.bytes;
                    let (files, more) = (loss.files.iter().take(NAMED), loss.files.len().saturating_sub(NAMED));
                    done.notes.push(format!("{name} lost {} bytes", loss.bytes));
                    done.notes.extend(files.cloned());
                    if more > 0 {
                        done.notes.push(format!("and of {more} more files"));
                    }
                }
                Err(why) => done.notes.push(format!("not made: {why}")),
            }
        }
    }

    /// Kills a member soon after a snapshot was begun, or a file of its log removed; half of the time it loses its power,
    /// and half of the time it is killed once more while it starts.
    pub(super) fn kill_at_purge(
        &mut self,
        victims: &[String],
        dice: &mut Dice,
        done: &mut Done,
    ) -> Result<Vec<Heal>, String> {
        let victim = victims.first().map_or("", String::as_str);
        let store = self.lab.store(victim);
        let (purge, what) =
            if dice.once_in(2) { (true, "a file of the log went") } else { (false, "a snapshot was begun") };
        let names = || if purge { names(&store.join("log")) } else { names(store) };
        let mut before = names();
        let seen = Deadline::within(HOUSEKEEPING).poll(Duration::from_millis(1), || {
            let now = names();
            let is_it = |name: &&String| {
                if purge { name.ends_with(".sst") || name.ends_with(".log") } else { name.starts_with("snapshot-") }
            };
            let (from, to) = if purge { (&before, &now) } else { (&now, &before) };
            let changed = from.difference(to).any(|name| is_it(&name));
            before = now;
            changed
        });
        let delay_ms = dice.within(0..30);
        std::thread::sleep(Duration::from_millis(delay_ms));
        self.lab.kill(victims);
        done.notes.push(if seen {
            format!("{delay_ms} ms before, {what}")
        } else {
            format!("it was never seen that {what}")
        });
        if dice.once_in(2) {
            self.lose_unsynced(victims, dice, done);
        }
        if dice.once_in(2) {
            victims.iter().try_for_each(|name| self.lab.start_member(name))?;
            let start_ms = dice.within(0..500);
            std::thread::sleep(Duration::from_millis(start_ms));
            self.lab.kill(victims);
            done.notes.push(format!("killed again {start_ms} ms after its start"));
            if dice.once_in(2) {
                self.lose_unsynced(victims, dice, done);
            }
        }
        Ok(victims.iter().cloned().map(Heal::Start).collect())
    }
}

/// The names in a directory; none if it is not there.
fn names(dir: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}
